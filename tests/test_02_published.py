"""Stage 02 on published problems.

Every reference passes, 2,000 mutants and 1,000 programs as a model writes them get the verdict of a
plain run, and anything at all gets a verdict.
"""

import ast
import json
import os
import random
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import fuzz_execute
import mbpp
import pytest
from conftest import ROOT, SHARED, problem, read, stage

ex = stage(2)
# Published regular expressions cause warnings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
published = pytest.mark.skipif(
    not os.path.isdir(SHARED), reason="needs the published files of MBPP and HumanEval"
)

# How many problems each split has.
SPLITS = {
    "mbpp": {"train": 374, "dev": 90, "test": 500},
    "humaneval": {"test": 164},
}
SOURCES = {"mbpp": f"{SHARED}/mbpp.jsonl", "humaneval": f"{SHARED}/HumanEval.jsonl.gz"}


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """{task_id: problem} of all splits, through the importers."""
    found = {}
    for name, sizes in SPLITS.items():
        out = tmp_path_factory.mktemp(name)
        importer = [sys.executable, f"{ROOT}/data/{name}.py", "--source", SOURCES[name]]
        subprocess.run([*importer, "--out", out], check=True)
        for split, size in sizes.items():
            problems_of_split = ex.read_problems(str(out / f"{split}.jsonl"))
            assert len(problems_of_split) == size
            found.update(problems_of_split)

    # MBPP's first ten serve as prompts, and are in no split.
    for row in read(SOURCES["mbpp"]):
        if row["task_id"] <= 10:
            p = mbpp.convert(row)
            found[p["task_id"]] = dict(p, reference=p["references"][0])
    return found


@published
def test_every_reference_passes_and_a_wrong_program_fails(problems):
    assert len(problems) == 974 + 164
    references = [(task, p["reference"]) for task, p in problems.items()]
    wrong = [(t, f"def {p['entry_point']}(*args): return 'wrong'") for t, p in problems.items()]
    verdicts = ex.execute(problems, references + wrong, 10.0)
    assert [pair for pair in references if verdicts[pair] != (True, True, "")] == []
    assert [pair for pair in wrong if ex.reward(verdicts[pair]._asdict())] == []


# ── Mutants: one operator, constant, comparison or return changed ────────────────────────────────

SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.FloorDiv,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def places_to_mutate(tree):
    """The places of a program where `mutate` can change something, as (node, attribute)."""
    places = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
            places.append((node, "op"))
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            places.append((node, "ops"))
        if isinstance(node, ast.Constant) and type(node.value) in (int, str, bool):
            places.append((node, "value"))
        if isinstance(node, ast.Return) and node.value:
            places.append((node, "return"))
    return places


def mutate(code, rng):
    """The program with one place changed, or None."""
    tree = ast.parse(code)
    places = places_to_mutate(tree)
    if not places:
        return None
    node, attribute = rng.choice(places)
    if attribute == "op":
        node.op = SWAPS[type(node.op)]()
    elif attribute == "ops":
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif attribute == "return":
        node.value = ast.Constant(None)
    elif isinstance(node.value, bool):
        node.value = not node.value
    else:
        node.value += 1 if isinstance(node.value, int) else "x"
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    except ValueError:
        return None


# A plain run: program and tests in one process. From lines of [problem, code, seconds] to lines of
# [public_passed, hidden_passed].
PLAIN = """
import json, os, resource, signal, sys
from types import ModuleType
# What programs import is quicker there if it is imported here.
import bisect, collections, copy, dataclasses, doctest, enum, fractions, functools, heapq, itertools
import logging, math, operator, random, re, string, threading, typing, unittest, warnings

def passes(code, setup, tests, seconds):
    pid = os.fork()
    if pid == 0:
        try:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            module = sys.modules["solution"] = ModuleType("solution")
            names = vars(module)
            exec(code, names)
            exec(setup, names)
            # HumanEval's tests define poly() for themselves, not for the program.
            names = dict(names)
            for test in tests:
                exec(test, names)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0

for line in sys.stdin:
    p, code, seconds = json.loads(line)
    kinds = (p["public_tests"], p["hidden_tests"])
    verdict = [passes(code, p["setup"], tests, seconds) for tests in kinds]
    print(json.dumps(verdict), flush=True)
"""


def plain(jobs, seconds):
    """The verdicts of plain runs on (problem, code) jobs: sound for programs that mean no harm."""
    verdicts = [None] * len(jobs)

    def work(k):
        lines = "".join(json.dumps([*job, seconds]) + "\n" for job in jobs[k::2])
        command = [sys.executable, "-c", PLAIN]
        done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True)
        verdicts[k::2] = [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (0, 1)))
    return verdicts


def compare(problems, jobs, seconds):
    """The verdicts of stage 02 and those of plain runs, on (problem, code) jobs."""
    programs = [(p["task_id"], code) for p, code in jobs]
    verdicts = ex.execute(problems, programs, seconds)
    ours = [verdicts[program][:2] for program in programs]
    theirs = plain(jobs, seconds)

    # Where they differ, it may be a matter of time.
    differing = [k for k, (our, their) in enumerate(zip(ours, theirs)) if our != their]
    if differing and seconds < 20:
        again = compare(problems, [jobs[k] for k in differing], 20.0)
        for k, our, their in zip(differing, *again):
            ours[k], theirs[k] = our, their
    return ours, theirs


def choose_tasks(problems):
    """The tasks with tests of both kinds, but for one that takes 3 s when it is right."""
    chosen = [task for task, p in problems.items() if p["public_tests"] and p["hidden_tests"]]
    chosen.remove("MBPP/123")
    return sorted(chosen)


@published
def test_mutants_get_the_verdict_of_a_plain_run(problems):
    rng = random.Random(0)
    jobs = []
    tasks = choose_tasks(problems)
    while len(jobs) < 2000:
        p = problems[rng.choice(tasks)]
        code = mutate(p["reference"], rng)
        if code:
            jobs.append((p, code))

    ours, theirs = compare(problems, jobs, 0.3)
    differing = [job for job, our, their in zip(jobs, ours, theirs) if our != their]
    assert [(p["task_id"], code) for p, code in differing] == []

    # Some mutants are right, most are not, and those have no reward.
    assert 0.05 < sum(map(all, ours)) / len(ours) < 0.5
    wrong = [our for our, their in zip(ours, theirs) if not all(their)]
    rows = [dict(public_passed=public, hidden_passed=hidden) for public, hidden in wrong]
    assert len(rows) > 1000
    assert not any(map(ex.reward, rows))


# ── Programs as a model writes them ──────────────────────────────────────────────────────────────

# In these texts `name` is the entry point, `test` is the public test, and `call` the call in it.


def split(texts):
    """Texts that are divided by lines of dashes."""
    return texts.strip("\n").split("\n---\n")


# What stands before a program.
BEFORE = split("""
import os
import sys
from typing import Any, Dict, List, Optional, Tuple, Union
---
import math, re, itertools, collections, heapq, functools
from collections import deque
---
from math import gcd, sqrt, ceil, floor, inf
---
'''Solves it.

```python
print(name(1))
```
'''
---
'''
Example:
>>> name(1)
2
'''
---
#!/usr/bin/env python3
# -*- coding: utf-8 -*-
---
from __future__ import annotations
---
import sys
sys.setrecursionlimit(5000)
---
import logging
logging.basicConfig(level=logging.DEBUG)
logging.info('start')
---
import random
random.seed(42)
import time
start = time.time()
---
try:
    import nothing_like_it
except ImportError:
    nothing_like_it = None
---
INF = float('inf')
MOD = 10**9 + 7
seen = {}
---
import threading
lock = threading.Lock()
---
import warnings
warnings.filterwarnings('ignore')
print('Hello!')
---
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def __len__(self):
        return len(self.items)

    def __eq__(self, other):
        return self.items == other.items
---
from dataclasses import dataclass, field
from enum import Enum

class Kind(Enum):
    ONE = 1

@dataclass(order=True)
class Point:
    x: int
    y: 'list[int]' = field(default_factory=list)

assert Point(1) < Point(2)
""")

# What stands behind it.
AFTER = split("""
if __name__ == '__main__':
    n = int(input())
    print(name(n))
---
def main():
    print(call)

if __name__ == '__main__':
    main()
---
import sys

if __name__ == '__main__':
    sys.exit(name(sys.stdin.read()))
---
print(call)
---
print('Result:', name, call, sep='\\n', flush=True)
---
test
---
test
print('All tests passed!')
---
def test_it():
    test

test_it()
---
try:
    print(call)
except Exception as error:
    print('Error:', error)
---
import doctest
doctest.testmod()
---
import unittest

class Test(unittest.TestCase):
    def test_it(self):
        test

if __name__ == '__main__':
    unittest.main()
---
name.__doc__ = 'The answer.'
---
assert call == 'no such value', 'Test failed'
---
assert not 'finished'
---
n = int(input('n = '))
---
print(undefined_name)
""")

# How `inner`, a function, becomes another of its own name: the same in other words, with values of
# another type, which are equal at times, or wrong, always or now and then.
AROUND = split("""
def name(*args, **kwargs):
    return inner(*args, **kwargs)
---
name = lambda *args: inner(*args)
---
class Solution:
    def name(self, *args):
        return inner(*args)

name = Solution().name
---
class Solver:
    def __call__(self, *args):
        return inner(*args)

name = Solver()
---
import functools
name = functools.partial(inner)
---
import functools

@functools.lru_cache(maxsize=None)
def name(*args):
    return inner(*args)
---
import functools

def counted(function):
    @functools.wraps(function)
    def wrapper(*args):
        wrapper.calls += 1
        return function(*args)
    wrapper.calls = 0
    return wrapper

@counted
def name(*args):
    return inner(*args)
---
import copy

def name(*args):
    return copy.deepcopy(inner(*copy.deepcopy(args)))
---
cache = {}

def name(*args):
    return cache.setdefault(repr(args), inner(*args))
---
def name(*args):
    print(*args)
    result = inner(*args)
    print(result)
    return result
---
def name(*args):
    result = inner(*args)
    return list(result)
---
def name(*args):
    result = inner(*args)
    return tuple(result)
---
def name(*args):
    return iter(inner(*args))
---
def name(*args):
    yield from inner(*args)
---
def name(*args):
    return map(lambda item: item, inner(*args))
---
def name(*args):
    return set(inner(*args))
---
def name(*args):
    return float(inner(*args))
---
def name(*args):
    return int(inner(*args))
---
def name(*args):
    return bool(inner(*args))
---
def name(*args):
    return str(inner(*args))
---
from fractions import Fraction

def name(*args):
    return Fraction(inner(*args))
---
class Text(str):
    pass

def name(*args):
    return Text(inner(*args))
---
class Items(list):
    pass

def name(*args):
    return Items(inner(*args))
---
class Answer:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return repr(self.value)

def name(*args):
    return Answer(inner(*args))
---
def name(*args):
    print(inner(*args))
---
def name(*args):
    return None
---
async def name(*args):
    return inner(*args)
---
calls = 0

def name(*args):
    global calls
    calls += 1
    return inner(*args) if calls < 2 else 0
---
def name(*args):
    raise NotImplementedError
---
def name(*args):
    args[0].sort(reverse=True)
    return inner(*args)
---
def name(self, *args):
    return inner(*args)
---
class name:
    def __init__(self, *args):
        self.result = inner(*args)
""")

HINTS = ["list", "Any", "List[int]", "int | None", "'str'", "Optional[Dict[str, int]]"]
DOCSTRINGS = split("""
>>> call
False
---
```python
call
```
---
Example: `call`
---
```
call
```

""")


def put(text, p):
    """One of these texts, with the names of a problem."""
    (statement,) = ast.parse(p["public_tests"][0]).body
    call = next(node for node in ast.walk(statement) if isinstance(node, ast.Call))
    words = {"name": p["entry_point"], "call": ast.unparse(call), "test": ast.unparse(statement)}
    words["inner"] = "inner_function"
    return re.sub(r"\b(name|call|test|inner)\b", lambda found: words[found[0]], text)


def decorate(code, p, rng):
    """A function with type hints, or a docstring with examples, or prints on its way."""
    tree = ast.parse(code)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name != p["entry_point"]:
            continue
        choice = rng.randrange(3)
        if choice == 0:
            for argument in node.args.args:
                argument.annotation = ast.parse(rng.choice(HINTS), mode="eval").body
            node.returns = ast.parse(rng.choice(HINTS), mode="eval").body
        elif choice == 1:
            text = f"What it does.\n\n{put(rng.choice(DOCSTRINGS), p)}"
            node.body.insert(0, ast.Expr(ast.Constant(text)))
        else:
            names = ", ".join(argument.arg for argument in node.args.args)
            node.body.insert(0, ast.parse(f"print('called with', {names})").body[0])
    source = ast.unparse(ast.fix_missing_locations(tree))
    return f"from typing import Any, Dict, List, Optional\n{source}"


def dress(code, p, rng):
    """A program with up to four of these habits."""
    habits = ("decorate", "around", "before", "after")
    chosen = rng.sample(habits, rng.choice((0, 1, 1, 2, 3, 4)))
    if "decorate" in chosen:
        code = decorate(code, p, rng)
    if "around" in chosen:
        # A function that calls itself then calls the new one, as in Python.
        code += f"\n\ninner_function = {p['entry_point']}\n\n{put(rng.choice(AROUND), p)}"
    if "before" in chosen:
        code = put(rng.choice(BEFORE), p) + "\n" + code
    if "after" in chosen:
        code += "\n\n" + put(rng.choice(AFTER), p)
    return code.strip("\n")


# An answer with a program at CODE. DRAFT is another program.
ANSWERS = [
    "```python\nCODE\n```",
    "```python\nCODE\n```\n",
    "```py\nCODE\n```",
    "```Python\nCODE\n```",
    "```python3\nCODE\n```",
    "```\nCODE\n```",
    "~~~python\nCODE\n~~~",
    "````python\nCODE\n````",
    "``` python\n\nCODE\n\n```",
    "```python\nCODE",
    "CODE",
    "\ufeffCODE\n",
    "\n\nCODE\n\n",
    "Answer: ```python\nCODE\n```",
    "Sure! Here is the program:\n\n```python\nCODE\n```\n\nIt runs in O(n). I hope it helps!",
    "I use `sorted`, and don't need \"\"\" or ''' here.\n```python\nCODE\n```\nThat's it.",
    "The draft is:\n\n```python\nDRAFT\n```\n\nBetter:\n\n```python\nCODE\n```",
    "```python\nCODE\n```\n\nIt is used so:\n\n```python\nprint(NAME(1))\n```\n",
    "```python\nCODE\n```\n\nIt prints:\n\n```text\n2\n```\n",
    "```text\nInput: 1\n```\n\n```python\nCODE\n```\n\n```bash\npython solution.py\n```",
    "<think>\nPerhaps this?\n```python\nDRAFT\n```\nNo.\n</think>\n\n```python\nCODE\n```",
    "Perhaps NAME(1) is 2.\n```python\nDRAFT\n```\n</think>\nCODE",
    "### Solution\n\n1. **Idea**: count.\n2. **Code**:\n\n```python\nCODE\n```\n\n3. No tests.",
    "> A quote.\n\n---\n\n```python\nDRAFT\n```\n\n```python\nCODE\n```",
]
DRAFT = "def NAME(*args):\n    return 'a draft'"


def answer(program, p, rng):
    """An answer that holds the program, perhaps with another system's line ends or indented."""
    text = rng.choice(ANSWERS).replace("DRAFT", DRAFT).replace("NAME", p["entry_point"])
    text = text.replace("CODE", program)
    choice = rng.random()
    # The blocks of a list's items are indented. What stands in texts of several lines would change.
    if choice < 0.1 and text.startswith("```") and not re.search(r"'''|\"\"\"|\\\n", program):
        return "1. So:\n\n" + textwrap.indent(text, "   ")
    return text.replace("\n", "\r\n") if choice > 0.8 else text


def syntax(code):
    """What a program is, without its layout; None if it is not Python."""
    try:
        return ast.dump(ast.parse(code.replace("\r\n", "\n")))
    except SyntaxError:
        return None


@pytest.fixture(scope="module")
def answers(problems):
    """A thousand answers: (problem, the program in it, the answer)."""
    rng = random.Random(1)
    tasks = choose_tasks(problems)
    made = []
    for _ in range(1000):
        p = problems[rng.choice(tasks)]
        code = p["reference"].replace("\r\n", "\n")
        if rng.random() < 0.5:
            code = mutate(code, rng) or code
        program = dress(code, p, rng)
        made.append((p, program, answer(program, p, rng)))
    return made


@published
def test_the_program_that_was_put_into_an_answer_is_found_there(answers):
    lost = []
    for p, program, completion in answers:
        found = ex.extract_code(completion, p["entry_point"])
        if syntax(found) != syntax(program):
            lost.append((completion, found))
    assert lost == []


# Where stage 02 differs from plain Python: {number of the answer: why}.
DIFFERENCES = {}


@published
def test_answers_get_the_verdict_of_a_plain_run(problems, answers):
    jobs = [(p, ex.extract_code(completion, p["entry_point"])) for p, _, completion in answers]
    ours, theirs = compare(problems, jobs, 0.3)
    differing = []
    for number, ((p, code), our, their) in enumerate(zip(jobs, ours, theirs)):
        if our != their and number not in DIFFERENCES:
            differing.append((number, p["task_id"], code, our, their))
    assert differing == []

    # There are all sorts of them.
    assert len(set(ours)) == 4
    assert 0.2 < sum(map(all, ours)) / len(ours) < 0.8


# ── Anything ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", fuzz_execute.KINDS)
def test_everything_gets_a_verdict_or_a_line(kind):
    """The script runs 20,000 of each kind."""
    counts, faults = fuzz_execute.fuzz(kind, 300, seed=0)
    assert faults == []
    assert sum(counts.values()) > 150


@pytest.mark.parametrize(
    "expected",
    ["1" + " + 1" * 190, "1" + " + 1" * 900, "-" * 190 + "2", "[" * 99 + "]" * 99, "'ab' " * 999],
    ids=lambda expected: f"{expected[:6]} of {len(expected)}",
)
def test_a_test_may_be_long_and_deep(expected):
    """Too deep to be shown, perhaps, but not to be judged: the hidden test passes."""
    p = problem(public=[f"assert f(1) == {expected}"], hidden=["assert f(5) == 0"])
    wrong = "def f(x): return 0"
    verdict = ex.execute({"p": p}, [("p", wrong)])["p", wrong]
    assert verdict[:2] == (False, True)
    assert verdict.feedback.startswith("`f(1)` gave 0")
