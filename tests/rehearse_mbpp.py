"""PRESET=mbpp without weights: the whole loop on real problems, with random models of three families.

    python tests/rehearse_mbpp.py --mbpp mbpp.jsonl --humaneval HumanEval.jsonl.gz [--out rehearsal] [--limit 8]

Each model (2 layers) first goes to school on the reference programs of the problems, right and shortened ones, so that it
writes some that pass and some that fail. Then `PRESET=mbpp LIMIT=8 bash run_all.sh`, a few minutes a family on two cores.
What is rehearsed is the machinery: its numbers say nothing about learning.
"""
import argparse, json, os, pathlib, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from conftest import MODELS, ROOT, make_model, write


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("mbpp", "humaneval"): ap.add_argument(f"--{name}", required=True, type=os.path.abspath)
    ap.add_argument("--out", default="rehearsal", type=os.path.abspath)
    ap.add_argument("--limit", type=int, default=8)
    args = ap.parse_args()
    stage = lambda file, *more: subprocess.run([sys.executable, os.path.join(ROOT, file), *map(str, more)], check=True)
    stage("data/mbpp.py", "--source", args.mbpp, "--out", f"{args.out}/problems")
    stage("data/humaneval.py", "--source", args.humaneval, "--out", f"{args.out}/problems")      # its test.jsonl is read no more
    problems = [json.loads(line) for split in ("train", "dev") for line in list(open(f"{args.out}/problems/{split}.jsonl"))[:args.limit]]
    said = lambda who, text: [dict(role=who, content=text)]
    school = []
    for p in problems:
        for program in (p["reference"], p["reference"].replace("return", "return None and", 1)):
            school.append(dict(prompt=said("user", p["prompt"]), completion=said("assistant", f"```python\n{program}\n```")))
    write(pathlib.Path(args.out) / "school.jsonl", school)
    for family in MODELS:
        here = f"{args.out}/{family}"
        make_model(f"{here}/random", family, [r["prompt"][0]["content"] + r["completion"][0]["content"] for r in school], vocabulary=2000, context=4096)
        stage("05_train_policy.py", "--base", f"{here}/random", "--examples", f"{args.out}/school.jsonl", "--out", f"{here}/model",
              "--steps", 300, "--lr", 3e-3, "--batch-size", 8)
        subprocess.run(["bash", os.path.join(ROOT, "run_all.sh")], check=True, env=dict(
            os.environ, PRESET="mbpp", MODEL=f"{here}/model", MBPP=args.mbpp, HUMANEVAL=args.humaneval, LIMIT=str(args.limit), RUN=f"{here}/run",
            TRAJECTORIES="4", TOKENS="200", POLICY_FLAGS="--gradient-checkpointing --steps 20 --lr 1e-3", VERIFIER_FLAGS="--gradient-checkpointing --lr 1e-3"))


if __name__ == "__main__":
    main()
