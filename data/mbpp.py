"""MBPP (Austin et al., 2021; CC-BY-4.0): the published file → train, dev and test problems.

    python data/mbpp.py --out problems                        # fetches the published file
    python data/mbpp.py --source mbpp.jsonl --out problems    # or takes a file that you have
    python data/mbpp.py --hide-tests --out problems           # no test in the prompt

The split is the paper's: task_id 601 to 974 train (374), 511 to 600 dev (90), 11 to 510 test (500).
Each problem has three asserts. The first is public and stands in the prompt. The other two and the
challenge tests are hidden.

--hide-tests makes the paper's POMDP variant. The public test still runs, so the feedback is the
only place where a program can learn the name of its function.
"""

import ast

from common import ASK, make_parser, parse, published, save

URL = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl"
ROWS = 974
FIELDS = {
    "task_id": int,
    "text": str,  # what to write, in a sentence or two
    "code": str,  # the reference program
    "test_list": list,  # three asserts
    "challenge_test_list": list,  # more asserts, in most rows none
    "test_setup_code": str,  # runs between the program and the tests
}
# The split of the paper, by task_id. The ids 1 to 10 are for few-shot prompts, and are not used.
SPLITS = {"train": range(601, 975), "dev": range(511, 601), "test": range(11, 511)}
SHOWN = " Your code should pass this test:\n\n{test}"


def entry_point(test, code):
    """The first function that `test` calls and `code` defines. The name may also be a class."""
    # All that the program defines, methods and inner functions included.
    defined = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)

    # A test may wrap the call in built-ins: assert set(f((1, 2))) == {1}.
    called = []
    for node in ast.walk(ast.parse(test)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.append(node.func.id)
    return next(name for name in called if name in defined)


def convert(row, hide=False):
    """A published row → a problem. `hide` keeps the public test out of the prompt."""
    # Equal tests count once, in the order of their first appearance.
    stripped = [test.strip() for test in row["test_list"] + row["challenge_test_list"]]
    tests = list(dict.fromkeys(stripped))

    # The first test tells the program what its function is called.
    task_id = f"MBPP/{row['task_id']}"
    shown = "" if hide else SHOWN.format(test=tests[0])
    return {
        "task_id": task_id,
        "group": task_id,
        "prompt": row["text"].strip() + shown + ASK,
        "entry_point": entry_point(tests[0], row["code"]),
        "setup": row["test_setup_code"],
        "public_tests": tests[:1],
        "hidden_tests": tests[1:],
        "reference": row["code"],
    }


def main():
    args = parse(make_parser(__doc__, URL))
    rows = published(URL, args.source, FIELDS, ROWS)
    for split, ids in SPLITS.items():
        problems = [convert(row, args.hide_tests) for row in rows if row["task_id"] in ids]
        save(f"MBPP {split}", problems, f"{args.out}/{split}.jsonl", args.limit)


if __name__ == "__main__":
    main()
