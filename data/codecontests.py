"""CodeContests (Li et al., 2022; CC-BY-4.0): problems whose programs read stdin and print.

    python data/codecontests.py --source rows.jsonl --out problems

The set is published as Parquet, which Python's standard library cannot read. To convert it, run
`pip install datasets` in an environment of its own, then in Python

    load_dataset("deepmind/code_contests", split="test").to_json("rows.jsonl")

Any file of this form will do, or one JSON array of such rows. Each line of it is one row:

    {"name": …, "description": …, "public_tests": {"input": […], "output": […]},
     "private_tests": {…}, "generated_tests": {…},
     "solutions": {"language": [3, …], "solution": ["…", …]}}

Re-exports differ: tests and solutions may also be lists of objects, [{"input": …, "output": …}, …],
and a language may be a word, "PYTHON3".

The private and the generated tests are hidden. The reference is the first Python 3 solution, among
the first five, that passes all tests. Two contests may have problems of one name: the second gets
the task_id "name-2".
"""

import re

from common import ASK, make_parser, parse, published, save
from lib.rows import stop

FIELDS = {
    "name": str,  # becomes the task_id
    "description": str,  # ends with the examples, under a heading
}
# Fields that are tables of two columns. All are texts, but that a language may be a number.
TABLES = {
    "public_tests": ("input", "output"),
    "private_tests": ("input", "output"),
    "generated_tests": ("input", "output"),
    "solutions": ("language", "solution"),
}
FIELDS |= dict.fromkeys(TABLES, object)
# Python 3 in the column "language".
PYTHON3 = re.compile(r"3|(python|pypy|py)[ _-]?3[.\d]*", re.I)
# At most so many solutions of a problem are run to find a reference.
SOLUTIONS_TRIED = 5
STDIN_ASK = (
    "\n\nWrite a Python program that reads the input from stdin and prints the output." + ASK
)
# The line above the examples: "Example", "SAMPLE INPUT", "### Sample Input 1:", "Output for the
# Sample Input", "Example 1: …". A sentence is none, though it may begin with such a word.
EXAMPLES = re.compile(
    r"^\W*((input|output|test)s?\W+((for|and|of)\W+)?(the\W+)?)*(sample|example)s?\b"
    r"(([\W\d]|input|output|i/o|test|case|data|set|for|and|the|of|explanation|s\b)*?)($|:)",
    re.I | re.M,
)


def read_table(row, field):
    """A field of two columns → its lines, as pairs. An Exception if it is no such table.

    {"input": [a, b], "output": [c, d]} and [{"input": a, "output": c}, …] → [(a, c), (b, d)]
    """
    first, second = TABLES[field]
    table = row[field]
    # A row without tests of a kind may hold an empty object.
    if table == {}:
        return []

    # The published form, and that of re-exports. What is neither raises a TypeError or KeyError.
    if isinstance(table, dict):
        lefts, rights = table[first], table[second]
        if not isinstance(lefts, list) or not isinstance(rights, list):
            raise ValueError
        pairs = list(zip(lefts, rights, strict=True))
    else:
        pairs = [(line[first], line[second]) for line in table]

    # Only a language may be a number.
    for left, right in pairs:
        is_left = isinstance(left, str) or (first == "language" and isinstance(left, int))
        if not is_left or not isinstance(right, str):
            raise ValueError
    return pairs


def check_row(path, number, row):
    """Stop unless tests and solutions of a row can be read."""
    for field, (first, second) in TABLES.items():
        try:
            read_table(row, field)
        except (ValueError, TypeError, KeyError):
            stop(
                f"{path}, row {number}: field '{field}' is neither two lists of equal length, "
                f"'{first}' and '{second}', nor a list of objects with these, in texts"
            )


def convert(row, task_id, hide):
    """A row → its problem. `hide` cuts the description off before its examples."""
    solutions = read_table(row, "solutions")
    programs = [code for language, code in solutions if PYTHON3.fullmatch(str(language))]
    if not programs:
        return {"task_id": task_id, "left_out": "which has no solution in Python 3"}

    # The tests in the form of a problem.
    tests = {}
    for field in ("public_tests", "private_tests", "generated_tests"):
        pairs = read_table(row, field)
        tests[field] = [{"input": given, "output": expected} for given, expected in pairs]
    public = tests["public_tests"]
    hidden = tests["private_tests"] + tests["generated_tests"]

    # The examples come last in a description.
    description = row["description"]
    if hide and (heading := EXAMPLES.search(description)):
        description = description[: heading.start()]

    # Programs that read stdin have no entry point. A generated test may repeat a public one.
    return {
        "task_id": task_id,
        "group": task_id,
        "prompt": description.strip() + STDIN_ASK,
        "entry_point": "",
        "setup": "",
        "public_tests": public,
        "hidden_tests": [test for test in hidden if test not in public],
        "references": programs[:SOLUTIONS_TRIED],
    }


def convert_all(rows, hide):
    """Yield the problem of each row, with a task_id of its own."""
    # Two contests may have a problem of one name. A row that comes twice is one problem.
    taken = set()
    earlier = {}  # {name: the rows of this name}
    for row in rows:
        name = row["name"]
        if row in earlier.setdefault(name, []):
            yield {"task_id": name, "left_out": "a row that the file has twice"}
            continue
        earlier[name].append(row)

        # The first of a name keeps it: 1_A, 1_A-2, 1_A-3.
        task_id = name
        count = 1
        while task_id in taken:
            count += 1
            task_id = f"{name}-{count}"
        taken.add(task_id)
        yield convert(row, task_id, hide)


def main():
    args = parse(make_parser(__doc__, None))
    rows = published(None, args.source, FIELDS, None, None, check_row)
    problems = list(convert_all(rows[: args.limit or None], args.hide_tests))
    save("CodeContests", problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
