"""HumanEval (Chen et al., 2021; MIT): the published JSON Lines file → 164 test problems.

    python data/humaneval.py --out problems                                     # fetches the published file
    python data/humaneval.py --source HumanEval.jsonl.gz --out problems         # … or takes yours
    python data/humaneval.py --hide-tests --out problems                        # the docstring without its examples

Public tests are the examples of the docstring, in whatever form they stand there: `>>> f(1)` and a line below it,
`f(1) ➞ 2`, `For x = 1 the output should be 2`, `Input: x = 1 Output: 2`. Where the reference program gives another value
(HumanEval/47 says 15.0, the median is 8.0), the official assert of that call is public instead, if there is one.
38, 41, 50 and 83 have no example: there a program that defines the function passes the public tests. Hidden is the
official `check`, less the asserts whose call stands in the docstring.
"""
import ast, doctest, importlib, os, re, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
mbpp = importlib.import_module("mbpp")

URL = "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz"
PROMPT = "Complete this function:\n\n```python\n{code}\n```" + mbpp.ASK
GIVES = re.compile(r"\s*(?:#\s*)?(?:==>|=>|==|->|➞|=|is\b|returns|should\s+return)?\s*")           # between a call and its value
ARGUMENT = re.compile(r"\b(?:(?!Output|result)\w+\s*[:=]\s*|(?<=operator))(?=[\[{(\"'\d-])")  # `x = 1`, `grid : [[…`
RESULT = re.compile(r"(?:should be|Output:|return|result)\s*=?\s*")


def docstring(prompt):
    """The function to write, as a syntax tree; the first string of its body (HumanEval/115 imports a module before it), and its text."""
    function = [node for node in ast.walk(ast.parse(prompt + "    pass\n")) if isinstance(node, ast.FunctionDef)][-1]
    said = next((node.value for node in function.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)), None)
    return function, said, ast.get_source_segment(prompt, said)[3:-3] if said else ""


def literal(text):
    """The value of the longest Python literal at the beginning of `text`; ValueError if there is none."""
    text = re.sub(r"\b(?:true|false)\b", lambda word: word[0].title(), text.split("\n\n")[0])
    for end in range(len(text), 0, -1):
        if text[end - 1] in ".,: \n": continue
        try: return ast.literal_eval(text[:end].strip())
        except (ValueError, SyntaxError): pass
    raise ValueError


def arguments(call):
    """The values of a call's arguments; a bare word stands for a string (HumanEval/80). ValueError if one is no literal."""
    return [a.id if isinstance(a, ast.Name) else ast.literal_eval(a) for a in call.args]


def calls_in(text):
    """Every `word(literals)` of a text → (its arguments, where it begins, where it ends)."""
    for start in re.finditer(r"\b\w+\(", text):
        for close in re.finditer(r"\)", text[start.end():]):
            end = start.end() + close.end()
            try: yield arguments(ast.parse(text[start.start():end], mode="eval").body), start.start(), end
            except SyntaxError: continue
            except (ValueError, AttributeError): pass
            break


def examples(text, name, parameters):
    """All that a docstring seems to say of single calls → {test: where in the text}; the reference will sort them out."""
    found, call = {}, lambda values: f"{name}({', '.join(map(repr, values))})"
    def note(source, rest, where):
        try: found.setdefault(f"assert {source} == {literal(rest)!r}", where)
        except ValueError: pass
    try: tests = doctest.DocTestParser().get_examples(text)
    except ValueError: tests = []                                # `>>>f(1)`, without the blank, is no doctest
    for test in tests:
        if name in test.source:                                  # a call that shows nothing gives None
            call_alone = isinstance(ast.parse(test.source).body[0].value, ast.Call)
            note(ast.unparse(ast.parse(test.source)), test.want or "None" * call_alone, text.index(test.source.strip()))
    for values, start, end in calls_in(text):                    # f(1) ➞ 2, or f(1) == 1 + 1 = 2
        gives = GIVES.match(text, end)
        note(call(values), text[gives.end():], start)
        if gives[0].strip(): note(call(values), text[end:].split("\n")[0].rpartition("= ")[2], start)
    values, over, start = [], True, 0
    for mark in sorted([*ARGUMENT.finditer(text), *RESULT.finditer(text)], key=lambda mark: mark.end()):
        if mark.re is RESULT:
            if len(values) == len(parameters): note(call(values), text[mark.end():], start)
            over = True
            continue
        try: value = literal(text[mark.end():])
        except ValueError: continue
        if over: values, over, start = [], False, mark.start()
        values.append(value)
    return found


def examples_of(rows):
    """{task_id: all examples of its docstring}."""
    found = {}
    for row in rows:
        function, _, text = docstring(row["prompt"])
        found[row["task_id"]] = examples(text, row["entry_point"], function.args.args)
    return found


def right_ones(rows, found):
    """Of {task_id: examples}, those that the reference program gives: the others are slips of the docstring, or misread."""
    single = {row["task_id"] + test: dict(entry_point=row["entry_point"], setup="", public_tests=[test], hidden_tests=[])
              for row in rows for test in found[row["task_id"]]}
    pairs = [(row["task_id"] + test, row["prompt"] + row["canonical_solution"]) for row in rows for test in found[row["task_id"]]]
    right = {pair[0] for pair, verdict in mbpp.execute.execute(single, pairs).items() if verdict[0]}
    return {task: [test for test in mine if task + test in right] for task, mine in found.items()}


def split(row, found, right):
    """The official `check` → (asserts whose call stands in the prompt without its right value, the rest, as one test)."""
    name, tree = row["entry_point"], ast.parse(row["test"])
    check = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check")
    seen, told = ({repr(values) for test in tests for values, _, _ in calls_in(test)} for tests in (found, right))
    mine = lambda node: {repr(values) for values, _, _ in calls_in(ast.unparse(node.test))} if isinstance(node, ast.Assert) else set()
    public = [ast.unparse(node).replace("candidate(", f"{name}(") for node in check.body if mine(node) & seen and not mine(node) & told]
    check.body = [node for node in check.body if not mine(node) & seen]
    if not check.body: return public, []                                    # 34: its one assert is the docstring's example
    before = row["prompt"][:row["prompt"].rindex(f"def {name}(")]           # 32 and 38 test with the helpers that stand there
    return public, [(before if "def " in before else "") + ast.unparse(tree) + f"\ncheck({name})"]


def convert(row, found, right, hide):
    """A row and its examples → its problem; `hide` cuts the docstring off before the first of them."""
    (_, said, text), lines = docstring(row["prompt"]), row["prompt"].rstrip().split("\n")
    if found and hide:
        first = said.lineno - 1 + text[:min(found.values())].count("\n")
        lines[first:] = [" " * said.col_offset + lines[-1].strip()[-3:]]
    public, hidden = split(row, found, right)
    return dict(task_id=row["task_id"], group=row["task_id"], prompt=PROMPT.format(code="\n".join(lines)),
                entry_point=row["entry_point"], setup="", public_tests=right + public, hidden_tests=hidden,
                reference=row["prompt"] + row["canonical_solution"])


def main():
    args = mbpp.arguments(__doc__, URL)
    fields = dict(task_id=str, prompt=str, canonical_solution=str, test=str, entry_point=str)
    rows = mbpp.published(URL, args.source, fields, 164)
    found = examples_of(rows)
    right = right_ones(rows, found)
    problems = [convert(row, found[row["task_id"]], right[row["task_id"]], args.hide_tests) for row in rows]
    mbpp.save("HumanEval test", problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
