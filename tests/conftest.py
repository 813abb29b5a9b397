"""What the tests share: calls of the stages, hand-made rows, stubs of a search, random models."""

import importlib
import json
import os
import random
import re
import sys

# As in run_all.sh; torch reads it when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SHARED = os.path.join(ROOT, "..", "shared", "data")
sys.path[:0] = [ROOT, os.path.join(ROOT, "data")]

import pytest
from gradescope import Points
from grading import STAGES, Student

# ── Options ──────────────────────────────────────────────────────────────────────────────────────


def pytest_addoption(parser):
    add = parser.getgroup("μCode").addoption
    add("--shuffle", help="a seed: run the files, and the tests of each, in any order")
    add("--repo", metavar="DIR", help="grade the stages of this folder: the graded tests alone")
    add(
        "--gradescope", metavar="FILE", help="write the points to this file, as Gradescope reads it"
    )
    add("--seed", default="0", help="of what the graded tests draw as inputs [%(default)s]")


def pytest_configure(config):
    for number in range(1, 7):
        mark = f"stage{number:02}: a graded test of stage {number:02}"
        config.addinivalue_line("markers", mark)
    config.addinivalue_line("markers", "points(n): what a graded test is worth")
    for word in re.findall(r"stage\w*", config.option.markexpr):
        if word not in [f"stage{number:02}" for number in range(1, 7)]:
            raise pytest.UsageError(f"-m: there is no {word}; a stage is stage01 … stage06")
    folder = config.getoption("--repo")
    if folder and not os.path.isdir(folder):
        raise pytest.UsageError(f"--repo: {folder} is no folder")
    if folder and os.path.samefile(folder, ROOT):
        grade_from_outside(config)
    if is_grading(config):
        config.pluginmanager.register(Points(config), "points")


def grade_from_outside(config):
    """Start again with the tests of the folder that pytest was called in, if that has some.

    Of `--repo DIR`, with a space, pytest takes DIR for the place of the tests: this file is the one
    of DIR then, and would let a submission grade itself. (tests/run.sh writes --repo=DIR.)
    """
    caller = str(config.invocation_params.dir)
    is_outside = not os.path.samefile(caller, ROOT)
    if is_outside and os.path.exists(os.path.join(caller, "tests", "grading.py")):
        words = re.sub(
            r"(?m)^(--(repo|gradescope))\n", r"\1=", "\n".join(config.invocation_params.args)
        )
        config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *words.split("\n")])


def is_grading(config):
    """Is it about graded tests alone?"""
    options = (config.option.repo, config.option.gradescope, "stage" in config.option.markexpr)
    return any(options)


def pytest_ignore_collect(collection_path, config):
    # The others import torch, and stages 02 and 04 are graded where there is no room for it.
    if is_grading(config) and collection_path.suffix == ".py":
        return not collection_path.name.endswith("_graded.py")
    return None


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("--shuffle")
    if seed:
        rng = random.Random(seed)
        rng.shuffle(items)
        # File by file, or what the tests of one share would be made for each of them.
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda item: files.index(item.path))


# ── Graded tests ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def student(request):
    """The stage that a file of graded tests is about: its functions are methods."""
    number = int(request.node.path.name.split("_")[1])
    student = Student(request.config.getoption("--repo") or ROOT, number)
    yield student
    student.close()
    points = request.config.pluginmanager.getplugin("points")
    if points and student.missing:
        points.missing = student.missing


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    student = getattr(item, "funcargs", {}).get("student")
    if call.excinfo and call.excinfo.errisinstance(NotImplementedError):
        # No more than that: the lines of the test would tell what it expects.
        report.longrepr = f"NotImplementedError: {call.excinfo.value}"
    if student and call.when == "call":
        printed = student.take_printed()
        if printed and report.failed:
            report.sections.append(("printed by the code", printed))
    return report


@pytest.fixture
def rng(request):
    """Where a graded test draws its inputs from."""
    return random.Random(f"{request.config.getoption('--seed')} {request.node.name}")


# ── Stages and files ─────────────────────────────────────────────────────────────────────────────


def stage(number):
    """The module of a stage."""
    return importlib.import_module(STAGES[number - 1])


def run(number, *args):
    """Call a stage as the shell would, without the seconds that a new Python needs for imports."""
    command_line = sys.argv
    sys.argv = [f"{STAGES[number - 1]}.py", *map(str, args)]
    try:
        stage(number).main()
    finally:
        sys.argv = command_line


def write(path, rows):
    """Rows to a JSON Lines file → its path. A string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def read(path):
    """The rows of a JSON Lines file."""
    with open(path) as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def refused(capsys):
    """refused(call, word, …): the call ends with status 2 and ONE line that holds every word."""

    def check(call, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            call()
        line = capsys.readouterr().err
        assert ending.value.code == 2, line
        assert line.count("\n") == 1, line
        for word in words:
            assert str(word) in line, line

    return check


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def problem(task="p", public=("assert f(1) == 2",), hidden=("assert f(5) == 6",), **more):
    """A row of problems.jsonl. `more` adds fields or replaces them."""
    row = dict(
        task_id=task,
        group=task,
        prompt=f"Write f for {task}.",
        entry_point="f",
        setup="",
        public_tests=list(public),
        hidden_tests=list(hidden),
        reference="def f(x): return x + 1",
    )
    return dict(row, **more)


def step(
    task="p",
    trajectory=0,
    turn=1,
    code="def f(x): return x",
    public=False,
    hidden=False,
    **more,
):
    """A row of steps.jsonl. `more` adds fields or replaces them."""
    row = dict(
        policy="base",
        task_id=task,
        trajectory=trajectory,
        turn=turn,
        messages=[dict(role="user", content=f"Write f for {task}.")],
        completion=f"```python\n{code}\n```",
        tokens=5,
        code=code,
        public_passed=public,
        hidden_passed=hidden,
        feedback="" if public else "`f(1)` gave 1, expected 2",
    )
    return dict(row, **more)


def chat(*texts):
    """A chat of these texts, user and assistant by turns."""
    roles = ("user", "assistant")
    return [dict(role=roles[k % 2], content=text) for k, text in enumerate(texts)]


def contents(messages):
    """The texts of a chat."""
    return [message["content"] for message in messages]


def candidate(public=False, hidden=False, score=0.0, code="c"):
    """A judged and scored candidate, as a row of eval.jsonl holds it."""
    return dict(
        completion=code,
        code=code,
        public_passed=public,
        hidden_passed=hidden,
        feedback="" if public else f"{code} is wrong",
        score=score,
        scores=[score],
        tokens=3,
    )


def is_good(task, code):
    return code == "good"


def environment(codes, passes_hidden=is_good):
    """Stubs for stage 06's search → sample, judge, score, and the list of what was asked to sample.

    codes[task][turn - 1][candidate] is what is sampled. A code that begins with g or p passes the
    public tests, `passes_hidden(task, code)` tells about the hidden ones. The first of two
    verifiers likes long programs, the second likes all alike.
    """
    requests = []

    def sample(draws):
        requests.append(list(draws))
        return {
            draw: (json.loads(draw.chat), codes[draw.task_id][draw.turn - 1][draw.candidate], 3)
            for draw in draws
        }

    def judge(programs):
        verdicts = {}
        for task, code in programs:
            passes_public = code[0] in "gp"
            feedback = "" if passes_public else f"{code} is wrong"
            verdicts[task, code] = (passes_public, passes_hidden(task, code), feedback)
        return verdicts

    def score(programs):
        return {(task, code): (float(len(code)), -1.0) for task, code in programs}

    return sample, judge, score, requests


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with the café's model, untrained: tokenizer, chat template, random weights."""
    import cafe  # here, for it imports torch

    path = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = cafe.make_tokenizer()
    cafe.make_model(tokenizer, 0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
