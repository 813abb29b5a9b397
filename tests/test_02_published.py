"""Stage 02 on published problems.

Every reference passes, 2,000 mutants get the verdict of a plain run, and 2,000 bits of noise get
a verdict.
"""

import ast
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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
            found[p["task_id"]] = p
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
import json, os, resource, sys

def passes(code, setup, tests, seconds):
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            names = {"__name__": "solution"}
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
    """The verdicts of plain runs on (problem, code) jobs: sound for mutants, which mean no harm."""
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
    """Stage 02 beside plain runs → its verdicts, and the jobs where they differ."""
    programs = [(p["task_id"], code) for p, code in jobs]
    verdicts = ex.execute(problems, programs, float(seconds))
    ours = [verdicts[program][:2] for program in programs]
    theirs = plain(jobs, seconds)
    return ours, [job for job, a, b in zip(jobs, ours, theirs) if a != b]


@published
def test_mutants_get_the_verdict_of_a_plain_run(problems):
    rng = random.Random(0)
    jobs = []
    tasks = sorted(problems)
    # It takes 3 s when it is right.
    tasks.remove("MBPP/123")
    while len(jobs) < 2000:
        p = problems[rng.choice(tasks)]
        code = mutate(p["reference"], rng)
        if code:
            jobs.append((p, code))

    # Where they differ, it may be a matter of time.
    ours, differing = compare(problems, jobs, 1)
    _, differing = compare(problems, differing, 20)
    assert [(p["task_id"], code) for p, code in differing] == []

    # Some mutants are right, most are not.
    assert 0.05 < sum(map(all, ours)) / len(ours) < 0.5


# ── Noise ────────────────────────────────────────────────────────────────────────────────────────

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
    "open('/etc/passwd').read()\n",
    "x = [0] * 10 ** 9\n",
    "import ctypes; ctypes.string_at(0)\n",
    "class E:\n    __eq__ = lambda *a: True\n",
    "E()\n",
    "import sys; sys.stdout = None\n",
    "del __builtins__\n",
    "import gc; gc.disable()\n",
    "\t",
    "    ",
    "print('x' * 9999)\n",
    "import threading; threading.Thread(target=f).start()\n",
    "__name__ = 3\n",
    "\\",
    "'''",
    "(" * 200,
    "\0",
    "é",
    "\ud800",
    "\r",
    "\ufeff",
]


GOOD = """import math

def f(x):
    '''One more.'''
    if x > 3:
        return int(math.sqrt((x + 1) ** 2))
    return x + 1"""


def make_noise(rng):
    """Random bytes, good programs that are cut off, and random pieces of bad ones."""
    noise = []
    for _ in range(700):
        text = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 80)))
        noise.append(text.decode("latin-1"))
    for _ in range(300):
        noise.append(GOOD[: rng.randrange(len(GOOD))] + rng.choice(["", "(", "\n", "x"]))
    for _ in range(1000):
        noise.append("".join(rng.choices(PIECES, k=rng.randrange(1, 9))))
    return noise


def test_every_program_gets_a_verdict():
    noise = make_noise(random.Random(0))
    assert len(noise) == 2000
    pairs = [("p", ex.extract_code(text)) for text in noise] + [("p", GOOD)]
    verdicts = ex.execute({"p": problem()}, pairs, 0.1)
    assert set(verdicts) == set(pairs)
    assert verdicts["p", GOOD] == (True, True, "")
    for public, hidden, feedback in verdicts.values():
        assert type(public) is type(hidden) is bool
        assert len(feedback) <= 300
        assert (feedback == "") == public
        json.dumps(feedback).encode()
