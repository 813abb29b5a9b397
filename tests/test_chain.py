"""All six stages on other models and other problems; what every stage has in common."""

import glob
import re
import subprocess
import sys

import pytest
from conftest import ROOT, STAGES, chat, problem, read, run, write
from random_models import MODELS, make_model

# A task: name, words, parameters, body, public tests, hidden tests.
TASKS = [
    (
        "add",
        "Add two numbers.",
        "a, b",
        "a + b",
        ["add(1, 2) == 3"],
        ["add(5, 5) == 10", "add(-1, 0) == -1"],
    ),
    (
        "twice",
        "Double a number.",
        "x",
        "2 * x",
        ["twice(4) == 8"],
        ["twice(0) == 0", "twice(-3) == -6"],
    ),
    (
        "last",
        "The last item of a list.",
        "xs",
        "xs[-1]",
        ["last([1, 7]) == 7"],
        ["last([3]) == 3", "last('ab') == 'b'"],
    ),
    (
        "size",
        "How many items a list has.",
        "xs",
        "len(xs)",
        ["size([]) == 0"],
        ["size([1, 2]) == 2"],
    ),
]


# ── The whole chain ──────────────────────────────────────────────────────────────────────────────


def make_problems():
    """The tasks as problems."""
    problems = []
    for name, words, parameters, body, public, hidden in TASKS:
        row = problem(
            name,
            prompt=f"{words} Write {name}({parameters}).",
            entry_point=name,
            public=[f"assert {test}" for test in public],
            hidden=[f"assert {test}" for test in hidden],
            reference=f"def {name}({parameters}):\n    return {body}",
        )
        problems.append(row)
    return problems


def make_school(problems):
    """Each problem with its own program and with one that returns None.

    So that the model writes correct and wrong ones.
    """
    lessons = []
    for row in problems:
        start, _, body = row["reference"].rpartition("return ")
        for value in (body, "None"):
            answer = f"```python\n{start}return {value}\n```"
            completion = [dict(role="assistant", content=answer)]
            prompt = chat(row["prompt"])
            lessons.append(dict(task_id=row["task_id"], prompt=prompt, completion=completion))
    return lessons


@pytest.mark.parametrize("family", MODELS)
def test_one_iteration_with_a_model_of_another_family(tmp_path, family, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    problems = make_problems()
    write(tmp_path / "p", problems)
    write(tmp_path / "school", make_school(problems))
    texts = [row["prompt"] + row["reference"] for row in problems]
    make_model(tmp_path / "model", family, texts)

    # π_0 half knows the answers.
    training = ("--lr", 3e-3, "--batch-size", 8)
    run(5, "--base", "model", "--examples", "school", "--out", "base", "--steps", 200, *training)

    # Rollouts of two turns.
    limits = ("--trajectories", 5, "--max-new-tokens", 60, "--temperature", 1)
    previous = []
    for turn in (1, 2):
        samples = f"t{turn}.samples.jsonl"
        steps = f"t{turn}.steps.jsonl"
        run(1, "--problems", "p", "--policy", "base", "--out", samples, *limits, *previous)
        run(2, "--problems", "p", "--samples", samples, "--out", steps)
        previous = ["--previous", steps]

    # The verifier, the expert, and π_1.
    data = ("--problems", "p", "--steps", "t1.steps.jsonl", "t2.steps.jsonl")
    run(3, "train", *data, "--base", "base", "--out", "verifier", "--lr", 1e-3)
    run(3, "score", *data, "--verifier", "verifier", "--out", "scored.jsonl")
    run(4, "--scored", "scored.jsonl", "--out", "examples.jsonl")
    training = ("--steps", 40, "--lr", 3e-3)
    run(5, "--base", "base", "--examples", "examples.jsonl", "--out", "mucode-1", *training)

    # π_1 has learned the expert's programs: greedy, it solves at least 3 of 4 problems at once.
    models = ("--policy", "mucode-1", "--verifier", "verifier")
    limits = ("--max-new-tokens", 60, "--n", 2)
    run(6, "search", "--problems", "p", *models, "--out", "eval.jsonl", *limits)
    first = [
        row["candidates"][0]
        for row in read("eval.jsonl")
        if row["temperature"] == 0 and row["turn"] == 1
    ]
    assert len(first) == 4
    assert sum(candidate["hidden_passed"] for candidate in first) >= 3


# ── What the stages have in common ───────────────────────────────────────────────────────────────


def import_stages(names, check=""):
    """Import stages in a new Python with a bad command line, then run `check` there."""
    code = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {ROOT!r})\n"
        "sys.argv = ['x', '--nonsense']\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"{check}\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_importing_a_stage_does_nothing():
    """No parsing, no output, no model."""
    done = import_stages(STAGES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["02_execute", "04_relabel"])
def test_execution_and_the_expert_need_the_standard_library_alone(name):
    heavy = {"torch", "transformers", "numpy", "tqdm"}
    done = import_stages([name], check=f"assert not {heavy!r} & set(sys.modules)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def imports_of(path):
    """The numbered stages that a file imports."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return re.findall(r"""(?:import_module\(|__import__\()["'](0\d_\w+)["']""", text)


def test_stages_import_earlier_stages_alone():
    edges = {name: imports_of(f"{ROOT}/{name}.py") for name in STAGES}
    assert edges == {
        "01_rollout": [],
        "02_execute": [],
        "03_verifier": ["01_rollout", "02_execute"],
        "04_relabel": ["02_execute"],
        "05_train_policy": ["01_rollout"],
        "06_eval": ["01_rollout", "02_execute", "03_verifier", "04_relabel"],
    }


def test_the_library_imports_no_stage():
    files = glob.glob(f"{ROOT}/lib/*.py")
    assert len(files) > 3
    assert [path for path in files if imports_of(path)] == []


@pytest.mark.parametrize(
    "number, flag, value, more",
    [
        (1, "--trajectories", 0, ["--policy", "x"]),
        (1, "--temperature", -1, ["--policy", "x"]),
        (2, "--workers", 0, ["--samples", "x"]),
        (2, "--timeout", 0, ["--samples", "x"]),
        (3, "--epochs", 0, ["--steps", "x", "--base", "x"]),
        (3, "--programs", 1, ["--steps", "x", "--base", "x"]),
        (5, "--lr", 0, ["--examples", "x", "--base", "x"]),
        (6, "--temperature", 0, ["--policy", "x"]),
        (6, "--turns", 0, ["--policy", "x"]),
        (6, "--n", 0, ["--policy", "x"]),
    ],
)
def test_numbers_that_are_too_small_are_refused(refused, number, flag, value, more):
    mode = {3: ["train"], 6: ["search"]}.get(number, [])
    files = [] if number == 5 else ["--problems", "x"]
    call = (*mode, *files, "--out", "x", *more, flag, value)
    refused(lambda: run(number, *call), flag, "too small")
