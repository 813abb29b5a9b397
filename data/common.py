"""What the importers share: fetching and reading a published file, checking references, writing
problems."""

import argparse
import gzip
import importlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import urllib.request

# A script's own folder is on the path, the checkout is not.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib.rows import check_fields, check_flags, stop, write_jsonl

# The executor: a module whose name begins with a digit has no ordinary import.
execute = importlib.import_module("02_execute")

# How every prompt of a published problem ends.
ASK = "\n\nReturn the whole program in one ```python block."
# And what is added to all feedback on one: without it, models explain.
RETRY = "Fix the program. Return the whole program in one ```python block."
# What to do where the published file cannot be fetched.
OWN_FILE = "--source (for run_all.sh: MBPP=, HUMANEVAL=) takes a file that you have"


def make_parser(doc, fetched_from):
    """The flags that all importers have.

    doc: the importer's docstring, whose first line describes it
    fetched_from: where the file is fetched from by default, None if it must be given
    """
    # Without a default, --source is required.
    default = f" (absent: fetched from {fetched_from})" if fetched_from else ""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--source", required=not fetched_from, help=f"the published file{default}")
    parser.add_argument("--out", required=True, help="folder for one problems file per split")
    parser.add_argument(
        "--hide-tests", action="store_true", help="no test in the prompt; public tests still run"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        help="number of problems per split, for a first look (0: all)",
    )
    return parser


def parse(parser):
    """The command line; a negative --limit stops the importer."""
    # No limit is written as 0.
    args = parser.parse_args()
    check_flags(args, may_be_zero=("limit",))
    return args


def published(url, source, fields, count, key="task_id", check=None):
    """The rows of the file at `url`, or of the file `source` if given. Either may be packed (.gz).

    fields: {name: type} of every row
    key: the field whose values are unique, None if there is none
    count: rows of the published file. If a fetched file has another number, the importer stops.
    check: check(path, number, row) stops at a row that has another fault
    """
    # Messages name the file as the user knows it, also when it was fetched or unpacked.
    path = source or url

    # What is fetched or unpacked lies in a folder that is deleted after reading.
    with tempfile.TemporaryDirectory() as folder:
        # Every failure ends with the way out: a file that was fetched by other means.
        try:
            file = source or fetch(url, folder)
            if file.endswith(".gz"):
                file = unpack(file, folder)
            rows = read_rows(file, path)
        except (OSError, EOFError) as error:
            stop(f"{path}: {error}; {OWN_FILE}")

    # The form of each row, before any of them is converted.
    seen = set()
    for number, row in enumerate(rows, 1):
        check_fields(path, number, row, fields)
        if check:
            check(path, number, row)
        # Two problems of one name could not be told apart.
        if key and row[key] in seen:
            stop(f"{path}, row {number}: field '{key}' = {row[key]!r} duplicates an earlier row")
        seen.add(key and row[key])

    # A page of HTML or a file of another version must not pass as the published one.
    if not source and len(rows) != count:
        stop(f"{url}: {len(rows)} rows, not the {count} that were published; {OWN_FILE}")
    return rows


def read_rows(file, path):
    """The rows of a file: one on each line, or all in one JSON array. OSError if it cannot be read.

    path: how messages name the file
    """
    rows = []
    try:
        # Some editors put a byte order mark before the text, or a blank line behind it.
        with open(file, encoding="utf-8-sig", newline="\n") as content:
            lines = (line for line in content if line.strip())
            first = next(lines, "")
            # The first character tells an array, which may go on over many lines.
            if first.lstrip().startswith("["):
                rows = parse_array(first + content.read(), path)
            else:
                for line in itertools.chain([first] if first else [], lines):
                    rows.append(json.loads(line))
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        stop(f"{path}, row {len(rows) + 1}: not a line of JSON in UTF-8 ({reason})")
    if not rows:
        stop(f"{path}: no rows")
    return rows


def parse_array(text, path):
    """The rows of a JSON array."""
    # Where it breaks off there is no row yet, so the message has the line of the file.
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        stop(f"{path}: not a JSON array ({error})")


def fetch(url, folder):
    """Download `url` into `folder` → the file's path. OSError if that fails."""
    print(f"fetching {url}")
    # The name keeps its .gz, which tells whether to unpack.
    path = os.path.join(folder, os.path.basename(url))
    with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as file:
        shutil.copyfileobj(response, file)
    return path


def unpack(packed, folder):
    """Unpack NAME.gz to `folder`/NAME → the file's path. OSError or EOFError if that fails."""
    # Without its last three characters, the name is that of the content.
    path = os.path.join(folder, os.path.basename(packed)[:-3])
    with gzip.open(packed) as content, open(path, "wb") as file:
        shutil.copyfileobj(content, file)
    return path


def choose_reference(problem, verdicts):
    """The first reference program that passes all tests → (program, ""), or (None, why not)."""
    if "left_out" in problem:
        return None, problem["left_out"]
    # Without a test every program would be right.
    if not problem["public_tests"] and not problem["hidden_tests"]:
        return None, "which has no test"

    references = problem["references"]
    for code in references:
        public_passed, hidden_passed, _ = verdicts[problem["task_id"], code]
        if public_passed and hidden_passed:
            return code, ""
    if len(references) == 1:
        return None, "whose own reference program fails"
    return None, f"whose first {len(references)} reference programs fail"


def save(name, problems, path, limit):
    """Write the problems that a reference program of theirs passes, and name the others.

    problems: rows with "references", programs to try in this order, instead of "reference"; or
        {"task_id": …, "left_out": the reason} where a row cannot become a problem
    limit: only the first so many problems, or 0 for all of them
    """
    problems = problems[: limit or None]  # [:None] is all of them

    # Reference programs are other people's code, so they run in the sandbox as a model's would.
    by_id = {problem["task_id"]: problem for problem in problems if "left_out" not in problem}
    programs = []
    for task_id, problem in by_id.items():
        programs += [(task_id, code) for code in problem["references"]]
    verdicts = execute.execute(by_id, programs, timeout=10)

    # A problem is kept if a reference passes the public and the hidden tests.
    sound = []
    for problem in problems:
        reference, reason = choose_reference(problem, verdicts)
        if reason:
            print(f"left out: {problem['task_id']}, {reason}")
            continue
        row = {field: value for field, value in problem.items() if field != "references"}
        sound.append({**row, "reference": reference, "retry": RETRY})
    write_jsonl(path, sound)

    # One line that tells what became of the published rows.
    # Without a public test, a program gets feedback only if it does not load.
    without_public = sum(not problem["public_tests"] for problem in sound)
    print(
        f"{name}: {len(sound)} problems, {len(problems) - len(sound)} left out, "
        f"{without_public} without a public test → {path}"
    )
