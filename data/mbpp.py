"""MBPP (Austin et al., 2021; CC-BY-4.0): the published JSON Lines file → train, dev and test problems.

    python data/mbpp.py --out problems                            # fetches the published file
    python data/mbpp.py --source mbpp.jsonl --out problems        # … or takes yours
    python data/mbpp.py --hide-tests --out problems               # no test in the prompt: the paper's POMDP variant

The paper's split: task_id 601–974 train (374), 511–600 dev (90), 11–510 test (500). The first of the three asserts is
public and stands in the prompt; the other two and the challenge tests are hidden. The prompt asks for the code alone.
With --hide-tests the public test still runs: what the function is called is then learned from the feedback.
"""
import argparse, ast, gzip, importlib, os, shutil, sys, tempfile, urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
execute = importlib.import_module("02_execute")

URL = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl"
SPLITS = dict(train=range(601, 975), dev=range(511, 601), test=range(11, 511))
SHOWN = " Your code should pass this test:\n\n{test}"
ASK = "\n\nReturn the whole program in one ```python block."


# ── What every importer does (the others take it from here) ──────────────────────────────────────────────────────

def published(url, source, fields, count, key="task_id"):
    """The rows of the file `source`, or of the one at `url`, packed (.gz) or not. What was fetched must be `count` rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = source or os.path.join(folder, os.path.basename(url))
        try:
            if not source:
                print(f"fetching {url}")
                with urllib.request.urlopen(url, timeout=60) as web, open(path, "wb") as file: shutil.copyfileobj(web, file)
            if path.endswith(".gz"):
                packed, path = path, os.path.join(folder, os.path.basename(path)[:-3])
                with gzip.open(packed) as web, open(path, "wb") as file: shutil.copyfileobj(web, file)
        except (OSError, EOFError) as e: execute.stop(f"{source or url}: {e}; --source takes a file that you have")
        rows = execute.read_jsonl(path, fields, [key])
    if not source and len(rows) != count:
        execute.stop(f"{url}: {len(rows)} rows, not the {count} that were published; --source takes a file that you have")
    return rows


def save(name, problems, path, limit):
    """Write the problems (the first `limit`; 0: all) whose reference program passes their tests, public and hidden; name the others."""
    problems = problems[:limit or None]
    table = {p["task_id"]: p for p in problems}
    verdicts = execute.execute(table, [(p["task_id"], p["reference"]) for p in problems], timeout=10)
    good = [p for p in problems if verdicts[p["task_id"], p["reference"]][:2] == (True, True)]
    for p in problems:
        if p not in good: print(f"left out: {p['task_id']}, whose own reference program fails")
    execute.write_jsonl(path, good)
    print(f"{name}: {len(good)} problems, {len(problems) - len(good)} left out, "
          f"{sum(not p['public_tests'] for p in good)} without a public test → {path}")


def arguments(doc, default, more={}):
    ap = argparse.ArgumentParser(description=doc.split("\n")[0])
    ap.add_argument("--source", required=not default, help="the file as published" + f" (absent: fetched from {default})" * bool(default))
    ap.add_argument("--out", required=True, help="folder for one problems file a split")
    ap.add_argument("--hide-tests", action="store_true", help="no test in the prompt; public ones still run")
    ap.add_argument("--limit", type=int, default=0, help="only so many problems of a split, for a first look (0: all)")
    for name, about in more.items(): ap.add_argument(f"--{name}", **about)
    args = ap.parse_args()
    if args.limit < 0: execute.stop(f"--limit is {args.limit}: too small")
    return args


# ── MBPP ─────────────────────────────────────────────────────────────────────────────────────────────────────────

def entry_point(test, code):
    """The function that the first assert calls and the program defines (a test may call others around it, like set)."""
    defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    called = [node.func.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return next(name for name in called if name in defined)


def convert(row, hide=False):
    tests = list(dict.fromkeys(test.strip() for test in row["test_list"] + row["challenge_test_list"]))
    name, shown = f"MBPP/{row['task_id']}", "" if hide else SHOWN.format(test=tests[0])
    return dict(task_id=name, group=name, prompt=row["text"].strip() + shown + ASK, entry_point=entry_point(tests[0], row["code"]),
                setup=row["test_setup_code"], public_tests=tests[:1], hidden_tests=tests[1:], reference=row["code"])


def main():
    args = arguments(__doc__, URL)
    fields = dict(task_id=int, text=str, code=str, test_list=list, challenge_test_list=list, test_setup_code=str)
    rows = published(URL, args.source, fields, 974)
    for split, ids in SPLITS.items():
        save(f"MBPP {split}", [convert(row, args.hide_tests) for row in rows if row["task_id"] in ids], f"{args.out}/{split}.jsonl", args.limit)


if __name__ == "__main__":
    main()
