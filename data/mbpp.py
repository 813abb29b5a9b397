"""MBPP (Austin et al., 2021; CC-BY-4.0): the published JSON Lines file → train, dev and test problems.

    python data/mbpp.py --source mbpp.jsonl --out problems

The paper's split: task_id 601–974 train (374), 511–600 dev (90), 11–510 test (500). The first of the three asserts is
public and stands in the prompt; the other two and the challenge tests are hidden. The prompt asks for the code alone.
"""
import argparse, ast, importlib, os, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
execute = importlib.import_module("02_execute")

SPLITS = dict(train=range(601, 975), dev=range(511, 601), test=range(11, 511))
PROMPT = "{text} Your code should pass this test:\n\n{test}\n\nReturn the whole program in one ```python block."


def entry_point(test, code):
    """The function that the first assert calls and the program defines (a test may call others around it, like set)."""
    defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    called = [node.func.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return next(name for name in called if name in defined)


def convert(row):
    tests = [test.strip() for test in row["test_list"] + row["challenge_test_list"]]
    name, prompt = f"MBPP/{row['task_id']}", PROMPT.format(text=row["text"].strip(), test=tests[0])
    return dict(task_id=name, group=name, prompt=prompt, entry_point=entry_point(tests[0], row["code"]),
                setup=row["test_setup_code"], public_tests=tests[:1], hidden_tests=tests[1:], reference=row["code"])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--source", required=True, help="mbpp.jsonl as published")
    ap.add_argument("--out", required=True, help="folder for one problems file a split")
    args = ap.parse_args()
    rows = execute.read_jsonl(args.source, dict(task_id=int, text=str, code=str, test_list=list,
                                                challenge_test_list=list, test_setup_code=str), ["task_id"])
    os.makedirs(args.out, exist_ok=True)
    for split, ids in SPLITS.items():
        problems = [convert(row) for row in rows if row["task_id"] in ids]
        execute.write_jsonl(f"{args.out}/{split}.jsonl", problems)
        print(f"MBPP {split}: {len(problems)} problems → {args.out}/{split}.jsonl")


if __name__ == "__main__":
    main()
