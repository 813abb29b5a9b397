"""data/: the published files become problems."""
import ast, gzip, json, os, shutil, subprocess, sys

import pytest
from conftest import ROOT, SHARED, read, stage, write

import codecontests, evalplus, humaneval, mbpp

ex = stage(2)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")             # of published regular expressions
published = pytest.mark.skipif(not os.path.isdir(SHARED), reason="needs the published files of MBPP and HumanEval")

MBPP = [dict(task_id=n, text="Write a function to add one.", code="def plus(x):\r\n  return x + 1", test_list=[f"assert plus({n}) == {n + 1}", "assert plus(0) == 1"],
             challenge_test_list=["assert plus(-1) == 0"], test_setup_code="") for n in (11, 600, 700)]
HUMANEVAL = dict(task_id="HumanEval/0", entry_point="add", canonical_solution="    return x + y\n",
                 prompt='def add(x, y):\n    """Add.\n\n    Example:\n    add(1, 2) ➞ 3\n    add(2, 2) ➞ 5\n    """\n',
                 test="def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(2, 2) == 4\n    assert candidate(5, 5) == 10\n")


def importer(module, tmp_path, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["importer", "--out", str(tmp_path), *map(str, args)])
    module.main()


def test_mbpp(tmp_path, monkeypatch, capsys):
    importer(mbpp, tmp_path, monkeypatch, "--source", write(tmp_path / "mbpp.jsonl", MBPP))
    train, dev, test = (read(tmp_path / f"{split}.jsonl")[0] for split in ("train", "dev", "test"))
    assert (train["task_id"], dev["task_id"], test["task_id"]) == ("MBPP/700", "MBPP/600", "MBPP/11")
    assert test["entry_point"] == "plus" and test["public_tests"] == ["assert plus(11) == 12"] and test["hidden_tests"] == ["assert plus(0) == 1", "assert plus(-1) == 0"]
    assert "assert plus(11) == 12" in test["prompt"] and "plus(0)" not in test["prompt"]
    importer(mbpp, tmp_path, monkeypatch, "--source", tmp_path / "mbpp.jsonl", "--hide-tests")
    assert "plus" not in read(tmp_path / "test.jsonl")[0]["prompt"]


def test_a_problem_whose_reference_fails_is_left_out(tmp_path, monkeypatch, capsys):
    rows = [*MBPP, dict(MBPP[0], task_id=12, code="def plus(x): return x")]
    importer(mbpp, tmp_path, monkeypatch, "--source", write(tmp_path / "mbpp.jsonl", rows))
    assert [p["task_id"] for p in read(tmp_path / "test.jsonl")] == ["MBPP/11"]
    said = capsys.readouterr().out
    assert "left out: MBPP/12" in said and "MBPP test: 1 problems, 1 left out" in said


def test_what_is_fetched_is_checked(tmp_path, monkeypatch, refused, capsys):
    packed = tmp_path / "web.jsonl.gz"
    with gzip.open(packed, "wt") as file: file.writelines(json.dumps(row) + "\n" for row in MBPP)
    monkeypatch.setattr(mbpp, "URL", packed.as_uri())
    refused(lambda: importer(mbpp, tmp_path, monkeypatch), "3 rows", "974", "--source")
    assert not (tmp_path / "train.jsonl").exists()
    assert mbpp.published(packed.as_uri(), None, dict(task_id=int), 3) == MBPP
    monkeypatch.setattr(mbpp, "URL", (tmp_path / "gone.jsonl").as_uri())
    refused(lambda: importer(mbpp, tmp_path, monkeypatch), "gone.jsonl", "--source")
    packed.write_bytes(b"no gzip")
    refused(lambda: importer(mbpp, tmp_path, monkeypatch, "--source", packed), "web.jsonl.gz", "--source")


@pytest.mark.parametrize("text, expected", [
    (">>> f(1, 2)\n3\n>>> f(2, 2) # four\n4", ["f(1, 2) == 3", "f(2, 2) == 4"]),
    (">>> round(f(1, 2), 1)\n3.0", ["round(f(1, 2), 1) == 3.0"]),
    (">>> f(1, 2)\n>>> f(0, 0)\n0", ["f(1, 2) == None", "f(0, 0) == 0"]),
    (">>>f(1, 2) == 3", ["f(1, 2) == 3"]),
    ("f([1], 'a)') => [2] and f(3, (4, 5)) ==> true", ["f([1], 'a)') == [2]", "f(3, (4, 5)) == True"]),
    ("* f(1, 2) ➞ 3.\n* f(0, 0) -> 0, of course", ["f(1, 2) == 3", "f(0, 0) == 0"]),
    ("f(1, 2) returns 'x'\nf(3, 4) should\nreturn None\nf(5, 6)   # => \"y\" (why?)", ["f(1, 2) == 'x'", "f(3, 4) == None", "f(5, 6) == 'y'"]),
    ("g([\n  1,\n  2], ab) == {'a':\n 1}", ["f([1, 2], 'ab') == {'a': 1}"]),
    ("f(1, 2) == 1 + 2 = 3", ["f(1, 2) == 1", "f(1, 2) == 3"]),                           # both are tried on the reference
    ("For a = [1, 2], b = 'x' the output should be 7.", ["f([1, 2], 'x') == 7"]),
    ("Input: a = 1, b = 2\nOutput: 3\n\nInput: a = 2, b = 2\nOutput: 4", ["f(1, 2) == 3", "f(2, 2) == 4"]),
    ("Returns f(x, y), the sum. 1 <= x <= 5", [])])
def test_examples_in_all_their_forms(text, expected):
    assert [test.removeprefix("assert ") for test in humaneval.examples(text, "f", ["a", "b"])] == expected


def test_humaneval(tmp_path, monkeypatch, capsys):
    source = write(tmp_path / "he.jsonl", [HUMANEVAL])
    importer(humaneval, tmp_path, monkeypatch, "--source", source)
    p, = read(tmp_path / "test.jsonl")
    # The docstring's slip, 2 + 2 = 5, is no test; the official assert of the same call takes its place, for its call stands in the prompt.
    assert p["public_tests"] == ["assert add(1, 2) == 3", "assert add(2, 2) == 4"] and "➞ 3" in p["prompt"]
    assert p["hidden_tests"] == ["def check(candidate):\n    assert candidate(5, 5) == 10\ncheck(add)"]
    importer(humaneval, tmp_path, monkeypatch, "--source", source, "--hide-tests")
    assert "➞" not in read(tmp_path / "test.jsonl")[0]["prompt"] and 'Example:\n    """' in read(tmp_path / "test.jsonl")[0]["prompt"]


def test_evalplus(tmp_path, monkeypatch, capsys):
    row = dict(HUMANEVAL, base_input=[[1, 2], [5, 5]], plus_input=[[0.5, 0.25], [[1], [2]], ["a", 1]], atol=0)
    importer(evalplus, tmp_path, monkeypatch, "--set", "humaneval", "--source", write(tmp_path / "h.jsonl", [row]))
    p, = read(tmp_path / "test.jsonl")
    # (1, 2) is public; the reference raises at ("a", 1), which is no test then.
    assert p["public_tests"] == ["assert add(1, 2) == 3"] and p["hidden_tests"] == [
        "def check(candidate):\n    assert candidate(5, 5) == 10\n    assert close(candidate(0.5, 0.25), 0.75, 1e-06)\n"
        "    assert candidate([1], [2]) == [1, 2]\n    pass\ncheck(add)"]
    close = {}
    exec(evalplus.CLOSE, close)
    assert close["close"]([1.0, 2], [1.0000001, 2], 1e-6) and not close["close"]([1.0, 2], [1.1, 2], 1e-6) and not close["close"]((1.0,), [1.0], 1e-6)

    row = dict(task_id="Mbpp/2", prompt='"""\nWrite a function to find the shared elements.\nassert set(shared((3, 4), (4, 5))) == set((4,))\n"""\n', entry_point="shared",
               canonical_solution="def shared(a, b):\n    return tuple(set(a) & set(b))", base_input=[[[3, 4], [4, 5]], [[1, 2], [2, 1]]], plus_input=[[[], [1]]],
               assertion="assert set(shared((3, 4), (4, 5))) == set((4,))", atol=0)
    importer(evalplus, tmp_path, monkeypatch, "--set", "mbpp", "--source", write(tmp_path / "m.jsonl", [row]))
    p, = read(tmp_path / "test.jsonl")
    assert p["public_tests"] == ["assert set(shared((3, 4), (4, 5))) == set((4,))"]
    assert p["hidden_tests"] == ["assert set(shared((1, 2), (2, 1))) == {1, 2}", "assert set(shared((), (1,))) == set()"]
    assert p["prompt"].startswith("Write a function to find the shared elements. Your code should pass this test:\n\nassert set(shared((3, 4)")


def test_codecontests(tmp_path, monkeypatch, capsys):
    pair = lambda *pairs: dict(input=[a for a, _ in pairs], output=[b for _, b in pairs])
    row = dict(name="1_A. Sum", description="Add them.\n\nExample\n\nInput\n\n1 2\n\nOutput\n\n3", public_tests=pair(("1 2\n", "3\n")), private_tests=pair(("5 5\n", "10\n")),
               generated_tests=pair(("1 2\n", "3\n"), ("0 0\n", "0\n")), solutions=dict(language=[2, 3, 3], solution=["int main(){}", "print(3)", "print(sum(map(int, input().split())))"]))
    hopeless = dict(row, name="2_B. Lost", solutions=dict(language=[3], solution=["print(3)"]))
    importer(codecontests, tmp_path, monkeypatch, "--source", write(tmp_path / "c.jsonl", [row, hopeless]))
    p, = read(tmp_path / "test.jsonl")
    assert p["task_id"] == "1_A. Sum" and p["reference"].startswith("print(sum") and "Output" in p["prompt"]
    assert p["public_tests"] == [dict(input="1 2\n", output="3\n")] and p["hidden_tests"] == [dict(input="5 5\n", output="10\n"), dict(input="0 0\n", output="0\n")]
    assert "1 left out" in capsys.readouterr().out
    importer(codecontests, tmp_path, monkeypatch, "--source", tmp_path / "c.jsonl", "--hide-tests")
    assert read(tmp_path / "test.jsonl")[0]["prompt"].startswith("Add them.\n\nWrite a Python program")


@published
def test_published_files(tmp_path, monkeypatch, capsys):
    importer(humaneval, tmp_path, monkeypatch, "--source", f"{SHARED}/HumanEval.jsonl.gz")
    problems = read(tmp_path / "test.jsonl")
    assert len(problems) == 164 and [p["task_id"] for p in problems if not p["public_tests"]] == [f"HumanEval/{k}" for k in (38, 41, 50, 83)]
    assert [p["task_id"] for p in problems if not p["hidden_tests"]] == ["HumanEval/34"]
    for p in problems:                                           # no hidden call stands in the prompt (a bare word there is a name, not a value)
        shown = {repr(values) for values, _, _ in humaneval.calls_in(p["prompt"])}
        hidden = [node for test in p["hidden_tests"] for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call)
                  and getattr(node.func, "id", "") == "candidate" and not any(isinstance(a, ast.Name) for a in node.args)]
        for node in hidden:
            try: assert repr(humaneval.arguments(node)) not in shown, p["task_id"]
            except ValueError: pass                              # built by an expression: no literal
    importer(mbpp, tmp_path, monkeypatch, "--source", f"{SHARED}/mbpp.jsonl")
    for split, count in dict(train=374, dev=90, test=500).items():
        problems = read(tmp_path / f"{split}.jsonl")
        assert len(problems) == count and not any(test.removeprefix("assert ").split("==")[0].strip() in p["prompt"] for p in problems for test in p["hidden_tests"])
