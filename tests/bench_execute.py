"""How fast is stage 02, beside a new Python per program, and beside a bare fork of a warm one?

    python tests/bench_execute.py --problems mbpp/*.jsonl humaneval/test.jsonl [--workers 2]

Reference programs with all their tests. The floor and the plain run execute them in one process, as
one may with programs that one trusts. The problems files are those of data/mbpp.py and
data/humaneval.py: all of HumanEval and the first 300 of MBPP, without #123, which works for 3 s.
Then 20,000 programs: memory and descriptors must not grow.
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
from lib.values import COMMON


def whole(p):
    """Program, set-up and tests as one script."""
    return "\n".join([p["reference"], p["setup"], *p["public_tests"], *p["hidden_tests"]])


def plain(jobs, workers):
    """A new Python per program → did it end well?"""

    def run(p):
        command = [sys.executable, "-I", "-S", "-c", whole(p)]
        return subprocess.run(command, capture_output=True).returncode == 0

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, jobs))


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
    """A fork of a warm Python per program."""
    modules = ", ".join(COMMON.split())
    command = [sys.executable, "-I", "-S", "-c", FORK.format(common=modules)]

    def run(k):
        sources = "\0".join(map(whole, jobs[k::workers]))
        subprocess.run(command, input=sources, text=True, check=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, range(workers)))


def cpu_seconds():
    """CPU time of this process and of those that have ended under it."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(name, work, *args, count):
    """Print how long work(*args) takes per program → its result."""
    wall = time.monotonic()
    cpu = cpu_seconds()
    result = work(*args)
    wall = time.monotonic() - wall
    cpu = cpu_seconds() - cpu
    rate = f"{count / wall:7.0f} programs/s {1000 * cpu / count:7.2f} CPU-ms per program"
    print(f"{name:28s} {rate}", flush=True)
    return result


def choose(problems):
    """All of HumanEval, and the first 300 of MBPP."""
    mbpp = [p for task, p in problems.items() if task.startswith("MBPP") and task != "MBPP/123"]
    mbpp.sort(key=lambda p: int(p["task_id"].split("/")[1]))
    return [p for task, p in problems.items() if task.startswith("HumanEval")] + mbpp[:300]


def endure(problems, jobs, count, workers):
    """Many programs in four calls, and this process's memory and descriptors after each."""
    for part in range(4):
        programs = []
        while len(programs) < count // 4:
            p = jobs[len(programs) % len(jobs)]
            programs.append((p["task_id"], f"{p['reference']}\n# {part} {len(programs)}"))
        arguments = (problems, programs, 10.0, workers)
        timed(f"{len(programs)} more", execute.execute, *arguments, count=len(programs))

        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        megabytes = pages * resource.getpagesize() >> 20
        print(f"  after it: {megabytes} MB, {len(os.listdir('/proc/self/fd'))} descriptors")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = ap.add_argument
    add("--problems", required=True, nargs="+", help="problems files")
    add("--workers", type=int, default=2, help="programs at a time [%(default)s]")
    add("--many", type=int, default=20_000, help="programs to endure, or 0 [%(default)s]")
    args = ap.parse_args()

    problems = {}
    for path in args.problems:
        problems.update(execute.read_problems(path))
    jobs = choose(problems)
    programs = [(p["task_id"], p["reference"]) for p in jobs]
    count = len(jobs)
    print(f"{count} programs, {args.workers} workers, Python {sys.version.split()[0]}")

    # Twice, since the first call of each warms the machine up.
    for _ in range(2):
        timed("plain python -I -S -c", plain, jobs, args.workers, count=count)
        timed("bare fork, the floor", floor, jobs, args.workers, count=count)
        arguments = (problems, programs, 10.0, args.workers)
        verdicts = timed("02_execute.py", execute.execute, *arguments, count=count)
        wrong = [(task, v) for (task, _), v in verdicts.items() if v[:2] != (True, True)]
        assert not wrong, wrong
    if args.many:
        endure(problems, jobs, args.many, args.workers)


if __name__ == "__main__":
    main()
