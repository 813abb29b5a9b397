"""HumanEval (Chen et al., 2021; MIT): the published JSON Lines file → 164 test problems.

    python data/humaneval.py --source HumanEval.jsonl.gz --out problems

The examples of the docstring (`>>> f(1)`, then the value) are the public tests; where a docstring has none in that
form there are no public tests, and a program that loads and defines the function passes them. The official
`check` function is the hidden test.
"""
import argparse, ast, doctest, gzip, importlib, os, shutil, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
execute = importlib.import_module("02_execute")

PROMPT = "Complete this function:\n\n```python\n{code}\n```\n\nReturn the whole program in one ```python block."


def docstring_tests(prompt, entry_point):
    """`>>> f(1)` and the line below it → "assert f(1) == 2"."""
    tests = []
    for node in ast.walk(ast.parse(prompt + "    pass\n")):
        if isinstance(node, ast.FunctionDef) and node.name == entry_point:
            try: examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
            except ValueError: examples = []                     # `>>>f(1)`: no doctest
            for e in examples:
                test = f"assert {e.source.strip()} == {e.want.strip()}"
                try: ast.literal_eval(e.want.strip()); ast.parse(test)
                except (ValueError, SyntaxError): continue
                if e.source.strip().startswith(entry_point): tests.append(test)
    return tests


def convert(row):
    return dict(task_id=row["task_id"], group=row["task_id"], prompt=PROMPT.format(code=row["prompt"].rstrip()),
                entry_point=row["entry_point"], setup="", public_tests=docstring_tests(row["prompt"], row["entry_point"]),
                hidden_tests=[helpers(row) + row["test"] + f"\ncheck({row['entry_point']})"],
                reference=row["prompt"] + row["canonical_solution"])


def helpers(row):
    """Functions that the prompt defines before the one to write: HumanEval/32 and 38 test with them."""
    before = row["prompt"][:row["prompt"].rindex(f"def {row['entry_point']}(")]
    return before if "def " in before else ""


def drop_wrong_examples(problems):
    """An example that the reference itself fails (HumanEval/47 says 15.0 where the median is 8.0) is no test."""
    single = {f"{p['task_id']} {k}": dict(p, public_tests=[test], hidden_tests=[])
              for p in problems for k, test in enumerate(p["public_tests"])}
    verdicts = execute.execute(single, [(key, p["reference"]) for key, p in single.items()])
    for p in problems:
        p["public_tests"] = [test for k, test in enumerate(p["public_tests"])
                             if verdicts[f"{p['task_id']} {k}", p["reference"]][0]]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--source", required=True, help="HumanEval.jsonl.gz as published, or unpacked")
    ap.add_argument("--out", required=True, help="folder for test.jsonl")
    args = ap.parse_args()
    os.makedirs(args.out, exist_ok=True)
    source = args.source
    if source.endswith(".gz"):
        source = f"{args.out}/{os.path.basename(source)[:-3]}.part"
        try:
            with gzip.open(args.source) as packed, open(source, "wb") as plain: shutil.copyfileobj(packed, plain)
        except OSError as e: execute.stop(f"{args.source}: {e}")
    fields = dict(task_id=str, prompt=str, canonical_solution=str, test=str, entry_point=str)
    rows = execute.read_jsonl(source, fields, ["task_id"])
    if source != args.source: os.remove(source)
    problems = [convert(row) for row in rows]
    drop_wrong_examples(problems)
    execute.write_jsonl(f"{args.out}/test.jsonl", problems)
    bare = sum(not p["public_tests"] for p in problems)
    print(f"HumanEval test: {len(problems)} problems, {bare} without a public test → {args.out}/test.jsonl")


if __name__ == "__main__":
    main()
