"""How fast is stage 02? Beside one plain `python -I -S -c` a program, and beside a bare fork of a warm Python.

    python tests/bench_execute.py --problems mbpp/*.jsonl humaneval/test.jsonl [--workers 2]

Reference programs with all their tests (the floor and the plain run execute them in one process, as one may with programs
one trusts). The problems files are those of data/mbpp.py and data/humaneval.py: all of HumanEval and the first 300 of
MBPP, without #123, which works for 3 s. Then 20,000 programs in one call: memory and descriptors must not grow.
"""

import argparse
import importlib
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
execute = importlib.import_module("02_execute")


def whole(p):
    """Program, set-up and tests as one script."""
    return "\n".join([p["reference"], p["setup"], *p["public_tests"], *p["hidden_tests"]])


def plain(jobs, workers):
    def one(p):
        return (
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", whole(p)], capture_output=True
            ).returncode
            == 0
        )

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, jobs))


FORK = """
import os, sys, {common}
sys.stdout = sys.stderr = open(os.devnull, "w")
for source in sys.stdin.read().split("\\0"):
    pid = os.fork()
    if pid == 0:
        try: exec(source, {{"__name__": "x"}})
        finally: os._exit(0)
    os.waitpid(pid, 0)
"""


def floor(jobs, workers):
    command = [sys.executable, "-I", "-S", "-c", FORK.format(common=", ".join(execute.COMMON))]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        list(
            pool.map(
                lambda k: runs[k].communicate("\0".join(map(whole, jobs[k::workers]))),
                range(workers),
            )
        )


def timed(name, work, count):
    def cpu():
        return sum(
            getattr(resource.getrusage(who), f)
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            for f in ("ru_utime", "ru_stime")
        )

    wall, spent = time.monotonic(), cpu()
    result = work()
    wall, spent = time.monotonic() - wall, cpu() - spent
    print(
        f"{name:28s} {count / wall:7.0f} programs/s {1000 * spent / count:7.2f} CPU-ms a program",
        flush=True,
    )
    return result


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--problems", required=True, nargs="+", help="problems files")
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument(
        "--many", type=int, default=20_000, help="programs of the endurance run; 0 leaves it out"
    )
    args = ap.parse_args()
    problems = {t: p for path in args.problems for t, p in execute.read_problems(path).items()}
    number = lambda t: int(t.split("/")[1])
    jobs = [p for t, p in problems.items() if t.startswith("HumanEval")]
    jobs += sorted(
        (p for t, p in problems.items() if t.startswith("MBPP") and t != "MBPP/123"),
        key=lambda p: number(p["task_id"]),
    )[:300]
    pairs = [(p["task_id"], p["reference"]) for p in jobs]
    print(f"{len(jobs)} programs, {args.workers} workers, Python {sys.version.split()[0]}")
    for _ in range(2):
        timed("plain python -I -S -c", lambda: plain(jobs, args.workers), len(jobs))
        timed("bare fork, the floor", lambda: floor(jobs, args.workers), len(jobs))
        verdicts = timed(
            "02_execute.py",
            lambda: execute.execute(problems, pairs, 10.0, args.workers, progress=False),
            len(jobs),
        )
        wrong = [(t, v) for (t, _), v in verdicts.items() if v[:2] != (True, True)]
        assert not wrong, wrong

    def state():
        pages = int(open("/proc/self/statm").read().split()[1])
        return f"{pages * resource.getpagesize() >> 20} MB, {len(os.listdir('/proc/self/fd'))} descriptors"

    for part in range(4 if args.many else 0):
        some = [
            (p["task_id"], f"{p['reference']}\n# {part} {k}")
            for k in range(args.many // 4 // len(jobs) + 1)
            for p in jobs
        ][: args.many // 4]
        timed(
            f"{len(some)} more",
            lambda: execute.execute(problems, some, 10.0, args.workers, progress=False),
            len(some),
        )
        print(f"  after it: {state()}")


if __name__ == "__main__":
    main()
