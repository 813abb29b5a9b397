"""Stage 02: what is a program, is it right, and what does feedback say about it?"""

import os
import subprocess
import sys
import time

from lib import sandbox

import pytest
from conftest import ROOT, problem, read, run, stage, step, write

ex = stage(2)
ADD = problem(
    "add",
    public=["assert add(1, 2) == 3"],
    hidden=["assert add(-1, 1) == 0", "assert add(10, 5) == 15"],
    entry_point="add",
)


def judge_all(pairs, timeout=5.0):
    """The verdicts on (problem, code) pairs, in their order."""
    problems = {}
    programs = []
    for number, (p, code) in enumerate(pairs):
        problems[str(number)] = dict(p, task_id=str(number))
        programs.append((str(number), code))
    verdicts = ex.execute(problems, programs, timeout)
    return [verdicts[program] for program in programs]


def judge(p, code, timeout=5.0):
    """The verdict on one program."""
    return judge_all([(p, code)], timeout)[0]


# ── From a completion to a program ───────────────────────────────────────────────────────────────

F = "def f(x):\n    return x"
USE = "print(f(3))"
# In a docstring: a fence, one with a language, one at the margin.
DOCSTRING = (
    'def f(x):\n    """Add.\n\n    ```\n    f(1)\n    ```\n'
    '    ```python\n    f(2)\n    ```\n```\nf(3)\n```\n    """\n    return x'
)
# Triple quotes that open nothing.
QUOTES = 'def f(line):\n    return line.startswith(\'"""\')'
BOTH_QUOTES = "def f(line):\n    return line.startswith(('\"\"\"', \"'''\"))"


def block(code, language="python", fence="```"):
    return f"{fence}{language}\n{code}\n{fence}\n"


# Worked out by hand from one rule, for the entry point f: the last block that defines it, else the
# last in Python, else the last. Without a block the whole text, if it is Python.
EXTRACTIONS = {
    # Which block?
    "one": (block("x = 1"), "x = 1"),
    "two that do not define it": ("Think.\n" + block("x = 1") + "and\n" + block("x = 2"), "x = 2"),
    "a usage example after the answer": (block(F) + "Use it so:\n" + block(USE), F),
    "a usage example before the answer": ("To be used so:\n" + block(USE) + "\n" + block(F), F),
    "a draft and the answer": (block("def f(x): pass") + "No:\n" + block(F), F),
    "sample output after the answer": (block(F) + "This prints\n" + block("3", ""), F),
    "sample output after a script": (block(USE) + "This prints\n" + block("3", ""), USE),
    "a text before": (block("x", "text") + block("x = 1"), "x = 1"),
    "a diff after": (block(F) + block("-def f(x):\n+def f(y):", "diff"), F),
    "a session after": (block("x = 1") + block(">>> f(1)\n1", "pycon"), "x = 1"),
    "none in Python": (block("a", "js") + block("{}", "json"), "{}"),
    "without a language, but it defines f": (block(F, "") + block(USE), F),
    "without a language": (block("x = 1", ""), "x = 1"),
    "an empty one after": (block("x = 1") + block(""), "x = 1"),
    "only an empty one": (block(""), ""),
    # What defines f?
    "a class": (block("class f(dict):\n    pass") + block(USE), "class f(dict):\n    pass"),
    "an assignment": (block("f = max") + block(USE), "f = max"),
    "an annotated assignment": (block("f: type = int") + block(USE), "f: type = int"),
    "async def": (block("async def f(): pass") + block(USE), "async def f(): pass"),
    "under a decorator": (block("@cache\n" + F) + block(USE), f"@cache\n{F}"),
    "longer names do not": (block(F) + block("def f_all(): f()\ndef of(): f()"), F),
    "a method does not": (block(F) + block("class A:\n    def f(self): pass"), F),
    # Where does a block begin and end?
    "capitals": (block("x = 1", "Python") + block("x = 2", "text"), "x = 1"),
    "python3, py": (block("x = 1", "python3") + block("x = 2", "PY"), "x = 2"),
    "a space before the language": (block("x = 1", " python") + block("3", ""), "x = 1"),
    "words behind the language": (block("x = 1", 'python title="f.py"'), "x = 1"),
    "spaces behind the fences": ("```python  \nx = 1\n```  \nDone.", "x = 1"),
    "behind prose": ("It is ```python\nx = 1\n```", "x = 1"),
    "~~~": (block("x = 1", fence="~~~"), "x = 1"),
    "``` inside ~~~": (block("x = 1\n```", fence="~~~"), "x = 1\n```"),
    "``` inside ````": (block("x = 1\n```", fence="````"), "x = 1\n```"),
    "an answer inside a longer fence": (block("So:\n" + block(F), "markdown", "````"), F),
    "a longer fence at the end": ("```python\nx = 1\n`````\nDone.", "x = 1"),
    "a fence behind the last line of code": (f"```python\n{F}```\nDone.", F),
    "a fence in the middle of a line": (block("x = ```python\nx = 1"), "x = ```python\nx = 1"),
    "a fence in a string": (
        block("s = '```'\nt = s.split(\"```\")"),
        "s = '```'\nt = s.split(\"```\")",
    ),
    "fences in a docstring": (block(DOCSTRING) + "Done.", DOCSTRING),
    "fences in a docstring, and an example": (block(DOCSTRING) + "So:\n" + block(USE), DOCSTRING),
    "quotes that open nothing": (block(QUOTES) + "Done.", QUOTES),
    "quotes that open nothing, and an example": (block(QUOTES) + "So:\n" + block(USE), QUOTES),
    "quotes of both kinds": (block(BOTH_QUOTES) + "Done.", BOTH_QUOTES),
    "quotes that open nothing, also in the prose": (f'{block(QUOTES)}It looks for """.', QUOTES),
    "quotes that open nothing, and no end": (f"```python\n{QUOTES}", QUOTES),
    "quotes in a comment": (block(f"# no ''' here\n{F}") + "Done.", f"# no ''' here\n{F}"),
    "in a list": ("1. So:\n\n   ```python\n   def f(x):\n       return x\n   ```\n2. Done.", F),
    "deeper than its fence": ("- So:\n  ```python\n\tdef f(x):\n\t    return x\n  ```\n", F),
    "cut off": (f"```python\n{F}", F),
    "cut off in a docstring": ("```python\ndef f(x):\n    '''Add", "def f(x):\n    '''Add"),
    "an example that is cut off": (block(F) + "So:\n```python\nprint(", F),
    "the next begins before the end": (f"```python\n{F}\n" + block(USE), F),
    "Windows line ends": ("```py\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\r\ny = 2"),
    # The fence that opens it is missing.
    "a fence at the end alone": (f"{F}\n```", F),
    "… behind the last line": (f"{F}```", F),
    "… and prose": (f"{F}\n```\nThis gives x.", F),
    "… and prose before": (
        f"Imports, all\nfrom the library:\nimport re\n{F}\n~~~",
        f"import re\n{F}",
    ),
    "… and an example": (f"{F}\n```\nUse it so:\n{block(USE)}", F),
    "… and a better one": (f"def f(x): pass\n```\nBetter:\n{block(F)}", F),
    "no fence is missing": (f"def f(x): pass\n{block(F, '')}", F),
    "an end is missing": (f"So:\n```\n{F}", F),
    "prose before a block without an end": (f"import re\n```\n{F}", F),
    "prose that is Python": ("No\n```", ""),
    # No block.
    "bare code": (f"\n\n{F}\n", F),
    "bare code with Windows line ends": ("x = 1\r\ny = 2\r\n", "x = 1\r\ny = 2"),
    "bare code after a byte order mark": ("\ufeffx = 1", "x = 1"),
    "prose": ("Call `f(x)`, which gives x.", ""),
    "nothing": ("", ""),
    # Reasoning.
    "a thought": ("<think>\n" + block("f = 0") + "</think>\n\n" + block("x = 1"), "x = 1"),
    "a thought that the prompt began": (
        f"Hm.\n{block('f = 0')}</think>\n{block('x = 1')}",
        "x = 1",
    ),
    "a thought that is cut off": ("<think>\n" + block("f = 0"), ""),
    "a thought and prose": ("<think>\n" + block("f = 0") + "</think>\nI give up.", ""),
    "a thought and bare code": ("<think>f = 0</think>\nx = 1", "x = 1"),
}


@pytest.mark.parametrize("name", EXTRACTIONS)
def test_extract_code(name):
    completion, code = EXTRACTIONS[name]
    assert ex.extract_code(completion, "f") == code


def test_scripts_have_no_entry_point():
    assert ex.extract_code(block(F) + block(USE) + block("3", "")) == USE


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────

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


def test_right_and_wrong():
    verdicts = judge_all([(ADD, code) for code in RIGHT + WRONG])
    right, wrong = verdicts[: len(RIGHT)], verdicts[len(RIGHT) :]
    assert right == [(True, True, "")] * len(RIGHT)
    assert [code for code, verdict in zip(WRONG, wrong) if verdict[0] or verdict[1]] == []
    assert all(0 < len(feedback) <= 300 for _, _, feedback in wrong)


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
    # One that lives is loaded anew.
    once = problem(public=["assert f() == 1"], hidden=["assert f() == 1", "assert f() == 2"])
    code = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls)"
    assert judge(once, code) == (True, True, "")


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


# ── Feedback, written by hand ────────────────────────────────────────────────────────────────────

LETTERS = "{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}"
# What a program gives or does: [(program, feedback)], where f([3, 4]) should be 6.
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
    (
        "def f(x, y): return x",
        "`f([3, 4])` raised TypeError: f() missing 1 required positional argument: 'y', expected 6",
    ),
    # Arguments are told as they were sent, results as they came.
    ("def f(x): x.append(5); return x", "`f([3, 4])` gave [3, 4, 5], expected 6"),
    # Eight letters: in the order of a random hash they are sorted once in 40,320 times.
    ("def f(x): return set('hgfedcba')", f"`f([3, 4])` gave {LETTERS}, expected 6"),
    (
        "def f(x): return [frozenset('hgfedcba')]",
        f"`f([3, 4])` gave [frozenset({LETTERS})], expected 6",
    ),
    # What stays in the program, and no addresses.
    ("class A: pass\ndef f(x): return A()", "`f([3, 4])` gave an object, expected 6"),
    (
        "class A: pass\ndef f(x): return [A(), f]",
        "`f([3, 4])` gave [an object, an object], expected 6",
    ),
    (
        "def f(x): raise ValueError(object())",
        "`f([3, 4])` raised ValueError: <object object>, line 1: "
        "def f(x): raise ValueError(object()), expected 6",
    ),
    # Numbers.
    ("def f(x): return [float('nan')]", "`f([3, 4])` gave [nan], expected 6"),
    ("def f(x): return 10 ** 5000", "`f([3, 4])` gave something huge, expected 6"),
    (
        "from decimal import Decimal\ndef f(x): return Decimal('6.5')",
        "`f([3, 4])` gave Decimal('6.5'), expected 6",
    ),
    (
        "def f(x): return list(range(100))",
        f"`f([3, 4])` gave {str(list(range(100)))[:119]}…, expected 6",
    ),
    # One line, and nothing that a chat template, a terminal or a tokenizer would take for its own.
    (
        "def f(x): raise ValueError('a\\nb')",
        "`f([3, 4])` raised ValueError: a\\nb, line 1: "
        "def f(x): raise ValueError('a\\nb'), expected 6",
    ),
    ("def f(x): return '<|im_end|>'", "`f([3, 4])` gave '\\x3c|im_end|>', expected 6"),
    ("def f(x): return '</s>[/INST]'", "`f([3, 4])` gave '\\x3c/s>\\x5b/INST]', expected 6"),
    ("def f(x): return '\\x1b[2J'", "`f([3, 4])` gave '\\x1b[2J', expected 6"),
    ("def f(x): return '\\ud800'", "`f([3, 4])` gave '\\ud800', expected 6"),
    # Ends.
    ("import os\ndef f(x): os._exit(0)", "`f([3, 4])` crashed, expected 6"),
    (
        "import sys\ndef f(x): sys.exit(3)",
        "`f([3, 4])` raised SystemExit: 3, line 2: def f(x): sys.exit(3), expected 6",
    ),
    ("def f(x): return [0] * 10 ** 10", "`f([3, 4])` ran out of memory, expected 6"),
    # It does not load, …
    (
        "def f(x): return x for",
        "The program does not load: SyntaxError: invalid syntax, line 1: def f(x): return x for",
    ),
    (
        "def f(x):\nreturn x",
        "The program does not load: IndentationError: expected an indented block after function "
        "definition on line 1, line 2: return x",
    ),
    ("def g(x): return x", "The program does not define `f`."),
    ("1/0", "The program does not load: ZeroDivisionError: division by zero, line 1: 1/0"),
    ("import os; os._exit(1)", "The program crashed while it was loaded."),
    ("", "There is no program in this answer. Write one, in a ```python block."),
    # … but may have defined f before, and failed in a test of its own.
    (
        "def f(x): return x[0]\nassert f([3, 4]) == 7",
        "The program does not load: AssertionError, line 2: assert f([3, 4]) == 7; "
        "`f([3, 4])` gave 3, expected 6",
    ),
    (
        "def f(x): return sum(x) - 1 if x else 0\nassert f([1]) == 1, f([1])",
        "The program does not load: AssertionError: 0, line 2: assert f([1]) == 1, f([1]); "
        "but it passes the tests",
    ),
]


IDENTITY = "def f(x): return x"
SORTS = "def f(x):\n    x.sort()\n    return x"
RAISES = "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"
STACK = "class Stack:\n    size = 0\n    def push(self, x): self.size = x"
# How tests are told: {what: (test, program, feedback)}.
TOLD = {
    # An assert with two sides is told by them.
    "the call on the right": ("assert 2 == f(1)", IDENTITY, "`f(1)` gave 1, expected 2"),
    "a call in a call": ("assert f(f(1)) == 3", IDENTITY, "`f(f(1))` gave 1, expected 3"),
    "a message of its own": ("assert f(1) == 2, 'no'", IDENTITY, "`f(1)` gave 1, expected 2"),
    "letters that look alike": (
        "assert f('meet') == 'meet'",
        "def f(x): return 'm\u0435\u0435t'",
        "`f('meet')` gave 'm\\u0435\\u0435t', expected 'meet'",
    ),
    "letters that look alike, none of them ASCII": (
        "assert f(1) == '\u00e9'",
        "def f(x): return 'e\u0301'",
        "`f(1)` gave 'e\\u0301', expected '\\xe9'",
    ),
    "long texts that differ late": (
        f"assert f(1) == '{'x' * 200}a'",
        "def f(x): return 'x' * 200 + 'b'",
        f"`f(1)` gave …{'x' * 20}b', expected …{'x' * 20}a'",
    ),
    "long lists that differ late": (
        f"assert f(1) == {[*range(99), 0]}",
        "def f(x): return list(range(100))",
        "`f(1)` gave …94, 95, 96, 97, 98, 99], expected …94, 95, 96, 97, 98, 0]",
    ),
    # Any other test by its last call, as it was sent, and by the assert that fails.
    "two calls": (
        "assert f(1) == f(2)",
        IDENTITY,
        "`f(2)` gave 2; the test is: assert f(1) == f(2)",
    ),
    "a call of another's on the left": (
        "assert float('inf') == f(1)",
        IDENTITY,
        "`f(1)` gave 1; the test is: assert float('inf') == f(1)",
    ),
    "a call of another's around it": (
        "assert sorted(f([2, 1])) == [1]",
        IDENTITY,
        "`f([2, 1])` gave [2, 1]; the test is: assert sorted(f([2, 1])) == [1]",
    ),
    "a close value": (
        "assert abs(f(1) - 0.5) < 1e-6",
        "def f(x): return 3",
        "`f(1)` gave 3; the test is: assert abs(f(1) - 0.5) < 1e-06",
    ),
    "is": ("assert f(1) is None", IDENTITY, "`f(1)` gave 1; the test is: assert f(1) is None"),
    "truth": ("assert not f(1)", IDENTITY, "`f(1)` gave 1; the test is: assert not f(1)"),
    "nan": (
        "import math\nassert math.isnan(f(1))",
        IDENTITY,
        "`f(1)` gave 1; the test is: assert math.isnan(f(1))",
    ),
    "a result of the wrong kind": (
        "assert len(f(1)) == 2",
        IDENTITY,
        "`f(1)` gave 1; the test is: assert len(f(1)) == 2",
    ),
    "a list that is changed": (
        "x = [3, 1, 2]\nassert f(x) == 0",
        SORTS,
        "`f([3, 1, 2])` gave [1, 2, 3]; the test is: assert f(x) == 0",
    ),
    "a list that is changed inside another, by keyword": (
        "d = {'k': ([2, 1],)}\nf(data=d, n=1)\nassert d == {}",
        "def f(data, n): data['k'][0].sort()",
        "`f(data={'k': ([2, 1],)}, n=1)` gave None; the test is: assert d == {}",
    ),
    "a result that the test changes": (
        "y = f([1])\ny.append(9)\nassert y == [1, 2, 9]",
        IDENTITY,
        "`f([1])` gave [1]; the test is: assert y == [1, 2, 9]",
    ),
    "a set": (
        "s = set('hgfedcba')\nassert f(s) == 0",
        "def f(x): return len(x)",
        f"`f({LETTERS})` gave 8; the test is: assert f(s) == 0",
    ),
    "a long argument": (
        "x = 'a' * 200\nassert f(x) == 1",
        "def f(x): return 0",
        f"`f('{'a' * 58}…)` gave 0; the test is: assert f(x) == 1",
    ),
    "the second of two asserts": (
        "assert f(1) == 1\nassert f(2) == 3",
        IDENTITY,
        "`f(2)` gave 2; the test is: assert f(2) == 3",
    ),
    "a loop": (
        "for x in (1, 2):\n    assert f(x) == x",
        "def f(x): return x * x",
        "`f(2)` gave 4; the test is: assert f(x) == x",
    ),
    "a function of the test's": (
        "def check(g):\n    assert g(1, k=[2]) == 3\ncheck(f)",
        "def f(x, k): return 0",
        "`f(1, k=[2])` gave 0; the test is: assert g(1, k=[2]) == 3",
    ),
    "a method": (
        "s = Stack()\ns.push(3)\nassert s.size == 1",
        f"{STACK}\nf = Stack",
        "`push(3)` gave None; the test is: assert s.size == 1",
    ),
    "no exception": (RAISES, IDENTITY, "`f(-1)` gave -1; the test is: assert False"),
    "another exception": (
        RAISES,
        "def f(x): raise KeyError('k')",
        "`f(-1)` raised KeyError: 'k', line 1: def f(x): raise KeyError('k'); "
        "the test is: assert False",
    ),
    "no call at all": (
        "x = 3\nassert x == f",
        IDENTITY,
        "`assert x == f` does not hold; the test is: assert x == f",
    ),
}
# The same for scripts: {what: ((input, output), program, feedback)}.
TOLD_OF_SCRIPTS = {
    "another output": (("1 2\n", "3\n"), "print(12)", "input '1 2' gave '12', expected '3'"),
    "no output": (("1\n2\n", "3\n4\n"), "x = 3", "input '1 2' gave '', expected '3 4'"),
    "its end": (("1 2", "3"), "import os; os._exit(3)", "input '1 2' crashed, expected '3'"),
    "an exception": (
        ("x\n", "3\n"),
        "n = int(input())",
        "input 'x' raised ValueError: invalid literal for int() with base 10: 'x', "
        "line 1: n = int(input()), expected '3'",
    ),
    "the last of 20 digits": (
        ("", "12345678901234567890"),
        "print(12345678901234567891)",
        "input '' gave '12345678901234567891', expected '12345678901234567890'",
    ),
    "long outputs that differ late": (
        ("", "1 " * 100 + "2"),
        "print('1 ' * 100 + '3')",
        "input '' gave '…1 1 1 1 1 1 1 1 1 1 3', expected '…1 1 1 1 1 1 1 1 1 1 2'",
    ),
    "letters that look alike": (
        ("", "YES"),
        "print('Y\u0415S')",
        "input '' gave 'Y\\u0415S', expected 'YES'",
    ),
    "a long input": (
        ("7 " * 100, "0"),
        "print(1)",
        f"input '{'7 ' * 39}7…' gave '1', expected '0'",
    ),
}


@pytest.fixture(scope="module")
def told():
    """{(table, row): feedback} of the three tables, from one call."""
    p = problem(public=["assert f([3, 4]) == 6", "assert f([]) == 0"])
    pairs = [(p, code) for code, _ in FEEDBACK]
    pairs += [(problem(public=[test]), code) for test, code, _ in TOLD.values()]
    for (given, expected), code, _ in TOLD_OF_SCRIPTS.values():
        p = problem(public=[{"input": given, "output": expected}], hidden=[], entry_point="")
        pairs.append((p, code))
    names = [("program", code) for code, _ in FEEDBACK]
    names += [("test", name) for name in TOLD] + [("script", name) for name in TOLD_OF_SCRIPTS]
    return dict(zip(names, [verdict.feedback for verdict in judge_all(pairs)]))


@pytest.mark.parametrize("code, feedback", FEEDBACK, ids=[code for code, _ in FEEDBACK])
def test_feedback(told, code, feedback):
    assert told["program", code] == feedback


@pytest.mark.parametrize("name", TOLD)
def test_how_a_test_is_told(told, name):
    assert told["test", name] == TOLD[name][-1]


@pytest.mark.parametrize("name", TOLD_OF_SCRIPTS)
def test_how_a_script_is_told(told, name):
    assert told["script", name] == TOLD_OF_SCRIPTS[name][-1]


def test_feedback_names_no_call_of_an_earlier_test():
    p = problem(public=["assert f(1) == 2", "x = 3\nassert x == 4"])
    feedback = "`assert x == 4` does not hold; the test is: assert x == 4"
    assert judge(p, "def f(x): return x + 1")[2] == feedback


def test_feedback_on_an_iterator_that_was_sent():
    """It is used up when it has been sent; at least that says no more than it should."""
    p = problem(public=["x = iter([1, 2])\nassert f(x) == 0"], hidden=["assert f([4]) == 4"])
    public, hidden, feedback = judge(p, "def f(x): return sum(x)")
    assert (public, hidden) == (False, True)
    assert feedback.startswith("`f(")
    assert feedback.endswith("gave 3; the test is: assert f(x) == 0")


def test_feedback_names_what_the_tests_miss():
    """Tests and set-up code may use more of a program than the entry point."""
    pairs = [
        (problem(public=["assert f(Node(1)) == 1"]), IDENTITY),
        (problem(public=["assert f(root) == 1"], setup="root = Node(1)"), IDENTITY),
    ]
    for verdict in judge_all(pairs):
        assert verdict[0] is False
        assert "NameError: name 'Node' is not defined" in verdict.feedback


def test_feedback_has_no_paths_of_this_machine():
    code = "from collections import Iterable\ndef f(x): return x"
    feedback = (
        "The program does not load: ImportError: cannot import name 'Iterable' from 'collections' "
        "(__init__.py), line 1: from collections import Iterable"
    )
    assert judge(problem(), code)[2] == feedback


def test_feedback_is_as_long_as_it_may_be():
    p = problem(public=["assert f(1) == 'y' * 999"])
    pair = ("p", "def f(x): return 'x' * 999")
    lengths = [len(ex.execute({"p": p}, [pair], feedback=n)[pair].feedback) for n in (40, 100, 999)]
    assert lengths[:2] == [40, 100]
    assert 100 < lengths[2] < 300


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
    told = []
    for hidden in ([], ["assert f(987) == 654"], ["assert f([3, 4]) == 654"]):
        p = problem(public=["assert f([3, 4]) == 6"], hidden=hidden)
        verdicts = judge_all([(p, code) for code, _ in FEEDBACK])
        told.append([verdict.feedback for verdict in verdicts])
    assert told[0] == told[1] == told[2]
    assert "987" not in str(told)


# ── The stage ────────────────────────────────────────────────────────────────────────────────────


def test_stage_keeps_rows_and_runs_each_program_once(tmp_path, monkeypatch):
    good = "def f(x): return x + 1"
    rows = []
    for k, (task, completion) in enumerate(
        [("a", good), ("b", good), ("a", "no"), ("a", f"```\n{good}\n```")]
    ):
        row = dict(policy="base", task_id=task, trajectory=k, turn=1, messages=[])
        rows.append(dict(row, completion=completion, extra=k))

    # What is handed to the sandbox.
    runs = []
    run_all = ex.run_all

    def run_and_count(work, items, *rest, **more):
        if work is ex.judge:
            runs.extend(items)
        return run_all(work, items, *rest, **more)

    monkeypatch.setattr(ex, "run_all", run_and_count)
    problems = write(tmp_path / "p", [problem("a"), problem("b", hidden=["assert f(0) == 9"])])
    samples = write(tmp_path / "s", rows)
    run(2, "--problems", problems, "--samples", samples, "--out", tmp_path / "steps")

    # The order stays, and unknown fields pass through.
    steps = read(tmp_path / "steps")
    assert [{k: s[k] for k in rows[0]} for s in steps] == rows
    verdicts = [(s["public_passed"], s["hidden_passed"]) for s in steps]
    assert verdicts == [(True, True), (True, False), (False, False), (True, True)]
    assert sorted(runs) == [("a", good), ("a", "no"), ("b", good)]


def children():
    """The numbers of this process's children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_nothing_is_left_behind():
    before = children()
    code = (
        "import os\n"
        "if os.fork() == 0:\n"
        "    import time\n"
        "    time.sleep(30)\n"
        "def add(a, b): return a + b"
    )
    judge(ADD, code)
    time.sleep(0.2)
    assert children() <= before


def test_the_same_command_gives_the_same_bytes(tmp_path):
    """Sets of texts as arguments and as results, whatever the seed of the caller's own hashes."""
    public = [
        "s = set('hgfedcba')\nassert f(s) == 0",
        "assert f(WORDS) == 0",
        # Which letter is the first?
        "for letter in set('hgfedcba'):\n    assert f(letter) == 0",
        "assert ''.join(f(set('hgfedcba'))) == 0",
    ]
    tests = {f"{k}": [test] for k, test in enumerate(public)}
    setup = "WORDS = frozenset('hgfedcba')"
    problems = [problem(task, test, setup=setup) for task, test in tests.items()]
    bodies = [
        "return x",
        "return list(x)",
        "return [set(x), {letter * 2 for letter in x}]",
        "return ' '.join(set(x))",
        "return dict.fromkeys(set(x)).keys()",
        "raise ValueError(set(x))",
        "x = set(x); x.pop(); return x",
    ]
    samples = []
    for task in tests:
        for k, body in enumerate(bodies):
            completion = block(f"def f(x): {body}")
            samples.append(step(task, trajectory=k, completion=completion))
    command = ["--problems", write(tmp_path / "p", problems)]
    command += ["--samples", write(tmp_path / "s", samples)]

    files = []
    for seed in ("1", "2"):
        out = tmp_path / f"steps{seed}"
        stage_and_options = [os.path.join(ROOT, "02_execute.py"), *command, "--out", out]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, *stage_and_options], check=True, env=env)
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert all(step["feedback"] for step in read(out))


LAMBDA = "assert f(lambda: 1) == 2"
FUNCTION = "def g():\n    return 1\nassert f([g]) == 2"
OBJECT = "class A:\n    pass\nassert f(key=A()) == 2"
CLASS = "class A:\n    pass\nassert f(A) == 2"
TEXT = {"input": "1", "output": "2"}
NO_SETUP = {name: value for name, value in problem("a").items() if name != "setup"}
ANY = "def f(*args, **kwargs): return 2"


@pytest.mark.parametrize(
    "where, rows, words",
    [
        ("p", [], ["no rows"]),
        ("p", ["not json"], ["row 1", "JSON"]),
        ("p", ["[1]"], ["row 1", "object"]),
        ("p", [problem("a"), {**problem("b"), "prompt": 3}], ["row 2", "'prompt'"]),
        ("p", [NO_SETUP], ["row 1", "'setup'", "missing"]),
        ("p", [problem("a"), problem("a")], ["row 2", "'a'"]),
        # Tests that are none.
        ("p", [problem("a", public=["assert ("])], ["row 1", "'public_tests'"]),
        ("p", [problem("a", hidden=[3])], ["row 1", "'hidden_tests'"]),
        ("p", [problem("a", hidden=[{"input": "1"}])], ["row 1", "'hidden_tests'"]),
        ("p", [problem("a", hidden=[{"input": 1, "output": "2"}])], ["row 1", "'hidden_tests'"]),
        ("p", [problem("a"), problem("b", public=[], hidden=[])], ["row 2", "'hidden_tests'"]),
        ("p", [problem("a", hidden=[TEXT])], ["row 1", "'hidden_tests'"]),
        ("p", [problem("a", public=[TEXT])], ["row 1", "'hidden_tests'"]),
        ("p", [problem("a", public=[TEXT, "assert f(1)"], hidden=[])], ["row 1", "'public_tests'"]),
        # Set-up code that cannot be executed, as the row's own reference shows.
        ("p", [problem("a"), problem("b", setup="x = (")], ["row 2", "'setup'"]),
        ("p", [problem("a", setup="x = g(1)")], ["row 1", "'setup'", "'g'"]),
        ("p", [problem("a", setup="1 / 0")], ["row 1", "'setup'", "ZeroDivisionError"]),
        (
            "p",
            [problem("a", setup="import no_such_module")],
            ["row 1", "'setup'", "no_such_module"],
        ),
        ("p", [problem("a", setup="x = f(1)\nexit()")], ["row 1", "'setup'", "SystemExit"]),
        ("p", [problem("a", setup="raise SystemExit(0)")], ["row 1", "'setup'", "SystemExit"]),
        # Tests that pass what cannot be sent.
        ("p", [problem("a"), problem("b", [LAMBDA])], ["row 2", "'public_tests'", "a function"]),
        ("p", [problem("a", hidden=[FUNCTION])], ["row 1", "'hidden_tests'", "a function"]),
        ("p", [problem("a", [OBJECT], reference=ANY)], ["row 1", "'public_tests'", "a A cannot"]),
        ("p", [problem("a", [CLASS])], ["row 1", "'public_tests'", "a type"]),
        (
            "p",
            [problem("a", ["assert f(KEY) == 2"], setup="def KEY(): pass", reference=ANY)],
            ["row 1", "'public_tests'", "a function"],
        ),
        # Tests that do not ask for the entry point.
        ("p", [problem("a"), problem("b", entry_point="g")], ["row 2", "'entry_point'", "'g'"]),
        ("p", [problem("a", ["x.f()"], ["assert 'f'"])], ["row 1", "'entry_point'", "'f'"]),
        # Samples.
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


def test_problems_that_look_doubtful_and_are_not(tmp_path):
    """A function of the test's own may stay there, and sets, iterators and Remotes are sent."""
    tests = [
        "assert sorted(f([2, 1]), key=lambda x: -x) == [2, 1]",
        "def same(x):\n    return x\nassert same(f)(map(same, [1])) == [1]",
        "assert f(frozenset([1])) == [1] and f(f([1])) == [1]",
        "assert f(dict.fromkeys([1])) == [1] and f(f) is None",
    ]
    setup = "import math\ndef helper(x):\n    return math.floor(x)"
    reference = "def f(x): return None if callable(x) else list(x)"
    rows = [problem("a", tests, tests, setup=setup, reference=reference)]
    rows.append({name: value for name, value in problem("b", tests).items() if name != "reference"})
    problems = ex.read_problems(str(write(tmp_path / "p", rows)))
    assert list(problems) == ["a", "b"]
    assert judge(problems["a"], reference) == (True, True, "")


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
    say_missing = sandbox.say_missing
    monkeypatch.setattr(sandbox, "say_missing", lambda _, strict: say_missing(("seccomp",), strict))
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


def test_what_a_problem_adds_to_all_feedback():
    """To the line of a failure and to that of no program; to nothing where nothing failed."""
    p = problem("p", retry="Write the whole program.")
    programs = [("p", "def f(x): return x"), ("p", "def f(x): return x + 1"), ("p", ""), ("q", "")]
    verdicts = ex.execute({"p": p, "q": problem("q")}, programs, 3.0, 1, feedback=30)
    # The limit is for what happened: an instruction that is cut off is none.
    lines = [verdict.feedback for verdict in verdicts.values()]
    assert lines[0] == "`f(1)` gave 1, expected 2 Write the whole program."
    assert lines[1] == ""
    assert lines[2] == f"{ex.NO_PROGRAM} Write the whole program."
    assert lines[3] == ex.NO_PROGRAM


def test_a_retry_that_is_no_text_is_refused(tmp_path, refused):
    path = write(tmp_path / "p", [problem(retry=["Again."])])
    refused(lambda: ex.read_problems(path), "row 1", "'retry'", "type: str")


# ── Problems that are refused ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("test", ["f(1) == 2", "pass", "", "'f(1)'", "assert (f(1) == 2, 'f(1)')"])
def test_a_test_that_asserts_nothing_is_refused(tmp_path, refused, test):
    """Every program would be right."""
    path = write(tmp_path / "p", [problem(), problem("q", hidden=[test])])
    refused(lambda: ex.read_problems(path), "row 2", "'hidden_tests'", "asserts nothing")


@pytest.mark.parametrize("test", ["f(1)", "x = f(1)", "assert f(1), 'x'", "raise SystemExit"])
def test_a_test_that_may_fail_is_accepted(tmp_path, test):
    assert "p" in ex.read_problems(write(tmp_path / "p", [problem(public=[test])]))


@pytest.mark.parametrize("argument", ["''.join", "[].append", "...", "lambda x: x", "max"])
def test_what_cannot_be_sent_is_refused_wherever_it_is_written(tmp_path, refused, argument):
    row = problem(hidden=[f"assert f({argument}) == 2"])
    path = write(tmp_path / "p", [row])
    refused(lambda: ex.read_problems(path), "row 1", "'hidden_tests'", "cannot be sent")


@pytest.mark.parametrize("end", ["exit()", "exit(0)", "sys.exit(None)", "raise SystemExit"])
def test_a_script_may_exit(end):
    p = problem(public=[{"input": "1", "output": "2"}], hidden=[])
    code = f"import sys\nprint(int(input()) + 1)\n{end}"
    assert ex.execute({"p": p}, [("p", code)], 3.0, 1)["p", code].public_passed


@pytest.mark.parametrize("end", ["exit(1)", "sys.exit('no')", "raise SystemExit(2)"])
def test_a_script_that_exits_with_a_failure_is_wrong(end):
    """As for every judge of programming contests: that is a runtime error."""
    p = problem(public=[{"input": "1", "output": "2"}], hidden=[])
    code = f"import sys\nprint(int(input()) + 1)\n{end}"
    verdict = ex.execute({"p": p}, [("p", code)], 3.0, 1)["p", code]
    assert not verdict.public_passed
    assert "raised SystemExit" in verdict.feedback
