"""HumanEval+ and MBPP+ (EvalPlus: Liu et al., 2023; Apache-2.0): published files → test problems.

    python data/evalplus.py --set humaneval --out problems    # fetches 164 rows
    python data/evalplus.py --set mbpp --out problems         # fetches 378 rows
    python data/evalplus.py --set mbpp --source MbppPlus.jsonl.gz --out problems

A row lists inputs of a function: the original ones, and far more of EvalPlus's. The correct outputs
are what its reference program gives, which runs in the sandbox here as it does in stage 02.

JSON has no tuples, sets and complex numbers. EvalPlus's own loader knows, task by task, what the
lists and strings of MBPP+ were, and so does the table READERS here. A problem of whose inputs that
is not certain is left out.

Public are the docstring's examples (HumanEval+) or the assert in the prompt (MBPP+). Hidden are all
inputs that are not public. Floats may differ from the reference's by 1e-6, or by the row's `atol`.
HumanEval/32 is left out: it asks for any zero of a polynomial, and another than the reference's is
correct too.
"""

import ast
import contextlib
import json

from common import execute, make_parser, parse, published, save
from lib.rows import check_fields, stop
from lib.sandbox import Program, ProgramFailed, run_all
from lib.text import is_python
from lib.values import Crossing

import humaneval
import mbpp
from tqdm import tqdm

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

# What `repr` writes around items, and the other types that it writes as Python reads them.
BRACKETS = {list: "[]", tuple: "()", set: "{}", frozenset: ("frozenset({", "})")}
PLAIN = (*BRACKETS, type(None), bool, int, float, complex, str, bytes)

# The set-up code of every problem, written into its row. `most` is the absolute tolerance.
CLOSE = (
    "\ndef close(a, b, most):\n"
    "    if isinstance(b, (list, tuple)): return type(a) == type(b) and len(a) == len(b) "
    "and all(close(x, y, most) for x, y in zip(a, b))\n"
    "    if isinstance(b, dict): return isinstance(a, dict) and a.keys() == b.keys() "
    "and all(close(a[k], b[k], most) for k in b)\n"
    "    return a == b or isinstance(b, float) "
    "and abs(a - b) <= most + 1e-7 * abs(b) < float('inf')\n"
)


# ── Inputs as they were before they became JSON ──────────────────────────────────────────────────


def unchanged(value):
    """What JSON could write."""
    return value


def tuples_in(value):
    """A list of tuples."""
    return [tuple(item) for item in value]


def tuple_of_tuples(value):
    """A tuple whose lists were tuples. Other items stay."""
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)


def all_tuples(value):
    """Tuples at every depth."""
    return tuple(map(all_tuples, value)) if isinstance(value, list) else value


def tuples_by_key(value):
    """A dictionary of tuples."""
    return {key: tuple(item) for key, item in value.items()}


def sets_in(value):
    """A list of sets, where what is empty was a dictionary."""
    return [set(item) if isinstance(item, list) and item else {} for item in value]


# How EvalPlus's loader reads the arguments of MBPP+ tasks: a function for the first argument, for
# the second, and so on. The last one is for all that follow.
READERS_OF_TASKS = [
    ([tuple], "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596"),
    ([tuple], "616 630 726 740 744 809"),
    ([tuples_in], "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    ([tuples_in, unchanged], "75 413 444 753"),
    ([unchanged, tuple], "106 750"),
    ([tuple, unchanged], "250 307 405 446 617 720 763 808"),
    ([tuple_of_tuples], "259 278 401 445"),
    ([all_tuples], "580 615 791"),
    ([tuples_by_key, unchanged], "722"),
    ([sets_in], "115"),
    ([float, complex], "124"),
    ([complex], "252"),
    # Their asserts have tuples or numbers as keys. EvalPlus leaves the lists and strings.
    ([unchanged], "98 104 140 145 582"),
]
READERS = {
    f"Mbpp/{number}": readers for readers, numbers in READERS_OF_TASKS for number in numbers.split()
}


def read_inputs(row):
    """The arguments of every call of a row. Raises an Exception if they are not of the task."""
    # Any other task has what JSON could write.
    readers = READERS.get(row["task_id"], [unchanged])
    last = len(readers) - 1
    calls = []
    for inputs in [*row["base_input"], *row["plus_input"]]:
        calls.append([readers[min(k, last)](value) for k, value in enumerate(inputs)])
    return calls


def is_certain(row):
    """Is it known what the inputs of a row were before they became JSON?"""
    if row["task_id"] in READERS:
        return True

    # Else the assert tells: its own arguments must be the same before and after.
    _, call = parse_assertion(row)
    try:
        shown = [ast.literal_eval(argument) for argument in call.args]
        return json.loads(json.dumps(shown)) == shown
    except (TypeError, ValueError):
        return False


# ── From inputs to calls ─────────────────────────────────────────────────────────────────────────


def parse_assertion(row):
    """The row's first assert → (what is compared, its call of the function), as syntax trees.

    The second is within the first. `assert set(f((1, 2))) == {1}` says that order does not count,
    and `assert f(1)` that only truth does. Of any other assert only the call is taken.
    """
    # HumanEval+ rows have no assert: a call without arguments stands for it. Before MBPP+'s there
    # may be an import.
    name = row["entry_point"]
    assertion = row.get("assertion") or f"assert {name}() == 0"
    tree = ast.parse(assertion)
    test = next(node.test for node in tree.body if isinstance(node, ast.Assert))
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
    call = next(node for node in calls if getattr(node.func, "id", "") == name)

    match test:
        # The call may be wrapped in others.
        case ast.Compare(left=left, ops=[ast.Eq()]) if call in ast.walk(left):
            return left, call
        # `assert not f(1)` is about truth, too.
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            test = operand
    if test is call:
        return ast.Call(func=ast.Name("bool"), args=[call], keywords=[]), call
    # `assert math.isclose(f(1), 2)` says nothing about other inputs.
    return call, call


def write_value(value):
    """The source of a value, exact to the last bit. ValueError if it is nan or no plain data."""
    kind = type(value)
    # A Counter or the like equals the dictionary.
    if isinstance(value, dict):
        items = [f"{write_value(key)}: {write_value(item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"

    # The items as they are written here, in the brackets of repr. Sets in one order on every run.
    if kind in BRACKETS and value:
        items = list(map(write_value, value))
        if kind in (set, frozenset):
            items.sort()
        before, after = BRACKETS[kind]
        comma = "," if kind is tuple and len(items) == 1 else ""
        return f"{before}{', '.join(items)}{comma}{after}"

    # Python reads (-0-1j), as repr has it, as another number. And infinity is no literal.
    if kind not in PLAIN or value != value:
        raise ValueError(f"a {kind.__name__} that has no literal")
    if kind is complex:
        return f"complex({write_value(value.real)}, {write_value(value.imag)})"
    if value in (float("inf"), float("-inf")):
        return f"float('{value}')"
    return repr(value)


def write_calls(row):
    """The sources of a row's distinct calls: f([1, 2]), or set(f((1, 2)))."""
    compared, call = parse_assertion(row)
    sources = []
    for values in read_inputs(row):
        # Put the values into the assert's own call.
        call.args = [ast.parse(write_value(value), mode="eval").body for value in values]
        sources.append(ast.unparse(compared))
    # Two inputs may write the same call.
    return list(dict.fromkeys(sources))


# ── What the references answer ───────────────────────────────────────────────────────────────────


def ask_references(references):
    """Run reference programs → for each one {source of a call: its value}, in order.

    references: (program, entry point, sources of calls) of each row.
    """
    # As many at a time as there are cores. Values come as JSON with tags.
    results = run_all(ask_reference, references, None, LIMITS)
    progress = tqdm(results, total=len(references), desc="  asking the references", disable=None)
    for _, found in progress:
        yield {source: Crossing(None, None).decode(data) for source, data in found}


def ask_reference(zygote, shared, limits, code, entry_point, sources):
    """Run one reference program. Yields (source, its value as data), but of calls that fail.

    What Python cannot write as plain data is left out, too.
    """
    problem = {"entry_point": entry_point, "setup": ""}
    with contextlib.closing(Program(zygote, limits, code)) as program:
        names, _ = execute.load(program, problem)
        for source in sources:
            # Each call has the whole time.
            program.start_clock()
            with contextlib.suppress(Exception, ProgramFailed):
                value = eval(source, names)
                write_value(value)  # raises if it cannot
                yield source, Crossing(None, None).encode(value)


def write_tests(row, name, values):
    """Yield an assert for every call of a row. The function is called `name` in it."""
    tolerance = row.get("atol") or 1e-6  # EvalPlus's own default
    for source, value in values.items():
        call = source.replace(f"{row['entry_point']}(", f"{name}(", 1)
        if has_float(value):
            yield f"assert close({call}, {write_value(value)}, {tolerance})"
        else:
            yield f"assert {call} == {write_value(value)}"


def has_float(value):
    """Is there a float in it? Such values are compared with a tolerance."""
    # Keys are compared exactly, as dictionaries look them up.
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return any(has_float(item) for item in value)
    return isinstance(value, float)


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────


def from_humaneval(rows, calls, hide):
    """Yield HumanEval+ problems: rows get a new `check`, and then are HumanEval's."""
    found = humaneval.examples_of(rows)
    correct = humaneval.correct_examples(rows, found)

    # The prompt holds the head of the function, and its helpers.
    references = []
    for row, sources in zip(rows, calls):
        program = row["prompt"] + row["canonical_solution"]
        references.append((program, row["entry_point"], sources))

    # A `check` may be left without any assert, so it ends with `pass`.
    for row, reference, values in zip(rows, references, ask_references(references)):
        tests = [*write_tests(row, "candidate", values), "pass"]
        body = "".join(f"    {test}\n" for test in tests)
        row["test"] = f"def check(candidate):\n{body}"

        task_id = row["task_id"]
        # The row as HumanEval would have it. Its `check` calls close() where a value has floats.
        problem = humaneval.convert(row, found[task_id], correct[task_id], hide)
        yield name_lost({**problem, "setup": CLOSE}, reference, values)


def from_mbpp(rows, calls, hide):
    """Yield MBPP+ problems: the assert in the prompt is public."""
    # What the prompt shows is not asked again.
    references = []
    for row, sources in zip(rows, calls):
        public_call = ast.unparse(parse_assertion(row)[0])
        others = [source for source in sources if source != public_call]
        references.append((row["canonical_solution"], row["entry_point"], others))

    for row, reference, values in zip(rows, references, ask_references(references)):
        text, public_test = split_prompt(row)
        tests = [public_test, *write_tests(row, row["entry_point"], values)]  # public first

        # The row as MBPP would have it.
        mbpp_row = {
            "task_id": row["task_id"].rpartition("/")[2],
            "text": text,
            "code": row["canonical_solution"],
            "test_list": tests,
            "challenge_test_list": [],
            # An assert may call math.isclose.
            "test_setup_code": f"import math{CLOSE}" if "math." in public_test else CLOSE,
        }
        yield name_lost(mbpp.convert(mbpp_row, hide), reference, values)


def split_prompt(row):
    """The prompt of MBPP+, a docstring → (its text, its first assert)."""
    prompt = row["prompt"].strip().strip('"').strip()
    text, _, asserts = prompt.partition("\nassert")
    return text, "assert" + asserts.split("\nassert")[0]


def name_lost(problem, reference, values):
    """A problem, or the reason why it is left out. Prints how many calls it has lost."""
    if "left_out" in problem:
        return problem

    # Without hidden tests, a program that has the public values by heart would be correct.
    if not problem["hidden_tests"]:
        reason = "whose reference program answers no call that is not public"
        return {"task_id": problem["task_id"], "left_out": reason}

    # The others of its tests are kept.
    _, _, sources = reference
    if len(values) < len(sources):
        lost = f"{len(sources) - len(values)} of {len(sources)} calls"
        print(f"left out of {problem['task_id']}: {lost}, which its reference does not answer")
    return problem


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def check_inputs(path, number, row):
    """Stop unless the inputs of a row are lists of arguments."""
    for field in ("base_input", "plus_input"):
        for inputs in row[field]:
            if not isinstance(inputs, list):
                stop(f"{path}, row {number}: field '{field}' holds {inputs!r:.60}, not a list")


def check_humaneval(path, number, row):
    """Stop unless a row of HumanEval+ has the form that it should have."""
    check_inputs(path, number, row)
    humaneval.check_prompt(path, number, row)


def check_mbpp(path, number, row):
    """Stop unless a row of MBPP+ has the form that it should have."""
    check_inputs(path, number, row)
    check_fields(path, number, row, {"assertion": str})
    # A row of HumanEval+ has neither assert.
    try:
        parse_assertion(row)
    except (SyntaxError, ValueError, StopIteration):
        stop(f"{path}, row {number}: field 'assertion' does not call {row['entry_point']!r:.60}")
    if not is_python(split_prompt(row)[1]):
        stop(f"{path}, row {number}: field 'prompt' shows no assert")


def sort_out(rows):
    """Rows → (those that become problems, the sources of their calls, those that are left out)."""
    certain = []
    calls = []
    left_out = []
    for row in rows:
        # The readers raise where an input is not what they take.
        reason = ""
        try:
            sources = write_calls(row)
        except (TypeError, ValueError, AttributeError, SyntaxError, RecursionError):
            reason = "whose inputs are not of the types that EvalPlus reads them as"
        if row["task_id"] == "HumanEval/32":
            reason = "which has more than one correct answer"
        elif not is_certain(row):
            reason = "whose inputs had types that JSON lost, and EvalPlus does not say which"

        if reason:
            # As the problem would be called.
            task_id = row["task_id"].replace("Mbpp", "MBPP")
            left_out.append({"task_id": task_id, "left_out": reason})
        else:
            certain.append(row)
            calls.append(sources)
    return certain, calls, left_out


SETS = {"humaneval": (from_humaneval, check_humaneval), "mbpp": (from_mbpp, check_mbpp)}


def main():
    parser = make_parser(__doc__, "EvalPlus's releases")
    parser.add_argument("--set", required=True, choices=SETS, help="which of the two")
    args = parse(parser)
    make_problems, check_row = SETS[args.set]
    rows = published(URLS[args.set], args.source, FIELDS, ROWS[args.set], check=check_row)

    # The references are asked about the rows that are needed alone.
    certain, calls, left_out = sort_out(rows[: args.limit or None])
    problems = list(make_problems(certain, calls, args.hide_tests))
    save(f"{args.set}+ test", left_out + problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
