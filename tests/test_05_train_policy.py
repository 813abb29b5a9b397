"""Stage 05: loss on the completion and its end token, and on nothing else."""

import math

from lib import models
from lib.models import load_policy, stop_ids

import pytest
import torch
from conftest import chat, read, run, stage, write

rollout = stage(1)
policy = stage(5)


# ── Examples as tokens ───────────────────────────────────────────────────────────────────────────


def test_targets_are_the_completion_alone():
    ids, targets = policy.collate([([7, 8, 9, 10], 2), ([5, 6], 1)])
    assert ids.tolist() == [[7, 8, 9, 10], [5, 6, 0, 0]]
    assert targets.tolist() == [[-100, -100, 9, 10], [-100, 6, -100, -100]]


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────


def test_every_epoch_holds_every_example_once():
    # 11 examples, 4 a step: 3 steps an epoch.
    lengths = [3, 50, 7, 7, 20, 1, 9, 30, 2, 4, 11]
    batches = policy.make_batches(lengths, 4, 6, seed=0)
    for epoch in (batches[:3], batches[3:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(11))
    assert batches == policy.make_batches(lengths, 4, 6, seed=0)
    assert batches != policy.make_batches(lengths, 4, 6, seed=1)


def test_parts_of_a_batch_have_at_most_so_many_padded_tokens():
    lengths = [3, 50, 7, 7, 20]
    parts = policy.split_batch([0, 1, 2, 3, 4], lengths, 40)
    assert sorted(i for part in parts for i in part) == [0, 1, 2, 3, 4]
    for part in parts:
        padded = len(part) * max(lengths[i] for i in part)
        assert padded <= 40 or len(part) == 1
    # 3, 7 and 7 share a part: 21 tokens.
    assert parts == [[0, 2, 3], [4], [1]]


# ── The loss ─────────────────────────────────────────────────────────────────────────────────────


def test_completion_loss_by_hand():
    # Two rows, two positions, a vocabulary of 2. −100 is not counted, so what is left is
    # row 0: target 1 at position 1 → 0.8; row 1: 1 at position 0 → 0.4, and 0 at position 1 → 0.7.
    probabilities = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])
    targets = torch.tensor([[-100, 1], [1, 0]])
    expected = -math.log(0.8) - math.log(0.4) - math.log(0.7)
    loss = policy.completion_loss(torch.log(probabilities), targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def naive_loss(model, examples):
    """Σ − log π over the completions: one row at a time, all logits, one token at a time."""
    total = 0.0
    for ids, n in examples:
        with torch.inference_mode():
            log_probabilities = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
        for position in range(len(ids) - n, len(ids)):
            total -= log_probabilities[position - 1, ids[position]].item()
    return total


# Unequal prompts: of 2, 1 and 2 tokens; of 5, 2 and 3; and all of the same length.
UNEQUAL = [([5, 6, 7, 8], 2), ([9, 10], 1), ([5, 9, 11, 6, 7, 8], 4)]
LONGER = [([5, 6, 7, 8, 9, 4], 1), ([9, 10, 11, 12, 13, 7], 4), ([5, 9, 11, 6], 1)]
EQUAL = [([5, 6, 7, 8], 1), ([8, 9, 10, 11], 1)]


@pytest.mark.parametrize("examples", [UNEQUAL, LONGER, EQUAL, LONGER[:1]])
def test_the_loss_of_a_part_is_that_of_its_completions_one_by_one(tiny, examples):
    """Position k predicts token k + 1, and logits begin where the first completion does."""
    model, _ = load_policy(str(tiny))
    expected = naive_loss(model, examples)
    assert policy.loss_of_part(model, examples).item() == pytest.approx(expected, rel=1e-5)


def test_accumulation_does_not_change_the_step(tiny):
    trainings = []
    for most_tokens in (1000, 1):
        model, _ = load_policy(str(tiny))
        batches = [[0, 1, 2]] * 2
        trainings.append(policy.train(model.train(), UNEQUAL, batches, 1e-3, most_tokens))
    in_one_part, in_three_parts = trainings
    assert in_one_part == pytest.approx(in_three_parts, rel=1e-4)
    assert in_one_part[1] < in_one_part[0]

    # The first loss is the mean over the 7 completion tokens of the batch.
    model, _ = load_policy(str(tiny))
    assert in_one_part[0] == pytest.approx(naive_loss(model, UNEQUAL) / 7, rel=1e-4)


def test_gradient_checkpointing_changes_memory_and_not_the_step(tiny):
    trainings = []
    for is_checkpointing in (False, True):
        model, _ = load_policy(str(tiny))
        if is_checkpointing:
            models.checkpoint_activations(model)
        trainings.append(policy.train(model.train(), UNEQUAL[:2], [[0, 1]] * 3, 1e-2, 100))
    assert trainings[0] == pytest.approx(trainings[1], rel=1e-5)
    assert trainings[0][2] < trainings[0][0]


def test_out_of_memory_is_one_line_that_names_the_dials(tiny, refused, monkeypatch):
    model, tokenizer = load_policy(str(tiny))

    def forward(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(model, "forward", forward)
    dials = ("--tokens-per-pass", "--gradient-checkpointing")
    refused(lambda: policy.train(model, [([5, 6], 1)], [[0]], 1e-3, 100), "out of memory", *dials)

    samples = rollout.sample(
        model,
        tokenizer,
        prompts=[[5, 6]],
        keys=[("p", 0, 1)],
        temperature=0.7,
        max_new_tokens=4,
        batch_size=8,
        seed=0,
    )
    refused(lambda: list(samples), "out of memory", "--batch-size")


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def lesson(question, answer):
    """An example of the café's form."""
    completion = [dict(role="assistant", content=answer)]
    return dict(task_id=question, prompt=chat(f"f(xs): the {question}"), completion=completion)


def test_it_learns_what_it_is_shown_and_to_stop_and_repeats_to_the_byte(tmp_path, tiny, capsys):
    lessons = [lesson("sum", "sum(ys)"), lesson("first", "ys[0]"), lesson("last", "ys[-1]")]
    call = ["--base", tiny, "--examples", write(tmp_path / "e", lessons)]
    call += ["--steps", 40, "--lr", 3e-3]
    for name in ("one", "two"):
        run(5, *call, "--out", tmp_path / name)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "one.part").exists()

    (metrics,) = read(tmp_path / "one/metrics.jsonl")
    assert metrics["steps"] == 40
    assert metrics["examples"] == 3
    assert metrics["loss_last"] < 0.1 < metrics["loss_first"]

    # The generation config came along, and the answers, greedy, end by themselves.
    model, tokenizer = load_policy(str(tmp_path / "one"))
    assert stop_ids(model, tokenizer) == [tokenizer.eos_token_id]
    prompts = [rollout.render(tokenizer, lessons[k]["prompt"]) for k in (2, 0)]
    answers = rollout.sample(
        model,
        tokenizer,
        prompts,
        keys=[("a", 0, 1), ("b", 0, 1)],
        temperature=0,
        max_new_tokens=12,
        batch_size=2,
        seed=0,
    )
    assert {i: text for i, text, _ in answers} == {0: "ys[-1]", 1: "sum(ys)"}


@pytest.mark.parametrize(
    "rows, words",
    [
        ([], ["no rows"]),
        ([dict(prompt="text", completion=[])], ["row 1", "'prompt'"]),
        ([dict(prompt=[])], ["row 1", "'prompt' is []"]),
        ([dict(prompt=chat("x"))], ["row 1", "'completion'", "missing"]),
        ([lesson("x", "y"), lesson("x" * 3000, "y")], ["row 2", "tokens"]),
        ([dict(lesson("x", "y"), prompt=[dict(content="no role")])], ["row 1", "'prompt'"]),
    ],
)
def test_bad_examples_are_refused(tmp_path, tiny, refused, rows, words):
    examples = write(tmp_path / "e", rows)
    out = tmp_path / "o"
    call = ("--base", tiny, "--examples", examples, "--out", out)
    refused(lambda: run(5, *call), examples, *words)
    assert not out.exists()


def test_a_base_that_is_not_there_is_refused(tmp_path, refused):
    examples = write(tmp_path / "e", [lesson("x", "y")])
    base = tmp_path / "none"
    call = ("--base", base, "--examples", examples, "--out", tmp_path / "o")
    refused(lambda: run(5, *call), base)


def test_a_folder_of_other_files_is_not_replaced(tmp_path, tiny, refused):
    examples = write(tmp_path / "e", [lesson("x", "y")])
    steps = write(tmp_path / "steps.jsonl", [{}])
    call = ("--base", tiny, "--examples", examples, "--out", tmp_path)
    refused(lambda: run(5, *call), tmp_path, "no checkpoint")
    assert steps.exists()
