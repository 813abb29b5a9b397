"""Time and memory of the stages for 25,000, 50,000 and 100,000 steps: python tests/bench_scale.py

Both should grow in line with the steps, and memory stay below a gigabyte. The programs are short
and the model random, so what is measured is the handling of rows. 20 minutes on one core.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SIZES = (25_000, 50_000, 100_000)
PER_PROBLEM = 25  # distinct programs; each is written five times


def write(path, rows):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def problems_of(steps):
    for k in range(steps // (5 * PER_PROBLEM)):
        row = dict(
            task_id=f"t{k}", group=f"g{k}", prompt=f"f(xs): the sum of the numbers, plus {k}"
        )
        row.update(entry_point="f", setup="", public_tests=["assert f([1]) == 1"])
        yield dict(
            row, hidden_tests=["assert f([1, 2]) == 3"], reference="def f(xs): return sum(xs)"
        )


def samples_of(steps):
    """Three turns of every trajectory: half of them are repaired at the end."""
    for k in range(steps // 3):
        problem = k % (steps // (5 * PER_PROBLEM))
        text = f"f(xs): the sum of the numbers, plus {problem}"
        messages = [dict(role="user", content=text)]
        for turn in (1, 2, 3):
            value = "sum(xs)" if turn == 3 and k % 2 else f"{k % PER_PROBLEM}"
            completion = f"```python\ndef f(xs):\n    ys = [x for x in xs]\n    return {value}\n```"
            row = dict(policy="base", task_id=f"t{problem}", trajectory=k, turn=turn)
            yield dict(row, messages=messages, completion=completion, tokens=30)
            answer = dict(role="assistant", content=completion)
            messages = [*messages, answer, dict(role="user", content="`f([1])` gave 0, expected 1")]


def eval_of(rows, policy):
    """Rows of one arm a problem and turn, of which all fail."""
    candidate = dict(completion="x" * 200, code="x" * 200, public_passed=False, hidden_passed=False)
    candidate.update(feedback="no", score=None, scores=[], tokens=9)
    messages = [dict(role="user", content="x" * 900)]
    for turn in (1, 2, 3):
        for k in range(rows // 6):
            for temperature in (0.0, 0.7):
                row = dict(rule="Random", n=1, temperature=temperature, variant="real", seed=0)
                row.update(task_id=f"t{k}", turn=turn, messages=messages, candidates=[candidate])
                yield dict(
                    row, picked=0, programs_run=1, policy=policy, verifiers=[], group=f"g{k}"
                )


def call(command):
    """Run a stage, "NAME FLAGS…" → seconds, and megabytes at its peak."""
    name, *flags = command.split()
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, f"{ROOT}/{name}.py", *flags], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return f"{time.monotonic() - began:.0f} s, {usage.ru_maxrss / 1024:.0f} MB"


def main():
    os.chdir(tempfile.mkdtemp())
    call("data/cafe --out . --train 8 --dev 8 --test 8 --demonstrations 200")
    print("| steps | 02 | 03 score | 04 | 05, one step | report of two policies |")
    print("|---|---|---|---|---|---|")
    for steps in SIZES:
        write("p.jsonl", problems_of(steps))
        write("samples.jsonl", samples_of(steps))
        for policy in ("base", "mucode-1"):
            write(f"run/{policy}/eval.jsonl", eval_of(steps, policy))

        cells = [call("02_execute --problems p.jsonl --samples samples.jsonl --out steps.jsonl")]
        files = "--problems p.jsonl --steps steps.jsonl"
        training = "--epochs 1 --batch-size 999 --programs 2"
        call(f"03_verifier train {files} --base model {training} --out v")
        cells.append(call(f"03_verifier score {files} --verifier v --out scored.jsonl"))
        cells.append(call("04_relabel --scored scored.jsonl --out examples.jsonl"))
        flags = "--base model --examples examples.jsonl --steps 1"
        cells.append(call(f"05_train_policy {flags} --out policy"))
        cells.append(call("06_eval report --run run --out report.md"))
        print(f"| {steps:,} |", *(f"{cell} |" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
