"""Stage 03: the two losses by hand, what is trained on, what is scored."""
import math
import shutil

import pytest
import torch
from conftest import problem, read, run, stage, step, write

ex = stage(3)
rollout = stage(1)
sigma = lambda x: 1 / (1 + math.exp(-x))


def test_bradley_terry_by_hand():
    # Problem 7: right 2.0 and 0.5, wrong 1.0. Problem 9: right 0.0, wrong 3.0 and −1.0. Problem 4 has no wrong program: no pair.
    scores = torch.tensor([2.0, 3.0, 1.0, 0.5, 0.0, -1.0, 5.0])
    labels = torch.tensor([1, 0, 0, 1, 1, 0, 1])
    owners = torch.tensor([7, 9, 7, 7, 9, 9, 4])
    seven = (-math.log(sigma(2.0 - 1.0)) - math.log(sigma(0.5 - 1.0))) / 2           # the mean over the pairs of a problem,
    nine = (-math.log(sigma(0.0 - 3.0)) - math.log(sigma(0.0 + 1.0))) / 2
    squares = 1e-3 * (4 + 9 + 1 + 0.25 + 0 + 1 + 25) / 7
    assert ex.bt_loss(scores, labels, owners).item() == pytest.approx((seven + nine) / 2 + squares, rel=1e-5)     # then over problems


def test_bt_weighs_problems_not_pairs():
    # One problem with 1 pair, one with 4 equal pairs: the mean over problems, not over the 5 pairs.
    scores, labels, owners = torch.tensor([1.0, 0.0, 0.0, 0.0, 2.0, 2.0]), torch.tensor([1, 0, 1, 1, 0, 0]), torch.tensor([0, 0, 1, 1, 1, 1])
    expected = (-math.log(sigma(1.0)) - math.log(sigma(-2.0))) / 2 + 1e-3 * 9 / 6
    assert ex.bt_loss(scores, labels, owners).item() == pytest.approx(expected, rel=1e-5)


def test_bce_by_hand():
    scores, labels = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1, 0, 0])
    expected = -(math.log(sigma(2.0)) + math.log(1 - sigma(-1.0)) + math.log(1 - sigma(0.5))) / 3
    assert ex.bce_loss(scores, labels).item() == pytest.approx(expected, rel=1e-5)


def test_accuracies():
    assert ex.pairwise_accuracy([3.0, 1.0, 2.0, 1.0], [True, True, False, False]) == (1 + 1 + 0 + 0.5) / 4
    assert ex.pairwise_accuracy([1.0, 2.0], [True, True]) is None
    assert ex.top1([1.0, 2.0, 2.0], [True, False, True]) is False                    # a tie goes to the first
    assert ex.top1([1.0, 2.0, 2.0], [False, True, False]) is True


def test_distinct_programs():
    steps = [step("a", code="x"), step("a", 1, code="x", public=True, hidden=True), step("a", 2, code="x"), step("a", 3, code="y", public=True),
             step("b", code="x", hidden=True)]
    assert ex.distinct_programs(steps) == {"a": {"x": True, "y": False}, "b": {"x": False}}


def test_held_out_is_a_tenth_by_group():
    assert 70 < sum(ex.held_out(f"group {k}") for k in range(1000)) < 130
    assert [ex.held_out(g) for g in ("even/plus/sum", "a", "b")] == [ex.held_out(g) for g in ("even/plus/sum", "a", "b")]


def test_the_verifier_reads_the_problem_and_one_program(tiny):
    tokenizer = rollout.load_tokenizer(str(tiny))
    assert tokenizer.decode(ex.encode_program(tokenizer, "x", "y = 1")) == "<|user|>x<|end|><|assistant|>```python\ny = 1\n```<|end|>"


def test_learning_rate():
    rates = [ex.learning_rate(k, 20, 1.0) for k in range(20)]                        # 2 steps up, 18 down
    assert rates[:3] == [0.5, 1.0, 1.0] and rates[3] == pytest.approx(17 / 18) and rates[-1] == pytest.approx(1 / 18)


def test_new_head_and_padding(tiny, tmp_path):
    model, tokenizer = ex.load_verifier(str(tiny), new_head=True)
    assert model.score.weight.shape == (1, 128) and model.score.weight.std().item() == pytest.approx(129 ** -0.5, rel=0.2)
    # pad = eos would read the score at the wrong position: the same program alone and beside a longer one
    shutil.copytree(tiny, tmp_path / "m")
    other = rollout.load_tokenizer(str(tiny))
    other.pad_token = other.eos_token
    other.save_pretrained(tmp_path / "m")
    for path in (tiny, tmp_path / "m"):
        model, tokenizer = ex.load_verifier(str(path), new_head=True)
        assert model.config.pad_token_id != tokenizer.eos_token_id
        short, long = ex.encode_program(tokenizer, "x", "y"), ex.encode_program(tokenizer, "xyz", "y = 1" * 5)
        with torch.inference_mode():
            alone, beside = ex.forward(model, [short])[0].item(), ex.forward(model, [long, short])[1].item()
        hidden = model.model(torch.tensor([short])).last_hidden_state[0, -1]
        assert alone == pytest.approx((hidden @ model.score.weight[0]).item(), rel=1e-4, abs=1e-5) and beside == pytest.approx(alone, rel=1e-4, abs=1e-5)


def world(groups):
    """Problems whose right program ends in 1 and whose wrong ones do not: something to learn."""
    problems = [problem(f"t{k}", group=f"g{k}", prompt=f"f(xs): the sum of the numbers, plus {k % 10}") for k in range(groups)]
    steps = [step(p["task_id"], j, code=f"def f(xs): return sum(xs) + {j}", public=j == 1, hidden=j == 1) for p in problems for j in range(4)]
    return problems, steps


@pytest.mark.parametrize("loss", ["bt", "bce"])
def test_stage(tmp_path, tiny, loss, capsys):
    problems, steps = world(60)
    p, s = write(tmp_path / "p", problems), write(tmp_path / "s", steps)
    held = sum(ex.held_out(f"g{k}") for k in range(60))
    for name in ("v", "again"):
        run(3, "train", "--problems", p, "--steps", s, "--base", tiny, "--out", tmp_path / name, "--loss", loss, "--lr", "3e-3", "--epochs", 3)
    rows = read(tmp_path / "v/metrics.jsonl")
    assert (tmp_path / "v/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()
    assert [r["epoch"] for r in rows] == [1, 2, 3] and sum(r["kept"] for r in rows) == 1 and rows[0]["problems"] == held > 0
    kept = next(r for r in rows if r["kept"])
    assert kept["pairwise"] == max(r["pairwise"] for r in rows) > 0.9
    run(3, "score", "--problems", p, "--steps", s, "--verifier", tmp_path / "v", "--out", tmp_path / "scored")
    scored = read(tmp_path / "scored")
    assert [{k: v for k, v in r.items() if k != "score"} for r in scored] == steps
    assert all(isinstance(r["score"], float) for r in scored)
    tops = [max(scored[k:k + 4], key=lambda r: r["score"])["trajectory"] for k in range(0, len(scored), 4)]
    assert sum(t == 1 for t in tops) > 50


def test_scores_do_not_depend_on_the_batch(tmp_path, tiny):
    model, tokenizer = ex.load_verifier(str(tiny), new_head=True)
    sequences = [ex.encode_program(tokenizer, "x" * k, "y" * (9 - k)) for k in (1, 5, 3, 8)]
    one, all_ = ([f for f in ex.score_sequences(model, sequences, size)] for size in (1, 4))
    assert one == pytest.approx(all_, abs=1e-5) and len(set(one)) == 4


def test_scores_that_are_not_numbers_are_refused(tmp_path, tiny, refused, monkeypatch):
    """A verifier whose training has diverged must not choose the expert's labels."""
    p, s = write(tmp_path / "p", [problem("a")]), write(tmp_path / "s", [step("a")])
    monkeypatch.setattr(ex, "load_verifier", lambda path: (None, rollout.load_tokenizer(str(tiny))))
    monkeypatch.setattr(ex, "score_sequences", lambda model, sequences, batch_size: [float("nan")])
    refused(lambda: run(3, "score", "--problems", p, "--steps", s, "--verifier", "v", "--out", tmp_path / "o"), "v:", "not numbers", "--lr")
    assert not (tmp_path / "o").exists()


def test_bad_input(tmp_path, tiny, refused):
    p = write(tmp_path / "p", [problem("a")])
    def call(steps, problems=p): run(3, "train", "--problems", problems, "--steps", write(tmp_path / "s", steps), "--base", tiny, "--out", tmp_path / "v")
    right, wrong = step("a", code="r", public=True, hidden=True), step("a", 1, code="w")
    refused(lambda: call([right]), tmp_path / "s", "no program is wrong")
    refused(lambda: call([wrong, step("a", 2, public=True)]), tmp_path / "s", "no program is right")
    refused(lambda: call([right, step("b")], write(tmp_path / "p2", [problem("a"), problem("b")])), "no problem has both")
    refused(lambda: call([right, step("zzz")]), "row 2", "zzz")
    refused(lambda: call([right, right]), "row 2", "trajectory")
    refused(lambda: call([{**right, "code": None}]), "row 1", "'code'")
    refused(lambda: call([right, wrong], write(tmp_path / "p3", [problem("a", prompt="x" * 5000)])), "p3", "'a'", "'prompt'")
    refused(lambda: run(3, "score", "--problems", p, "--steps", write(tmp_path / "s", [right]), "--verifier", tmp_path / "none", "--out", tmp_path / "o"), "none")
    refused(lambda: run(3, "score", "--problems", p, "--steps", write(tmp_path / "s", [right]), "--verifier", tiny, "--out", tmp_path / "o"), tiny, "no scalar head")
    assert not (tmp_path / "v").exists() and not (tmp_path / "o").exists()
