"""CodeContests (Li et al., 2022; CC-BY-4.0), or any rows of its form: programs that read stdin and print.

    python data/codecontests.py --source rows.jsonl --out problems

The set is published as Parquet, which the standard library cannot read. A line of the source is one row as JSON:
    {"name": …, "description": …, "public_tests": {"input": […], "output": […]}, "private_tests": {…}, "generated_tests": {…},
     "solutions": {"language": [3, …], "solution": ["…", …]}}
`pip install datasets` in an environment of its own makes such a file with load_dataset("deepmind/code_contests").to_json(path).
Public are the public tests, hidden the private and generated ones; the reference is the first of five Python 3 solutions
that passes.
"""
import importlib, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
mbpp = importlib.import_module("mbpp")
execute = mbpp.execute

PYTHON3, TRIED = 3, 5                                            # its number in the field "language"; solutions tried a problem
PAIRS = ("public_tests", "private_tests", "generated_tests")
ASK = "\n\nWrite a Python program that reads the input from stdin and prints the output." + mbpp.ASK


def tests(row, kind):
    """{"input": [a, b], "output": [c, d]} → [{"input": a, "output": c}, …]."""
    return [dict(input=a, output=b) for a, b in zip(row[kind].get("input", []), row[kind].get("output", []))]


def convert(row, hide):
    """A row → its problem, once for each Python 3 solution; `hide` cuts the description off before its examples."""
    public, hidden = tests(row, "public_tests"), tests(row, "private_tests") + tests(row, "generated_tests")
    text = row["description"].partition("\nExample")[0] if hide else row["description"]
    problem = dict(group=row["name"], prompt=text.strip() + ASK, entry_point="", setup="", public_tests=public,
                   hidden_tests=[test for test in hidden if test not in public])
    codes = [code for language, code in zip(row["solutions"]["language"], row["solutions"]["solution"]) if language == PYTHON3]
    return [dict(task_id=row["name"], **problem, reference=code) for code in codes[:TRIED]]


def main():
    args = mbpp.arguments(__doc__, None)
    fields = dict(name=str, description=str, solutions=dict, **dict.fromkeys(PAIRS, dict))
    rows = mbpp.published(None, args.source, fields, None, "name")[:args.limit or None]
    candidates = [convert(row, args.hide_tests) for row in rows]
    table = {mine[0]["task_id"]: mine[0] for mine in candidates if mine}
    verdicts = execute.execute(table, [(p["task_id"], p["reference"]) for mine in candidates for p in mine], timeout=10)
    passes = lambda p: verdicts[p["task_id"], p["reference"]][:2] == (True, True)
    good = [next(filter(passes, mine)) for mine in candidates if any(map(passes, mine))]
    execute.write_jsonl(f"{args.out}/test.jsonl", good)
    print(f"CodeContests: {len(good)} problems, {len(rows) - len(good)} left out (no Python 3 solution passes) → {args.out}/test.jsonl")


if __name__ == "__main__":
    main()
