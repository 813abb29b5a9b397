"""Stage 01: what the model sees, which token is drawn, which trajectories go on."""

import json
import shutil

from lib import resume
from lib.models import load_policy, load_tokenizer, stop_ids

import numpy as np
import pytest
import torch
from conftest import chat, contents, problem, read, run, stage, step, write

rollout = stage(1)

SAMPLE_FIELDS = {
    "policy",
    "task_id",
    "trajectory",
    "turn",
    "messages",
    "completion",
    "tokens",
}


# ── The state ────────────────────────────────────────────────────────────────────────────────────


def test_the_state_is_the_problem_then_every_program_with_its_feedback():
    s1 = rollout.first_messages(problem("a"))
    s2 = rollout.next_messages(s1, "y1", "o1")
    s3 = rollout.next_messages(s2, "y2", "o2")
    assert s3 == [
        dict(role="user", content="Write f for a."),
        dict(role="assistant", content="y1"),
        dict(role="user", content="o1"),
        dict(role="assistant", content="y2"),
        dict(role="user", content="o2"),
    ]

    # Rows share their states, so no state may change under the next one.
    assert s1 == chat("Write f for a.")
    assert len(s2) == 3

    # The same in one go.
    assert rollout.chat_of(problem("a"), [("y1", "o1"), ("y2", "o2")]) == s3
    assert rollout.chat_of(problem("a"), []) == s1


def test_only_a_public_pass_ends_a_trajectory():
    steps = [
        step("a", 0),
        step("a", 1, public=True, hidden=True),
        step("a", 2, public=True, hidden=False),
        step("b", 0, hidden=True),
    ]
    states = rollout.open_states(None, steps, None, "x")
    keys = [(s["policy"], s["task_id"], s["trajectory"], s["turn"]) for s in states]
    assert keys == [("x", "a", 0, 2), ("x", "b", 0, 2)]
    assert states[0]["messages"] == [
        dict(role="user", content="Write f for a."),
        dict(role="assistant", content=steps[0]["completion"]),
        dict(role="user", content="`f(1)` gave 1, expected 2"),
    ]


def test_at_turn_1_every_trajectory_starts_from_the_problem_alone():
    states = rollout.open_states([problem("a"), problem("b")], None, 2, "x")
    keys = [(s["task_id"], s["trajectory"], s["turn"]) for s in states]
    assert keys == [("a", 0, 1), ("a", 1, 1), ("b", 0, 1), ("b", 1, 1)]
    assert states[0]["messages"] == [dict(role="user", content="Write f for a.")]


def test_a_state_that_is_too_long_loses_its_oldest_turns(tiny):
    tokenizer = load_tokenizer(str(tiny))
    state = chat("x", *(text * 9 for text in ("a1", "u1", "a2", "u2", "a3", "u3")))

    # Token counts of the whole state, and without its first 1, 2, 3 turns.
    shortened = [state[:1] + state[1 + 2 * k :] for k in range(4)]
    sizes = [len(rollout.render(tokenizer, messages)) for messages in shortened]
    assert rollout.fit(tokenizer, state, sizes[0])[0] == state
    messages, ids = rollout.fit(tokenizer, state, sizes[0] - 1)
    assert messages == state[:1] + state[3:]
    assert len(ids) == sizes[1]
    assert rollout.fit(tokenizer, state, sizes[3])[0] == state[:1]
    assert rollout.fit(tokenizer, state, sizes[3] - 1)[1] is None

    # Many at once, equal ones among them, in the order given.
    chats = [state, state[:1], state]
    expected = [rollout.fit(tokenizer, messages, sizes[1]) for messages in chats]
    assert rollout.fit_all(tokenizer, chats, sizes[1]) == expected


def test_the_date_is_fixed(tiny):
    """Llama-3.2's template writes today's date: the same row on another day would differ."""
    tokenizer = load_tokenizer(str(tiny))
    template = "{{ date_string }}{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.chat_template = template
    assert tokenizer.decode(rollout.render(tokenizer, chat("!"))) == "26 Jul 2024!"


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────


def test_choose_is_the_inverse_cdf():
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]])).repeat(6, 1)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51, 0.999])
    assert rollout.choose(logits, uniform, 1.0).tolist() == [0, 0, 1, 1, 2, 2]

    # At temperature 1/2 the probabilities are squared: 4, 9 and 25 of 38.
    uniform = torch.tensor([0.10, 0.11, 0.33, 0.35, 0.9, 0.0])
    assert rollout.choose(logits, uniform, 0.5).tolist() == [0, 1, 1, 2, 2, 0]
    assert rollout.choose(logits, uniform, 0).tolist() == [2] * 6


def test_noise_belongs_to_the_row():
    noise = rollout.noise(0, "p", 3, 1, 8)
    assert np.array_equal(noise, rollout.noise(0, "p", 3, 1, 8))
    assert np.array_equal(noise[:5], rollout.noise(0, "p", 3, 1, 5))
    for other in [(1, "p", 3, 1), (0, "q", 3, 1), (0, "p", 4, 1), (0, "p", 3, 2)]:
        assert not np.array_equal(noise, rollout.noise(*other, 8))
    assert noise.min() >= 0
    assert noise.max() < 1


def sample_naively(model, prompt, uniform, temperature, stops):
    """One row, no cache, no padding, cumulative sums by hand."""
    ids = list(prompt)
    for u in uniform:
        logits = model(torch.tensor([ids])).logits[0, -1].double()
        probabilities = torch.softmax(logits / temperature, -1).tolist()
        token = 0
        total = probabilities[0]
        while total <= u and token < len(probabilities) - 1:
            token += 1
            total += probabilities[token]
        ids.append(token)
        if token in stops:
            break
    return ids[len(prompt) :]


def test_sampling_equals_a_naive_loop_for_any_batch(tiny):
    model, tokenizer = load_policy(str(tiny))
    # An untrained model hardly looks back. Make it, so that a wrong position or mask is seen.
    for name, weight in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            weight.data *= 30

    # Many end tokens, so that rows leave the batch at different times. Three rows share a prompt.
    stops = list(range(0, 500, 6))
    lengths = (1, 9, 4, 2, 17, 4, 4)
    prompts = [rollout.render(tokenizer, chat("x" * length)) for length in lengths]
    noises = np.stack([rollout.noise(0, "p", k, 1, 12) for k in range(7)])
    with torch.inference_mode():
        expected = [
            sample_naively(model, prompt, uniform, 3.0, stops)
            for prompt, uniform in zip(prompts, noises)
        ]
        assert len(set(map(len, expected))) > 2

        # All rows in one batch, each alone, and in another order.
        assert rollout.sample_batch(model, prompts, noises, 3.0, 12, stops) == expected
        for prompt, uniform, answer in zip(prompts, noises, expected):
            alone = rollout.sample_batch(model, [prompt], uniform[None], 3.0, 12, stops)
            assert alone == [answer]
        backwards = rollout.sample_batch(model, prompts[::-1], noises[::-1].copy(), 3.0, 12, stops)
        assert backwards == expected[::-1]


def test_greedy_is_generate(tiny):
    model, tokenizer = load_policy(str(tiny))
    prompt = rollout.render(tokenizer, chat("f(xs): the sum of the numbers"))
    generated = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=10)
    no_noise = np.zeros((1, 10), np.float32)
    stops = stop_ids(model, tokenizer)
    with torch.inference_mode():
        answers = rollout.sample_batch(model, [prompt], no_noise, 0, 10, stops)
    assert answers[0] == generated[0, len(prompt) :].tolist()


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def sample_file(tiny, problems, out, *more):
    """Turn 1 of three trajectories → the bytes of the file."""
    limits = ("--trajectories", 3, "--max-new-tokens", 6)
    run(1, "--problems", problems, "--policy", tiny, "--out", out, *limits, *more)
    return out.read_bytes()


def test_a_row_depends_on_its_seed_and_not_on_its_batch(tmp_path, tiny, capsys):
    problems = write(tmp_path / "p", [problem("a"), problem("b")])
    whole = sample_file(tiny, problems, tmp_path / "whole")
    assert sample_file(tiny, problems, tmp_path / "small", "--batch-size", 2) == whole
    assert sample_file(tiny, problems, tmp_path / "seed", "--seed", 1) != whole
    rows = read(tmp_path / "whole")
    assert len(rows) == 6
    assert set(rows[0]) == SAMPLE_FIELDS


def test_a_run_that_was_cut_off_goes_on_from_its_finished_rows(tmp_path, tiny, capsys):
    problems = write(tmp_path / "p", [problem("a"), problem("b")])
    rows = sample_file(tiny, problems, tmp_path / "whole").decode().splitlines(keepends=True)

    # A call that is killed after two rows leaves what it had finished. One of them gets a mark.
    command = ["--problems", problems, "--policy", tiny, "--trajectories", 3]
    command += ["--max-new-tokens", 6, "--out", tmp_path / "cut"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "write_jsonl", lambda *_: None)
        run(1, *command)
    part = tmp_path / "cut.part"
    head, first, second, *_ = part.read_text().splitlines(keepends=True)
    row = json.loads(first.partition(" ")[2])
    marked = dict(row, completion="finished before the kill")
    left = head + resume.seal(marked) + second[:20]

    # The second was cut in the middle. Rows of another seed are not kept.
    index = [json.loads(line) for line in rows].index(row)
    expected = [*rows[:index], json.dumps(marked) + "\n", *rows[index + 1 :]]
    part.write_text(left)
    assert sample_file(tiny, problems, tmp_path / "cut").decode() == "".join(expected)
    assert not part.exists()
    part.write_text(left)
    other = sample_file(tiny, problems, tmp_path / "cut", "--seed", 1)
    assert other == sample_file(tiny, problems, tmp_path / "other", "--seed", 1)


def test_the_row_of_a_shortened_state_holds_what_the_model_saw(tmp_path, tiny, capsys):
    """Else training would imitate an answer to a state that was never sampled from."""
    problems = write(tmp_path / "p", [problem("a")])
    state = chat("Write f for a.", "y" * 1100, "o" * 1100)
    long = step("a", turn=2, messages=state, completion="y2", feedback="o2")
    previous = write(tmp_path / "s", [long])
    sample_file(tiny, problems, tmp_path / "out", "--previous", previous)
    (row,) = read(tmp_path / "out")
    assert row["turn"] == 3
    assert contents(row["messages"]) == ["Write f for a.", "y2", "o2"]
    assert "1 states lost their oldest turns" in capsys.readouterr().out


def test_where_all_public_tests_passed_nothing_is_written(tmp_path, tiny, capsys):
    problems = write(tmp_path / "p", [problem("a")])
    steps = write(tmp_path / "s", [step("a", public=True)])
    out = tmp_path / "o"
    run(1, "--problems", problems, "--policy", tiny, "--out", out, "--previous", steps)
    assert "nothing is left open" in capsys.readouterr().out
    assert not out.exists()


def test_a_policy_that_does_not_load_is_refused(tmp_path, tiny, refused):
    problems = write(tmp_path / "p", [problem("a")])
    out = tmp_path / "o"

    def sample_with(policy):
        run(1, "--problems", problems, "--out", out, "--policy", policy)

    refused(lambda: sample_with(tmp_path / "none"), tmp_path / "none", "tokenizer")
    shutil.copytree(tiny, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    refused(lambda: sample_with(tmp_path / "bare"), "bare", "chat template")
    shutil.copytree(tiny, tmp_path / "weightless")
    (tmp_path / "weightless" / "model.safetensors").unlink()
    refused(lambda: sample_with(tmp_path / "weightless"), "weightless", "model")
    assert not out.exists()


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(tmp_path, tiny, refused):
    problems = write(tmp_path / "p", [problem("a")])
    out = tmp_path / "o"
    call = ("--problems", problems, "--policy", tiny, "--out", out, "--max-new-tokens", 2045)
    refused(lambda: run(1, *call), problems, "'a'", "'prompt'", "--max-new-tokens")
    assert not out.exists()


@pytest.mark.parametrize(
    "steps, words",
    [
        ([step("zzz")], ["row 1", "zzz"]),
        ([dict(step("a"), public_passed="no")], ["row 1", "public_passed"]),
        ([step("a"), step("a")], ["row 2", "trajectory"]),
        ([step("a"), step("a", turn=2)], ["row 2", "'turn' is 2"]),
        ([step("a", messages=[dict(role="user")])], ["row 1", "'messages'"]),
    ],
)
def test_bad_steps_of_the_turn_before_are_refused(tmp_path, tiny, refused, steps, words):
    problems = write(tmp_path / "p", [problem("a")])
    previous = write(tmp_path / "s", steps)
    out = tmp_path / "o"
    call = ("--problems", problems, "--policy", tiny, "--out", out, "--previous", previous)
    refused(lambda: run(1, *call), previous, *words)
    assert not out.exists()
