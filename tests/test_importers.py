"""data/: the published files become problems."""

import ast
import gzip
import json
import os
import sys

import codecontests
import common
import evalplus
import humaneval
import mbpp
import pytest
from conftest import SHARED, read, write

# Some published programs have regular expressions that Python warns about.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
published = pytest.mark.skipif(
    not os.path.isdir(SHARED), reason="needs the published files of MBPP and HumanEval"
)

# One row for each split.
MBPP = [
    {
        "task_id": n,
        "text": "Write a function to add one.",
        "code": "def plus(x):\r\n  return x + 1",
        "test_list": [f"assert plus({n}) == {n + 1}", "assert plus(0) == 1"],
        "challenge_test_list": ["assert plus(-1) == 0"],
        "test_setup_code": "",
    }
    for n in (11, 600, 700)
]
# The docstring's second example is wrong.
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "entry_point": "add",
    "canonical_solution": "    return x + y\n",
    "prompt": (
        'def add(x, y):\n    """Add.\n\n'
        '    Example:\n    add(1, 2) ➞ 3\n    add(2, 2) ➞ 5\n    """\n'
    ),
    "test": (
        "def check(candidate):\n"
        "    assert candidate(1, 2) == 3\n"
        "    assert candidate(2, 2) == 4\n"
        "    assert candidate(5, 5) == 10\n"
    ),
}


def importer(module, tmp_path, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["importer", "--out", str(tmp_path), *map(str, args)])
    module.main()


def test_mbpp(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "mbpp.jsonl", MBPP)
    importer(mbpp, tmp_path, monkeypatch, "--source", source)
    train, dev, test = (read(tmp_path / f"{split}.jsonl")[0] for split in ("train", "dev", "test"))
    assert (train["task_id"], dev["task_id"], test["task_id"]) == (
        "MBPP/700",
        "MBPP/600",
        "MBPP/11",
    )
    assert test["entry_point"] == "plus"
    assert test["public_tests"] == ["assert plus(11) == 12"]
    assert test["hidden_tests"] == ["assert plus(0) == 1", "assert plus(-1) == 0"]
    assert "assert plus(11) == 12" in test["prompt"]
    assert "plus(0)" not in test["prompt"]

    importer(mbpp, tmp_path, monkeypatch, "--source", source, "--hide-tests")
    assert "plus" not in read(tmp_path / "test.jsonl")[0]["prompt"]


def test_a_problem_whose_reference_fails_is_left_out(tmp_path, monkeypatch, capsys):
    rows = [*MBPP, dict(MBPP[0], task_id=12, code="def plus(x): return x")]
    importer(mbpp, tmp_path, monkeypatch, "--source", write(tmp_path / "mbpp.jsonl", rows))
    assert [problem["task_id"] for problem in read(tmp_path / "test.jsonl")] == ["MBPP/11"]
    printed = capsys.readouterr().out
    assert "left out: MBPP/12" in printed
    assert "MBPP test: 1 problems, 1 left out" in printed


def test_what_is_fetched_is_checked(tmp_path, monkeypatch, refused, capsys):
    packed = tmp_path / "web.jsonl.gz"
    with gzip.open(packed, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in MBPP)

    # Another number of rows than was published.
    monkeypatch.setattr(mbpp, "URL", packed.as_uri())
    refused(lambda: importer(mbpp, tmp_path, monkeypatch), "3 rows", "974", "--source")
    assert not (tmp_path / "train.jsonl").exists()
    assert common.published(packed.as_uri(), None, {"task_id": int}, 3) == MBPP

    # Nothing to fetch, and something that is not packed.
    monkeypatch.setattr(mbpp, "URL", (tmp_path / "gone.jsonl").as_uri())
    refused(lambda: importer(mbpp, tmp_path, monkeypatch), "gone.jsonl", "--source")
    packed.write_bytes(b"no gzip")
    source = ["--source", packed]
    refused(lambda: importer(mbpp, tmp_path, monkeypatch, *source), "web.jsonl.gz", "--source")


EXAMPLES = [
    (">>> f(1, 2)\n3\n>>> f(2, 2) # four\n4", ["f(1, 2) == 3", "f(2, 2) == 4"]),
    (">>> round(f(1, 2), 1)\n3.0", ["round(f(1, 2), 1) == 3.0"]),
    (">>> f(1, 2)\n>>> f(0, 0)\n0", ["f(1, 2) == None", "f(0, 0) == 0"]),
    (">>>f(1, 2) == 3", ["f(1, 2) == 3"]),
    (
        "f([1], 'a)') => [2] and f(3, (4, 5)) ==> true",
        ["f([1], 'a)') == [2]", "f(3, (4, 5)) == True"],
    ),
    ("* f(1, 2) ➞ 3.\n* f(0, 0) -> 0, of course", ["f(1, 2) == 3", "f(0, 0) == 0"]),
    (
        "f(1, 2) returns 'x'\nf(3, 4) should\nreturn None\nf(5, 6)   # => \"y\" (why?)",
        ["f(1, 2) == 'x'", "f(3, 4) == None", "f(5, 6) == 'y'"],
    ),
    ("g([\n  1,\n  2], ab) == {'a':\n 1}", ["f([1, 2], 'ab') == {'a': 1}"]),
    # Both are tried on the reference.
    ("f(1, 2) == 1 + 2 = 3", ["f(1, 2) == 1", "f(1, 2) == 3"]),
    ("For a = [1, 2], b = 'x' the output should be 7.", ["f([1, 2], 'x') == 7"]),
    (
        "Input: a = 1, b = 2\nOutput: 3\n\nInput: a = 2, b = 2\nOutput: 4",
        ["f(1, 2) == 3", "f(2, 2) == 4"],
    ),
    ("Returns f(x, y), the sum. 1 <= x <= 5", []),
]


@pytest.mark.parametrize("text, expected", EXAMPLES)
def test_examples_in_all_their_forms(text, expected):
    tests = humaneval.examples(text, "f", ["a", "b"])
    assert [test.removeprefix("assert ") for test in tests] == expected


def test_humaneval(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "he.jsonl", [HUMANEVAL])
    importer(humaneval, tmp_path, monkeypatch, "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    # The docstring's mistake, 2 + 2 = 5, is no test. The official assert of the same call takes its
    # place, because its call stands in the prompt.
    assert problem["public_tests"] == ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]
    assert "➞ 3" in problem["prompt"]
    hidden = "def check(candidate):\n    assert candidate(5, 5) == 10\ncheck(add)"
    assert problem["hidden_tests"] == [hidden]

    importer(humaneval, tmp_path, monkeypatch, "--source", source, "--hide-tests")
    (problem,) = read(tmp_path / "test.jsonl")
    assert "➞" not in problem["prompt"]
    assert 'Example:\n    """' in problem["prompt"]


def test_evalplus_humaneval(tmp_path, monkeypatch, capsys):
    row = dict(
        HUMANEVAL,
        base_input=[[1, 2], [5, 5]],
        plus_input=[[0.5, 0.25], [[1], [2]], ["a", 1]],
        atol=0,
    )
    source = write(tmp_path / "h.jsonl", [row])
    importer(evalplus, tmp_path, monkeypatch, "--set", "humaneval", "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    # (1, 2) is public. The reference raises at ("a", 1), so that is no test.
    assert problem["public_tests"] == ["assert add(1, 2) == 3"]
    hidden = (
        "def check(candidate):\n"
        "    assert candidate(5, 5) == 10\n"
        "    assert close(candidate(0.5, 0.25), 0.75, 1e-06)\n"
        "    assert candidate([1], [2]) == [1, 2]\n"
        "    pass\n"
        "check(add)"
    )
    assert problem["hidden_tests"] == [hidden]


def test_evalplus_without_a_sandbox_is_one_line(tmp_path, monkeypatch, refused):
    # No Python starts there.
    monkeypatch.setitem(evalplus.LIMITS, "memory", 5)
    row = dict(HUMANEVAL, base_input=[[5, 5]], plus_input=[])
    source = write(tmp_path / "h.jsonl", [row])
    args = ("--set", "humaneval", "--source", source)
    refused(lambda: importer(evalplus, tmp_path, monkeypatch, *args), "5 MB")
    assert not (tmp_path / "test.jsonl").exists()


# A reference program and its entry point, the sources of calls, and what is known of them: each
# value that Python can write, of those that the reference gives in time.
REFERENCES = {
    "values of all kinds": (
        "def f(x): return {1: [x, (2.5, None)], 'a': {x}, b'': -0.5}",
        ["f(1)", "f(True)"],
        {
            "f(1)": {1: [1, (2.5, None)], "a": {1}, b"": -0.5},
            "f(True)": {1: [True, (2.5, None)], "a": {True}, b"": -0.5},
        },
    ),
    "what is no literal is left out": (
        "from fractions import Fraction\n"
        "class A: pass\n"
        "things = [A(), [A], Fraction(1, 3), float('nan'), len, iter([]), 10**5000, 'é']\n"
        "def f(k): return things[k]",
        [f"f({k})" for k in range(8)],
        {"f(7)": "é"},
    ),
    "what fails is left out": (
        "def f(x): return 1 / x",
        ["f(0)", "f(2)", "f('a')", "f()", "nobody(1)", "f(4)"],
        {"f(2)": 0.5, "f(4)": 0.25},
    ),
    "a call is wrapped in others": (
        "def f(*xs): return list(xs)",
        ["set(f(1, 2, 1))", "sorted(f(3, 1))", "len(f())"],
        {"set(f(1, 2, 1))": {1, 2}, "sorted(f(3, 1))": [1, 3], "len(f())": 0},
    ),
    "one that does not end costs those behind it": (
        "def f(x):\n    while x == 2: pass\n    return x",
        ["f(1)", "f(2)", "f(3)"],
        {"f(1)": 1},
    ),
    "so does one that dies": (
        "import os\ndef f(x): return x if x != 2 else os._exit(0)",
        ["f(1)", "f(2)", "f(3)"],
        {"f(1)": 1},
    ),
    "nothing is known of one that does not load": ("def f(", ["f(1)"], {}),
    "nor of one without the function": ("def g(x): return x", ["f(1)"], {}),
}


def test_what_evalplus_references_answer(monkeypatch):
    monkeypatch.setitem(evalplus.LIMITS, "timeout", 0.3)
    references = [(code, "f", sources) for code, sources, _ in REFERENCES.values()]
    answers = list(evalplus.ask_references(references))
    found = dict(zip(REFERENCES, answers))
    expected = {name: values for name, (_, _, values) in REFERENCES.items()}
    assert found == expected
    # True is not 1 here.
    assert repr(answers[0]) == repr(expected["values of all kinds"])


def test_evalplus_compares_floats_with_a_tolerance():
    names = {}
    exec(evalplus.CLOSE, names)
    close = names["close"]
    assert close([1.0, 2], [1.0000001, 2], 1e-6)
    assert not close([1.0, 2], [1.1, 2], 1e-6)
    assert not close((1.0,), [1.0], 1e-6)


def test_evalplus_mbpp(tmp_path, monkeypatch, capsys):
    first = "assert set(shared((3, 4), (4, 5))) == set((4,))"
    text = "Write a function to find the shared elements."
    row = {
        "task_id": "Mbpp/2",
        "prompt": f'"""\n{text}\n{first}\n"""\n',
        "entry_point": "shared",
        "canonical_solution": "def shared(a, b):\n    return tuple(set(a) & set(b))",
        "base_input": [[[3, 4], [4, 5]], [[1, 2], [2, 1]]],
        "plus_input": [[[], [1]]],
        "assertion": first,
        "atol": 0,
    }
    source = write(tmp_path / "m.jsonl", [row])
    importer(evalplus, tmp_path, monkeypatch, "--set", "mbpp", "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    assert problem["public_tests"] == [first]
    assert problem["hidden_tests"] == [
        "assert set(shared((1, 2), (2, 1))) == {1, 2}",
        "assert set(shared((), (1,))) == set()",
    ]
    shown = f"{text} Your code should pass this test:\n\nassert set(shared((3, 4)"
    assert problem["prompt"].startswith(shown)


def lists_of(*pairs):
    """(input, output) pairs as CodeContests writes them."""
    return {"input": [given for given, _ in pairs], "output": [output for _, output in pairs]}


def test_codecontests(tmp_path, monkeypatch, capsys):
    solutions = ["int main(){}", "print(3)", "print(sum(map(int, input().split())))"]
    row = {
        "name": "1_A. Sum",
        "description": "Add them.\n\nExample\n\nInput\n\n1 2\n\nOutput\n\n3",
        "public_tests": lists_of(("1 2\n", "3\n")),
        "private_tests": lists_of(("5 5\n", "10\n")),
        "generated_tests": lists_of(("1 2\n", "3\n"), ("0 0\n", "0\n")),
        "solutions": {"language": [2, 3, 3], "solution": solutions},
    }
    hopeless = dict(row, name="2_B. Lost", solutions={"language": [3], "solution": ["print(3)"]})
    source = write(tmp_path / "c.jsonl", [row, hopeless])
    importer(codecontests, tmp_path, monkeypatch, "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    assert problem["task_id"] == "1_A. Sum"
    assert problem["reference"].startswith("print(sum")
    assert "Output" in problem["prompt"]
    assert problem["public_tests"] == [{"input": "1 2\n", "output": "3\n"}]
    assert problem["hidden_tests"] == [
        {"input": "5 5\n", "output": "10\n"},
        {"input": "0 0\n", "output": "0\n"},
    ]
    assert "1 left out" in capsys.readouterr().out

    importer(codecontests, tmp_path, monkeypatch, "--source", source, "--hide-tests")
    (problem,) = read(tmp_path / "test.jsonl")
    assert problem["prompt"].startswith("Add them.\n\nWrite a Python program")


@published
def test_published_humaneval(tmp_path, monkeypatch, capsys):
    importer(humaneval, tmp_path, monkeypatch, "--source", f"{SHARED}/HumanEval.jsonl.gz")
    problems = read(tmp_path / "test.jsonl")
    assert len(problems) == 164
    without_public = [p["task_id"] for p in problems if not p["public_tests"]]
    assert without_public == [f"HumanEval/{k}" for k in (38, 41, 50, 83)]
    without_hidden = [p["task_id"] for p in problems if not p["hidden_tests"]]
    assert without_hidden == ["HumanEval/34"]

    # No hidden call stands in the prompt.
    for problem in problems:
        shown = {repr(values) for values, _, _ in humaneval.calls_in(problem["prompt"])}
        for call in candidate_calls(problem["hidden_tests"]):
            try:
                values = humaneval.argument_values(call)
            except ValueError:
                # An argument that is built by an expression is no literal.
                continue
            assert repr(values) not in shown, problem["task_id"]


def candidate_calls(tests):
    """The calls candidate(…) in tests, without those of a bare word: there it names a variable."""
    calls = []
    for test in tests:
        for node in ast.walk(ast.parse(test)):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "candidate":
                continue
            if not any(isinstance(argument, ast.Name) for argument in node.args):
                calls.append(node)
    return calls


@published
def test_published_mbpp(tmp_path, monkeypatch, capsys):
    importer(mbpp, tmp_path, monkeypatch, "--source", f"{SHARED}/mbpp.jsonl")
    for split, count in {"train": 374, "dev": 90, "test": 500}.items():
        problems = read(tmp_path / f"{split}.jsonl")
        assert len(problems) == count
        for problem in problems:
            for test in problem["hidden_tests"]:
                call = test.removeprefix("assert ").split("==")[0].strip()
                assert call not in problem["prompt"]
