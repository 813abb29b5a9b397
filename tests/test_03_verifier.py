"""Stage 03: the two losses by hand, what is trained on, which epoch is kept, what is scored."""

import math
import random
import shutil
from argparse import Namespace

from lib import models
from lib.models import load_tokenizer, save_checkpoint

import pytest
import torch
from conftest import problem, read, run, stage, step, write

verifier = stage(3)


def sigma(x):
    return 1 / (1 + math.exp(-x))


def encode(tokenizer, prompt, code):
    """As R_φ reads it, in a context without end."""
    return verifier.encode_program(tokenizer, problem("a", prompt=prompt), code, 1 << 30, "p")


# ── Losses and measures ──────────────────────────────────────────────────────────────────────────


def test_bradley_terry_by_hand():
    # Problem 7: correct 2.0 and 0.5, wrong 1.0. Problem 9: correct 0.0, wrong 3.0 and −1.0.
    # Problem 4 has no wrong program, so no pair.
    scores = torch.tensor([2.0, 3.0, 1.0, 0.5, 0.0, -1.0, 5.0])
    labels = torch.tensor([1, 0, 0, 1, 1, 0, 1])
    owners = torch.tensor([7, 9, 7, 7, 9, 9, 4])

    # The mean over the pairs of a problem, then over problems.
    seven = (-math.log(sigma(2.0 - 1.0)) - math.log(sigma(0.5 - 1.0))) / 2
    nine = (-math.log(sigma(0.0 - 3.0)) - math.log(sigma(0.0 + 1.0))) / 2
    squares = 1e-3 * (4 + 9 + 1 + 0.25 + 0 + 1 + 25) / 7
    expected = (seven + nine) / 2 + squares
    assert verifier.bt_loss(scores, labels, owners).item() == pytest.approx(expected, rel=1e-5)


def test_bradley_terry_weighs_problems_not_pairs():
    # One problem with 1 pair, one with 4 equal pairs: each counts for one half.
    scores = torch.tensor([1.0, 0.0, 0.0, 0.0, 2.0, 2.0])
    labels = torch.tensor([1, 0, 1, 1, 0, 0])
    owners = torch.tensor([0, 0, 1, 1, 1, 1])
    expected = (-math.log(sigma(1.0)) - math.log(sigma(-2.0))) / 2 + 1e-3 * 9 / 6
    assert verifier.bt_loss(scores, labels, owners).item() == pytest.approx(expected, rel=1e-5)


def test_binary_cross_entropy_by_hand():
    scores = torch.tensor([2.0, -1.0, 0.5])
    labels = torch.tensor([1, 0, 0])
    losses = [math.log(sigma(2.0)), math.log(1 - sigma(-1.0)), math.log(1 - sigma(0.5))]
    expected = -sum(losses) / 3
    assert verifier.bce_loss(scores, labels).item() == pytest.approx(expected, rel=1e-5)


def test_pairwise_accuracy_and_top_1_by_hand():
    pairwise = verifier.pairwise_accuracy
    labels = [True, True, False, False]
    assert pairwise([3.0, 1.0, 2.0, 1.0], labels) == (1 + 1 + 0 + 0.5) / 4
    assert pairwise([1.0, 2.0], [True, True]) is None

    # A tie goes to the first.
    assert verifier.top1([1.0, 2.0, 2.0], [True, False, True]) is False
    assert verifier.top1([1.0, 2.0, 2.0], [False, True, False]) is True


# ── What it learns from ──────────────────────────────────────────────────────────────────────────


def test_a_program_counts_once_and_as_correct_if_it_ever_was():
    steps = [
        step("a", code="x"),
        step("a", 1, code="x", public=True, hidden=True),
        step("a", 2, code="x"),
        step("a", 3, code="y", public=True),
        step("b", code="x", hidden=True),
    ]
    programs = verifier.distinct_programs(steps)
    assert programs == {"a": {"x": True, "y": False}, "b": {"x": False}}


def test_a_tenth_is_held_out_by_group():
    assert 70 < sum(verifier.is_held_out(f"group {k}") for k in range(1000)) < 130

    # The same in every run: these hang on the hash of the name alone.
    held_out = [k for k in range(40) if verifier.is_held_out(f"g{k}")]
    assert held_out == [6, 8, 9, 26, 36, 38]


def test_it_reads_the_problem_and_one_program(tiny):
    tokenizer = load_tokenizer(str(tiny))
    ids = encode(tokenizer, "x", "y = 1")
    expected = "<|user|>x<|end|><|assistant|>```python\ny = 1\n```<|end|>"
    assert tokenizer.decode(ids) == expected


def test_a_batch_has_room_for_as_many_wrong_programs_as_correct_ones():
    """Two of the first problem's three correct programs and two of its fifty wrong ones."""
    first = ([[k] for k in range(53)], [1] * 3 + [0] * 50)
    second = ([[90], [91]], [0, 1])
    batch, labels, owners = verifier.draw_programs([first, second], 4, random.Random(0))
    assert labels == [1, 1, 0, 0, 1, 0]
    assert owners == [0, 0, 0, 0, 1, 1]
    assert len(set(map(tuple, batch))) == 6
    for (token,), label in zip(batch[:4], labels):
        assert (token < 3) == label
    assert batch[4:] == [[91], [90]]


# ── The model ────────────────────────────────────────────────────────────────────────────────────


def test_a_new_head_has_the_authors_scale(tiny):
    model, _ = verifier.make_verifier(str(tiny), 0)
    assert model.score.weight.shape == (1, 128)
    assert model.score.weight.std().item() == pytest.approx(129**-0.5, rel=0.2)
    same, _ = verifier.make_verifier(str(tiny), 0)
    other, _ = verifier.make_verifier(str(tiny), 1)
    assert torch.equal(model.score.weight, same.score.weight)
    assert not torch.equal(model.score.weight, other.score.weight)


@pytest.mark.parametrize("pad_is_end", [False, True])
def test_the_score_is_read_at_the_last_token_of_the_program(tiny, tmp_path, pad_is_end):
    """Many models ship with pad = eos: then padding would look like the end, or the end like it."""
    path = tiny
    if pad_is_end:
        path = shutil.copytree(tiny, tmp_path / "m")
        tokenizer = load_tokenizer(str(tiny))
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.save_pretrained(path)
    model, tokenizer = verifier.make_verifier(str(path), 0)
    assert model.config.pad_token_id != tokenizer.eos_token_id

    # The same program alone, and beside a longer one that it is padded for.
    short = encode(tokenizer, "x", "y")
    long = encode(tokenizer, "xyz", "y = 1" * 5)
    with torch.inference_mode():
        alone = verifier.forward(model, [short])[0].item()
        beside = verifier.forward(model, [long, short])[1].item()
        hidden = model.model(torch.tensor([short])).last_hidden_state[0, -1]
        expected = (hidden @ model.score.weight[0]).item()
    assert alone == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert beside == pytest.approx(alone, rel=1e-4, abs=1e-5)


def test_scores_do_not_depend_on_the_batch(tiny):
    model, tokenizer = verifier.make_verifier(str(tiny), 0)
    lengths = (1, 5, 3, 8)
    sequences = [encode(tokenizer, "x" * k, "y" * (9 - k)) for k in lengths]
    one_by_one = verifier.score_sequences(model, sequences, 1)
    together = verifier.score_sequences(model, sequences, 4)
    assert one_by_one == pytest.approx(together, abs=1e-5)
    assert len(set(one_by_one)) == 4


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "pairwise, kept",
    [
        ([0.6, 0.9, 0.7], 2),
        ([0.9, 0.9, 0.8], 1),  # a tie: the earlier one
        ([0.6, 0.7, 0.9], 3),
        ([None, None, None], 3),  # nothing was held out: the last
    ],
)
def test_the_epoch_that_ranks_held_out_programs_best_is_kept(monkeypatch, pairwise, kept):
    """Its weights, too: here the weight after epoch k is k."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    measured = iter(pairwise)

    def train_step(model, *_):
        model.weight.data += 0.5  # an epoch has two steps
        return 0.5

    monkeypatch.setattr(verifier, "train_step", train_step)
    monkeypatch.setattr(verifier, "measure", lambda *_: (next(measured), 1.0))
    args = Namespace(epochs=3, batch_size=4, programs=2, lr=1e-3, seed=0, score_batch=4, loss="bt")
    rows = verifier.train(model, [([[1]], [1])] * 6, [], args)
    assert [row["pairwise"] for row in rows] == pairwise
    assert [row["epoch"] for row in rows if row["kept"]] == [kept]
    assert model.weight.item() == kept


def make_world(groups):
    """Something to learn: a problem's correct program ends in 1, its three wrong ones do not."""
    problems = []
    steps = []
    for k in range(groups):
        prompt = f"f(xs): the sum of the numbers, plus {k % 10}"
        problems.append(problem(f"t{k}", group=f"g{k}", prompt=prompt))
        for j in range(4):
            code = f"def f(xs): return sum(xs) + {j}"
            steps.append(step(f"t{k}", j, code=code, public=j == 1, hidden=j == 1))
    return problems, steps


@pytest.mark.parametrize("loss", ["bt", "bce"])
def test_a_trained_verifier_ranks_correct_programs_first(tmp_path, tiny, loss, capsys):
    problems, steps = make_world(60)
    files = ["--problems", write(tmp_path / "p", problems)]
    files += ["--steps", write(tmp_path / "s", steps)]
    dials = ["--loss", loss, "--lr", "3e-3", "--epochs", 3]
    run(3, "train", *files, "--base", tiny, "--out", tmp_path / "one", *dials)

    # A row for each epoch; the kept one ranks the held-out programs best.
    rows = read(tmp_path / "one/metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    held_out = sum(verifier.is_held_out(f"g{k}") for k in range(60))
    assert rows[0]["problems"] == held_out > 0
    (kept,) = [row for row in rows if row["kept"]]
    assert kept["pairwise"] == max(row["pairwise"] for row in rows) > 0.9

    # Scores are added to the steps, and nothing else changes.
    scored_file = tmp_path / "scored"
    run(3, "score", *files, "--verifier", tmp_path / "one", "--out", scored_file)
    scored = read(scored_file)
    assert [{k: v for k, v in row.items() if k != "score"} for row in scored] == steps
    assert all(isinstance(row["score"], float) for row in scored)
    first = 0
    for start in range(0, len(scored), 4):
        best = max(scored[start : start + 4], key=lambda row: row["score"])
        first += best["trajectory"] == 1
    assert first > 50


def test_the_same_command_makes_the_same_bytes(tmp_path, tiny, capsys):
    problems, steps = make_world(12)
    files = ["--problems", write(tmp_path / "p", problems)]
    files += ["--steps", write(tmp_path / "s", steps)]
    for name in ("one", "two"):
        run(3, "train", *files, "--base", tiny, "--out", tmp_path / name, "--lr", "3e-3")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────


def test_scores_that_are_not_numbers_are_refused(tmp_path, tiny, refused, monkeypatch):
    """A verifier whose training has diverged must not choose the expert's labels."""
    tokenizer = load_tokenizer(str(tiny))
    model = Namespace(config=Namespace(get_text_config=Namespace))
    monkeypatch.setattr(verifier, "load_verifier", lambda path: (model, tokenizer))
    monkeypatch.setattr(verifier, "score_sequences", lambda *_: [float("nan")])
    files = ["--problems", write(tmp_path / "p", [problem("a")])]
    files += ["--steps", write(tmp_path / "s", [step("a")])]
    out = tmp_path / "o"
    call = ("score", *files, "--verifier", "v", "--out", out)
    refused(lambda: run(3, *call), "v:", "not numbers", "--lr")
    assert not out.exists()


CORRECT = step("a", code="r", public=True, hidden=True)
WRONG = step("a", 1, code="w")
A = [problem("a")]


@pytest.mark.parametrize(
    "problems, steps, words",
    [
        (A, [CORRECT], ["s:", "both a correct and a wrong program"]),
        (A, [WRONG, step("a", 2, public=True)], ["s:", "both a correct and a wrong program"]),
        ([*A, problem("b")], [CORRECT, step("b")], ["no problem has both"]),
        (A, [CORRECT, step("zzz")], ["row 2", "zzz"]),
        (A, [CORRECT, CORRECT], ["row 2", "trajectory"]),
        (A, [dict(CORRECT, code=None)], ["row 1", "'code'"]),
        ([problem("a", prompt="x" * 5000)], [CORRECT, WRONG], ["p,", "'a'", "'prompt'"]),
    ],
)
def test_bad_problems_and_steps_are_refused(tmp_path, tiny, refused, problems, steps, words):
    files = ["--problems", write(tmp_path / "p", problems)]
    files += ["--steps", write(tmp_path / "s", steps)]
    out = tmp_path / "v"
    refused(lambda: run(3, "train", *files, "--base", tiny, "--out", out), *words)
    assert not out.exists()


def test_the_same_rows_under_two_names_are_refused(tmp_path, tiny, refused):
    """Else each of its programs would count twice."""
    files = ["--problems", write(tmp_path / "p", A)]
    files += ["--steps", *(write(tmp_path / name, [CORRECT, WRONG]) for name in ("s", "copy"))]
    out = tmp_path / "v"
    refused(lambda: run(3, "train", *files, "--base", tiny, "--out", out), "copy, row 1", "earlier")
    assert not out.exists()


def test_a_verifier_is_not_made_of_a_verifier(tmp_path, tiny, refused):
    made = str(tmp_path / "v")
    save_checkpoint(*verifier.make_verifier(str(tiny), 0), made, [])
    refused(lambda: verifier.make_verifier(made, 0), made, "a verifier already")


def test_a_step_trains_although_measuring_came_before(monkeypatch):
    """Dropout is on again."""
    model = torch.nn.Linear(1, 1)
    model.device = torch.device("cpu")
    modes = []

    def forward(model, batch):
        modes.append(model.training)
        return model(torch.tensor(batch))[:, 0]

    monkeypatch.setattr(verifier, "forward", forward)
    optimizer, schedule = models.make_optimizer(model, 1e-3, 2)
    for _ in range(2):
        model.eval()
        batch = [[1.0], [2.0]]
        verifier.train_step(model, batch, [1, 0], [0, 0], optimizer, schedule, verifier.bt_loss)
    assert modes == [True, True]


def test_a_program_that_exceeds_the_context_is_not_scored(tmp_path, tiny, refused):
    made = tmp_path / "v"
    save_checkpoint(*verifier.make_verifier(str(tiny), 0), str(made), [])
    files = ["--problems", write(tmp_path / "p", [problem("short"), problem("b")])]
    files += ["--steps", write(tmp_path / "s", [step("short"), step("b", code="7" * 2048)])]
    out = tmp_path / "o"
    call = ("score", *files, "--verifier", made, "--out", out)
    refused(lambda: run(3, *call), "p,", "'b'", "and a program", "2048")
    assert not out.exists()


def test_a_training_that_diverges_ends_at_once(tmp_path, tiny, refused, monkeypatch):
    """Its weights would be no numbers, and so would all scores."""
    problems, steps = make_world(2)
    files = ["--problems", write(tmp_path / "p", problems), "--steps", write(tmp_path / "s", steps)]
    monkeypatch.setitem(verifier.LOSSES, "bt", lambda scores, *_: scores.sum() * float("nan"))
    out = tmp_path / "v"
    call = ("train", *files, "--base", tiny, "--out", out)
    refused(lambda: run(3, *call), "not a number", "--lr")
    assert not out.exists()


def test_pairs_of_a_handful_of_problems_hold_none_out(tmp_path):
    """g6 is held out of a larger set (above). Alone it is what there is to train on."""
    problems, steps = make_world(9)
    for names, count in [(["t6"], 3), (["t6", "t7"], 3)]:
        some = [row for row in steps if row["task_id"] in names]
        files = ["--problems", write(tmp_path / "p", problems), "--steps"]
        run(3, "pairs", *files, write(tmp_path / "s", some), "--out", tmp_path / "pairs")
        pairs = read(tmp_path / "pairs")
        assert len(pairs) == count
        prompts = {row["prompt"][0]["content"][-1] for row in pairs}
        assert prompts == {names[-1][-1]}


def test_pairs_are_those_of_one_problem(tmp_path):
    """Every correct program with every wrong one, as TRL's RewardTrainer takes them."""
    problems = [problem("a", prompt="A?"), problem("b", prompt="B?")]
    steps = [step("a", k, code=code, public=True, hidden=True) for k, code in enumerate(["1", "2"])]
    steps += [step("a", 2, code="3"), step("a", 3, code="3", turn=2)]  # one program, twice
    steps += [step("b", 0, code="4")]  # none is correct
    files = ["--problems", write(tmp_path / "p", problems), "--steps", write(tmp_path / "s", steps)]
    run(3, "pairs", *files, "--out", tmp_path / "pairs.jsonl")

    def message(role, content):
        return [dict(role=role, content=content)]

    wrong = message("assistant", "```python\n3\n```")
    rows = read(tmp_path / "pairs.jsonl")
    assert sorted(rows, key=str) == [
        dict(
            prompt=message("user", "A?"),
            chosen=message("assistant", f"```python\n{code}\n```"),
            rejected=wrong,
        )
        for code in ("1", "2")
    ]


def test_what_is_no_verifier_does_not_score(tmp_path, tiny, refused):
    files = ["--problems", write(tmp_path / "p", A), "--steps", write(tmp_path / "s", [CORRECT])]
    out = tmp_path / "o"

    def score_by(path):
        run(3, "score", *files, "--verifier", path, "--out", out)

    refused(lambda: score_by(tmp_path / "none"), "none")
    refused(lambda: score_by(tiny), tiny, "no scalar head")
    assert not out.exists()
