"""Malformed rows through every stage that reads them: refused in a line, or of no effect.

40 variants of each kind of file and stage, or FUZZ=300 bash tests/run.sh tests/test_malformed.py.
"""

import copy
import json
import os
import random

from lib import rows as rows_of

import pytest
from conftest import candidate, chat, environment, problem, read, run, stage, step, write

VARIANTS = int(os.environ.get("FUZZ", 40))
evaluate = stage(6)


# ── Good files ───────────────────────────────────────────────────────────────────────────────────


def make_problems():
    return [problem(task, group=f"g{task}", extra=[1], retry="Again.") for task in "abcd"]


def make_steps():
    """Of each problem a correct program and a wrong one, which some stages need."""
    made = []
    for task in "abcd":
        for good in (True, False):
            outcome = dict(code=f"def f(x): return {good}", public=good, hidden=good)
            made.append(step(task, int(good), messages=chat(f"Write f for {task}."), **outcome))
    return [dict(row, tokens=3) for row in made]


def make_eval():
    """The rows of a small search."""
    arms = [evaluate.Arm("Random", 1, t, "real") for t in (0.0, 0.7)]
    arms += [evaluate.Arm(rule, 2, 0.7, "real") for rule in evaluate.RULES]
    codes = {task: [["bad", "good"], ["good", "bad"]] for task in "ab"}
    sample, judge, score, _ = environment(codes)
    problems = {task: problem(task) for task in codes}
    found = evaluate.search(problems, arms, 2, sample, judge, score, 0)
    return [dict(row, policy="base", verifiers=["v", "w"], group=row["task_id"]) for row in found]


GOOD = {
    "problems": make_problems(),
    "samples": [
        {name: row[name] for name in row if name not in ("code", "feedback")}
        for row in make_steps()
    ],
    "steps": make_steps(),
    "scored": [dict(row, score=0.5 + k) for k, row in enumerate(make_steps())],
    "examples": [
        dict(task_id=task, prompt=chat("x"), completion=[dict(role="assistant", content=task)])
        for task in "abcd"
    ],
    "eval": make_eval(),
}


# ── Malformed ones ───────────────────────────────────────────────────────────────────────────────

DEEP = "[" * 5000 + "]" * 5000
# JSON that is put in the place of a value of this type.
WRONG = {
    str: ["7", "null", "[]", '"\\ud800"', DEEP, "true"],
    bool: ["1", "null", '"true"', "[]", DEEP],
    int: ["null", '"1"', "-1", "1.5", "1" + "0" * 400, "NaN", "true", "[]", str(2**63)],
    float: ["null", '"1"', "Infinity", "-Infinity", "NaN", "1e999", "1" + "0" * 400, "false", "[]"],
    list: ["null", "{}", '"[]"', "7", DEEP, '[{"role": "user"}]', '[["\\udfff"]]'],
    dict: ["null", "[]", "7"],
    type(None): [DEEP, '"\\ud800"'],
}


def malform(table, rng):
    """The lines of a file with one fault, the name of the field that has it, and what it is."""
    lines = [json.dumps(row) for row in table]
    place = rng.randrange(len(table))
    row = copy.deepcopy(table[place])
    name = rng.choice(sorted(row))
    what = rng.choice(["drop", *["value"] * 6, "twice", "cut", "blank", "duplicate key", "array"])
    if what == "drop":
        del row[name]
        lines[place] = json.dumps(row)
    elif what == "value":
        value = rng.choice(WRONG[type(row[name])])
        row[name] = "@@@"
        lines[place] = json.dumps(row).replace('"@@@"', value)
        what = f"{name} = {value[:20]}"
    elif what == "duplicate key":
        lines[place] = f'{{"{name}": null, {lines[place][1:]}'
    elif what == "cut":
        lines[place] = lines[place][: rng.randrange(1, len(lines[place]))]
    elif what == "blank":
        lines.insert(place, "")
    elif what == "array":
        lines[place] = f"[{lines[place]}]"
    else:
        lines.insert(rng.randrange(len(lines)), lines[place])
    return lines, name, what


# ── Stages ───────────────────────────────────────────────────────────────────────────────────────
# What a stage makes of a folder of files, as rows or bytes.

LIMITS = ("--max-new-tokens", 2)


def rollout(f, tiny, out):
    flags = ("--problems", f / "problems", "--policy", tiny, "--trajectories", 1)
    run(1, *flags, *LIMITS, "--out", out)
    return read(out)


def second_turn(f, tiny, out):
    flags = ("--problems", f / "problems", "--policy", tiny, "--previous", f / "steps")
    run(1, *flags, *LIMITS, "--out", out)
    return read(out)


def execute(f, tiny, out):
    run(2, "--problems", f / "problems", "--samples", f / "samples", "--out", out)
    return read(out)


def train_verifier(f, tiny, out):
    files = ("--problems", f / "problems", "--steps", f / "steps", "--base", tiny)
    run(3, "train", *files, "--epochs", 1, "--lr", 1e-3, "--out", out)
    return (out / "model.safetensors").read_bytes()


def pairs(f, tiny, out):
    run(3, "pairs", "--problems", f / "problems", "--steps", f / "steps", "--out", out)
    return read(out)


def relabel(f, tiny, out):
    run(4, "--scored", f / "scored", "--out", out)
    return read(out)


def train_policy(f, tiny, out):
    run(5, "--base", tiny, "--examples", f / "examples", "--steps", 1, "--lr", 1e-3, "--out", out)
    return (out / "model.safetensors").read_bytes()


def search(f, tiny, out):
    flags = ("--problems", f / "problems", "--policy", tiny, "--n", 1, "--turns", 1, *LIMITS)
    run(6, "search", *flags, "--controls", "--out", out)
    return read(out)


def report(f, tiny, out):
    run(6, "report", "--run", f, "--out", out)
    return out.read_text().replace(out.stem, "")  # the picture lies beside it


CALLS = [
    ("problems", rollout),
    ("problems", execute),
    ("problems", train_verifier),
    ("problems", search),
    ("samples", execute),
    ("steps", second_turn),
    ("steps", train_verifier),
    ("steps", pairs),
    ("scored", relabel),
    ("examples", train_policy),
    ("eval", report),
]


def lay(folder):
    """The good files."""
    for kind, table in GOOD.items():
        name = "base/eval.jsonl" if kind == "eval" else kind
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, table)
    return folder


def without(result, field):
    """Rows without a field that passed through."""
    if not isinstance(result, list):
        return result
    return [{name: value for name, value in row.items() if name != field} for row in result]


@pytest.mark.parametrize("kind, call", CALLS, ids=[f"{kind} {c.__name__}" for kind, c in CALLS])
def test_a_malformed_row_is_refused_or_has_no_effect(tmp_path, tiny, capsys, kind, call):
    folder = lay(tmp_path / "files")
    good = call(folder, tiny, tmp_path / "good")
    path = folder / ("base/eval.jsonl" if kind == "eval" else kind)
    rng = random.Random(f"{kind} {call.__name__}")
    accepted = []
    for number in range(VARIANTS):
        lines, field, what = malform(GOOD[kind], rng)
        path.write_text("\n".join(lines) + "\n")
        capsys.readouterr()
        out = tmp_path / f"out{number}"
        try:
            result = call(folder, tiny, out)
        except SystemExit as ending:
            error = capsys.readouterr().err
            assert ending.code == 2 and error.count("\n") == 1, (what, error)
            assert str(path) in error, (what, error)
            assert not out.exists()
            continue
        accepted.append(what)
        # What a stage does not read passes through. Examples may be there twice, and a problem
        # without `retry` is another problem.
        is_good = (kind == "examples" and what == "twice") or (field == "retry" and what == "drop")
        if not is_good:
            assert without(result, field) == without(good, field), what
    assert len(accepted) < VARIANTS  # something was refused


@pytest.mark.parametrize("kind, call", CALLS, ids=[f"{kind} {c.__name__}" for kind, c in CALLS])
def test_a_file_that_lost_rows_or_is_of_another_kind_is_refused(
    tmp_path, tiny, refused, kind, call
):
    folder = lay(tmp_path / "files")
    path = folder / ("base/eval.jsonl" if kind == "eval" else kind)
    path.unlink()
    rows_of.write_jsonl(str(path), GOOD[kind])
    lines = path.read_text().splitlines(keepends=True)
    for keep in (1, len(lines) // 2, len(lines) - 1):
        path.write_text("".join(lines[:keep]))
        refused(lambda: call(folder, tiny, tmp_path / "out"), path)
    path.write_text("".join(lines[1:]))
    refused(lambda: call(folder, tiny, tmp_path / "out"), path)

    os.remove(rows_of.sum_file(str(path)))
    call(lay(folder), tiny, tmp_path / "whole")
    for other in ("examples", "eval", "problems"):
        if other != kind:
            write(path, GOOD[other])
            refused(lambda: call(folder, tiny, tmp_path / "out"), path, "row 1")


def test_a_damaged_file_of_metrics_is_refused(tmp_path, refused):
    """What lies beside a checkpoint, for the report."""
    folder = lay(tmp_path / "files")
    metrics = folder / "base/policy/metrics.jsonl"
    metrics.parent.mkdir()
    good = [dict(examples=3, steps=9, tokens=7, loss_first=1.5, loss_last=0.25)]
    rng = random.Random(0)
    for number in range(VARIANTS):
        lines, _, what = malform(good, rng)
        metrics.write_text("\n".join(lines) + "\n")
        out = tmp_path / f"{number}.md"
        try:
            run(6, "report", "--run", folder, "--out", out)
        except SystemExit as ending:
            assert ending.code == 2 and not out.exists()
            continue
        # Any other number, or less of them, is shown as it is.
        is_number = what.rpartition(" = ")[2] in ("null", "-1", "1.5", str(2**63), "true", "false")
        assert what in ("drop", "twice") or is_number, what


def test_candidates_are_checked_to_the_last_field(tmp_path, refused):
    folder = lay(tmp_path / "files")
    for name in candidate():
        table = copy.deepcopy(GOOD["eval"])
        del table[3]["candidates"][0][name]
        write(folder / "base/eval.jsonl", table)
        out = tmp_path / "out.md"
        call = ("report", "--run", folder, "--out", out)
        refused(lambda call=call: run(6, *call), "row 4", "'candidates'")
