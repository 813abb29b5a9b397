r"""Does stage 02 have a verdict on everything, and a line on every problem that it refuses?

    python tests/fuzz_execute.py [--count 20000] [--seed 0]

So many cases of each of three kinds, all from one seed:

  replies   programs that write forged replies to every descriptor that they have. The tests expect
            what no forgery holds, so none may pass
  answers   noise: bytes, letters of any kind, fences, cut-off programs, pieces of bad ones
  problems  rows of problems.jsonl with anything in their fields

A verdict is two truth values and one printable line. A refused problem is exit status 2 and one
line on stderr. And nothing else may be said on stderr, no batch may take longer than its limits
allow, and this process must not grow. What was found wrong is printed, with exit status 1.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
ex = importlib.import_module("02_execute")
from lib.values import CONTAINERS, FIXED

WORKERS = 2
BATCH = 250
# Of each program. A judge has 1 s more, for two kinds of tests, and each item two tries.
TIMEOUT = 0.2
MEMORY = 512
SECONDS = 12 * TIMEOUT + 2 * (1 + 2 * TIMEOUT)
# What this process may grow by, in MB.
GROWTH = 100


# ── What is watched ──────────────────────────────────────────────────────────────────────────────


def megabytes():
    """What this process has of the machine's memory. Linux tells it."""
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20


@contextlib.contextmanager
def watched(faults, what, seconds):
    """Note as faults: anything on stderr, by this process or its children, and too long a time."""
    started = time.monotonic()
    # Random tests cause warnings, in judges too.
    quiet = mock.patch.dict(os.environ, PYTHONWARNINGS="ignore")
    with tempfile.TemporaryFile() as file, quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        said = file.read().decode(errors="replace")
    if said:
        lines = said.splitlines()
        faults.append(f"{what}: {len(lines)} lines on stderr, the last is {lines[-1]}")
    took = time.monotonic() - started
    if took > seconds:
        faults.append(f"{what}: took {took:.1f} s, which is more than {seconds:.1f} s")


def find_fault(verdict):
    """What is wrong with a verdict, or None."""
    public, hidden, feedback = verdict
    if type(public) is not bool or type(hidden) is not bool or type(feedback) is not str:
        return "not two truth values and a text"
    if len(feedback) > 300 or not feedback.isprintable():
        return "not one printable line of 300 characters"
    if public != (feedback == ""):
        return "feedback is for those that fail, and only for those"
    feedback.encode()
    return None


def run_watched(faults, what, run, items, show=str):
    """run(items), watched. Where something was said, half of them once more, to show by whom."""
    name = f"{what}: {show(items[0])}" if len(items) == 1 else what
    found = []
    with watched(found, name, 10 + len(items) * SECONDS / WORKERS):
        result = run(items)

    # A few of one kind are enough.
    culprits = []
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        if found and middle and len(faults) < 20:
            run_watched(culprits, what, run, half, show)
    faults += culprits or found
    return result


def run_batch(faults, what, problems, pairs):
    """Verdicts on (task_id, program) pairs."""

    def run(some):
        return ex.execute(problems, some, TIMEOUT, WORKERS, MEMORY)

    verdicts = run_watched(faults, what, run, list(dict.fromkeys(pairs)))
    if set(verdicts) != set(pairs):
        faults.append(f"{what}: {set(verdicts) ^ set(pairs)} have no verdict, or nobody asked")
    for pair, verdict in verdicts.items():
        fault = find_fault(verdict)
        if fault:
            faults.append(f"{what}: {fault}: {pair} {verdict}")
    return verdicts


def batches(count):
    """Ranges of at most BATCH numbers, up to `count`."""
    return [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


def count_verdicts(verdicts):
    """How many have which verdict. A lost one has cost its judge too much."""
    counts = Counter()
    for public, hidden, feedback in verdicts.values():
        lost = " lost" if feedback == ex.LOST else ""
        counts[f"{public}/{hidden}{lost}"] += 1
    return counts


# ── Replies ──────────────────────────────────────────────────────────────────────────────────────

# Every way in which a test may look at what a program gives. No forgery holds a kiwi.
TESTS = {
    "equal": ("assert f([3, 1]) == ['kiwi', {2: 0.5}]", "assert f({'a': [1]}, k=(1,)) == {'kiwi'}"),
    "in place": (
        "xs = [3, [1], 2]\nf(xs)\nassert xs == [1, 2, 'kiwi']",
        "d = {1: [2]}\nf(d, [d])\nassert d == {1: 'kiwi'}",
    ),
    "members": (
        "assert f(1).name.upper() == 'KIWI'",
        "o = f(1)\no.x = [2]\no.add('a')\nassert o.x == o.y == 'kiwi'",
    ),
    "iterated": (
        "assert [x for x in f(3)] == ['kiwi']",
        "for key, value in f(1).items():\n    key, value\nassert list(f(2)) == ['kiwi']",
    ),
    "raising": (
        "try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'kiwi'\n"
        "else:\n    assert False",
        "try:\n    f(-1)\nexcept:\n    pass\nassert f(1) == 'kiwi'",
    ),
    "computed": (
        "assert sorted(f(1)) == ['kiwi']",
        "a, b = f(iter([])), f(2)\nassert a + b == 'kiwi' and a < b and len(a) == b[0]",
    ),
    "looked up": ("assert helper(f(1)) == 'kiwi'", "assert f(f) is f and N == 'kiwi'"),
    "checked": (
        "def check(g):\n    assert g(1)\n    assert g('x') == 'kiwi'\ncheck(f)",
        "assert {f(1): 2} == {'kiwi': 2} and f(iter([1, 2])) in {'kiwi', 1}",
    ),
    "script": ({"input": "1 2\n", "output": "kiwi\n"}, {"input": "", "output": "kiwi 3"}),
}
REPLY_PROBLEMS = {
    name: {
        "entry_point": "f",
        "setup": "",
        "public_tests": [public],
        "hidden_tests": [hidden],
    }
    for name, (public, hidden) in TESTS.items()
}
REPLY_PROBLEMS["set-up"] = {
    **REPLY_PROBLEMS["equal"],
    "setup": "root = Node(1)\nroot.left = Node(root)",
    "public_tests": ["assert f(root) == 'kiwi'"],
}

TAGS = [kind.__name__ for kind in (*CONTAINERS, *FIXED)]
TAGS += [
    "namedtuple",
    "same",
    "int",
    "class",
    "module",
    "object",
    "iterator",
    "iter",
    "nobody",
    "type",
    "",
] * 2
ATOMS = [None, True, False, 0, 1, 2, -1, 3.5, float("nan"), float("-inf"), 10**20, 1 << 5000]
ATOMS += ["", "a", "ff", "int", "math", "os", "2024-01-01", "é\ud800\x1b[0m", "x" * 400]
ATOMS += ["<|im_end|>", "a\nb\r\u2028", "0:00:01", "1e9", "__class__"]
TEXTS = [
    "",
    "f",
    "é\ud800",
    "a\nb",
    "x" * 5000,
    "def f(): pass",
    "\0",
    "<|im_end|>",
    "1_000",
    "lambda",
]
EXCEPTIONS = ["ValueError", "KeyError", "StopIteration", "SystemExit", "KeyboardInterrupt", "Mine"]
EXCEPTIONS += ["MemoryError", "GeneratorExit", "ExceptionGroup", "UnicodeDecodeError", "OSError"]
EXCEPTIONS += ["Exception", "BaseException", "object", "ProgramFailed", "print", "EOFError"]


def make_data(rng, depth):
    """Data as lib/values.py would make it, or nearly so."""
    roll = rng.random()
    if depth == 0 or roll < 0.3:
        return rng.choice(ATOMS)
    parts = [make_data(rng, depth - 1) for _ in range(rng.randrange(4))]
    if roll < 0.5:
        return parts
    # Parts of any form.
    if roll > 0.95:
        parts = make_data(rng, depth - 1)
    return {rng.choice(TAGS): parts}


def make_reply(rng, is_first=False):
    """A line of [value, changes, error], or of something else. The first gives the entry point."""
    if is_first and rng.random() < 0.8:
        value = [{"object": [rng.randrange(3), rng.choice((True, False))]}]
        return json.dumps([value, [], None]).encode() + b"\n"
    value = make_data(rng, rng.randrange(5))
    changes = []
    while rng.random() < 0.2:
        changes.append([rng.choice((0, 0, 0, 1, 1, 2, -1, 99, "0", None)), *make_parts(rng)])
    error = None
    if rng.random() < 0.2:
        names = [*rng.choices(EXCEPTIONS, k=rng.randrange(4)), "Exception"]
        error = [
            names,
            make_parts(rng),
            rng.choice(TEXTS),
            rng.choice((0, 1, 2, 99, -1, "1", None)),
        ]
        if rng.random() < 0.2:
            error = make_data(rng, 2)
    line = [value, changes, error]
    if rng.random() < 0.05:
        line = make_data(rng, 3)
    return mutate(rng, json.dumps(line).encode()) + b"\n"


def make_parts(rng):
    """A list of data."""
    return [make_data(rng, 2) for _ in range(rng.randrange(4))]


def mutate(rng, line):
    """Most lines as they are; the others cut, doubled, or with other letters in them."""
    roll = rng.random()
    if roll < 0.7:
        return line
    at = rng.randrange(len(line))
    if roll < 0.74:
        return line[:at]
    if roll < 0.77:
        return line + line[at:]
    if roll < 0.8:
        return rng.randbytes(rng.randrange(40))
    if roll < 0.85:
        return line[:at] + rng.choice((b"[", b'{"tuple": [', b"1", b"\0")) * 6000 + line[at:]
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(line))
        piece = bytes([rng.choice(b'[]{},:"0123456789-.eE \n\xff\\unat')])
        line = line[:at] + piece + line[at + rng.randrange(2) :]
    return line


FORGER = """
import os
import time

def say(lines):
    for line in lines:
        for descriptor in range(1, 16):
            try:
                os.write(descriptor, line)
            except OSError:
                pass

class Node:
    def __init__(self, value):
        self.name = value
        say({made!r})

    def add(self, item):
        say({called!r})

def f(*args, **kwargs):
    say({called!r})
    {end}

helper = f
N = Node
say({loaded!r})
{last}
"""
ENDS = """
    return args
    return Node(args)
    return (x for x in args)
    raise ValueError(args)
    return f(*args)
    os._exit(0)
    yield args
    return args[0]
    return [[Node, f], {1: Node(2)}]
""".strip().split("\n")


def make_forger(rng):
    """A program that forges replies when it is loaded, when it is called, or both."""

    def lines(count, is_first=False):
        return [make_reply(rng, is_first and k == 0) for k in range(count)]

    # To say nothing more takes all of its time, so that is rare.
    end = "time.sleep(9)" if rng.random() < 0.004 else rng.choice(ENDS).strip()
    last = rng.choice(("",) * 9 + ("os._exit(0)", "raise ValueError", "print('kiw')", "del f"))
    texts = {
        "made": lines(rng.choice((0, 0, 1))),
        "called": lines(rng.choice((0, 1, 1, 2))),
        "loaded": lines(rng.choice((0, 0, 1, 2, 4)), is_first=True),
    }
    return FORGER.format(end=end, last=last, **texts)


def fuzz_replies(rng, count, faults):
    """Programs that answer for their judge → how many had which verdict."""
    counts = Counter()
    for batch in batches(count):
        pairs = [(rng.choice(list(REPLY_PROBLEMS)), make_forger(rng)) for _ in batch]
        verdicts = run_batch(faults, f"replies {batch}", REPLY_PROBLEMS, pairs)
        for pair, verdict in verdicts.items():
            if verdict.public_passed or verdict.hidden_passed:
                faults.append(f"replies {batch}: a forgery has passed: {pair} {verdict}")
        counts += count_verdicts(verdicts)
    return counts


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────

GOOD = """import math

def f(x):
    '''One more.

    ```python
    f(1)
    ```
    '''
    if x > 3:
        return int(math.sqrt((x + 1) ** 2))
    return x + 1"""
PIECES = [
    "import os\n",
    "def f(x):\n",
    "    return x + 1\n",
    "    while True: pass\n",
    "f = ",
    "lambda x: ",
    "x + 1\n",
    "exit()\n",
    "raise SystemExit\n",
    "os._exit(3)\n",
    "os.fork()\n",
    "os.kill(os.getppid(), 9)\n",
    "os.close(3)\n",
    "open('/etc/passwd').read()\n",
    "x = [0] * 10 ** 9\n",
    "import ctypes; ctypes.string_at(0)\n",
    "class E:\n    __eq__ = lambda *a: True\n",
    "class f(int): pass\n",
    "E()\n",
    "import sys; sys.stdout = None\n",
    "sys.setrecursionlimit(10 ** 9)\n",
    "sys.set_int_max_str_digits(0)\n",
    "del __builtins__\n",
    "import gc; gc.disable()\n",
    "import threading; threading.Thread(target=f).start()\n",
    "import json; json.dumps = json.loads = None\n",
    "import builtins; builtins.len = builtins.type = None\n",
    "print('x' * 9999)\n",
    "print('\\x1b[2J\\ud800')\n",
    "raise ValueError('a\\nb\\ud800' * 200)\n",
    "__name__ = 3\n",
    "return",
    "\t",
    "    ",
    "\\",
    "'''",
    '"""',
    "'",
    "#",
    "(" * 200,
    "[" * 3000,
    "-" * 3000 + "1",
    "9" * 5000,
    "\0",
    "é",
    "ｆ",
    "\ud800",
    "\r",
    "\n",
    "\r\n",
    "\x0c",
    "\u2028",
    "\ufeff",
    "```python\n",
    "```\n",
    "\n```",
    "~~~\n",
    "````py\n",
    "``` text\n",
    "`f`",
    "<think>",
    "</think>",
    "<|im_end|>",
    "Here is the program:\n",
]


def make_answer(rng):
    """Random bytes or letters, a good program cut off and spliced, pieces of bad ones, fences."""
    roll = rng.random()
    if roll < 0.15:
        return rng.randbytes(rng.randrange(80)).decode("latin-1")
    if roll < 0.2:
        return "".join(
            chr(rng.choice((rng.randrange(128), rng.randrange(0x110000)))) for _ in "0" * 30
        )
    if roll < 0.45:
        text = f"```python\n{GOOD}\n```\n"
        for _ in range(rng.randrange(1, 4)):
            start, end = sorted((rng.randrange(len(text)), rng.randrange(len(text))))
            piece = rng.choice(["", rng.choice(PIECES), text[start:end]])
            start = rng.randrange(len(text) + 1)
            text = text[:start] + piece + text[start + rng.choice((0, 0, 1, 9)) :] + " "
        return text if rng.random() < 0.8 else text[: rng.randrange(len(text))]
    text = "".join(rng.choices(PIECES, k=rng.randrange(1, 12)))
    return text if rng.random() < 0.4 else f"```python\n{text}\n```"


def find_code(faults, what, completion, entry_point):
    """The program in a completion. It invents nothing."""
    try:
        code = ex.extract_code(completion, entry_point)
    except Exception as error:
        faults.append(f"{what}: {error!r} for {entry_point!r} in {completion!r}")
        return ""
    if type(code) is not str or set(code) - set(completion):
        faults.append(f"{what}: {code!r} was found in {completion!r}")
    return code


def fuzz_answers(rng, count, faults):
    """Noise → how many had which verdict."""
    problem = {"entry_point": "f", "setup": "", "public_tests": ["assert f(1) == 2"]}
    problem["hidden_tests"] = ["assert f(5) == 6"]
    script = {field: [{"input": "1", "output": "2"}] for field in ("public_tests", "hidden_tests")}
    problems = {"p": problem, "s": problem | script}
    counts = Counter()
    for batch in batches(count):
        pairs = []
        with watched(faults, f"answers {batch}", 10):
            for _ in batch:
                completion = make_answer(rng)
                name = rng.choice(("f", "f", "f", "", "ｆ", "a b", "f("))
                code = find_code(faults, f"answers {batch}", completion, name)
                pairs.append((rng.choice("ppps"), code))
        verdicts = run_batch(faults, f"answers {batch}", problems, [*pairs, ("p", GOOD)])
        # Whatever the others were up to.
        if verdicts.pop(("p", GOOD)) != (True, True, ""):
            faults.append(f"answers {batch}: a good program did not pass beside the others")
        counts += count_verdicts(verdicts)
    return counts


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────

NAMES = ["f", "f", "f", "x", "len", "sorted", "Node", "math", "g", "str", "ValueError", "__name__"]
ATTRIBUTES = ["x", "upper", "append", "items", "__class__", "__dict__", "pi"]
LITERALS = ["0", "1", "-1", "0.5", "''", "'a'", "'é\\n'", "b'a'", "None", "True", "...", "[]", "{}"]
OPERATORS = ["+", "-", "==", "!=", "<", "in", "is", "and", "or", "%", "//", "not in"]
STATEMENTS = [
    "assert {}",
    "assert {} == {}",
    "assert {}, {}",
    "x = {}\nassert x == {}",
    "for x in {}: {}",
    "try:\n    {}\nexcept {}:\n    {}",
    "def g(x):\n    return {}\nassert g({})",
    "class Node:\n    x = {}",
    "with {}: {}",
    "{}",
    "import math\nassert math.isclose({}, {})",
    "del f\n{}",
    "f = {}\n{}",
    "raise SystemExit({})",
    "global f\nf = {}",
    "",
]
REFERENCES = [
    "def f(*args): return args",
    "def f(x): return x",
    "f = 3",
    "raise ValueError('a\\nb')",
    "def f(*args): raise ValueError('a\\nb\\x1b')",
    "class Node:\n    def __init__(self, *args): self.x = args\nf = Node",
    "def f(*args):\n    while True: pass",
    "import os\nos._exit(0)",
    "def f(",
    "",
]


def make_expression(rng, depth):
    """Harmless Python: a judge executes it outside the cage, as it does every test."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(rng.choice((NAMES, LITERALS)))
    one, other = make_expression(rng, depth - 1), make_expression(rng, depth - 1)
    forms = [
        *(f"f({one}, {other})", f"f({one})", f"f(*{one}, **{other})", f"{one}({other})"),
        *(f"({one} {rng.choice(OPERATORS)} {other})", f"not {one}", f"-{one}", f"{one}[{other}]"),
        *(f"[{one}, {other}]", f"({one},)", f"{{{one}: {other}}}", f"{{{one}}}"),
        *(f"(lambda x: {one})", f"[{one} for x in {other}]", f"({one} for x in {other})"),
        *(f"{one}.{rng.choice(ATTRIBUTES)}", f"({one} if {other} else f)", f"f'{{{one!s}}}'"),
        *(f"(x := {one})", f"f(k={one})", f"sorted({one}, key={other})", f"iter({one})"),
    ]
    return rng.choice(forms)


def make_test(rng):
    """A test in Python, perhaps cut off or with letters of any kind; at times deep or long."""
    form = rng.choice(STATEMENTS)
    text = form.format(*(make_expression(rng, rng.randrange(4)) for _ in "12345"))
    roll = rng.random()
    if roll < 0.1:
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at] + rng.choice(("", "(", "\0", "\ud800", "\n", "'", ")", " ")) + text[at + 1 :]
        )
    elif roll < 0.13:
        depth = rng.choice((20, 80, 150, 190, 1000))
        deep = rng.choice(
            ("[" * depth + "]" * depth, "-" * depth + "1", "1" + "+1" * depth, "1.x" * depth)
        )
        text = f"assert f(1) == {deep}"
    elif roll < 0.131:
        text = f"while {rng.choice(LITERALS)}: f(1)"
    return text


def make_row(rng, number):
    """A row with tests of one kind or of both, and perhaps a field of another type, or none."""
    is_script = rng.random() < 0.1

    def tests():
        made = [make_test(rng) for _ in range(rng.randrange(4))]
        if is_script:
            made = [{"input": rng.choice(TEXTS), "output": rng.choice(TEXTS)} for _ in made]
        while rng.random() < 0.05:
            made.append(rng.choice((make_json(rng, 2), make_test(rng), {"input": "1"})))
        return made

    row = {
        "task_id": f"p{number}",
        "prompt": rng.choice(TEXTS),
        "entry_point": rng.choice(("f",) * 30 + tuple(TEXTS)),
        "setup": make_test(rng) if rng.random() < 0.3 else "",
        "public_tests": tests(),
        "hidden_tests": tests(),
    }
    if rng.random() < 0.6:
        row["reference"] = rng.choice(REFERENCES)
    while rng.random() < 0.15:
        field = rng.choice([*row, "reference", "more"])
        row[field] = make_json(rng, 2)
        if rng.random() < 0.3:
            del row[field]
    return row


def make_json(rng, depth):
    """Any JSON, without tags."""
    if depth == 0 or rng.random() < 0.5:
        return rng.choice([*ATOMS, *TEXTS])
    if rng.random() < 0.5:
        return [make_json(rng, depth - 1) for _ in range(rng.randrange(3))]
    return {rng.choice(("input", "output", "a")): make_json(rng, depth - 1) for _ in "ab"}


def read_row(faults, what, path, line):
    """Read a file of one line → its problems, or None where it was refused."""
    with open(path, "wb") as file:
        file.write(line)
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            problems = ex.read_problems(path)
        except SystemExit as ending:
            said = stderr.getvalue()
            if ending.code != 2 or len(said.splitlines()) != 1:
                faults.append(f"{what}: {line!r} was refused with {ending.code} and {said!r}")
            return None
        except BaseException as error:
            faults.append(f"{what}: {line!r} raised {error!r}")
            return None
    if stderr.getvalue():
        faults.append(f"{what}: {line!r} was read, and said {stderr.getvalue()!r}")
    return problems


def fuzz_problems(rng, count, faults):
    """Rows of anything → how many were read, refused, or refused for what a run has shown."""
    counts = Counter()
    limits = {"timeout": TIMEOUT, "memory": MEMORY}
    run_all = ex.run_all

    def run_quickly(work, items, shared, *_, **__):
        return run_all(work, items, shared, limits, WORKERS)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "problems.jsonl")
        for batch in batches(count):
            what = f"problems {batch}"
            lines = []
            for number in batch:
                line = json.dumps(make_row(rng, number)).encode()
                lines.append(mutate(rng, line) if rng.random() < 0.1 else line)

            # The form of each, without the run.
            found = {}
            not_run = mock.patch.object(ex, "run_all", lambda *_, **__: [])
            with watched(faults, what, 60), not_run:
                for line in lines:
                    found.update(read_row(faults, what, path, line) or {})
            counts["refused by its form"] += len(batch) - len(found)

            # Then the run, of all of them at once.
            doubtful = [[task] for task, problem in found.items() if ex.is_doubtful(problem)]

            def check(items, found=found):
                return list(run_quickly(ex.check, items, found))

            def show(item, found=found):
                return found[item[0]]

            for (task,), said in run_watched(faults, what, check, doubtful, show):
                counts["refused by a run" if said else "run"] += 1
                if any(len(text.splitlines()) != 1 for text in said):
                    faults.append(f"{what}: {found[task]} was refused with {said}")
            counts["not run"] += len(found) - len(doubtful)

            # And the whole of it, for the first of them.
            quickly = mock.patch.object(ex, "run_all", run_quickly)
            with watched(faults, what, 10 + 3 * SECONDS), quickly:
                for task in list(found)[:3]:
                    read_row(faults, what, path, json.dumps(found[task]).encode())
    return counts


# ── All of it ────────────────────────────────────────────────────────────────────────────────────

KINDS = {"replies": fuzz_replies, "answers": fuzz_answers, "problems": fuzz_problems}


def fuzz(kind, count, seed):
    """Run so many cases of one kind → (counts of what became of them, what was wrong)."""
    faults = []
    before = megabytes()
    counts = KINDS[kind](random.Random(f"{seed} {kind}"), count, faults)
    growth = megabytes() - before
    if growth > GROWTH:
        faults.append(f"{kind}: this process has grown by {growth} MB")
    return counts, faults


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--count", type=int, default=20_000, help="cases of each kind [%(default)s]")
    ap.add_argument("--seed", type=int, default=0, help="another seed, other cases [%(default)s]")
    ap.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which [all]")
    args = ap.parse_args()

    are_wrong = False
    for kind in args.kinds:
        started = time.monotonic()
        counts, faults = fuzz(kind, args.count, args.seed)
        shown = ", ".join(f"{name} {number}" for name, number in counts.most_common())
        seconds = time.monotonic() - started
        print(f"{args.count} {kind}, seed {args.seed}: {shown}; {seconds:.0f} s, {megabytes()} MB")
        for fault in faults[:20]:
            print(f"  WRONG: {fault[:700]}")
        print(f"  {len(faults)} faults", flush=True)
        are_wrong = are_wrong or bool(faults)
    sys.exit(are_wrong)


if __name__ == "__main__":
    main()
