"""Stage 02 on published problems: every reference passes; 2,000 mutants get the verdict of a plain run; and 2,000 bits of noise."""

import ast
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT, SHARED, problem, stage

ex = stage(2)
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::SyntaxWarning"
)  # of published regular expressions
published = pytest.mark.skipif(
    not os.path.isdir(SHARED), reason="needs the published files of MBPP and HumanEval"
)
SPLITS = dict(
    mbpp=dict(source="mbpp.jsonl", train=374, dev=90, test=500),
    humaneval=dict(source="HumanEval.jsonl.gz", test=164),
)


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """{task_id: problem} of all splits, through the importers. (MBPP's first ten serve as prompts and are in no split.)"""
    found = {}
    for importer, about in SPLITS.items():
        out = tmp_path_factory.mktemp(importer)
        subprocess.run(
            [
                sys.executable,
                f"{ROOT}/data/{importer}.py",
                "--source",
                f"{SHARED}/{about['source']}",
                "--out",
                out,
            ],
            check=True,
        )
        for split, count in list(about.items())[1:]:
            some = ex.read_problems(str(out / f"{split}.jsonl"))
            assert len(some) == count
            found.update(some)
    sys.path.insert(0, os.path.join(ROOT, "data"))
    import mbpp

    rows = [json.loads(line) for line in open(f"{SHARED}/mbpp.jsonl")]
    found.update(
        (p["task_id"], p) for p in (mbpp.convert(row) for row in rows if row["task_id"] <= 10)
    )
    return found


@published
def test_every_reference_passes_and_a_wrong_program_fails(problems):
    assert len(problems) == 974 + 164
    wrong = "def {}(*args): return 'wrong'"
    pairs = [
        (t, code)
        for t, p in problems.items()
        for code in (p["reference"], wrong.format(p["entry_point"]))
    ]
    verdicts = ex.execute(problems, pairs, 10.0, progress=False)
    assert [t for t, p in problems.items() if verdicts[t, p["reference"]] != (True, True, "")] == []
    assert [
        t for t, p in problems.items() if all(verdicts[t, wrong.format(p["entry_point"])][:2])
    ] == []


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


def mutate(code, rng):
    """The program with one place changed, or None."""
    tree, places = ast.parse(code), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
            places.append((node, "op"))
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            places.append((node, "ops"))
        if isinstance(node, ast.Constant) and type(node.value) in (int, str, bool):
            places.append((node, "value"))
        if isinstance(node, ast.Return) and node.value:
            places.append((node, "return"))
    if not places:
        return None
    node, what = rng.choice(places)
    if what == "op":
        node.op = SWAPS[type(node.op)]()
    if what == "ops":
        node.ops[0] = SWAPS[type(node.ops[0])]()
    if what == "value":
        node.value = (
            not node.value
            if isinstance(node.value, bool)
            else node.value + (1 if isinstance(node.value, int) else "x")
        )
    if what == "return":
        node.value = ast.Constant(None)
    try:
        return ast.unparse(ast.fix_missing_locations(tree))
    except ValueError:
        return None


PLAIN = """
import json, os, resource, sys
def passes(code, setup, tests, seconds):
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2): os.dup2(null, fd)
            names = {"__name__": "solution"}
            exec(code, names); exec(setup, names)
            names = dict(names)     # HumanEval's tests define poly() for themselves, not for the program
            for test in tests: exec(test, names)
            os._exit(0)
        except BaseException: os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
for line in sys.stdin:
    p, code, seconds = json.loads(line)
    print(json.dumps([passes(code, p["setup"], p[kind], seconds) for kind in ("public_tests", "hidden_tests")]), flush=True)
"""


def plain(jobs, seconds):
    """What a plain run says, program and tests in one process: sound for mutants, which mean no harm."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PLAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    given = ["".join(json.dumps([*job, seconds]) + "\n" for job in jobs[k::2]) for k in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        said = list(
            pool.map(lambda run, lines: run.communicate(lines)[0].splitlines(), runs, given)
        )
    verdicts = [None] * len(jobs)
    for k, lines in enumerate(said):
        verdicts[k::2] = [tuple(json.loads(line)) for line in lines]
    return verdicts


@published
def test_mutants_get_the_verdict_of_a_plain_run(problems):
    rng, jobs, tasks = random.Random(0), [], sorted(problems)
    tasks.remove("MBPP/123")  # takes 3 s when it is right
    while len(jobs) < 2000:
        p = problems[rng.choice(tasks)]
        code = mutate(p["reference"], rng)
        if code:
            jobs.append((p, code))
    verdicts = ex.execute(problems, [(p["task_id"], code) for p, code in jobs], 1.0, progress=False)
    ours = [verdicts[p["task_id"], code][:2] for p, code in jobs]
    # With no public test, ours still asks whether the program loads and defines its function.
    differ = [
        (p["task_id"], code, a, b) for (p, code), a, b in zip(jobs, ours, plain(jobs, 1)) if a != b
    ]
    again = plain([(problems[t], code) for t, code, _, _ in differ], 20)  # not a matter of time
    verdicts = ex.execute(problems, [(t, code) for t, code, _, _ in differ], 20.0, progress=False)
    assert [
        (t, code, a, b)
        for (t, code, *_), b in zip(differ, again)
        for a in [verdicts[t, code][:2]]
        if a != b
    ] == []
    assert 0.05 < sum(map(all, ours)) / len(ours) < 0.5  # some mutants are right, most are not


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


def test_every_program_gets_a_verdict():
    rng, good = (
        random.Random(0),
        (
            "import math\n"
            "\n"
            "def f(x):\n"
            "    '''One more.'''\n"
            "    if x > 3:\n"
            "        return int(math.sqrt((x + 1) ** 2))\n"
            "    return x + 1"
        ),
    )
    noise = [
        bytes(rng.randrange(256) for _ in range(rng.randrange(1, 80))).decode("latin-1")
        for _ in range(700)
    ]
    noise += [
        good[: rng.randrange(len(good))] + rng.choice(["", "(", "\n", "x"]) for _ in range(300)
    ]
    noise += ["".join(rng.choices(PIECES, k=rng.randrange(1, 9))) for _ in range(1000)]
    p = problem()
    pairs = [("p", ex.extract_code(text)) for text in noise] + [("p", good)]
    verdicts = ex.execute({"p": p}, pairs, 0.1, progress=False)
    assert (
        len(noise) == 2000
        and set(verdicts) == set(pairs)
        and verdicts["p", good] == (True, True, "")
    )
    for public, hidden, feedback in verdicts.values():
        assert (
            type(public) is type(hidden) is bool
            and len(feedback) <= 300
            and (feedback == "") == public
        )
        json.dumps(feedback).encode()
