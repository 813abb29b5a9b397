"""data/: the published files become problems."""

import ast
import gzip
import json
import os
import re
import sys
from collections import Counter
from fractions import Fraction

import common

import codecontests
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
CASES = os.path.join(SHARED, "..", "cases")
cases = pytest.mark.skipif(not os.path.isdir(CASES), reason="needs the small files of cases/")

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


# A row of the sanitized release: the text in `prompt`, imports instead of set-up code.
SANITIZED = {
    "source_file": "B",
    "task_id": 11,
    "prompt": "Write a function to add one.",
    "code": "def plus(x):\n  return x + 1",
    "test_imports": ["import math", "import re"],
    "test_list": ["assert math.isclose(plus(1), 2)", "assert plus(2) == 3"],
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SANITIZED) + "\n",
        json.dumps([SANITIZED]),
        "\n" + json.dumps([SANITIZED], indent=2) + "\n",
        "\ufeff" + json.dumps(SANITIZED),
        "\ufeff" + json.dumps([SANITIZED], indent=1).replace("\n", "\r\n"),
        json.dumps(SANITIZED) + "\r\n\r\n",
    ],
)
def test_mbpp_sanitized_in_all_forms_of_a_file(tmp_path, monkeypatch, content):
    source = tmp_path / "sanitized-mbpp.json"
    source.write_bytes(content.encode())
    importer(mbpp, tmp_path, monkeypatch, "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    assert problem["prompt"].startswith("Write a function to add one. Your code should pass")
    assert problem["setup"] == "import math\nimport re"
    assert problem["public_tests"] == ["assert math.isclose(plus(1), 2)"]
    assert problem["hidden_tests"] == ["assert plus(2) == 3"]
    assert problem["reference"] == SANITIZED["code"]


def test_mbpp_names_all_that_is_left_out(tmp_path, monkeypatch, capsys):
    full = MBPP[0]
    rows = [
        full,
        dict(full, task_id=12, test_list=[], challenge_test_list=[]),
        dict(full, task_id=13, code="print 1"),
        dict(full, task_id=14, test_list=["assert True"]),
        dict(full, task_id=15, code="def plus(x): return 0"),
        dict(full, task_id=3),
        dict(full, task_id=2000),
        dict(SANITIZED, task_id=16, test_list=[]),
    ]
    importer(mbpp, tmp_path, monkeypatch, "--source", write(tmp_path / "mbpp.jsonl", rows))
    assert [problem["task_id"] for problem in read(tmp_path / "test.jsonl")] == ["MBPP/11"]
    lines = capsys.readouterr().out.split("\n")
    assert [line for line in lines if "left out:" in line] == [
        "left out: MBPP/3, which is for few-shot prompts",
        "left out: MBPP/2000, which is in no split of the paper",
        "left out: MBPP/12, which has no test",
        "left out: MBPP/13, whose own reference program is not Python 3",
        "left out: MBPP/14, whose first test calls nothing of its program",
        "left out: MBPP/15, whose own reference program fails",
        "left out: MBPP/16, which has no test",
    ]
    assert "MBPP test: 1 problems, 5 left out, 0 without a public test" in "\n".join(lines)


BAD_MBPP = {
    "another set": (HUMANEVAL, ["row 2", "'task_id'", "int"]),
    "no text": (
        {name: value for name, value in MBPP[1].items() if name != "text"},
        ["row 2", "'text'", "missing"],
    ),
    "no imports": (
        {"task_id": 13, "prompt": "Add one.", "code": "", "test_list": []},
        ["'test_imports'", "missing"],
    ),
    "a text of another type": (dict(SANITIZED, task_id=13, prompt=["Add"]), ["'prompt'", "str"]),
    "a test that is no text": (dict(MBPP[1], test_list=[3]), ["'test_list'", "3", "not Python"]),
    "a test in words": (dict(MBPP[1], test_list=["1 gives 2"]), ["'test_list'", "not Python"]),
    "imports in words": (dict(SANITIZED, task_id=13, test_imports=["math?"]), ["'test_imports'"]),
    "set-up code": (dict(MBPP[1], test_setup_code="x ="), ["'test_setup_code'", "not Python"]),
    "a task twice": (MBPP[0], ["row 2", "'task_id'", "11", "duplicates"]),
    "no object": (3, ["row 2", "not a JSON object"]),
    "no JSON": ("<html>", ["row 2", "not a line of JSON"]),
}


@pytest.mark.parametrize("row, words", BAD_MBPP.values(), ids=BAD_MBPP)
def test_bad_mbpp_rows_are_refused(tmp_path, monkeypatch, refused, row, words):
    # An export may be packed. The message names the file that the user gave.
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(write(tmp_path / "rows", [MBPP[0], row]).read_bytes()))
    args = ("--source", packed)
    refused(lambda: importer(mbpp, tmp_path / "out", monkeypatch, *args), packed, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", [mbpp, humaneval, codecontests])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ["no rows"]),
        (b"[]", ["no rows"]),
        (b'[{"task_id": 11},\n {"task_id"', ["not a JSON array", "line 2"]),
        (b"[3]", ["row 1", "not a JSON object"]),
        ("{}\n".encode("utf-16"), ["row 1", "UTF-8"]),
        (b"\x89PAR1", ["row 1", "UTF-8"]),
        (b"[" * 100_000, ["row 1", "not a line of JSON"]),
    ],
)
def test_bad_files_are_refused(tmp_path, monkeypatch, refused, module, content, words):
    path = tmp_path / "rows"
    path.write_bytes(content)
    args = ("--source", path)
    refused(lambda: importer(module, tmp_path, monkeypatch, *args), path, *words)


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


def test_humaneval_without_a_test_is_left_out(tmp_path, monkeypatch, capsys):
    prompt = 'def add(x, y):\n    """Add."""\n'
    nothing = dict(HUMANEVAL, prompt=prompt, test="def check(candidate):\n    pass\n")
    # An assert in a loop, or in a function that `check` calls, is one.
    loop = "def check(candidate):\n    for x in range(3):\n        assert candidate(x, x) == 2 * x"
    helper = (
        "def same(a, b):\n    assert a == b\n\ndef check(candidate):\n    same(candidate(1, 2), 3)"
    )
    rows = [
        nothing,
        dict(nothing, task_id="HumanEval/1", test=loop),
        dict(nothing, task_id="HumanEval/2", test=helper),
    ]
    importer(humaneval, tmp_path, monkeypatch, "--source", write(tmp_path / "he.jsonl", rows))
    problems = read(tmp_path / "test.jsonl")
    assert [problem["task_id"] for problem in problems] == ["HumanEval/1", "HumanEval/2"]
    assert "left out: HumanEval/0, which has no test\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, field",
    [
        ({"prompt": "Add two numbers."}, "'prompt'"),
        ({"prompt": "def other(x):\n"}, "'prompt'"),
        ({"entry_point": "plus"}, "'prompt'"),
        ({"test": "assert add(1, 2) == 3"}, "'test'"),
        ({"test": "def check(candidate):"}, "'test'"),
        ({"canonical_solution": None}, "'canonical_solution'"),
    ],
)
def test_bad_humaneval_rows_are_refused(tmp_path, monkeypatch, refused, change, field):
    source = write(tmp_path / "he.jsonl", [dict(HUMANEVAL, **change)])
    args = ("--source", source)
    refused(lambda: importer(humaneval, tmp_path, monkeypatch, *args), source, "row 1", field)


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
    "infinity and signed zeros are exact": (
        "def f(x): return (float(x), complex(-0.0, float(x)))",
        ["f(float('-inf'))", "f(-0.0)"],
        {
            "f(float('-inf'))": (float("-inf"), complex(-0.0, float("-inf"))),
            "f(-0.0)": (-0.0, complex(-0.0, -0.0)),
        },
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
    # Infinity is near to itself only.
    infinity = float("inf")
    assert close([infinity], [infinity], 1e-6)
    assert not close(1e300, infinity, 1e-6)
    assert not close(-infinity, infinity, 1e-6)


# The number of an MBPP+ task, the arguments of a call as its file has them, and as EvalPlus reads
# them: one row for each way of reading.
READ = [
    (2, [[1, [2]], [3]], [(1, [2]), (3,)]),
    (809, [[], ["a"]], [(), ("a",)]),
    (63, [[[1, 2], [3, [4]]]], [[(1, 2), (3, [4])]]),
    (780, [[[1, 2]], [[3]]], [[(1, 2)], [(3,)]]),
    (75, [[[6, 24], [7]], 6], [[(6, 24), (7,)], 6]),
    (413, [[["a", 1]], [0]], [[("a", 1)], [0]]),
    (106, [[5, 6], [9, 10]], [[5, 6], (9, 10)]),
    (250, [[10, [8]], 10], [(10, [8]), 10]),
    (307, [["H", 5, [], True], 2, 50], [("H", 5, [], True), 2, 50]),
    (259, [[[1, 3], [4, 5]], [[6, 7], [3, 9]]], [((1, 3), (4, 5)), ((6, 7), (3, 9))]),
    (278, [[1, [2, [3]], 4]], [(1, (2, [3]), 4)]),
    (580, [[4, [7, [], [1, [2]]], 8]], [(4, (7, (), (1, (2,))), 8)]),
    (722, [{"A": [6.2, 70]}, 6.0, [70]], [{"A": (6.2, 70)}, 6.0, [70]]),
    (115, [[[], [1, 2], [], 0]], [[{}, {1, 2}, {}, {}]]),
    (124, ["-0.5", "(-0-1j)"], [-0.5, complex(-0.0, -1.0)]),
    (252, ["-1j"], [complex(0.0, -1.0)]),
    # EvalPlus leaves these, though the assert has tuples; and those that it does not list.
    (98, [[8, 2]], [[8, 2]]),
    (3, [[8, [2]], {"a": []}], [[8, [2]], {"a": []}]),
]


@pytest.mark.parametrize("number, inputs, expected", READ)
def test_evalplus_inputs_are_read_as_evalplus_reads_them(number, inputs, expected):
    row = {"task_id": f"Mbpp/{number}", "base_input": [inputs], "plus_input": [inputs]}
    found = evalplus.read_inputs(row)
    # By repr, which tells a list from a tuple, True from 1 and -0.0 from 0.0.
    assert repr(found) == repr([expected, expected])


def test_values_are_written_to_the_last_bit():
    values = [
        [(), (1,), (1, 2), [], [[]], {}, {"a": {1: (2,)}}, set(), frozenset(), frozenset({1})],
        [None, True, 1, 1.0, -0.0, 1e-300, 0.1, "it's\n\ud800", b"\xff", 10**30],
        [float("inf"), float("-inf"), [float("inf")], {"inf": float("-inf")}, "inf"],
        [1j, 1 + 2j, complex(-0.0, -1.0), complex(-1.0, -0.0), complex(float("inf"), 0.0)],
    ]
    for value in values:
        assert repr(eval(evalplus.write_value(value))) == repr(value)
    # The order of a set does not depend on how it was made.
    assert evalplus.write_value({8, 0, "b", "a"}) == "{'a', 'b', 0, 8}"
    assert evalplus.write_value(Counter("aab")) == "{'a': 2, 'b': 1}"

    for value in (float("nan"), [float("nan")], object(), len, Fraction(1, 3), {"a": iter([])}):
        with pytest.raises(ValueError):
            evalplus.write_value(value)


# A row of MBPP+ by its assert, its program and its inputs.
def mbpp_plus(number, assertion, code, base, plus=(), **more):
    name = code.split("(")[0].split()[-1]
    shown = next(line for line in assertion.split("\n") if line.startswith("assert"))
    row = {
        "task_id": f"Mbpp/{number}",
        "prompt": f'"""\nWrite {name}.\n{shown}\n"""\n',
        "entry_point": name,
        "canonical_solution": code,
        "base_input": list(base),
        "plus_input": list(plus),
        "assertion": assertion,
        "atol": 0,
    }
    return dict(row, **more)


def import_mbpp_plus(tmp_path, monkeypatch, rows):
    source = write(tmp_path / "m.jsonl", rows)
    importer(evalplus, tmp_path, monkeypatch, "--set", "mbpp", "--source", source)
    return {problem["task_id"]: problem for problem in read(tmp_path / "test.jsonl")}


# What an MBPP+ row gives: its arguments for mbpp_plus, and the hidden tests.
HIDDEN = {
    "the wrapper of the assert": (
        (
            2,
            "assert set(shared((3, 4), (4, 5))) == set((4,))",
            "def shared(a, b): return tuple(set(a) & set(b))",
            [[[3, 4], [4, 5]], [[1, 2], [2, 1]]],
            [[[], [1]]],
        ),
        ["assert set(shared((1, 2), (2, 1))) == {1, 2}", "assert set(shared((), (1,))) == set()"],
    ),
    "sets and empty dictionaries": (
        (
            115,
            "assert empty([{}, {}]) == True",
            "def empty(ds): return all(d == {} for d in ds)",
            [[[[], []]]],
            [[[[1], []]], [[[], [], []]], [[]]],
        ),
        [
            "assert empty([{1}, {}]) == False",
            "assert empty([{}, {}, {}]) == True",
            "assert empty([]) == True",
        ],
    ),
    "tuples in tuples": (
        (
            278,
            "assert before((1, (4, 6))) == 1",
            "def before(t): return [isinstance(x, tuple) for x in t].index(True)",
            [[[1, [4, 6]]]],
            [[[[1, 2], 3]]],
        ),
        ["assert before(((1, 2), 3)) == 0"],
    ),
    "complex numbers": (
        (
            252,
            "assert half(2) == 0",
            "def half(z): return z.imag / 2",
            [["1"]],
            [["(1+2j)"], ["(-0-1j)"]],
        ),
        [
            "assert close(half(complex(1.0, 0.0)), 0.0, 1e-06)",
            "assert close(half(complex(1.0, 2.0)), 1.0, 1e-06)",
            "assert close(half(complex(-0.0, -1.0)), -0.5, 1e-06)",
        ],
    ),
    "math.isclose is the assert's own": (
        (
            82,
            "import math\n\nassert math.isclose(area(10), 100, rel_tol=0.001)",
            "def area(x): return x * x",
            [[10], [2]],
        ),
        ["assert area(2) == 4"],
    ),
    "only truth counts": (
        (
            737,
            "assert not vowel('dawood')",
            "import re\n\ndef vowel(s): return re.match('[aeiou]', s)",
            [["dawood"], ["annie"]],
        ),
        ["assert bool(vowel('annie')) == True"],
    ),
}


@pytest.mark.parametrize("row, hidden", HIDDEN.values(), ids=HIDDEN)
def test_evalplus_mbpp(tmp_path, monkeypatch, row, hidden):
    (problem,) = import_mbpp_plus(tmp_path, monkeypatch, [mbpp_plus(*row)]).values()
    shown = next(line for line in row[1].split("\n") if line.startswith("assert"))
    assert problem["public_tests"] == [shown]
    assert problem["hidden_tests"] == hidden
    name = problem["entry_point"]
    assert problem["prompt"].startswith(f"Write {name}. Your code should pass this test:\n\nassert")


def test_evalplus_names_all_that_is_left_out(tmp_path, monkeypatch, capsys):
    nothing = "def f(x): return object()"
    rows = [
        mbpp_plus(2, "assert f((1,)) == 1", "def f(x): return x[0]", [[[1]], [[2]], [[]]]),
        # Of another type than EvalPlus makes of the task's, and of one that JSON lost.
        mbpp_plus(252, "assert f(1) == 1", "def f(x): return x", [["one"]]),
        mbpp_plus(722, "assert f({}) == 1", "def f(x): return x", [[[]]]),
        mbpp_plus(115, "assert f([{}]) == 1", "def f(x): return x", [[[[[]]]]]),
        mbpp_plus(9001, "assert f((1, 2)) == 1", "def f(x): return x[0]", [[[1, 2]]]),
        mbpp_plus(9002, "assert f({1, 2}) == 1", "def f(x): return 1", [[[1, 2]]]),
        mbpp_plus(9003, "assert f(set([1])) == 1", "def f(x): return 1", [[[1]]]),
        mbpp_plus(9004, "assert f(1 + 2j) == 1", "def f(x): return 1", [["(1+2j)"]]),
        mbpp_plus(9005, "assert f([{1: 2}]) == 1", "def f(x): return 1", [[[{"1": 2}]]]),
        mbpp_plus(9006, "assert f([{'1': 2}]) == 1", "def f(x): return 1", [[[]], [[[1]]]]),
        # No hidden test: the reference fails or answers nothing plain, or there is no other input.
        mbpp_plus(9007, "assert f(1) == 1", "def f(x): return 1 // (x - 2)", [[1], [2]]),
        mbpp_plus(9008, "assert f(1) == 1", nothing, [[1]], [[2]]),
        mbpp_plus(9009, "assert f(1) == 1", "def f(x): return x", [[1]]),
        mbpp_plus(9010, "assert f(1) == 1", "def f(x) return x", [[1], [2]]),
        mbpp_plus(9011, "assert f(1) == 2", "def f(x): return x", [[1], [2]]),
    ]
    assert list(import_mbpp_plus(tmp_path, monkeypatch, rows)) == ["MBPP/2", "MBPP/9006"]
    lines = capsys.readouterr().out.split("\n")
    of_other_types = "whose inputs are not of the types that EvalPlus reads them as"
    lost_types = "whose inputs had types that JSON lost, and EvalPlus does not say which"
    no_answer = "whose reference program answers no call that is not public"
    assert [line for line in lines if line.startswith("left out")] == [
        "left out of MBPP/2: 1 of 2 calls, which its reference does not answer",
        f"left out: MBPP/252, {of_other_types}",
        f"left out: MBPP/722, {of_other_types}",
        f"left out: MBPP/115, {of_other_types}",
        *(f"left out: MBPP/{number}, {lost_types}" for number in range(9001, 9006)),
        *(f"left out: MBPP/{number}, {no_answer}" for number in range(9007, 9010)),
        "left out: MBPP/9010, whose own reference program is not Python 3",
        "left out: MBPP/9011, whose own reference program fails",
    ]


def test_evalplus_humaneval_names_all_that_is_left_out(tmp_path, monkeypatch, capsys):
    row = dict(HUMANEVAL, base_input=[[1, 2]], plus_input=[[7, 8]])
    rows = [
        dict(row, task_id="HumanEval/32"),
        # The public call is answered, and no other.
        dict(row, task_id="HumanEval/1", plus_input=[["a", 8]]),
        row,
    ]
    source = write(tmp_path / "h.jsonl", rows)
    importer(evalplus, tmp_path, monkeypatch, "--set", "humaneval", "--source", source)
    (problem,) = read(tmp_path / "test.jsonl")
    assert problem["task_id"] == "HumanEval/0"
    printed = capsys.readouterr().out
    assert "left out: HumanEval/32, which has more than one correct answer\n" in printed
    no_answer = "whose reference program answers no call that is not public"
    assert f"left out: HumanEval/1, {no_answer}\n" in printed


ADD = dict(HUMANEVAL, base_input=[[1, 2]], plus_input=[])
ONE = mbpp_plus(3, "assert f(1) == 1", "def f(x): return x", [[1], [2]])
BAD_EVALPLUS = [
    ("humaneval", dict(ADD, base_input=[1]), "'base_input'"),
    ("humaneval", dict(ADD, plus_input=[{"x": 1}]), "'plus_input'"),
    ("humaneval", dict(ADD, plus_input={}), "'plus_input'"),
    ("humaneval", HUMANEVAL, "'base_input' is missing"),
    ("humaneval", ONE, "'prompt'"),
    ("mbpp", ADD, "'assertion' is missing"),
    ("mbpp", dict(ONE, assertion=None), "'assertion'"),
    ("mbpp", dict(ONE, assertion="assert f("), "'assertion'"),
    ("mbpp", dict(ONE, assertion="import math"), "'assertion'"),
    ("mbpp", dict(ONE, assertion="assert g(1) == 1"), "'assertion'"),
    ("mbpp", dict(ONE, prompt='"""\nWrite f.\n"""'), "'prompt'"),
    ("mbpp", dict(ONE, plus_input=["ab"]), "'plus_input'"),
]


@pytest.mark.parametrize("name, row, field", BAD_EVALPLUS)
def test_bad_evalplus_rows_are_refused(tmp_path, monkeypatch, refused, name, row, field):
    source = write(tmp_path / "rows.jsonl", [row])
    args = ("--set", name, "--source", source)
    refused(lambda: importer(evalplus, tmp_path, monkeypatch, *args), source, "row 1", field)
    assert not (tmp_path / "test.jsonl").exists()


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


SUM = {
    "name": "sum",
    "description": "Add them.\n\nExample\n\nInput\n\n1 2\n\nOutput\n\n3",
    "public_tests": lists_of(("1 2\n", "3\n")),
    "private_tests": lists_of(("5 5\n", "10\n")),
    "generated_tests": {},
    "solutions": {"language": [3], "solution": ["print(sum(map(int, input().split())))"]},
}


def import_codecontests(tmp_path, monkeypatch, rows, *flags):
    source = write(tmp_path / "c.jsonl", rows)
    importer(codecontests, tmp_path, monkeypatch, "--source", source, *flags)
    return read(tmp_path / "test.jsonl")


def test_codecontests_re_exports(tmp_path, monkeypatch):
    code = SUM["solutions"]["solution"][0]
    words = ("PYTHON3", "python3", "Python 3", "PYTHON_3", "Python 3.8", "PyPy 3", "py3", "3")
    rows = [
        dict(SUM, name=f"{k}", solutions={"language": [word], "solution": [code]})
        for k, word in enumerate(words)
    ]
    listed = dict(
        SUM,
        public_tests=[{"input": "1 2\n", "output": "3\n"}],
        private_tests=[{"output": "10\n", "input": "5 5\n"}],
        generated_tests=[],
        solutions=[
            {"language": "PYTHON", "solution": "print 3"},
            {"language": "PYTHON3", "solution": code},
        ],
    )
    problems = import_codecontests(tmp_path, monkeypatch, [*rows, listed])
    assert len(problems) == len(words) + 1
    for problem in problems:
        assert problem["public_tests"] == [{"input": "1 2\n", "output": "3\n"}]
        assert problem["hidden_tests"] == [{"input": "5 5\n", "output": "10\n"}]
        assert problem["reference"] == code


def test_codecontests_problems_of_one_name(tmp_path, monkeypatch, capsys):
    other = dict(SUM, description="Another.")
    rows = [SUM, other, dict(SUM, source=3), dict(SUM, name="sum-2"), SUM, dict(SUM, name="x")]
    problems = import_codecontests(tmp_path, monkeypatch, rows)
    ids = ["sum", "sum-2", "sum-3", "sum-2-2", "x"]
    assert [problem["task_id"] for problem in problems] == ids
    assert [problem["group"] for problem in problems] == ids
    assert problems[1]["prompt"].startswith("Another.")
    assert "left out: sum, a row that the file has twice\n" in capsys.readouterr().out


def test_codecontests_names_all_that_is_left_out(tmp_path, monkeypatch, capsys):
    two = {"language": [1, 2, 4], "solution": ["print raw_input()", "int main(){}", "class A{}"]}
    wrong = {"language": [3] * 6, "solution": [f"print({k})" for k in range(6)]}
    rows = [
        dict(SUM, name="a", solutions=two),
        dict(SUM, name="b", solutions={"language": ["PYTHON"], "solution": ["print 3"]}),
        dict(SUM, name="c", solutions=[]),
        dict(SUM, name="d", public_tests={}, private_tests=[]),
        dict(SUM, name="e", solutions=wrong),
        dict(SUM, name="f", solutions={"language": [3], "solution": ["print 3"]}),
    ]
    assert import_codecontests(tmp_path, monkeypatch, rows) == []
    lines = capsys.readouterr().out.split("\n")
    assert lines[:-2] == [
        "left out: a, which has no solution in Python 3",
        "left out: b, which has no solution in Python 3",
        "left out: c, which has no solution in Python 3",
        "left out: d, which has no test",
        "left out: e, whose first 5 reference programs fail",
        "left out: f, whose own reference program fails",
    ]
    assert lines[-2].startswith("CodeContests: 0 problems, 6 left out")


# Programs that pass, however they read and print: (program, its input, the expected output).
KEPT = {
    "fileinput": (
        "import fileinput\nfor line in fileinput.input(): print(int(line) + 1)",
        "1",
        "2",
    ),
    "arguments": (
        "import sys\nfor name in sys.argv[1:]: print(name)\nprint(open(0).read())",
        "1\n2\n",
        "1\n2\n",
    ),
    "case": ("input(); print('Yes')", "1", "YES\n"),
    "white space": ("input(); print(' 1  2 ', end='')", "1", "1\n2\n\n"),
    "floats": ("print(int(input()) / 2)", "1\n", "0.500000\n"),
}


def test_codecontests_references_read_and_print_as_they_like(tmp_path, monkeypatch):
    rows = []
    for name, (code, given, expected) in KEPT.items():
        solutions = {"language": [3], "solution": [code]}
        tests = lists_of((given, expected))
        rows.append(dict(SUM, name=name, public_tests=tests, private_tests={}, solutions=solutions))
    problems = import_codecontests(tmp_path, monkeypatch, rows)
    assert [problem["task_id"] for problem in problems] == list(KEPT)


HEADINGS = """Example|Examples|SAMPLE INPUT|Sample Input 1:|### Sample Input|**Example 1**
sample input|Output for the Sample Input|Input Example|Sample Test Case|Example: 1 2 gives 3
Sample I/O|Input and Output Example|Sample Input #1|Test Example""".replace("\n", "|").split("|")
SENTENCES = """Example strings are odd.|For example, 1 is odd.|For example: 1|Sample means are hard.
The example|Input|SAMPLES of size 3 are drawn""".replace("\n", "|").split("|")


def test_codecontests_hides_the_examples_under_any_heading(tmp_path, monkeypatch):
    rows = []
    for k, line in enumerate(HEADINGS + SENTENCES):
        description = f"Add.\n\nInput\n\nTwo.\r\n\r\n{line}\r\n1 2\n\nExplanation\n\n1+2=3"
        rows.append(dict(SUM, name=f"{k}", description=description))
    problems = import_codecontests(tmp_path, monkeypatch, rows, "--hide-tests")
    shown = [problem["prompt"].partition("\n\nWrite a Python")[0] for problem in problems]
    hidden = shown[: len(HEADINGS)]
    assert dict(zip(HEADINGS, hidden)) == dict.fromkeys(HEADINGS, "Add.\n\nInput\n\nTwo.")
    for line, text in zip(SENTENCES, shown[len(HEADINGS) :]):
        assert line in text and text.endswith("1+2=3")


BAD_CODECONTESTS = [
    ({"private_tests": None}, "'private_tests'"),
    ({"public_tests": "1 2"}, "'public_tests'"),
    ({"public_tests": {"input": ["1"], "output": []}}, "'public_tests'"),
    ({"public_tests": {"input": "12", "output": "34"}}, "'public_tests'"),
    ({"public_tests": {"inputs": ["1"], "outputs": ["2"]}}, "'public_tests'"),
    ({"generated_tests": [{"input": "1"}]}, "'generated_tests'"),
    ({"generated_tests": [["1", "2"]]}, "'generated_tests'"),
    ({"public_tests": [{"input": 1, "output": "2"}]}, "'public_tests'"),
    ({"solutions": {"language": [3], "solution": [None]}}, "'solutions'"),
    ({"solutions": ["print(3)"]}, "'solutions'"),
    ({"name": 7}, "'name'"),
    ({"description": None}, "'description'"),
]


@pytest.mark.parametrize("change, field", BAD_CODECONTESTS)
def test_bad_codecontests_rows_are_refused(tmp_path, monkeypatch, refused, change, field):
    rows = [SUM, dict(SUM, **change)]
    path = tmp_path / "c.jsonl"
    refused(lambda: import_codecontests(tmp_path, monkeypatch, rows), path, "row 2", field)
    assert not (tmp_path / "test.jsonl").exists()

    # A field that is not there at all.
    rows = [{name: value for name, value in SUM.items() if name not in change}]
    refused(lambda: import_codecontests(tmp_path, monkeypatch, rows), path, field, "missing")


# ── The files that went wrong ────────────────────────────────────────────────────────────────────


# What each file gives: {task_id: (number of public tests, of hidden tests)}.
FILES = {
    "cc_argv.jsonl": {"argv": (1, 2)},
    "cc_case_ws.jsonl": {"4_A. Yes": (1, 1)},
    "cc_float_only.jsonl": {"3_B. Half": (1, 1)},
    "cc_dupname.jsonl": {"sum": (1, 2), "sum-2": (1, 2)},
    "cc_repeated.jsonl": {"rep": (1, 2)},
    "cc_langstr.jsonl": {"ls": (1, 2)},
    "cc_hackerearth.jsonl": {"he": (1, 2)},
    "cc_py2.jsonl": {},
    "evalplus_complex.jsonl": {"MBPP/252": (1, 6)},
    "evalplus_dicts.jsonl": {"MBPP/115": (1, 3)},
    "evalplus_nested.jsonl": {"MBPP/278": (1, 2)},
    "mbpp_array.jsonl": {"MBPP/11": (1, 1)},
    "mbpp_bom.jsonl": {"MBPP/11": (1, 1)},
    "mbpp_hf_sanitized.jsonl": {"MBPP/11": (1, 0)},
    "sanitized-mbpp.json": {"MBPP/11": (1, 1)},
}


@cases
@pytest.mark.parametrize("name", FILES)
def test_files_that_went_wrong(tmp_path, monkeypatch, capsys, name):
    flags = ["--source", f"{CASES}/{name}", "--hide-tests"]
    if name.startswith("evalplus"):
        importer(evalplus, tmp_path, monkeypatch, "--set", "mbpp", *flags)
    else:
        importer(codecontests if name[:3] == "cc_" else mbpp, tmp_path, monkeypatch, *flags)
    problems = read(tmp_path / "test.jsonl")
    counts = {p["task_id"]: (len(p["public_tests"]), len(p["hidden_tests"])) for p in problems}
    assert counts == FILES[name]

    # No test is shown, and what is left out is named.
    for problem in problems:
        assert not re.search("sample|example|assert", problem["prompt"], re.I)
    is_named = "left out: py2, which has no solution in Python 3" in capsys.readouterr().out
    assert is_named == (name == "cc_py2.jsonl")


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
