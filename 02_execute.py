r"""Stage 02 · execute: run every program on its tests, and say in one line what went wrong.

WHAT IT DOES IN μCODE (Section 3)
  The environment of the MDP is a Python interpreter. An action y_t is a whole program. Running it
  on the PUBLIC tests gives the observation o_t, which the next turn may read. Running it on the
  public and the HIDDEN tests gives the oracle reward R(x, y): 1 if all of them pass, else 0. R
  depends on the problem and the program alone, never on the history. So a call of this stage runs
  each distinct program of a problem once, however often it was sampled.

WHO JUDGES
  A program that shares a process with its tests can cheat: exit with status 0 before the first
  assert, return an object whose == always says True, look for the expected values in memory. So the
  tests stay HERE, in the judge, and the program runs in a caged process of its own. When a test
  calls f(3), the judge sends the plain data 3 over a socket, gets plain data back, and compares:

      judge (this file: tests, verdicts)  ── f(3) ──→  program (a process of its own, caged)
                                          ←── 4 ───

  lib/sandbox.py is the arrows and lib/zygote.py the cage. Skip both at first reading.

READS   problems.jsonl   task_id, prompt, entry_point, setup, public_tests, hidden_tests
        *.samples.jsonl  completion y_t (stage 01)
WRITES  *.steps.jsonl    the sample + code, public_passed, hidden_passed, feedback o_t, for example
        {"task_id": "train-67", "trajectory": 0, "turn": 1, …, "code": "def f(xs): …",
         "public_passed": false, "hidden_passed": false, "feedback": "`f([])` gave 2, expected 1"}
RUN     in the folder of a run, such as runs/toy:
        python ../../02_execute.py --problems problems/train.jsonl \
            --samples base/turn1.samples.jsonl --out try1.steps.jsonl
COSTS   about 2 ms per distinct program on two cores, and nothing but the standard library

DIFFERS FROM THE PAPER'S CODE: there, tests and program share a process, and the verdict is what
that process prints. Feedback is a raw traceback of any length with random paths in it.
"""

import argparse
import ast
import builtins
import functools
import importlib
import os
import re
import sys
from contextlib import closing
from types import CodeType
from typing import NamedTuple

from lib.rows import STEP_KEY, check_numbers, check_task_ids, indent, read_jsonl, stop, write_jsonl
from lib.sandbox import NoSandbox, Program, ProgramFailed, Remote, run_all
from lib.zygote import COMMON

# A Remote stands for what stays in a Program, and program.gone says how its process has ended.

# ── Problems ─────────────────────────────────────────────────────────────────────────────────────

# The fields of a problem: texts, then lists of tests.
PROBLEM = dict.fromkeys(("task_id", "prompt", "entry_point", "setup"), str)
PROBLEM |= dict.fromkeys(("public_tests", "hidden_tests"), list)


def read_problems(path):
    """problems.jsonl → {task_id: problem}. Stops where a test or an entry point makes no sense."""
    problems = {}
    for number, problem in enumerate(read_jsonl(path, PROBLEM, ["task_id"]), 1):
        row = f"{path}, row {number}"

        # Is each test what a test can be?
        for field in ("public_tests", "hidden_tests"):
            for test in problem[field]:
                if not is_test(test):
                    shown = repr(str(test)[:60])
                    stop(f"{row}: field '{field}' holds {shown}, neither Python nor input/output")

        # Tests in Python must call the entry point, if only through the set-up code.
        entry_point = problem["entry_point"]
        is_python = any(isinstance(test, str) for test in all_tests(problem))
        if is_python and entry_point not in names_in_tests(problem):
            stop(f"{row}: field 'entry_point' is '{entry_point}', which no test calls")

        problems[problem["task_id"]] = problem
    return problems


def all_tests(problem):
    """Public and hidden tests together, where only their form matters."""
    return problem["public_tests"] + problem["hidden_tests"]


def is_test(test):
    """Is it Python source, or {"input": text, "output": text} for a script?"""
    if isinstance(test, dict):
        return isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
    try:
        compile_test(test)
    except (TypeError, SyntaxError, ValueError):
        return False
    return True


# ── From a completion to a program ───────────────────────────────────────────────────────────────

# A line that opens a block and may name its language; the code; a closing fence, or the end.
FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.S | re.M)
PYTHON = ("python", "python3", "py")


def extract_code(completion):
    """The program in a completion: the first ```python block, else the first block, else all text.

    A block that the token limit cut off before its closing fence counts. No code gives "".
    """
    # All blocks, as (language, code). Several may be Python: drafts, or examples of use.
    blocks = FENCE.findall(completion)
    python_blocks = [code for language, code in blocks if language.lower() in PYTHON]
    any_blocks = [code for _, code in blocks]
    code = (python_blocks or any_blocks or [completion])[0]  # the first of the best kind
    # A byte order mark would be a syntax error.
    return code.lstrip("\ufeff\r\n").rstrip()


# ── Tests ────────────────────────────────────────────────────────────────────────────────────────


class CompiledTest(NamedTuple):
    """A test in Python, ready to run.

    `assert f([1, 2]) == 3` is split at the ==, so that feedback can name both sides: f([1, 2]) is
    the `code`, 3 is `expected`. A test of any other form is all in `code`.
    """

    code: CodeType
    expected: CodeType | None
    shown: ast.AST | None  # what feedback calls the test: the call, or the assert that ends it
    names: set  # that it looks up, the program's among them


@functools.cache
def compile_test(source):
    """The source of a test → CompiledTest. Raises TypeError, SyntaxError or ValueError."""
    tree = ast.parse(source)
    match tree.body:
        # A single `assert … == …`.
        case [ast.Assert(test=ast.Compare(left=call, ops=[ast.Eq()], comparators=[expected]))]:
            return compile_equality(call, expected)
        # Another condition, or several steps.
        case [*_, ast.Assert() as shown]:
            pass
        # Set-up code, or a test that defines a function and calls it.
        case _:
            shown = None

    # None of these is split.
    code = compile(tree, "<test>", "exec")
    return CompiledTest(code, None, shown, names_in(code))


def compile_equality(call, expected):
    """The two sides of an == → CompiledTest."""
    code = compile(ast.Expression(call), "<test>", "eval")
    expected_code = compile(ast.Expression(expected), "<test>", "eval")
    names = names_in(code) | names_in(expected_code)

    # `assert 3 == f([1, 2])`: what looks up no name is no call, so the sides change places.
    if not names_in(code):
        return CompiledTest(expected_code, code, expected, names)
    return CompiledTest(code, expected_code, call, names)


def names_in(code):
    """The names that compiled code looks up."""
    names = set(code.co_names)
    # The code of inner functions lies among the constants.
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def names_in_tests(problem):
    """The names that the set-up code and the tests in Python look up."""
    # Set-up code may call the program, too.
    sources = [problem["setup"]]
    sources += [test for test in all_tests(problem) if isinstance(test, str)]
    return set().union(*(compile_test(source).names for source in sources))


# ── Running a test: None if it passes, else the line of feedback ─────────────────────────────────

# The expected value of a test that has none, or that failed before it was computed.
UNKNOWN = object()


def run_assert(program, names, source):
    """Run one test in Python, with `names` as its globals → None, or feedback."""
    test = compile_test(source)
    expected = UNKNOWN
    program.calls.clear()  # explain_assert looks at those of this test alone

    # What happened, as a predicate: "gave 3", "raised ValueError …". None if the test passes.
    try:
        if test.expected is None:
            # It passes if nothing is raised, unless the program died and an `except:` of the
            # test's own has hidden that.
            exec(test.code, names)
            event = program.gone
        else:
            expected = eval(test.expected, names)
            value = eval(test.code, names)
            # OUR ==: `value` is plain data by now.
            event = None if value == expected else f"gave {short(show(value))}"
    except ProgramFailed as failure:
        event = str(failure)
    except Exception as error:
        event = describe(error)

    if event is None:
        return None
    return explain_assert(test, program.calls, event, expected)


def explain_assert(test, calls, event, expected):
    """The feedback for a test in Python: what was called, what happened, what was expected."""
    source = ast.unparse(test.shown) if test.shown else ""

    # The value that was expected, else the condition.
    ending = f"; the test is: {short(source)}" if source else ""
    if expected is not UNKNOWN:
        ending = f", expected {short(show(expected), 80)}"

    # What it is about: the call. In a test of several steps, that is the program's last.
    subject = source or "the test"
    if test.expected is None and calls:
        subject = show_call(*calls[-1])
    return f"`{short(subject)}` {event}{ending}"


def run_script(zygote, limits, code, test):
    """Run a program that reads stdin and prints: does it print the expected lines?"""
    expected = test["output"]
    # A process for each test: a script is its process.
    with closing(Program(zygote, limits, code)) as program:
        try:
            printed = program.run_script(test["input"], len(expected))
            if lines_of(printed) == lines_of(expected):
                return None
            event = f"gave {show_text(printed)}"
        except ProgramFailed as failure:
            event = str(failure)
        except Exception as error:
            event = describe(error)
    return f"input {show_text(test['input'])} {event}, expected {show_text(expected)}"


def lines_of(text):
    """The lines of a text, without the white space at their ends, which nobody sees."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


# ── The words of feedback ────────────────────────────────────────────────────────────────────────


def describe(error):
    """What a test raised: an exception of the program's, or an assert of the test's own."""
    # The sandbox puts a report on the exceptions that come from the program.
    return f"raised {error.report}" if hasattr(error, "report") else "gave a wrong answer"


def show(value):
    """repr, the same on every run: sets sorted, no addresses."""
    # It stays in the program, and only the program could tell its repr.
    if isinstance(value, Remote):
        return "an object"
    # Containers, from the inside out.
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(map(show, value))}{comma})"
    if isinstance(value, dict):
        items = (f"{show(key)}: {show(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (set, frozenset)) and value:
        items = f"{{{', '.join(sorted(map(show, value)))}}}"
        return items if isinstance(value, set) else f"frozenset({items})"
    # Anything else. repr stops at 4,300 digits.
    try:
        return re.sub(" at 0x[0-9a-f]+", "", repr(value))
    except ValueError:
        return "a huge number"


def show_call(name, args, kwargs):
    """The source of a call, such as f([3, 1], reverse=True)."""
    shown = [short(show(value), 60) for value in args]
    shown += [f"{key}={short(show(value), 60)}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def show_text(text):
    """What a script read or printed, on one line and in quotes."""
    return show(short(text.strip(), 80))


def short(text, limit=120):
    """The beginning of a text: feedback must stay short."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


# ── The verdict on a program, and its reward ─────────────────────────────────────────────────────


class Verdict(NamedTuple):
    public_passed: bool
    hidden_passed: bool
    feedback: str  # o_t: why it does not load, or the first PUBLIC test that fails. Else "".


def reward(row):
    """The oracle reward R(x, y) of a row with a verdict: do public and hidden tests all pass?

    This is where hidden results go: to the labels of R_φ and the choice of its epoch (03), to the
    expert and RFT (04), to the oracle rule and the measures (06), to printed counts. They reach no
    feedback, nothing that R_φ reads, and (but for the oracle rule) no pick, stop or state.
    """
    return row["public_passed"] and row["hidden_passed"]


def judge(zygote, limits, problem, code):
    """Run one program on all tests → Verdict.

    Loading, the public and the hidden tests have limits["timeout"] CPU seconds each (of a script,
    each test has), or three times as many on the clock. No public test: what loads, passes.
    """
    if not code:
        return Verdict(False, False, "There is no program in this answer.")  # nothing to run

    # The first failure of either kind, as feedback; None where all tests pass.
    is_script = any(isinstance(test, dict) for test in all_tests(problem))
    run_tests = judge_script if is_script else judge_function
    public_failure, hidden_failure = run_tests(zygote, limits, problem, code)

    # What the next turn reads must not speak of hidden tests.
    feedback = short(public_failure or "", limits["feedback"])
    return Verdict(public_failure is None, hidden_failure is None, feedback)


def judge_function(zygote, limits, problem, code):
    """For tests that call a function of the program → (public failure, hidden failure)."""
    # One process for all tests.
    with closing(Program(zygote, limits, code)) as program:
        names, failure = load(program, problem)
        if failure:
            return failure, failure
        public_failure = first_failure(program, names, problem["public_tests"])
        if not program.gone:
            return public_failure, first_failure(program, names, problem["hidden_tests"])

    # Where it died on a public one, another for the hidden tests: a row keeps both verdicts.
    with closing(Program(zygote, limits, code)) as program:
        names, failure = load(program, problem)
        return public_failure, failure or first_failure(program, names, problem["hidden_tests"])


def judge_script(zygote, limits, problem, code):
    """For tests that are texts to read and to print → (public failure, hidden failure)."""
    failures = []
    for field in ("public_tests", "hidden_tests"):
        # One after the other, until one fails.
        outcomes = (run_script(zygote, limits, code, test) for test in problem[field])
        failures.append(next(filter(None, outcomes), None))
    return failures


def first_failure(program, names, tests):
    """Run tests on a loaded program until one fails → its feedback, or None."""
    # The time limit is for all of them together.
    program.start_clock()
    for test in tests:
        feedback = run_assert(program, names, test)
        if feedback:
            return feedback
    return None


def load(program, problem):
    """Load the program, then run the problem's set-up code.

    Returns the globals of the tests, and None or what failed, as feedback.
    """
    # Tests see what the program defines. But built-ins stay ours, or a program's own `sorted` would
    # decide its tests: only the entry point may be called like one (MBPP/126 defines `sum`).
    entry_point = problem["entry_point"]
    wanted = (names_in_tests(problem) - set(dir(builtins))) | {entry_point}
    names = {}  # the globals of the tests
    try:
        names = program.load(wanted)
        if entry_point not in names:
            return names, f"The program does not define `{entry_point}`."

        # Where tests use a module that the program imported, they get ours.
        for name in wanted.intersection(COMMON.split()) - {entry_point}:
            names[name] = importlib.import_module(name)

        # Set-up code comes after the program, since MBPP's uses its classes.
        exec(problem["setup"], names)
    except ProgramFailed as failure:
        return names, f"The program {failure} while it was loaded."
    except Exception as error:
        reason = getattr(error, "report", "the set-up code fails")
        return names, f"The program does not load: {reason}"
    return names, None


def execute(problems, programs, timeout=5.0, workers=None, memory=1024, feedback=300, strict=False):
    """Judge each distinct program once: (task_id, code) pairs → {pair: Verdict}.

    timeout in seconds, memory in MB of address space, feedback in characters. workers: how many at
    a time, by default one per core. strict: stop where the cage is not complete.
    """
    # The distinct ones, in order.
    programs = list(dict.fromkeys(programs))
    limits = {"timeout": timeout, "memory": memory, "feedback": feedback}

    def judge_program(zygote, program):
        task_id, code = program
        return judge(zygote, limits, problems[task_id], code)

    # As they come, in the order of the programs.
    verdicts = {}
    try:
        for program, verdict in run_all(judge_program, programs, limits, workers, strict):
            verdicts[program] = verdict
            # On a terminal, count.
            is_last = len(verdicts) == len(programs)
            if sys.stderr.isatty() and (is_last or len(verdicts) % 100 == 0):
                end = "\n" if is_last else ""
                print(f"\r  executing {len(verdicts)}/{len(programs)}", end=end, file=sys.stderr)
    except NoSandbox as refusal:
        stop(str(refusal))
    return verdicts


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def print_summary(steps, program_count, out):
    """Say how many passed, and show one program with its feedback."""
    public_rate = sum(step["public_passed"] for step in steps) / len(steps)
    correct_rate = sum(map(reward, steps)) / len(steps)
    print(
        f"02 execute: {len(steps)} steps, {program_count} distinct programs; "
        f"public tests passed by {public_rate:.1%}, correct {correct_rate:.1%} → {out}"
    )
    # The first program that has feedback. Half a surrogate pair cannot be printed.
    example = next((step for step in steps if step["feedback"]), steps[0])
    text = f"  for example {example['task_id']}:\n{indent(example['code'])}\n"
    text += f"  feedback: {example['feedback'] or '(passes)'}"
    print(text.encode("utf-8", "replace").decode())


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--problems", required=True, help="problems.jsonl")
    add("--samples", required=True, help="what stage 01 wrote")
    add("--out", required=True, help="steps.jsonl to write")
    seconds = "CPU seconds to load, for the public and for the hidden tests, each [%(default)s]"
    add("--timeout", type=float, default=5.0, help=seconds)
    add("--memory", type=int, default=1024, help="MB of address space per program [%(default)s]")
    add("--feedback", type=int, default=300, help="characters of feedback at most [%(default)s]")
    add("--workers", type=int, default=os.cpu_count(), help="programs at a time [%(default)s]")
    add("--require-sandbox", action="store_true", help="stop where seccomp or Landlock is missing")
    args = parser.parse_args()
    check_numbers(args)
    return args


def main():
    # Read the problems and the samples y_t.
    args = parse_args()
    problems = read_problems(args.problems)
    fields = {"task_id": str, "trajectory": int, "turn": int, "messages": list, "completion": str}
    samples = read_jsonl(args.samples, fields, STEP_KEY)
    check_task_ids(args.samples, samples, problems, args.problems)

    # Judge each distinct program once, then give every sample its verdict.
    programs = [(sample["task_id"], extract_code(sample["completion"])) for sample in samples]
    limits = (args.timeout, args.workers, args.memory, args.feedback)
    verdicts = execute(problems, programs, *limits, strict=args.require_sandbox)
    # A step is the sample and its verdict.
    steps = []
    for sample, program in zip(samples, programs):
        _, code = program
        steps.append(dict(sample, code=code, **verdicts[program]._asdict()))
    write_jsonl(args.out, steps)
    print_summary(steps, len(verdicts), args.out)


if __name__ == "__main__":
    main()
