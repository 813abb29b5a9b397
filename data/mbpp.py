"""MBPP (Austin et al., 2021; CC-BY-4.0): the published file → train, dev and test problems.

    python data/mbpp.py --out problems                        # fetches the published file
    python data/mbpp.py --source mbpp.jsonl --out problems    # or takes a file that you have
    python data/mbpp.py --hide-tests --out problems           # no test in the prompt

The split is the paper's: task_id 601 to 974 train (374), 511 to 600 dev (90), 11 to 510 test (500).
Each problem has three asserts. The first is public and stands in the prompt. The other two and the
challenge tests are hidden.

The sanitized release (427 rows, the text in `prompt`) has the same ids, so the same split. Hugging
Face's exports of the two are read as well, and so is a JSON array instead of JSON lines.

--hide-tests makes the paper's POMDP variant. The public test still runs, so the feedback is the
only place where a program can learn the name of its function.
"""

import ast

from common import ASK, make_parser, parse, published, save
from lib.rows import check_fields, stop
from lib.text import is_python

URL = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl"
ROWS = 974
FIELDS = {
    "task_id": int,
    "code": str,  # the reference program
    "test_list": list,  # three asserts
}
# A row has, besides, the fields of one of the two releases.
FULL = {
    "text": str,  # what to write, in a sentence or two
    "challenge_test_list": list,  # more asserts, in most rows none
    "test_setup_code": str,  # runs between the program and the tests
}
SANITIZED = {
    "prompt": str,  # the text
    "test_imports": list,  # import statements that the tests need
}
# The split of the paper, by task_id. The ids 1 to 10 are for few-shot prompts, and are not used.
SPLITS = {"train": range(601, 975), "dev": range(511, 601), "test": range(11, 511)}
FEW_SHOT = range(1, 11)
SHOWN = " Your code should pass this test:\n\n{test}"


def check_row(path, number, row):
    """Stop unless a row has the fields of its release, and lines of Python where they belong."""
    is_sanitized = "prompt" in row and "text" not in row
    check_fields(path, number, row, SANITIZED if is_sanitized else FULL)

    # The judge would take any of these, and then fail every program.
    for field in ("test_list", "challenge_test_list", "test_imports"):
        for line in row.get(field, []):
            if not isinstance(line, str) or not is_python(line):
                stop(f"{path}, row {number}: field '{field}' holds {line!r:.60}, not Python")
    if not is_python(row.get("test_setup_code", "")):
        stop(f"{path}, row {number}: field 'test_setup_code' is not Python")


def entry_point(test, code):
    """The first function that `test` calls and `code` defines, "" if none. It may be a class."""
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
    return next((name for name in called if name in defined), "")


def convert(row, hide=False):
    """A published row → a problem. `hide` keeps the public test out of the prompt."""
    # Equal tests count once, in the order of their first appearance.
    stripped = [test.strip() for test in row["test_list"] + row.get("challenge_test_list", [])]
    tests = list(dict.fromkeys(stripped))

    # What becomes no problem: save() names it.
    task_id = f"MBPP/{row['task_id']}"
    if not tests:
        return {"task_id": task_id, "left_out": "which has no test"}
    if not is_python(row["code"]):
        return {"task_id": task_id, "left_out": "whose own reference program is not Python 3"}
    name = entry_point(tests[0], row["code"])
    if not name:
        return {"task_id": task_id, "left_out": "whose first test calls nothing of its program"}

    # The sanitized release has imports where the full one has set-up code.
    setup = [*row.get("test_imports", []), row.get("test_setup_code", "")]
    text = row["text"] if "text" in row else row["prompt"]

    # The first test tells the program what its function is called.
    shown = "" if hide else SHOWN.format(test=tests[0])
    return {
        "task_id": task_id,
        "group": task_id,
        "prompt": text.strip() + shown + ASK,
        "entry_point": name,
        "setup": "\n".join(filter(None, setup)),
        "public_tests": tests[:1],
        "hidden_tests": tests[1:],
        "references": [row["code"]],
    }


def main():
    args = parse(make_parser(__doc__, URL))
    rows = published(URL, args.source, FIELDS, ROWS, check=check_row)

    # Every row is converted before the first file is written.
    problems = {row["task_id"]: convert(row, args.hide_tests) for row in rows}
    for task_id in problems:
        if not any(task_id in ids for ids in SPLITS.values()):
            reason = "for few-shot prompts" if task_id in FEW_SHOT else "in no split of the paper"
            print(f"left out: MBPP/{task_id}, which is {reason}")
    for split, ids in SPLITS.items():
        chosen = [problem for task_id, problem in problems.items() if task_id in ids]
        save(f"MBPP {split}", chosen, f"{args.out}/{split}.jsonl", args.limit)


if __name__ == "__main__":
    main()
