"""HumanEval+ and MBPP+ (EvalPlus: Liu et al., 2023; Apache-2.0): the published JSON Lines files → test problems.

    python data/evalplus.py --set humaneval --out problems        # fetches HumanEvalPlus.jsonl.gz, 164 rows
    python data/evalplus.py --set mbpp --out problems             # fetches MbppPlus.jsonl.gz, 378 rows
    python data/evalplus.py --set mbpp --source MbppPlus.jsonl.gz --out problems

A row lists inputs, and the right outputs are what its reference program gives, here run in the cage of stage 02.
Public are the docstring's examples (HumanEval+) or the assert in the prompt (MBPP+); hidden are all inputs, the original
ones and EvalPlus's, whose call is not public. Where a value has floats, 1e-6 (or the row's `atol`) may be missing.
HumanEval/32 is left out: it asks for any zero of a polynomial, and another than the reference's is right too.
"""
import ast, importlib, os, sys

from tqdm import tqdm

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
mbpp, humaneval = importlib.import_module("mbpp"), importlib.import_module("humaneval")
execute = mbpp.execute

URLS = dict(humaneval="https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/HumanEvalPlus.jsonl.gz",
            mbpp="https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz")
CLOSE = '''
def close(a, b, most):
    if isinstance(b, (list, tuple)): return type(a) == type(b) and len(a) == len(b) and all(close(x, y, most) for x, y in zip(a, b))
    if isinstance(b, dict): return type(a) == type(b) and a.keys() == b.keys() and all(close(a[k], b[k], most) for k in b)
    return abs(a - b) <= most + 1e-7 * abs(b) if isinstance(b, float) else a == b
'''


def has_float(value):
    if isinstance(value, dict): value = list(value.values())
    return isinstance(value, float) or isinstance(value, (list, tuple)) and any(map(has_float, value))


def shaped(value, like):
    """JSON knows lists alone: lists become tuples or sets where `like`, an input that is written in Python, has them."""
    if not isinstance(value, list) or not isinstance(like, (list, tuple, set)): return value
    models = list(like) or [None]
    return type(like)(shaped(v, models[min(k, len(models) - 1)]) for k, v in enumerate(value))


def expression(row):
    """→ (the left side of the row's first assert as a syntax tree, its call of the function, that call's arguments).

    `assert set(f((1, 2))) == {1}` says that order does not count, and that f takes a tuple. HumanEval+ rows have no assert.
    """
    name = row["entry_point"]
    tree = ast.parse(row.get("assertion") or f"assert {name}() == 0").body[0].test
    left = tree.left if isinstance(tree, ast.Compare) and isinstance(tree.ops[0], ast.Eq) else tree
    call = next(node for node in ast.walk(left) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name)
    try: like = [ast.literal_eval(argument) for argument in call.args]
    except ValueError: like = []
    return left, call, like


def questions(row):
    """Every input of a row → the source of what to ask, `f([1, 2])` or `set(f((1, 2)))`; what Python cannot write (nan) is left out."""
    left, call, like = expression(row)
    for values in [*row["base_input"], *row["plus_input"]]:
        values = [shaped(v, like[k] if k < len(like) else None) for k, v in enumerate(values)]
        try: call.args = [ast.parse(repr(v), mode="eval").body for v in values if ast.literal_eval(repr(v)) == v]
        except (ValueError, SyntaxError): continue
        if len(call.args) == len(values): yield ast.unparse(left)


def answers(reference, problem, sources):
    """Ask the reference program, in the cage → {source: value}, without those where it fails."""
    limits, found = dict(timeout=10.0, memory=1024, feedback=300), {}
    zygote = execute.start_zygote(limits)
    zygote.reader.readline()
    program = execute.Program(zygote, limits, reference)
    names, _ = execute.load(program, problem)
    for source in dict.fromkeys(sources):
        program.start_clock()
        try: found[source] = eval(source, names)
        except (Exception, execute.ProgramFailed): pass
    program.close()
    zygote.process.kill()
    zygote.process.wait()
    return {source: value for source, value in found.items() if not isinstance(value, execute.Remote)}


def asserts(row, name, sources):
    """The tests of a row, in the words of `name`."""
    problem = dict(entry_point=row["entry_point"], setup="", public_tests=[], hidden_tests=list(sources))
    values = answers(row["prompt"] * row["task_id"].startswith("HumanEval") + row["canonical_solution"], problem, sources)
    for source, value in values.items():
        said = source.replace(row["entry_point"] + "(", name + "(", 1)
        try: exact = ast.literal_eval(repr(value)) == value
        except (ValueError, SyntaxError): continue               # nan, or nothing that Python can write
        if exact: yield f"assert close({said}, {value!r}, {row.get('atol') or 1e-6})" if has_float(value) else f"assert {said} == {value!r}"


def from_humaneval(rows, hide):
    """HumanEval+ rows get a `check` of their own, and are then HumanEval's."""
    rows = [row for row in rows if row["task_id"] != "HumanEval/32"]
    found = humaneval.examples_of(rows)
    right = humaneval.right_ones(rows, found)
    for row in tqdm(rows, desc="  asking the references", disable=None):
        lines = asserts(row, "candidate", list(questions(row)))
        row["test"] = "def check(candidate):\n" + "".join(f"    {line}\n" for line in [*lines, "pass"])
        yield dict(humaneval.convert(row, found[row["task_id"]], right[row["task_id"]], hide), setup=CLOSE)


def from_mbpp(rows, hide):
    """MBPP+ rows: the assert of the prompt is public."""
    for row in tqdm(rows, desc="  asking the references", disable=None):
        text = row["prompt"].strip().strip('"').strip()
        first = "assert" + text.partition("\nassert")[2].split("\nassert")[0]
        call = ast.unparse(expression(row)[0])
        tests = [first, *asserts(row, row["entry_point"], [source for source in questions(row) if source != call])]
        yield mbpp.convert(dict(task_id=row["task_id"].rpartition("/")[2], text=text.partition("\nassert")[0], code=row["canonical_solution"],
                                test_list=tests, challenge_test_list=[], test_setup_code=CLOSE), hide)


def main():
    args = mbpp.arguments(__doc__, "EvalPlus's releases", dict(set=dict(required=True, choices=URLS, help="which of the two")))
    fields = dict(task_id=str, prompt=str, canonical_solution=str, entry_point=str, base_input=list, plus_input=list)
    rows = mbpp.published(URLS[args.set], args.source, fields, dict(humaneval=164, mbpp=378)[args.set])
    problems = list((from_humaneval if args.set == "humaneval" else from_mbpp)(rows, args.hide_tests))
    mbpp.save(f"{args.set}+ test", problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
