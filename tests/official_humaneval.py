"""Stage 02's verdicts on HumanEval beside those of the official tests, in a plain Python each.

    python tests/official_humaneval.py HumanEval.jsonl.gz he.steps.jsonl

The plain run trusts the programs: give it such as you would execute yourself.
"""

import gzip
import json
import subprocess
import sys


def passes(code, row):
    """Does the official `check` of a problem end well, as the data set's authors run it?"""
    script = f"{code}\n{row['test']}\ncheck({row['entry_point']})\n"
    command = [sys.executable, "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main():
    published, path = sys.argv[1:]
    with gzip.open(published, "rt") as file:
        rows = {row["task_id"]: row for row in map(json.loads, file)}
    with open(path) as file:
        steps = list(map(json.loads, file))

    # Every difference is told, with stage 02's reason.
    correct = 0
    same = 0
    for step in steps:
        ours = step["public_passed"] and step["hidden_passed"]
        theirs = passes(step["code"], rows[step["task_id"]])
        correct += ours
        same += ours == theirs
        if ours != theirs:
            print(f"{step['task_id']}: official {theirs}, stage 02 {ours}: {step['feedback']}")
    print(f"{correct} of {len(steps)} correct; the same verdict on {same} of {len(steps)}")


if __name__ == "__main__":
    main()
