"""data/check.py: what would fail after hours fails at once, with a line that says what to take."""

import os
import shutil
import sys

import check
import pytest
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
    refused(lambda: call("no-model", more=["--policy-flags=--lr 1e-5"]), "check.py: no-model")
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


def test_too_little_memory_is_refused(call, refused, monkeypatch):
    # 0.82 million parameters of 16 bytes are 13 MB.
    monkeypatch.setattr(check, "device_memory", lambda device: 12e6)
    refused(call, "memory", "16 bytes", "smaller model")
    monkeypatch.setattr(check, "device_memory", lambda device: 14e6)
    call()


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
