"""CodeContests (Li et al., 2022; CC-BY-4.0): problems whose programs read stdin and print.

    python data/codecontests.py --source rows.jsonl --out problems

The set is published as Parquet, which Python's standard library cannot read. To convert it, run
`pip install datasets` in an environment of its own, then in Python

    load_dataset("deepmind/code_contests", split="test").to_json("rows.jsonl")

Any file of this form will do. Each line of it is one row as JSON:

    {"name": …, "description": …, "public_tests": {"input": […], "output": […]},
     "private_tests": {…}, "generated_tests": {…},
     "solutions": {"language": [3, …], "solution": ["…", …]}}

The private and the generated tests are hidden. The reference is the first Python 3 solution, among
the first five, that passes all tests.
"""

from common import ASK, RETRY, execute, make_parser, parse, published

from lib.rows import write_jsonl

FIELDS = {
    "name": str,  # unique: it becomes the task_id
    "description": str,  # ends with the examples, under a heading
    "solutions": dict,  # two lists of equal length: language, solution
    "public_tests": dict,  # two lists of equal length: input, output
    "private_tests": dict,
    "generated_tests": dict,
}
# Python 3 in the field "language".
PYTHON3 = 3
# At most so many solutions of a problem are run to find a reference.
SOLUTIONS_TRIED = 5
STDIN_ASK = (
    "\n\nWrite a Python program that reads the input from stdin and prints the output." + ASK
)


def read_tests(row, kind):
    """{"input": [a, b], "output": [c, d]} → [{"input": a, "output": c}, …]."""
    # A row that has no tests of a kind may hold an empty object.
    inputs = row[kind].get("input", [])
    outputs = row[kind].get("output", [])
    return [{"input": given, "output": expected} for given, expected in zip(inputs, outputs)]


def convert(row, hide):
    """A row → its problem, once for each Python 3 solution that may become the reference.

    `hide` cuts the description off before its examples.
    """
    public = read_tests(row, "public_tests")
    hidden = read_tests(row, "private_tests") + read_tests(row, "generated_tests")

    # The examples come last in a description.
    description = row["description"]
    if hide:
        description = description.partition("\nExample")[0]

    # Programs that read stdin have no entry point. A generated test may repeat a public one.
    problem = {
        "task_id": row["name"],
        "group": row["name"],
        "prompt": description.strip() + STDIN_ASK,
        "entry_point": "",
        "setup": "",
        "public_tests": public,
        "hidden_tests": [test for test in hidden if test not in public],
    }

    # The same problem with each of its first solutions as the reference.
    solutions = zip(row["solutions"]["language"], row["solutions"]["solution"])
    programs = [code for language, code in solutions if language == PYTHON3]
    return [{**problem, "reference": code} for code in programs[:SOLUTIONS_TRIED]]


def main():
    args = parse(make_parser(__doc__, None))
    rows = published(None, args.source, FIELDS, None, "name")[: args.limit or None]

    # Run all solutions of all problems at once. A row without one in Python 3 has no variants.
    variants = [convert(row, args.hide_tests) for row in rows]
    by_id = {}
    programs = []
    for problems in variants:
        for problem in problems:
            by_id[problem["task_id"]] = problem
            programs.append((problem["task_id"], problem["reference"]))
    verdicts = execute.execute(by_id, programs, timeout=10)

    # Of each row's variants, the first whose solution passes.
    sound = []
    for problems in variants:
        for problem in problems:
            public_passed, hidden_passed, _ = verdicts[problem["task_id"], problem["reference"]]
            if public_passed and hidden_passed:
                sound.append({**problem, "retry": RETRY})
                break

    # Problems without a reference are left out, because their tests may be wrong.
    path = f"{args.out}/test.jsonl"
    write_jsonl(path, sound)
    left_out = len(rows) - len(sound)
    print(
        f"CodeContests: {len(sound)} problems, "
        f"{left_out} left out (no Python 3 solution passes) → {path}"
    )


if __name__ == "__main__":
    main()
