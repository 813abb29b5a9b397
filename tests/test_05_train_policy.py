"""Stage 05: loss on the completion and its end token, and on nothing else."""
import math

import pytest
import torch
from conftest import MODELS, make_model, read, run, stage, write

ex = stage(5)
rollout = stage(1)


def test_completion_loss_by_hand():
    # Two rows of three positions, vocabulary of 2. Position k predicts token k + 1; −100 is not counted.
    p = [[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], [[0.6, 0.4], [0.7, 0.3], [0.5, 0.5]]]
    targets = torch.tensor([[0, -100, 1], [-100, 1, 0]])
    # row 0: target 1 at position 2, predicted at position 1: 0.8.   row 1: 1 at position 1 → 0.4; 0 at position 2 → 0.7.
    assert ex.completion_loss(torch.log(torch.tensor(p)), targets).item() == pytest.approx(-math.log(0.8) - math.log(0.4) - math.log(0.7), rel=1e-5)


def test_targets_are_the_completion_alone():
    ids, targets = ex.collate([([7, 8, 9, 10], 2), ([5, 6], 1)])
    assert ids.tolist() == [[7, 8, 9, 10], [5, 6, 0, 0]]
    assert targets.tolist() == [[-100, -100, 9, 10], [-100, 6, -100, -100]]


@pytest.mark.parametrize("template", [
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",  # Qwen's newline
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",           # no end token
])
def test_the_end_token_carries_loss_and_nothing_follows_it(tiny, template):
    tokenizer = rollout.load_tokenizer(str(tiny))
    tokenizer.chat_template = template
    prompt = [dict(role="user", content="a"), dict(role="assistant", content="wrong"), dict(role="user", content="b")]
    ids, n = ex.encode_example(tokenizer, prompt, [dict(role="assistant", content="ys[0]")], [tokenizer.eos_token_id])
    assert tokenizer.decode(ids[-n:]) == "ys[0]<|end|>"
    assert ids[:-n] == rollout.render(tokenizer, prompt)


@pytest.mark.parametrize("family, before, after", [
    ("llama", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nwrong<|eot_id|>"
              "<|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "ys[0]<|eot_id|>"),
    ("qwen2", "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nwrong<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n", "ys[0]<|im_end|>"),
    ("gemma2", "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nwrong<end_of_turn>\n<start_of_turn>user\nb<end_of_turn>\n<start_of_turn>model\n",
     "ys[0]<end_of_turn>")])
def test_loss_mask_token_by_token(tmp_path, family, before, after):
    make_model(tmp_path, family, ["ys[0]"])
    model, tokenizer = rollout.load_policy(str(tmp_path))
    prompt = [dict(role="user", content="a"), dict(role="assistant", content="wrong"), dict(role="user", content="b")]
    example = ex.encode_example(tokenizer, prompt, [dict(role="assistant", content="ys[0]")], rollout.stop_ids(model, tokenizer))
    ids, targets = ex.collate([example, ([3] * 99, 1)])                              # beside a longer one, so that it is padded
    ids, targets = ids[0].tolist(), targets[0].tolist()
    start, count = len(example[0]) - example[1], example[1]
    assert targets == [-100] * start + ids[start:start + count] + [-100] * (99 - start - count)
    text = [tokenizer.decode([i]) for i in ids]
    assert "".join(text[:start]) == before and "".join(text[start:start + count]) == after and text[start + count - 1] == MODELS[family][1]


def test_gradient_checkpointing_changes_memory_and_not_the_step(tiny):
    losses = []
    for checkpointing in (False, True):
        model, _ = rollout.load_policy(str(tiny), torch.float32)
        if checkpointing: model.activation_checkpointing_enable()
        losses.append(ex.train(model.train(), [([5, 6, 7, 8], 2), ([9, 10], 1)], [[0, 1]] * 3, 1e-2, 100))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0][2] < losses[0][0]


def test_out_of_memory_is_one_line(tiny, refused, monkeypatch):
    model, _ = rollout.load_policy(str(tiny), torch.float32)
    def full(*a, **k): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    monkeypatch.setattr(model, "forward", full)
    refused(lambda: ex.train(model, [([5, 6], 1)], [[0]], 1e-3, 100), "out of memory", "--tokens-per-pass", "--gradient-checkpointing")
    refused(lambda: list(rollout.sample(model, rollout.load_tokenizer(str(tiny)), [[5, 6]], [("p", 0, 1)], 0.7, 4, 8, 0)), "out of memory", "--batch-size")


def test_a_template_that_rewrites_the_prompt_is_refused(tiny):
    tokenizer = rollout.load_tokenizer(str(tiny))
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert ex.encode_example(tokenizer, [dict(role="user", content="a")], [dict(role="assistant", content="b")], [1]) is None


def test_every_epoch_sees_every_example_once():
    lengths = [3, 50, 7, 7, 20, 1, 9, 30, 2, 4, 11]
    batches = ex.make_batches(lengths, 4, 6, seed=0)                                 # 11 examples: 3 batches an epoch
    assert [sorted(i for b in batches[k:k + 3] for i in b) for k in (0, 3)] == [list(range(11))] * 2
    assert batches == ex.make_batches(lengths, 4, 6, seed=0) != ex.make_batches(lengths, 4, 6, seed=1)
    for part in ex.split_batch([0, 1, 2, 3, 4], lengths, 40): assert len(part) == 1 or len(part) * max(lengths[i] for i in part) <= 40
    assert sorted(i for part in ex.split_batch([0, 1, 2, 3, 4], lengths, 40) for i in part) == [0, 1, 2, 3, 4]


def test_accumulation_does_not_change_the_step(tiny):
    examples = [([5, 6, 7, 8], 2), ([9, 10], 1), ([5, 9, 11, 6, 7, 8], 4)]
    ends = []
    for most in (1000, 1):
        model, tokenizer = rollout.load_policy(str(tiny))
        losses = ex.train(model.train(), examples, [[0, 1, 2]] * 2, 1e-3, most)
        ends.append(losses)
    assert ends[0] == pytest.approx(ends[1], rel=1e-4) and ends[0][1] < ends[0][0]
    # the first loss is the mean over the 7 completion tokens of the batch, one row at a time
    model, _ = rollout.load_policy(str(tiny))
    total = sum(-torch.log_softmax(model(torch.tensor([ids])).logits[0, len(ids) - n - 1:-1], -1)[range(n), ids[-n:]].sum().item() for ids, n in examples)
    assert ends[0][0] == pytest.approx(total / 7, rel=1e-4)


def rows(answers):
    return [dict(task_id=str(k), prompt=[dict(role="user", content=f"f(xs): the {q}")], completion=[dict(role="assistant", content=a)]) for k, (q, a) in enumerate(answers)]


def test_stage_learns_and_repeats(tmp_path, tiny, capsys):
    examples = write(tmp_path / "e", rows([("sum", "sum(ys)"), ("first", "ys[0]"), ("last", "ys[-1]")]))
    for name in ("one", "two"): run(5, "--base", tiny, "--examples", examples, "--out", tmp_path / name, "--steps", 40, "--lr", 3e-3)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    metrics, = read(tmp_path / "one/metrics.jsonl")
    assert metrics["steps"] == 40 and metrics["examples"] == 3 and metrics["loss_last"] < 0.1 < metrics["loss_first"]
    model, tokenizer = rollout.load_policy(str(tmp_path / "one"))
    assert rollout.stop_ids(model, tokenizer) == [tokenizer.eos_token_id]            # the generation config came along
    prompts = [rollout.render(tokenizer, r["prompt"]) for r in rows([("last", ""), ("sum", "")])]
    said = dict((i, text) for i, text, _ in rollout.sample(model, tokenizer, prompts, [("a", 0, 1), ("b", 0, 1)], 0, 12, 2, 0))
    assert said == {0: "ys[-1]", 1: "sum(ys)"}
    assert not (tmp_path / "one.part").exists()


def test_bad_input(tmp_path, tiny, refused):
    call = lambda examples, **more: run(5, "--base", more.get("base", tiny), "--examples", write(tmp_path / "e", examples), "--out", tmp_path / "o")
    refused(lambda: call([]), tmp_path / "e", "no rows")
    refused(lambda: call([dict(prompt="text", completion=[])]), "row 1", "'prompt'")
    refused(lambda: call([dict(prompt=[])]), "row 1", "'completion'", "missing")
    refused(lambda: call(rows([("x", "y"), ("x" * 3000, "y")])), tmp_path / "e", "row 2", "tokens")
    refused(lambda: call(rows([("x", "y")]), base=tmp_path / "none"), tmp_path / "none")
    refused(lambda: call([dict(prompt=[dict(content="no role")], completion=[dict(role="assistant", content="x")])]), "row 1", "prompt")
    assert not (tmp_path / "o").exists()
    write(tmp_path / "steps.jsonl", [{}])
    refused(lambda: run(5, "--base", tiny, "--examples", write(tmp_path / "e", rows([("x", "y")])), "--out", tmp_path), tmp_path, "no checkpoint")
    assert (tmp_path / "steps.jsonl").exists()                                       # a folder of other files is not replaced
