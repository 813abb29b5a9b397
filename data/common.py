"""What the importers share: fetching a published file, checking references, writing problems."""

import argparse
import gzip
import importlib
import os
import shutil
import sys
import tempfile
import urllib.request

# A script's own folder is on the path, the checkout is not.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib.rows import check_numbers, read_jsonl, stop, write_jsonl

# The executor: a module whose name begins with a digit has no ordinary import.
execute = importlib.import_module("02_execute")

# How every prompt of a published problem ends.
ASK = "\n\nReturn the whole program in one ```python block."
# And what is added to all feedback on one: without it, models explain.
RETRY = "Fix the program. Return the whole program in one ```python block."


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
    check_numbers(args, may_be_zero=("limit",))
    return args


def published(url, source, fields, count, key="task_id"):
    """The rows of the file at `url`, or of the file `source` if given. Either may be packed (.gz).

    fields: {name: type} of every row
    key: the field whose values are unique
    count: rows of the published file. If a fetched file has another number, the importer stops.
    """
    # What is fetched or unpacked lies in a folder that is deleted after reading.
    with tempfile.TemporaryDirectory() as folder:
        # Every failure ends with the way out: a file that was fetched by other means.
        try:
            path = source or fetch(url, folder)
            if path.endswith(".gz"):
                path = unpack(path, folder)
        except (OSError, EOFError) as error:
            stop(f"{source or url}: {error}; --source takes a file that you have")
        rows = read_jsonl(path, fields, [key])

    # A page of HTML or a file of another version must not pass as the published one.
    if not source and len(rows) != count:
        stop(
            f"{url}: {len(rows)} rows, not the {count} that were published; "
            "--source takes a file that you have"
        )
    return rows


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


def save(name, problems, path, limit):
    """Write the problems whose reference program passes their tests, and name the others.

    limit: only the first so many problems, or 0 for all of them.
    """
    problems = problems[: limit or None]  # [:None] is all of them

    # Reference programs are other people's code, so they run in the sandbox as a model's would.
    by_id = {problem["task_id"]: problem for problem in problems}
    references = [(problem["task_id"], problem["reference"]) for problem in problems]
    verdicts = execute.execute(by_id, references, timeout=10)

    # A problem is kept if its reference passes the public and the hidden tests.
    sound = []
    for problem in problems:
        public_passed, hidden_passed, _ = verdicts[problem["task_id"], problem["reference"]]
        if public_passed and hidden_passed:
            sound.append({**problem, "retry": RETRY})
        else:
            print(f"left out: {problem['task_id']}, whose own reference program fails")
    write_jsonl(path, sound)

    # One line that tells what became of the published rows.
    # Without a public test, a program gets feedback only if it does not load.
    without_public = sum(not problem["public_tests"] for problem in sound)
    print(
        f"{name}: {len(sound)} problems, {len(problems) - len(sound)} left out, "
        f"{without_public} without a public test → {path}"
    )
