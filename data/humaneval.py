"""HumanEval (Chen et al., 2021; MIT): the published file → 164 test problems.

    python data/humaneval.py --out problems                                # fetches the file
    python data/humaneval.py --source HumanEval.jsonl.gz --out problems    # or takes yours
    python data/humaneval.py --hide-tests --out problems                   # hides the examples

Public tests are the examples of the docstring, in each form in which the docstrings write them:
`>>> f(1)` with the value on the next line, `f(1) ➞ 2`, `For x = 1 the output should be 2`,
`Input: x = 1 Output: 2`. The text is read generously, and the reference program then sorts out what
was misread, and what the docstring gets wrong (HumanEval/47 says 15.0, the median is 8.0). In the
latter case the official assert of that call is public instead, if there is one. 38, 41, 50 and 83
have no example: there a program that defines the function passes the public tests.

Hidden is the official `check`, without the asserts whose call stands in the docstring.
"""

import ast
import contextlib
import doctest
import itertools
import re

from common import ASK, execute, make_parser, parse, published, save
from lib.rows import stop
from lib.text import is_python

URL = "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz"
ROWS = 164
FIELDS = {
    "task_id": str,
    "prompt": str,  # a function's head and its docstring, perhaps with imports and helpers before
    "canonical_solution": str,  # the rest of the function
    "test": str,  # defines check(candidate), a function of asserts
    "entry_point": str,  # the function's name
}
# The function's head and docstring stand in a block, as the answer shall.
PROMPT = "Complete this function:\n\n```python\n{code}\n```" + ASK

# Between a call and its value: `f(1) ➞ 2`, `f(1) # => 2`, `f(1) should return 2`.
GIVES = re.compile(
    r"\s*(?:#\s*)?(?:==>|=>|==|->|➞|=|is\b|returns|should\s+return)?\s*",
)
# Before an argument: `x = 1`, `grid : [[…`, and `operator['+', …` of HumanEval/160.
ARGUMENT = re.compile(r"\b(?:(?!Output|result)\w+\s*[:=]\s*|(?<=operator))(?=[\[{(\"'\d-])")
# Before a result: `the output should be 2`, `Output: 2`, `result = 2`.
RESULT = re.compile(r"(?:should be|Output:|return|result)\s*=?\s*")


# ── Reading Python out of prose ──────────────────────────────────────────────────────────────────


def docstring(prompt):
    """The docstring of the function to write → (function, string, text).

    function: its syntax tree
    string: the docstring's syntax tree, None if there is none
    text: what stands between the quotes
    """
    # The last function: helpers and imports may come before it. An empty body is no Python.
    tree = ast.parse(prompt + "    pass\n")
    function = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)][-1]

    # The docstring need not be the first statement: HumanEval/115 imports a module before it.
    for node in function.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = ast.get_source_segment(prompt, node.value)[3:-3]
            return function, node.value, text
    return function, None, ""


def literal(text):
    """The value of the longest Python literal at the beginning of `text`.

    ValueError if there is none.
    """
    # A value ends before a blank line. Some docstrings write true for True.
    paragraph = text.split("\n\n")[0]
    paragraph = re.sub(r"\b(?:true|false)\b", lambda word: word[0].title(), paragraph)

    # Try the longest text first. What a sentence may have after a value is no part of it.
    for end in range(len(paragraph), 0, -1):
        if paragraph[end - 1] in ".,: \n":
            continue
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(paragraph[:end].strip())
    raise ValueError("no literal")


def argument_values(call):
    """The values of the arguments of a call. A bare word is a string (HumanEval/80).

    ValueError if one of them is no literal.
    """
    values = []
    for argument in call.args:
        is_word = isinstance(argument, ast.Name)
        values.append(argument.id if is_word else ast.literal_eval(argument))
    return values


def calls_in(text):
    """Every `word(literals)` of a text → (values of the arguments, where it begins, and ends)."""
    for word in re.finditer(r"\b\w+\(", text):
        start = word.start()

        # A call ends at the first closing bracket that makes it Python.
        for bracket in re.finditer(r"\)", text[word.end() :]):
            end = word.end() + bracket.end()
            try:
                call = ast.parse(text[start:end], mode="eval").body
                values = argument_values(call)
            except SyntaxError:
                continue
            except (ValueError, AttributeError):
                # Python, but its arguments are no literals, or it is no call: not(1).
                break
            yield values, start, end
            break


# ── The examples of a docstring ──────────────────────────────────────────────────────────────────
# Each finder yields (the source of a call, the text that its value begins, where the example
# begins). They overlap, and take too much rather than too little.


def doctest_examples(text, name):
    """`>>> f(1)` with the value on the line below."""
    try:
        tests = doctest.DocTestParser().get_examples(text)
    except ValueError:
        # `>>>f(1)`, without the blank, is no doctest.
        return
    for test in tests:
        if name not in test.source:
            continue
        # Written anew, without a comment behind the call.
        tree = ast.parse(test.source)
        # A call that shows nothing gives None.
        is_call = isinstance(tree.body[0].value, ast.Call)
        value = test.want or ("None" if is_call else "")
        yield ast.unparse(tree), value, text.index(test.source.strip())


def arrow_examples(text, name):
    """`f(1) ➞ 2`, or `f(1) == 1 + 1 = 2`, where both 1 and 2 are tried as the value."""
    for values, start, end in calls_in(text):
        # The value may follow at once, or after an arrow or a word.
        gives = GIVES.match(text, end)
        yield write_call(name, values), text[gives.end() :], start
        # Or it is what comes last in a chain of equations.
        if gives[0].strip():
            after_last_equals = text[end:].split("\n")[0].rpartition("= ")[2]
            yield write_call(name, values), after_last_equals, start


def sentence_examples(text, name, parameters):
    """`For x = 1 the output should be 2`, or `Input: x = 1 Output: 2`."""
    marks = [*ARGUMENT.finditer(text), *RESULT.finditer(text)]
    values = []
    start = 0
    # After a result the next argument belongs to another example.
    is_over = True
    for mark in sorted(marks, key=re.Match.end):
        rest = text[mark.end() :]

        # A result makes an example, if all arguments have been seen before it.
        if mark.re is RESULT:
            if len(values) == len(parameters):
                yield write_call(name, values), rest, start
            is_over = True
            continue

        # An argument: what looked like one, but has no value, is skipped.
        try:
            value = literal(rest)
        except ValueError:
            continue
        if is_over:
            values = []
            start = mark.start()
            is_over = False
        values.append(value)


def write_call(name, values):
    """The source of a call: f(1, 'a')."""
    arguments = ", ".join(map(repr, values))
    return f"{name}({arguments})"


def examples(text, name, parameters):
    """Everything that a docstring seems to say about single calls → {test: where in the text}."""
    found = {}
    candidates = itertools.chain(
        doctest_examples(text, name),
        arrow_examples(text, name),
        sentence_examples(text, name, parameters),
    )
    # A test that is found twice keeps the place where it was found first.
    for call, value_text, where in candidates:
        with contextlib.suppress(ValueError):
            test = f"assert {call} == {literal(value_text)!r}"
            found.setdefault(test, where)
    return found


def examples_of(rows):
    """{task_id: the examples of its docstring}."""
    # The number of parameters tells when `x = 1, y = 2` is complete.
    found = {}
    for row in rows:
        function, _, text = docstring(row["prompt"])
        found[row["task_id"]] = examples(text, row["entry_point"], function.args.args)
    return found


def correct_examples(rows, found):
    """Of {task_id: examples}, those that the reference gives → {task_id: [test, …]}.

    The others are mistakes of the docstring, or were misread.
    """
    # Each example is a problem of its own, with one test.
    problems = {}
    programs = []
    for row in rows:
        for test in found[row["task_id"]]:
            problem_id = row["task_id"] + test
            problems[problem_id] = {
                "entry_point": row["entry_point"],
                "setup": "",
                "public_tests": [test],
                "hidden_tests": [],
            }
            programs.append((problem_id, row["prompt"] + row["canonical_solution"]))
    verdicts = execute.execute(problems, programs)

    # The reference has passed the one public test of these.
    passed = {problem_id for (problem_id, _), verdict in verdicts.items() if verdict[0]}
    correct = {}
    for task_id, tests in found.items():
        correct[task_id] = [test for test in tests if task_id + test in passed]
    return correct


# ── A problem ────────────────────────────────────────────────────────────────────────────────────


def split_check(row, found, correct):
    """The official `check` of a row → (public tests, hidden tests).

    found: all examples of its docstring
    correct: those that the reference gives

    Public are the asserts whose call stands in the docstring, but not with its correct value. The
    asserts whose call does not stand there become one hidden test.
    """
    # The function `check`, whose body is mostly asserts about `candidate`.
    name = row["entry_point"]
    tree = ast.parse(row["test"])
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    check = next(function for function in functions if function.name == "check")

    # Calls are compared by the values of their arguments.
    shown = called_values(found)
    shown_correctly = called_values(correct)
    public = []
    hidden = []
    for node in check.body:
        is_assert = isinstance(node, ast.Assert)
        values = called_values([ast.unparse(node.test)] if is_assert else [])
        if not values & shown:
            hidden.append(node)
        elif not values & shown_correctly:
            public.append(ast.unparse(node).replace("candidate(", f"{name}("))

    # HumanEval/34 has one assert, the docstring's example. What asserts nothing is no test.
    check.body = hidden
    if not hidden or not any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        return public, []

    # The tests of HumanEval/32 and 38 use helpers that the prompt defines before the function.
    before = row["prompt"][: row["prompt"].rindex(f"def {name}(")]
    helpers = before if "def " in before else ""
    return public, [f"{helpers}{ast.unparse(tree)}\ncheck({name})"]


def called_values(sources):
    """The arguments of all calls in a list of sources, each call's as one string."""
    # Lists cannot be members of a set, and their repr can.
    return {repr(values) for source in sources for values, _, _ in calls_in(source)}


def hide_examples(prompt, found):
    """A prompt whose docstring ends before the first of its examples `found`."""
    if not found:
        return prompt.rstrip()
    _, string, text = docstring(prompt)
    lines = prompt.rstrip().split("\n")

    # From the line of the first example on, nothing is left but the closing quotes.
    first = string.lineno - 1 + text[: min(found.values())].count("\n")
    quotes = lines[-1].strip()[-3:]
    lines[first:] = [" " * string.col_offset + quotes]
    return "\n".join(lines)


def convert(row, found, correct, hide):
    """A published row and its examples → its problem."""
    # Examples that the reference gives come before the official asserts that replace the others.
    shown = hide_examples(row["prompt"], found) if hide else row["prompt"].rstrip()
    public, hidden = split_check(row, found, correct)
    return {
        "task_id": row["task_id"],
        "group": row["task_id"],
        "prompt": PROMPT.format(code=shown),
        "entry_point": row["entry_point"],
        "setup": "",
        "public_tests": correct + public,
        "hidden_tests": hidden,
        "references": [row["prompt"] + row["canonical_solution"]],
    }


def check_row(path, number, row):
    """Stop unless a row's prompt begins its function, and its test defines check(candidate)."""
    check_prompt(path, number, row)
    is_check = is_python(row["test"]) and re.search(r"^def check\(", row["test"], re.M)
    if not is_check:
        stop(f"{path}, row {number}: field 'test' is not Python that defines check(candidate)")


def check_prompt(path, number, row):
    """Stop unless a row's prompt is Python that ends with the head of the function to write."""
    begins_it = re.search(rf"^def {re.escape(row['entry_point'])}\(", row["prompt"], re.M)
    if not begins_it or not is_python(row["prompt"] + "    pass\n"):
        stop(f"{path}, row {number}: field 'prompt' does not begin the function of 'entry_point'")


def main():
    args = parse(make_parser(__doc__, URL))
    rows = published(URL, args.source, FIELDS, ROWS, check=check_row)
    # Read the docstrings generously, then keep what the references confirm.
    found = examples_of(rows)
    correct = correct_examples(rows, found)

    problems = []
    for row in rows:
        task_id = row["task_id"]
        problems.append(convert(row, found[task_id], correct[task_id], args.hide_tests))
    save("HumanEval test", problems, f"{args.out}/test.jsonl", args.limit)


if __name__ == "__main__":
    main()
