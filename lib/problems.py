"""Is a problem of the right form? What can be told without running anything."""

import ast

from lib import text
from lib.rows import stop

KINDS = ("public_tests", "hidden_tests")
LIAR = "lying "  # stands before the task_id of a problem whose tests lie


def find_fault(problem):
    """What is wrong with the form of a problem, as "'field' …", or None."""
    tests = problem["public_tests"] + problem["hidden_tests"]
    if not tests:
        return "'hidden_tests' is empty, and 'public_tests' too: every program would be right"
    for field in KINDS:
        for test in problem[field]:
            if not is_test(test) or type(test) is not type(tests[0]):
                return f"'{field}': {str(test)[:60]!r} is not Python, or not of the others' form"
            if isinstance(test, str) and does_nothing(test):
                return f"'{field}': {test[:60]!r} asserts nothing, so every program would be right"
    if not text.is_python(problem["setup"]):
        return "'setup' is not Python"
    # Tests in Python must call the entry point, if only through the set-up code.
    if not is_script(problem) and problem["entry_point"] not in names_in_tests(problem):
        return f"'entry_point' is {problem['entry_point']!r}, which no test calls"
    return None


def is_test(test):
    """Is it Python source, or {"input": text, "output": text} for a script?"""
    if isinstance(test, dict):
        return isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
    return isinstance(test, str) and text.is_python(test)


def does_nothing(source):
    """Are there only expressions whose value nobody uses, such as f(1) == 2, or assert (x, y)?"""
    for statement in ast.parse(source).body:
        # A tuple is always true. A call alone may raise, any other expression alone is idle.
        is_tuple = isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Tuple)
        is_idle = isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Call)
        if not (is_tuple or is_idle or isinstance(statement, ast.Pass)):
            return False
    return True


def is_script(problem):
    """Is it about programs that read stdin and print?"""
    return any(isinstance(test, dict) for field in KINDS for test in problem[field])


def is_doubtful(problem):
    """Do tests do more than call the entry point with literals?"""
    if is_script(problem):
        return False
    return problem["setup"] or names_in_tests(problem) != {problem["entry_point"]}


def swap_expected(problem):
    """The problem, but the first two of its public tests expect each other's value: feedback lies.

    The problem as it is, where they have none that could be swapped.
    """
    public = problem["public_tests"]
    if len(public) < 2:
        return problem

    # Scripts have their output beside their input, tests in Python compare a call with a value.
    first, second = public[:2]
    if is_script(problem):
        swapped = [dict(first, output=second["output"]), dict(second, output=first["output"])]
    else:
        sides = [text.sides_of_assert(ast.parse(test)) for test in (first, second)]
        if (None, None) in sides:
            return problem
        calls, values = zip(*sides)
        pairs = zip(map(text.source_of, calls), map(text.source_of, reversed(values)))
        swapped = [f"assert {call} == {value}" for call, value in pairs]
    return dict(problem, public_tests=swapped + public[2:], hidden_tests=[])


def make_liars(problems, path):
    """{LIAR + task_id: the problem, with tests that lie}. Stops if none of the file can lie."""
    liars = {LIAR + task_id: swap_expected(problem) for task_id, problem in problems.items()}
    if all(liars[LIAR + task_id] is problem for task_id, problem in problems.items()):
        need = "two public tests whose expected values can be swapped"
        stop(f"{path}: field 'public_tests': no problem has {need}, as --controls lying needs")
    return liars


def names_in_tests(problem):
    """The names in the set-up code and the tests of a problem."""
    sources = [problem["setup"], *problem["public_tests"], *problem["hidden_tests"]]
    return set().union(*map(names_in, map(ast.parse, sources)))


def names_in(tree):
    """The names in a syntax tree, and "…" for what else is no literal: lambda, x.y, an ellipsis."""
    names = set()
    for node in ast.walk(tree):
        # What is neither a name nor a literal has no id.
        is_ellipsis = getattr(node, "value", None) is Ellipsis
        if is_ellipsis or isinstance(node, (ast.Name, ast.Lambda, ast.Attribute)):
            names.add(getattr(node, "id", "…"))
    return names
