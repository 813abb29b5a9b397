"""HumanEval+ and MBPP+ (EvalPlus: Liu et al., 2023; Apache-2.0): published files → test problems.

    python data/evalplus.py --set humaneval --out problems    # fetches 164 rows
    python data/evalplus.py --set mbpp --out problems         # fetches 378 rows
    python data/evalplus.py --set mbpp --source MbppPlus.jsonl.gz --out problems

A row lists inputs of a function: the original ones, and far more of EvalPlus's. The correct outputs
are what its reference program gives, which runs in the sandbox here as it does in stage 02.

Public are the docstring's examples (HumanEval+) or the assert in the prompt (MBPP+). Hidden are all
inputs that are not public. Floats may differ from the reference's by 1e-6, or by the row's `atol`.
HumanEval/32 is left out: it asks for any zero of a polynomial, and another than the reference's is
correct too.
"""

import ast
import contextlib

import humaneval
import mbpp
from common import execute, make_parser, parse, published, save
from tqdm import tqdm

from lib.sandbox import Program, ProgramFailed, run_all

RELEASES = "https://github.com/evalplus/{}_release/releases/download/"
URLS = {
    "humaneval": RELEASES.format("humanevalplus") + "v0.1.10/HumanEvalPlus.jsonl.gz",
    "mbpp": RELEASES.format("mbppplus") + "v0.2.0/MbppPlus.jsonl.gz",
}
ROWS = {"humaneval": 164, "mbpp": 378}
FIELDS = {
    "task_id": str,
    "prompt": str,  # HumanEval's, or a docstring of MBPP's text and an assert
    "canonical_solution": str,
    "entry_point": str,
    "base_input": list,  # the arguments of each original call
    "plus_input": list,  # the arguments of each call that EvalPlus adds
}
# A reference program may take: seconds for loading it and for each call, megabytes.
LIMITS = {"timeout": 10.0, "memory": 1024}

# The set-up code of every problem, written into its row. `most` is the absolute tolerance.
CLOSE = (
    "\ndef close(a, b, most):\n"
    "    if isinstance(b, (list, tuple)): return type(a) == type(b) and len(a) == len(b) "
    "and all(close(x, y, most) for x, y in zip(a, b))\n"
    "    if isinstance(b, dict): return type(a) == type(b) and a.keys() == b.keys() "
    "and all(close(a[k], b[k], most) for k in b)\n"
    "    return abs(a - b) <= most + 1e-7 * abs(b) if isinstance(b, float) else a == b\n"
)


# ── From a row's inputs to calls ─────────────────────────────────────────────────────────────────


def parse_assertion(row):
    """The row's first assert → (its left side, its call of the function, that call's arguments).

    The first two are syntax trees, the second within the first. `assert set(f((1, 2))) == {1}` says
    that order does not count, and that f takes a tuple.
    """
    # HumanEval+ rows have no assert: a call without arguments stands for it.
    name = row["entry_point"]
    left = ast.parse(row.get("assertion") or f"assert {name}() == 0").body[0].test
    if isinstance(left, ast.Compare) and isinstance(left.ops[0], ast.Eq):
        left = left.left

    # The call may be wrapped in others.
    calls = [node for node in ast.walk(left) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == name)
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
    except ValueError:
        arguments = []  # not literals: nothing tells the shape of JSON's lists
    return left, call, arguments


def shaped(value, model):
    """A value from JSON, which knows lists alone, in the shape of `model`.

    Lists become tuples or sets where `model`, a value that was written in Python, has them.
    """
    # Not a list, or nothing to tell what it should be: the value stays.
    if not isinstance(value, list) or not isinstance(model, (list, tuple, set)):
        return value
    # If the model is shorter than the value, its last element is the model of the rest.
    models = list(model) or [None]
    items = [shaped(item, models[min(k, len(models) - 1)]) for k, item in enumerate(value)]
    return type(model)(items)


def is_literal(value):
    """Can Python write the value as a literal? Not if it holds nan or an object."""
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def calls_of(row):
    """The source of a call for every input of a row: f([1, 2]), or set(f((1, 2)))."""
    left, call, models = parse_assertion(row)
    for inputs in [*row["base_input"], *row["plus_input"]]:
        values = []
        for k, value in enumerate(inputs):
            model = models[k] if k < len(models) else None
            values.append(shaped(value, model))

        # Put the values into the assert's own call.
        if all(is_literal(value) for value in values):
            call.args = [ast.parse(repr(value), mode="eval").body for value in values]
            yield ast.unparse(left)


# ── What the references answer ───────────────────────────────────────────────────────────────────


def ask_references(references):
    """Run reference programs → for each one {source of a call: its value}, in order.

    references: (program, entry point, sources of calls) of each row.
    """
    # As many at a time as there are cores.
    results = run_all(ask_reference, references, None, LIMITS)
    progress = tqdm(results, total=len(references), desc="  asking the references", disable=None)
    for _, found in progress:
        yield {source: ast.literal_eval(value) for source, value in found}


def ask_reference(zygote, shared, limits, code, entry_point, sources):
    """Run one reference program. Yields (source, its value as a literal), but of calls that fail.

    What Python cannot write as a literal is left out, too.
    """
    problem = {"entry_point": entry_point, "setup": ""}
    with contextlib.closing(Program(zygote, limits, code)) as program:
        names, _ = execute.load(program, problem)
        for source in sources:
            # Each call has the whole time.
            program.start_clock()
            with contextlib.suppress(Exception, ProgramFailed):
                value = eval(source, names)
                if is_literal(value):
                    yield source, repr(value)


def write_tests(row, name, values):
    """Yield an assert for every call of a row. The function is called `name` in it."""
    tolerance = row.get("atol") or 1e-6  # EvalPlus's own default
    for source, value in values.items():
        call = source.replace(f"{row['entry_point']}(", f"{name}(", 1)
        if has_float(value):
            yield f"assert close({call}, {value!r}, {tolerance})"
        else:
            yield f"assert {call} == {value!r}"


def has_float(value):
    """Is there a float in it? Such values are compared with a tolerance."""
    # Keys are compared exactly, as dictionaries look them up.
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(has_float(item) for item in value)
    return isinstance(value, float)


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────


def from_humaneval(rows, hide):
    """Yield HumanEval+ problems: rows get a new `check`, and then are HumanEval's."""
    rows = [row for row in rows if row["task_id"] != "HumanEval/32"]
    found = humaneval.examples_of(rows)
    correct = humaneval.correct_examples(rows, found)

    # The prompt holds the head of the function, and its helpers.
    references = []
    for row in rows:
        # Each call once: two inputs may write the same one.
        sources = list(dict.fromkeys(calls_of(row)))
        program = row["prompt"] + row["canonical_solution"]
        references.append((program, row["entry_point"], sources))

    # A `check` may be left without any assert, so it ends with `pass`.
    for row, values in zip(rows, ask_references(references)):
        tests = [*write_tests(row, "candidate", values), "pass"]
        body = "".join(f"    {test}\n" for test in tests)
        row["test"] = f"def check(candidate):\n{body}"

        task_id = row["task_id"]
        # The row as HumanEval would have it. Its `check` calls close() where a value has floats.
        problem = humaneval.convert(row, found[task_id], correct[task_id], hide)
        yield {**problem, "setup": CLOSE}


def from_mbpp(rows, hide):
    """Yield MBPP+ problems: the assert in the prompt is public."""
    # What the prompt shows is not asked again.
    references = []
    for row in rows:
        public_call = ast.unparse(parse_assertion(row)[0])
        sources = [source for source in dict.fromkeys(calls_of(row)) if source != public_call]
        references.append((row["canonical_solution"], row["entry_point"], sources))

    for row, values in zip(rows, ask_references(references)):
        # The prompt is a docstring: the text, then an assert.
        prompt = row["prompt"].strip().strip('"').strip()
        text, _, asserts = prompt.partition("\nassert")
        public_test = "assert" + asserts.split("\nassert")[0]

        # The row as MBPP would have it.
        tests = [public_test, *write_tests(row, row["entry_point"], values)]  # public first
        mbpp_row = {
            "task_id": row["task_id"].rpartition("/")[2],
            "text": text,
            "code": row["canonical_solution"],
            "test_list": tests,
            "challenge_test_list": [],
            "test_setup_code": CLOSE,
        }
        yield mbpp.convert(mbpp_row, hide)


def main():
    parser = make_parser(__doc__, "EvalPlus's releases")
    parser.add_argument("--set", required=True, choices=URLS, help="which of the two")
    args = parse(parser)
    rows = published(URLS[args.set], args.source, FIELDS, ROWS[args.set])

    read_rows = from_humaneval if args.set == "humaneval" else from_mbpp
    problems = list(read_rows(rows, args.hide_tests))
    save(f"{args.set}+ test", problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
