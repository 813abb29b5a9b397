"""Stage 02: what is a program, is it right, and what does feedback say about it?"""

import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT, problem, read, run, stage, step, write

from lib import sandbox

ex = stage(2)
ADD = problem(
    "add",
    public=["assert add(1, 2) == 3"],
    hidden=["assert add(-1, 1) == 0", "assert add(10, 5) == 15"],
    entry_point="add",
)


def judge(p, code, timeout=5.0):
    """The verdict on one program."""
    program = (p["task_id"], code)
    return ex.execute({p["task_id"]: p}, [program], timeout, 1)[program]


@pytest.mark.parametrize(
    "completion, code",
    [
        ("```python\ndef f(): pass\n```", "def f(): pass"),
        ("Think.\n```python\nx = 1\n```\nand\n```python\nx = 2\n```", "x = 1"),  # the first block
        ("```text\nno\n```\n```python\nyes = 1\n```", "yes = 1"),  # python before others
        ("```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\ny = 2", "x = 1\ny = 2"),  # cut off before the closing fence
        ("x = 1", "x = 1"),  # bare text
        ("```py\r\nx = 1\r\n```", "x = 1"),
        ("```python\ns = '```'\n```", "s = '```'"),  # a fence opens a line
        ("\ufeffx = 1", "x = 1"),
        ("", ""),
        ("```python\n```", ""),
    ],
)
def test_extract_code(completion, code):
    assert ex.extract_code(completion) == code


RIGHT = [
    "def add(a, b): return a + b",
    "import sys\nadd = lambda a, b: sum([a, b])",
    "def add(a, b):\r\n\treturn a + b",
    "def add(a, b):\n    print('3')\n    return a + b",
    "class N(int): pass\ndef add(a, b): return N(a + b)",  # a subclass of int is a number
    "if __name__ == '__main__': input()\ndef add(a, b): return a + b",
]
WRONG = [
    "def add(a, b): return a - b",
    "def add(a, b): return None",
    "def other(a, b): return a + b",
    "def add(a, b) return a + b",
    "add = 3",
    "import sys\nsys.exit(0)",  # an exit status is no verdict
    "import os\nos._exit(0)",
    "def add(a, b): raise SystemExit(0)",
    "def add(a, b):\n    import os\n    os._exit(0)",
    ("class E:\n    def __eq__(self, other): return True\ndef add(a, b): return E()"),
    ("class E(int):\n    def __eq__(self, other): return True\ndef add(a, b): return E(7)"),
    (
        "class E(type):\n"
        "    def __eq__(self, other): return True\n"
        "class F(metaclass=E): pass\n"
        "def add(a, b): return F"
    ),
    (
        "import builtins\n"
        "builtins.AssertionError = KeyError\n"
        "builtins.len = lambda x: 1\n"
        "def add(a, b): return 'wrong'"
    ),
    "def add(a, b): print('passed'); return 'passed'",
    (
        "import sys\n"
        "def add(a, b):\n"
        "    f = sys._getframe()\n"
        "    while f:\n"
        "        for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n"
        "            if isinstance(v, dict) and 'public_tests' in v:\n"
        "                return eval(v['public_tests'][0].split('==')[1])\n"
        "        f = f.f_back"
    ),
    (
        "import gc\n"
        "def add(a, b):\n"
        "    for o in gc.get_objects():\n"
        "        if isinstance(o, dict) and 'hidden_tests' in o: return 3 if a == 1 else a + b"
    ),
    (
        "import os\n"
        "for fd in range(3, 30):\n"
        "    try: os.write(fd, b'\\x00\\x00\\x00\\x0b{\"ok\": 3}  ')\n"
        "    except OSError: pass\n"
        "def add(a, b): return 0"
    ),
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
    assert not public and not hidden
    assert 0 < len(feedback) <= 300


def test_the_reward_asks_for_public_and_hidden_tests():
    for public, hidden in ((False, False), (False, True), (True, False), (True, True)):
        row = dict(public_passed=public, hidden_passed=hidden)
        assert ex.reward(row) is (public and hidden)


def test_public_and_hidden_are_separate():
    assert judge(ADD, "def add(a, b): return 3")[:2] == (True, False)
    assert judge(ADD, "def add(a, b): return a + b if (a, b) != (1, 2) else 0")[:2] == (False, True)
    # A program that dies on the public test gets a new process for the hidden ones.
    dies = "import os\ndef add(a, b): return a + b if (a, b) != (1, 2) else os._exit(0)"
    assert judge(ADD, dies)[:2] == (False, True)


def test_time_is_limited_and_neighbours_live():
    started = time.monotonic()
    codes = [
        "def add(a, b):\n    while True: pass",
        "import time\ntime.sleep(60)",
        ("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)"),
        RIGHT[0],
    ]
    verdicts = ex.execute({"add": ADD}, [("add", c) for c in codes], timeout=0.5, workers=2)
    assert [verdicts["add", c][:2] for c in codes] == [(False, False)] * 3 + [(True, True)]
    assert verdicts["add", codes[0]][2] == "`add(1, 2)` ran out of time, expected 3"
    assert verdicts["add", codes[1]][2] == "The program ran out of time while it was loaded."
    assert time.monotonic() - started < 10


def test_loading_public_and_hidden_tests_have_the_limit_each():
    """0.4 s three times, under a limit of 0.7 s."""
    code = (
        "import time\n"
        "def burn():\n"
        "    end = time.process_time() + 0.4\n"
        "    while time.process_time() < end: pass\n"
        "burn()\n"
        "def f(x):\n"
        "    burn()\n"
        "    return x + 1"
    )
    p = problem(public=["assert f(1) == 2"], hidden=["assert f(2) == 3"])
    assert judge(p, code, timeout=0.7) == (True, True, "")
    assert judge(p, code, timeout=0.2)[:2] == (False, False)


# Written by hand.
FEEDBACK = [
    ("def f(x): return x", "`f([3, 4])` gave [3, 4], expected 6"),
    (
        "def f(x): return x[2]",
        "`f([3, 4])` raised IndexError: list index out of range, line 1: "
        "def f(x): return x[2], expected 6",
    ),
    (
        "def f(x):\n    y = {}\n    return y['k']",
        "`f([3, 4])` raised KeyError: 'k', line 3: return y['k'], expected 6",
    ),
    ("class A: pass\ndef f(x): return A()", "`f([3, 4])` gave an object, expected 6"),
    (
        # Eight letters: in the order of a random hash they are sorted once in 40,320 times.
        "def f(x): return set('hgfedcba')",
        "`f([3, 4])` gave {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}, expected 6",
    ),
    (
        "def f(x): return x for",
        "The program does not load: SyntaxError: invalid syntax, line 1: def f(x): return x for",
    ),
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
    assert judge(p, "def f(x): return x")[2] == "`f(1)` gave 1, expected 2"
    assert judge(p, "def f(x): return x + 1")[0]


def test_feedback_names_no_call_of_an_earlier_test():
    p = problem(public=["assert f(1) == 2", "x = 3\nassert x == 4"])
    feedback = "`assert x == 4` gave a wrong answer; the test is: assert x == 4"
    assert judge(p, "def f(x): return x + 1")[2] == feedback


def test_feedback_of_other_forms():
    close = problem(public=["assert abs(f(1) - 0.5) < 1e-6"])
    feedback = "`f(1)` gave a wrong answer; the test is: assert abs(f(1) - 0.5) < 1e-06"
    assert judge(close, "def f(x): return 3")[2] == feedback
    assert judge(close, "def f(x): return x / 2")[2] == ""

    # A test of several steps is named by the last call.
    checked = problem(public=["def check(g):\n    assert g(1, k=[2]) == 3\ncheck(f)"])
    assert judge(checked, "def f(x, k): return 0")[2] == "`f(1, k=[2])` gave a wrong answer"

    # A program that reads and prints.
    text = problem(
        public=[{"input": "1 2\n", "output": "3\n"}],
        hidden=[{"input": "4 5\n", "output": "9"}],
        entry_point="",
    )
    assert judge(text, "print(sum(map(int, input().split())))") == (True, True, "")
    assert judge(text, "print(12)") == (False, False, "input '1 2' gave '12', expected '3'")


def test_tests_of_any_form():
    # An argument that is changed in place.
    mutated = problem(
        public=["x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"],
        hidden=["d = {1: 2}\nf(d)\nassert d == {}"],
    )
    code = "def f(x): x.sort() if isinstance(x, list) else x.clear()"
    assert judge(mutated, code)[:2] == (True, True)

    # An exception that the test expects.
    raises = problem(public=["try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"])
    code = "def f(x):\n    if x < 0: raise ValueError('no')\n    return x + 1"
    assert judge(raises, code)[:2] == (True, True)
    assert judge(raises, "def f(x): return x + 1")[0] is False

    # Set-up code that needs a class of the program's.
    tree = problem(
        setup="root = Node(1)\nroot.left = Node(2)", public=["assert f(root) == 2"], hidden=[]
    )
    code = (
        "class Node:\n"
        "    def __init__(self, v): self.v, self.left = v, None\n"
        "def f(n): return n.left.v"
    )
    assert judge(tree, code)[:2] == (True, True)


def test_only_the_entry_point_replaces_a_builtin():
    shadow = problem(public=["assert sum(2, 3) == 5"], hidden=[], entry_point="sum")
    assert judge(shadow, "def sum(a, b): return a + b")[0] is True
    # A program cannot put its own `sorted` under a test.
    honest = problem(public=["assert sorted(f(1)) == [1, 2]"], hidden=[])
    assert judge(honest, "def sorted(x): return [1, 2]\ndef f(x): return []")[0] is False


def test_no_public_tests_means_loads_and_defines():
    bare = problem(public=[])
    assert judge(bare, "def f(x): return x + 1")[:2] == (True, True)
    assert judge(bare, "def f(x): return 0")[:2] == (True, False)
    assert judge(bare, "def g(x): return 0")[:2] == (False, False)


def test_feedback_never_speaks_of_hidden_tests():
    hidden_tests = ([], ["assert f(987) == 654"], ["assert f([3, 4]) == 654"])
    for code, _ in FEEDBACK:
        feedback = set()
        for hidden in hidden_tests:
            p = problem(public=["assert f([3, 4]) == 6"], hidden=hidden)
            feedback.add(judge(p, code)[2])
        assert len(feedback) == 1
        assert "987" not in feedback.pop()


def test_stage_keeps_rows_and_runs_each_program_once(tmp_path, monkeypatch):
    good = "def f(x): return x + 1"
    rows = []
    for k, (task, completion) in enumerate(
        [("a", good), ("b", good), ("a", "no"), ("a", f"```\n{good}\n```")]
    ):
        row = dict(policy="base", task_id=task, trajectory=k, turn=1, messages=[])
        rows.append(dict(row, completion=completion, extra=k))

    runs = []
    judge_of_stage = ex.judge

    def judge_and_count(zygote, limits, p, code):
        runs.append((p["task_id"], code))
        return judge_of_stage(zygote, limits, p, code)

    monkeypatch.setattr(ex, "judge", judge_and_count)
    problems = write(tmp_path / "p", [problem("a"), problem("b", hidden=["assert f(0) == 9"])])
    samples = write(tmp_path / "s", rows)
    run(2, "--problems", problems, "--samples", samples, "--out", tmp_path / "steps")

    # The order stays, and unknown fields pass through.
    steps = read(tmp_path / "steps")
    assert [{k: s[k] for k in rows[0]} for s in steps] == rows
    verdicts = [(s["public_passed"], s["hidden_passed"]) for s in steps]
    assert verdicts == [(True, True), (True, False), (False, False), (True, True)]
    assert sorted(runs) == [("a", good), ("a", "no"), ("b", good)]


def test_nothing_is_left_behind():
    code = (
        "import os\n"
        "if os.fork() == 0:\n"
        "    import time\n"
        "    time.sleep(30)\n"
        "def add(a, b): return a + b"
    )
    judge(ADD, code)
    time.sleep(0.2)
    children = f"/proc/self/task/{os.getpid()}/children"
    if os.path.exists(children):
        with open(children) as file:
            assert file.read() == ""


@pytest.mark.parametrize(
    "where, rows, words",
    [
        ("p", [], ["no rows"]),
        ("p", ["not json"], ["row 1", "JSON"]),
        ("p", ["[1]"], ["row 1", "object"]),
        ("p", [problem("a"), {**problem("b"), "prompt": 3}], ["row 2", "'prompt'"]),
        (
            "p",
            [{k: v for k, v in problem("a").items() if k != "setup"}],
            ["row 1", "'setup'", "missing"],
        ),
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
    ],
)
def test_bad_input(tmp_path, refused, where, rows, words):
    files = {"p": [problem("a")], "s": [step("a")], where: rows}
    paths = {name: write(tmp_path / name, content) for name, content in files.items()}
    out = tmp_path / "out"
    out.write_text("earlier")

    def call():
        run(2, "--problems", paths["p"], "--samples", paths["s"], "--out", out)

    refused(call, paths[where], *words)
    assert out.read_text() == "earlier"


def test_where_nothing_can_be_written_or_started(tmp_path, refused):
    problems = write(tmp_path / "p", [problem("a")])
    samples = write(tmp_path / "s", [step("a")])
    folder = tmp_path / "out"
    folder.mkdir()

    def call(*more):
        run(2, "--problems", problems, "--samples", samples, *more)

    refused(lambda: call("--out", folder), folder, "cannot be written")
    refused(lambda: call("--out", tmp_path / "o", "--memory", 5), "5 MB", "--memory")
    assert not (tmp_path / "o").exists()


def test_an_incomplete_cage_can_be_refused(tmp_path, refused, monkeypatch):
    """With --require-sandbox the words of the sandbox end the stage, before anything is written."""
    monkeypatch.setattr(sandbox.Zygote, "wait_until_ready", lambda zygote: ("seccomp",))
    problems = write(tmp_path / "p", [problem("a")])
    samples = write(tmp_path / "s", [step("a")])
    command = ["--problems", problems, "--samples", samples, "--out", tmp_path / "o"]
    refused(lambda: run(2, *command, "--require-sandbox"), "no seccomp", "--require-sandbox")
    assert not (tmp_path / "o").exists()


def test_missing_file(tmp_path, refused):
    nope = tmp_path / "nope"
    command = ["--problems", nope, "--samples", tmp_path / "s", "--out", tmp_path / "o"]
    refused(lambda: run(2, *command), "nope", "No such file")


def test_it_needs_the_standard_library_only():
    code = (
        "import importlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "importlib.import_module('02_execute')\n"
        "importlib.import_module('04_relabel')\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code, ROOT], check=True)
