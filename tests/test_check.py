"""data/check.py: what would fail after hours fails at once, with a line that says what to take."""

import os
import shutil
import sys

import check
import pytest
import torch
import transformers
from conftest import problem, read, write


@pytest.fixture
def call(tiny, tmp_path, monkeypatch):
    """call(model, …): the check of a model, by default the café's, with one problem."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "train.jsonl", [problem(prompt="f(xs): the sum of the numbers")])

    def check_model(model=tiny, problems=path, tokens=48, checkpoints=3, more=()):
        flags = ["--policy", model, "--problems", problems, "--max-new-tokens", tokens]
        flags += ["--checkpoints", checkpoints, *more]
        monkeypatch.setattr(sys, "argv", ["check.py", *map(str, flags)])
        check.main()

    return check_model


def variant(tiny, tmp_path, name, template=None):
    """A copy of the café's model with another chat template."""
    path = shutil.copytree(tiny, tmp_path / name)
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def test_what_fits_is_told_in_a_line(call, capsys):
    call()
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "0.8 M parameters" in line and "float32" in line
    assert "<|end|>" in line and "GB of memory" in line and "GB of disk" in line


def test_flags_that_a_stage_does_not_take_are_refused(call, refused):
    """A folder is bound to its flags: they must not fail after the rollouts."""
    call(more=["--policy-flags=--lr 1e-5 --steps 9", "--verifier-flags=--loss bce"])
    # What is wrong with the model is told in the check's own name.
    refused(lambda: call("./none", more=["--policy-flags=--lr 1e-5"]), "check.py: ./none")
    for flag, words in [
        (
            "--policy-flags=--learning-rate 1e-5",
            ["check.py: POLICY_FLAGS", "05_train_policy.py", "-rate"],
        ),
        ("--verifier-flags=--epochs 0", ["VERIFIER_FLAGS", "--epochs is 0"]),
        ("--sample-flags=--batch-size many", ["SAMPLE_FLAGS", "--batch-size", "many"]),
        # The search takes the same flags, and has no trajectories.
        ("--sample-flags=--trajectories 3", ["SAMPLE_FLAGS", "06_eval.py", "--trajectories"]),
        ("--policy-flags=--help", ["POLICY_FLAGS"]),
    ]:
        refused(lambda flag=flag: call(more=[flag]), *words)


def test_a_template_that_cannot_render_a_second_turn_is_refused(call, tiny, tmp_path, refused):
    template = (
        "{% for m in messages %}{% if loop.index > 2 %}{{ raise_exception('one turn only') }}"
        "{% endif %}{{ m.content }}<|end|>{% endfor %}"
    )
    model = variant(tiny, tmp_path, "one-turn", template)
    refused(lambda: call(model), "template", "one turn only", "user, assistant, user")


def test_a_template_that_takes_no_empty_answer_is_refused(call, tiny, tmp_path, refused):
    template = (
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty') }}{% endif %}"
        "{{ m.content }}<|end|>{% endfor %}"
    )
    refused(lambda: call(variant(tiny, tmp_path, "full", template)), "template", "empty")


def test_a_family_without_a_verifier_is_refused(call, tiny, tmp_path, refused):
    """Cohere has no sequence classification: stage 03 would say so after the rollouts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    shape = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    config = transformers.AutoConfig.for_model("cohere", vocab_size=len(tokenizer), **shape)
    config.eos_token_id = tokenizer.eos_token_id
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "cohere")
    tokenizer.save_pretrained(tmp_path / "cohere")
    refused(lambda: call(tmp_path / "cohere"), "cohere", "stage 03", "take")


def test_a_model_that_cannot_be_sampled_from_is_refused(call, refused, monkeypatch):
    def next_logits(*args):
        raise AttributeError("no such cache")

    monkeypatch.setattr(check.rollout, "next_logits", next_logits)
    refused(call, "stage 01", "no such cache", "--server")


def test_memory_that_is_in_use_does_not_count():
    if sys.platform.startswith("linux"):
        everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert 0 < check.device_memory("cpu") < everything


def llama_1b():
    """The shape of Llama-3.2-1B, in bfloat16, without memory for its weights."""
    shape = dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16)
    heads = dict(num_attention_heads=32, num_key_value_heads=8, head_dim=64)
    config = transformers.LlamaConfig(**shape, **heads, vocab_size=128256, tie_word_embeddings=True)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "tokens, checkpointing, measured",
    [(8192, False, 43e9), (16384, False, 64e9), (16384, True, 31e9)],
)
def test_a_training_step_takes_what_an_h100_needed(tokens, checkpointing, measured):
    """The peaks that tests/bench_gpu.py printed, in data/README.md."""
    needed = check.bytes_of_policy_step(llama_1b(), tokens, checkpointing)
    assert needed == pytest.approx(measured, rel=0.1)


def test_a_row_of_sampling_takes_its_cache_twice():
    # By hand: 16 layers × 8 heads × 64 × keys and values × 2 bytes are 32,768 bytes a token.
    rows = [check.bytes_of_sampling(llama_1b(), 300, 200, count) for count in (0, 1, 2)]
    assert rows[0] == pytest.approx(2 * 1.236e9, rel=0.001)
    assert rows[2] - rows[1] == rows[1] - rows[0] == 2 * 32768 * 500 + 12 * 128256


def test_a_verifier_has_no_logits():
    model = llama_1b()
    # 8 programs of 2 × 100 tokens; 40 × 2048 + 8 × 8192 bytes are 147,456 a token and layer.
    expected = 16 * 1.236e9 + 8 * 200 * 16 * 147456
    assert check.bytes_of_verifier_step(model, 100, 8, False) == pytest.approx(expected, rel=0.001)


def test_a_step_of_the_verifier_has_at_most_so_many_programs(call, monkeypatch):
    """--programs of each problem, correct and wrong ones together."""
    asked = []

    def bytes_of_verifier_step(model, prompt, rows, checkpointing):
        asked.append((rows, checkpointing))
        return 0

    monkeypatch.setattr(check, "bytes_of_verifier_step", bytes_of_verifier_step)
    call(more=["--verifier-flags=--programs 6 --batch-size 5 --gradient-checkpointing"])
    call(more=["--verifier-flags=--programs 2 --batch-size 3"])
    assert asked == [(30, True), (6, False)]


def test_too_little_memory_is_refused_with_the_stage_that_needs_most(call, refused, monkeypatch):
    # The café's 0.82 million parameters of 16 bytes are 13 MB, and a step comes on top.
    monkeypatch.setattr(check, "device_memory", lambda device: 813e6)
    small = "--tokens-per-pass 1 --gradient-checkpointing"
    tiny_step = f"--policy-flags={small}"
    few = "--verifier-flags=--programs 2 --batch-size 1"
    one = "--sample-flags=--batch-size 1"
    refused(lambda: call(more=[tiny_step, few, one]), "memory", "16 bytes", "smaller model")
    monkeypatch.setattr(check, "device_memory", lambda device: 817e6)
    call(more=[tiny_step, few, one])

    # Each stage by itself.
    refused(lambda: call(more=[few, one]), "stage 05", "--tokens-per-pass", "--gradient")
    refused(lambda: call(more=[tiny_step, one]), "stage 03", "--programs")
    refused(lambda: call(more=[tiny_step, few, "--sample-flags=--batch-size 9999"]), "stage 01")


def test_too_little_disk_is_refused(call, refused, monkeypatch):
    # Four times 0.8 million parameters of 4 bytes are 13 MB.
    monkeypatch.setattr(check.shutil, "disk_usage", lambda path: SimpleUsage(12e6))
    refused(call, "3 checkpoints", "disk", "RUN")
    monkeypatch.setattr(check.shutil, "disk_usage", lambda path: SimpleUsage(15e6))
    call()


class SimpleUsage:
    def __init__(self, free):
        self.free = free


def test_a_prompt_that_leaves_no_room_is_refused(call, refused):
    refused(lambda: call(tokens=100_000), "train.jsonl", "'p'", "prompt")


def test_problems_that_cannot_be_judged_are_refused(call, tmp_path, refused):
    path = write(tmp_path / "bad.jsonl", [problem(public=[], hidden=[])])
    refused(lambda: call(problems=path), "bad.jsonl, row 1", "hidden_tests")
    assert read(path)
