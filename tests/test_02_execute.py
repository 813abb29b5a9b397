"""Stage 02: what is a program, is it right, and what is said about it."""
import os, subprocess, sys, time

import pytest
from conftest import ROOT, SHARED, problem, read, run, stage, step, write

ex = stage(2)
ADD = problem("add", public=["assert add(1, 2) == 3"], hidden=["assert add(-1, 1) == 0", "assert add(10, 5) == 15"], entry_point="add")


def judge(p, code, timeout=5.0):
    return ex.execute({p["task_id"]: p}, [(p["task_id"], code)], timeout, 1, progress=False)[p["task_id"], code]


@pytest.mark.parametrize("completion, code", [
    ("```python\ndef f(): pass\n```", "def f(): pass"),
    ("Think.\n```python\nx = 1\n```\nand\n```python\nx = 2\n```", "x = 1"),        # the first block
    ("```text\nno\n```\n```python\nyes = 1\n```", "yes = 1"),                       # python before others
    ("```\nx = 1\n```", "x = 1"),
    ("```python\nx = 1\ny = 2", "x = 1\ny = 2"),                                    # cut off before the closing fence
    ("x = 1", "x = 1"),                                                             # bare text
    ("```py\r\nx = 1\r\n```", "x = 1"),
    ("```python\ns = '```'\n```", "s = '```'"),                                     # a fence opens a line
    ("\ufeffx = 1", "x = 1"), ("", ""), ("```python\n```", ""),
])
def test_extract_code(completion, code):
    assert ex.extract_code(completion) == code


RIGHT = [
    "def add(a, b): return a + b",
    "import sys\nadd = lambda a, b: sum([a, b])",
    "def add(a, b):\r\n\treturn a + b",
    "def add(a, b):\n    print('3')\n    return a + b",
    "class N(int): pass\ndef add(a, b): return N(a + b)",                           # a subclass of int is a number
    "if __name__ == '__main__': input()\ndef add(a, b): return a + b",
]
WRONG = [
    "def add(a, b): return a - b",
    "def add(a, b): return None",
    "def other(a, b): return a + b",
    "def add(a, b) return a + b",
    "add = 3",
    "import sys\nsys.exit(0)",                                                      # an exit status is no verdict
    "import os\nos._exit(0)",
    "def add(a, b): raise SystemExit(0)",
    "def add(a, b):\n    import os\n    os._exit(0)",
    "class E:\n    def __eq__(self, other): return True\ndef add(a, b): return E()",
    "class E(int):\n    def __eq__(self, other): return True\ndef add(a, b): return E(7)",
    "class E(type):\n    def __eq__(self, other): return True\nclass F(metaclass=E): pass\ndef add(a, b): return F",
    "import builtins\nbuiltins.AssertionError = KeyError\nbuiltins.len = lambda x: 1\ndef add(a, b): return 'wrong'",
    "def add(a, b): print('passed'); return 'passed'",
    "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n"
    "            if isinstance(v, dict) and 'public_tests' in v: return eval(v['public_tests'][0].split('==')[1])\n        f = f.f_back",
    "import gc\ndef add(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'hidden_tests' in o: return 3 if a == 1 else a + b",
    "import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'\\x00\\x00\\x00\\x0b{\"ok\": 3}  ')\n    except OSError: pass\ndef add(a, b): return 0",
    "import os\nos.kill(os.getpid(), 9)",
    "def add(a, b): return add(a, b)",
    "def add(a, b): return [0] * 10 ** 9",
    "def add(a, b): return 'x' * (1 << 21)",
    "x = []\nfor _ in range(100000): x = [x]\ndef add(a, b): return x",
]


@pytest.mark.parametrize("code", RIGHT)
def test_right(code):
    assert judge(ADD, code) == (True, True, "")


@pytest.mark.parametrize("code", WRONG)
def test_wrong(code):
    public, hidden, feedback = judge(ADD, code)
    assert not public and not hidden and 0 < len(feedback) <= 300


def test_public_and_hidden_are_separate():
    assert judge(ADD, "def add(a, b): return 3")[:2] == (True, False)
    assert judge(ADD, "def add(a, b): return a + b if (a, b) != (1, 2) else 0")[:2] == (False, True)
    # a program that dies on the public test gets a new process for the hidden ones
    assert judge(ADD, "import os\ndef add(a, b): return a + b if (a, b) != (1, 2) else os._exit(0)")[:2] == (False, True)


def test_time_is_limited_and_neighbours_live():
    started = time.monotonic()
    codes = ["def add(a, b):\n    while True: pass", "import time\ntime.sleep(60)", "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)", RIGHT[0]]
    verdicts = ex.execute({"add": ADD}, [("add", c) for c in codes], timeout=0.5, workers=2, progress=False)
    assert [verdicts["add", c][:2] for c in codes] == [(False, False)] * 3 + [(True, True)]
    assert verdicts["add", codes[0]][2] == "`add(1, 2)` ran out of time, expected 3"
    assert verdicts["add", codes[1]][2] == "The program ran out of time while it was loaded."
    assert time.monotonic() - started < 10


FEEDBACK = [                                                                        # written by hand
    ("def f(x): return x", "`f([3, 4])` gave [3, 4], expected 6"),
    ("def f(x): return x[2]", "`f([3, 4])` raised IndexError: list index out of range, line 1: def f(x): return x[2], expected 6"),
    ("def f(x):\n    y = {}\n    return y['k']", "`f([3, 4])` raised KeyError: 'k', line 3: return y['k'], expected 6"),
    ("class A: pass\ndef f(x): return A()", "`f([3, 4])` gave an object, expected 6"),
    ("def f(x): return {'b', 'a', 'c'}", "`f([3, 4])` gave {'a', 'b', 'c'}, expected 6"),
    ("def f(x): return x for", "The program does not load: SyntaxError: invalid syntax, line 1: def f(x): return x for"),
    ("def g(x): return x", "The program does not define `f`."),
    ("1/0", "The program does not load: ZeroDivisionError: division by zero, line 1: 1/0"),
    ("import os; os._exit(1)", "The program crashed while it was loaded."),
    ("", "There is no program in this answer."),
]


@pytest.mark.parametrize("code, feedback", FEEDBACK)
def test_feedback(code, feedback):
    p = problem(public=["assert f([3, 4]) == 6", "assert f([]) == 0"])
    assert judge(p, code)[2] == feedback


def test_the_call_may_stand_on_the_right():
    p = problem(public=["assert 2 == f(1)"])
    assert judge(p, "def f(x): return x")[2] == "`f(1)` gave 1, expected 2" and judge(p, "def f(x): return x + 1")[0]


def test_feedback_of_other_forms():
    close = problem(public=["assert abs(f(1) - 0.5) < 1e-6"])
    assert judge(close, "def f(x): return 3")[2] == "`f(1)` gave a wrong answer; the test is: assert abs(f(1) - 0.5) < 1e-06"
    assert judge(close, "def f(x): return x / 2")[2] == ""
    checked = problem(public=["def check(g):\n    assert g(1, k=[2]) == 3\ncheck(f)"])
    assert judge(checked, "def f(x, k): return 0")[2] == "`f(1, k=[2])` gave a wrong answer"
    text = problem(public=[{"input": "1 2\n", "output": "3\n"}], hidden=[{"input": "4 5\n", "output": "9"}], entry_point="")
    assert judge(text, "print(sum(map(int, input().split())))") == (True, True, "")
    assert judge(text, "print(12)") == (False, False, "input '1 2' gave '12', expected '3'")


def test_tests_of_any_form():
    mutated = problem(public=["x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"], hidden=["d = {1: 2}\nf(d)\nassert d == {}"])
    assert judge(mutated, "def f(x): x.sort() if isinstance(x, list) else x.clear()")[:2] == (True, True)
    raises = problem(public=["try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"])
    assert judge(raises, "def f(x):\n    if x < 0: raise ValueError('no')\n    return x + 1")[:2] == (True, True)
    assert judge(raises, "def f(x): return x + 1")[0] is False
    tree = problem(setup="root = Node(1)\nroot.left = Node(2)", public=["assert f(root) == 2"], hidden=[])
    assert judge(tree, "class Node:\n    def __init__(self, v): self.v, self.left = v, None\ndef f(n): return n.left.v")[:2] == (True, True)
    shadow = problem(public=["assert sum(2, 3) == 5"], hidden=[], entry_point="sum")
    assert judge(shadow, "def sum(a, b): return a + b")[0] is True
    # a program cannot put its own `sorted` under a test
    honest = problem(public=["assert sorted(f(1)) == [1, 2]"], hidden=[])
    assert judge(honest, "def sorted(x): return [1, 2]\ndef f(x): return []")[0] is False


def test_no_public_tests_means_loads_and_defines():
    bare = problem(public=[])
    assert judge(bare, "def f(x): return x + 1")[:2] == (True, True)
    assert judge(bare, "def f(x): return 0")[:2] == (True, False)
    assert judge(bare, "def g(x): return 0")[:2] == (False, False)


def test_feedback_never_speaks_of_hidden_tests():
    for code, _ in FEEDBACK:
        said = {judge(problem(public=["assert f([3, 4]) == 6"], hidden=hidden), code)[2]
                for hidden in ([], ["assert f(987) == 654"], ["assert f([3, 4]) == 654"])}
        assert len(said) == 1 and "987" not in said.pop()


def test_stage_keeps_rows_and_runs_each_program_once(tmp_path, monkeypatch):
    rows = [dict(policy="base", task_id=t, trajectory=k, turn=1, messages=[], completion=c, extra=k)
            for k, (t, c) in enumerate([("a", "def f(x): return x + 1"), ("b", "def f(x): return x + 1"), ("a", "no"), ("a", "```\ndef f(x): return x + 1\n```")])]
    runs, real = [], ex.judge
    monkeypatch.setattr(ex, "judge", lambda z, limits, p, code: runs.append((p["task_id"], code)) or real(z, limits, p, code))
    out = tmp_path / "steps"
    run(2, "--problems", write(tmp_path / "p", [problem("a"), problem("b", hidden=["assert f(0) == 9"])]), "--samples", write(tmp_path / "s", rows), "--out", out)
    steps = read(out)
    assert [{k: s[k] for k in rows[0]} for s in steps] == rows                      # order, and unknown fields pass through
    assert [(s["public_passed"], s["hidden_passed"]) for s in steps] == [(True, True), (True, False), (False, False), (True, True)]
    assert sorted(runs) == [("a", "def f(x): return x + 1"), ("a", "no"), ("b", "def f(x): return x + 1")]


def test_nothing_is_left_behind(tmp_path):
    code = "import os\nif os.fork() == 0:\n    import time\n    time.sleep(30)\ndef add(a, b): return a + b"
    judge(ADD, code)
    time.sleep(0.2)
    children = f"/proc/self/task/{os.getpid()}/children"
    if os.path.exists(children): assert open(children).read() == ""


@pytest.mark.parametrize("where, rows, words", [
    ("p", [], ["no rows"]),
    ("p", ["not json"], ["row 1", "JSON"]),
    ("p", ["[1]"], ["row 1", "object"]),
    ("p", [problem("a"), {**problem("b"), "prompt": 3}], ["row 2", "'prompt'"]),
    ("p", [{k: v for k, v in problem("a").items() if k != "setup"}], ["row 1", "'setup'", "missing"]),
    ("p", [problem("a"), problem("a")], ["row 2", "'a'"]),
    ("p", [problem("a", public=["assert ("])], ["row 1", "public_tests"]),
    ("p", [problem("a", hidden=[3])], ["row 1", "hidden_tests"]),
    ("p", [problem("a", hidden=[{"input": "1"}])], ["row 1", "hidden_tests"]),
    ("p", [problem("a"), problem("b", entry_point="g")], ["row 2", "'entry_point'", "'g'"]),
    ("s", [], ["no rows"]),
    ("s", [step("a"), step("zzz")], ["row 2", "task_id", "zzz"]),
    ("s", [step("a"), step("a")], ["row 2", "trajectory"]),
    ("s", [step("a", turn="1")], ["row 1", "'turn'"]),
    ("s", [step("a", turn=True)], ["row 1", "'turn'"]),
])
def test_bad_input(tmp_path, refused, where, rows, words):
    files = {"p": [problem("a")], "s": [step("a")], where: rows}
    paths = {name: write(tmp_path / name, content) for name, content in files.items()}
    out = tmp_path / "out"
    out.write_text("earlier")
    refused(lambda: run(2, "--problems", paths["p"], "--samples", paths["s"], "--out", out), paths[where], *words)
    assert out.read_text() == "earlier"


def test_where_nothing_can_be_written_or_started(tmp_path, refused):
    files = "--problems", write(tmp_path / "p", [problem("a")]), "--samples", write(tmp_path / "s", [step("a")])
    (tmp_path / "out").mkdir()
    refused(lambda: run(2, *files, "--out", tmp_path / "out"), tmp_path / "out", "cannot be written")
    refused(lambda: run(2, *files, "--out", tmp_path / "o", "--memory", 5), "5 MB", "--memory")
    assert not (tmp_path / "o").exists()


def test_missing_file(tmp_path, refused):
    refused(lambda: run(2, "--problems", tmp_path / "nope", "--samples", tmp_path / "s", "--out", tmp_path / "o"), "nope", "No such file")


def test_it_needs_the_standard_library_only():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import importlib; importlib.import_module('02_execute'); importlib.import_module('04_relabel')"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, ROOT], check=True)
