"""PRESET=mbpp without weights: the whole loop on real problems, with random models.

    python tests/rehearse_mbpp.py --mbpp mbpp.jsonl --humaneval HumanEval.jsonl.gz \
        [--out rehearsal] [--limit 8]

For each of three families: a random model of 2 layers goes to school on the reference programs of
the problems, correct and spoiled ones, so that it writes some that pass and some that fail. Then
`PRESET=mbpp LIMIT=8 bash run_all.sh`, a few minutes on two cores. What is rehearsed is the
machinery: its numbers say nothing about learning.
"""

import argparse
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from conftest import ROOT, chat, read, write
from random_models import MODELS, make_model


def call(script, *args):
    """Run a script of the project."""
    command = [sys.executable, os.path.join(ROOT, script), *map(str, args)]
    subprocess.run(command, check=True)


def make_school(problems):
    """Each problem with its reference program, and with one that returns nothing."""
    lessons = []
    for problem in problems:
        reference = problem["reference"]
        for program in (reference, reference.replace("return", "return None and", 1)):
            answer = dict(role="assistant", content=f"```python\n{program}\n```")
            lessons.append(dict(prompt=chat(problem["prompt"]), completion=[answer]))
    return lessons


def rehearse(family, school, folder, args):
    """Make a model of one family, send it to school, and run the whole chain."""
    texts = [
        lesson["prompt"][0]["content"] + lesson["completion"][0]["content"]
        for lesson in read(school)
    ]
    make_model(folder / "random", family, texts, vocabulary=2000, context=4096)
    training = ("--steps", 300, "--lr", 3e-3, "--batch-size", 8)
    files = ("--base", folder / "random", "--examples", school, "--out", folder / "model")
    call("05_train_policy.py", *files, *training)
    settings = dict(
        PRESET="mbpp",
        MODEL=str(folder / "model"),
        MBPP=args.mbpp,
        HUMANEVAL=args.humaneval,
        LIMIT=str(args.limit),
        RUN=str(folder / "run"),
        TRAJECTORIES="4",
        TOKENS="200",
        POLICY_FLAGS="--gradient-checkpointing --steps 20 --lr 1e-3",
        VERIFIER_FLAGS="--gradient-checkpointing --lr 1e-3",
    )
    command = ["bash", os.path.join(ROOT, "run_all.sh")]
    subprocess.run(command, check=True, env=dict(os.environ, **settings))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--mbpp", required=True, type=os.path.abspath, help="mbpp.jsonl as published")
    add("--humaneval", required=True, type=os.path.abspath, help="HumanEval.jsonl(.gz)")
    add("--out", default="rehearsal", type=os.path.abspath, help="[%(default)s]")
    add("--limit", type=int, default=8, help="problems of each split [%(default)s]")
    args = parser.parse_args()

    # The problems of the school are those of the run.
    out = pathlib.Path(args.out)
    call("data/mbpp.py", "--source", args.mbpp, "--out", out / "problems")
    problems = []
    for split in ("train", "dev"):
        problems += read(out / "problems" / f"{split}.jsonl")[: args.limit]
    school = write(out / "school.jsonl", make_school(problems))
    for family in MODELS:
        rehearse(family, school, out / family, args)


if __name__ == "__main__":
    main()
