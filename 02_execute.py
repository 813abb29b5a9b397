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
  tests stay with a judge, and the program runs in a caged process of its own. When a test calls
  f(3), the judge sends the plain data 3 over a socket, gets plain data back, and compares:

      judge (this file: tests, verdicts)  ── f(3) ──→  program (a process of its own, caged)
                                          ←── 4 ───

  lib/sandbox.py is the arrows, lib/values.py what crosses, lib/zygote.py the cage: for later.

READS   problems.jsonl   task_id, prompt, entry_point, setup, public_tests, hidden_tests
                         (and retry, if it has that: a sentence that all feedback ends with)
        *.samples.jsonl  task_id, trajectory, turn, messages, completion y_t (stage 01)
WRITES  *.steps.jsonl    the sample + code, public_passed, hidden_passed, feedback o_t, for example
        {"task_id": "train-67", "trajectory": 0, "turn": 1, …, "code": "def f(xs): …",
         "public_passed": false, "hidden_passed": false, "feedback": "`f([])` gave 2, expected 1"}
RUN     in the folder of a run, such as runs/toy:
        python ../../02_execute.py --problems problems/train.jsonl \
            --samples base/turn1.samples.jsonl --out try1.steps.jsonl
COSTS   about 3 ms per distinct program on two cores, and nothing but the standard library

DIFFERS FROM THE PAPER'S CODE: there, tests and program share a process, and the verdict is what
that process prints. Feedback is a raw traceback of any length with random paths in it.
"""

import argparse
import ast
import builtins
import functools
import os
import re
import sys
import traceback
from contextlib import closing
from typing import NamedTuple

from lib import text
from lib.problems import KINDS, find_fault, is_doubtful, is_script, names_in
from lib.rows import STEP_KEY, check_flags, check_task_ids, indent, read_jsonl, stop, write_jsonl
from lib.sandbox import CANNOT, Program, ProgramFailed, Remote, run_all

# ── Problems ─────────────────────────────────────────────────────────────────────────────────────

PROBLEM = "task_id group? prompt entry_point setup public_tests hidden_tests retry?"  # its fields
LIMITS = {"timeout": 10.0, "memory": 1024}  # for the reference program of a problem


def read_problems(path, strict=False):
    """problems.jsonl → {task_id: problem}. Stops where a problem cannot be judged."""
    problems = {}  # {task_id: problem}
    for number, problem in enumerate(read_jsonl(path, PROBLEM, ["task_id"]), 1):
        if fault := find_fault(problem):
            stop(f"{path}, row {number}: field {fault}")
        problems[problem["task_id"]] = problem

    # What only a run can tell.
    doubtful = [[task] for task, problem in problems.items() if is_doubtful(problem)]
    for (task_id,), faults in run_all(check, doubtful, problems, LIMITS, strict=strict):
        if faults:
            stop(f"{path}, row {list(problems).index(task_id) + 1}: field {faults[0]}")
    return problems


def check(zygote, problems, limits, task_id):
    """Yield what is wrong with a problem, as its own reference program shows."""
    problem = problems[task_id]
    # Without one, a program that answers None: each test goes as far as its first question.
    reference = problem.get("reference")
    code = reference or f"def {problem['entry_point']}(*args, **kwargs): pass"
    with closing(Program(zygote, limits, code)) as program:
        names, failure = load(program, problem)
        if failure and problem["setup"] and reference:
            yield text.clean(f"'setup' fails with the row's own reference: {failure}", 300)
        for field in KINDS:
            for test in problem[field]:
                feedback = run_assert(program, names, test)
                if feedback and CANNOT in feedback:
                    yield text.clean(f"'{field}': {feedback}", 300)


# ── From a completion to a program ───────────────────────────────────────────────────────────────


def extract_code(completion, entry_point=""):
    """The program in a completion: a fenced block, or an answer that compiles as it stands.

    Reasoning does not count. Where there is no program: "".
    """
    # A byte order mark would be a syntax error.
    whole = completion.lstrip("\ufeff\r\n").rstrip()
    # What stands before </think> is a draft. Where that is missing, there is no answer yet.
    thought = re.search(r"^[ \t]*</think>|</think>[ \t]*$", whole, re.M)
    answer = whole[thought.end() :].strip() if thought else whole
    if answer.lstrip().startswith("<think>"):
        return ""
    for code in (whole, answer):
        if text.is_python(code):
            return code

    blocks = []  # (language, code)
    for language, code in text.find_blocks(answer):
        # One that is not Python may hold others, within a longer fence.
        may_nest = re.search("^[ \t]*(```|~~~)", code, re.M) and not text.is_python(code)
        inner = text.find_blocks(code) if may_nest else []
        blocks += inner or [(language, code)]
    return choose_block(blocks, entry_point)


def choose_block(blocks, entry_point):
    """The program among the blocks (language, code) of an answer: the last that defines f.

    f is the entry point, as a whole name. A line at the left margin defines it that begins with
    "def f", "async def f" or "class f", or with "f =" or "f:". If no block has one (or f is ""):
    the last block whose language is in text.PYTHON, else the last of all. "" if there is none.

    >>> choose_block([("", "def f(): pass"), ("python", "f()")], "f")
    'def f(): pass'
    """
    # BEGIN SOLUTION
    # Models correct themselves further down, so the last one counts.
    definition = r"^((async )?def|class) +{0}\b|^{0} *[:=]".format(re.escape(entry_point))
    defining = [code for _, code in blocks if entry_point and re.search(definition, code, re.M)]
    in_python = [code for language, code in blocks if language in text.PYTHON]
    return (defining or in_python or [code for _, code in blocks] or [""])[-1]
    # END SOLUTION


# ── Tests ────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def compile_test(source):
    """The source of a test, or of set-up code → what exec takes."""
    return compile(source, "<test>", "exec")


class Names(dict):
    """The globals of tests: their own, and behind them what the program defines."""

    def __init__(self, program):
        super().__init__()
        self.program = program

    def __missing__(self, name):
        """Python asks here for a name that a test looks up and has not defined."""
        # Built-ins stay ours, or a program's own `sorted` would decide its tests.
        found = [] if hasattr(builtins, name) else self.program.ask("name", name)
        if not found:
            raise KeyError(name)
        # Data may have changed when it is looked up again.
        if isinstance(found[0], Remote):
            self[name] = found[0]
        return found[0]


def load(program, problem):
    """Load a program, then run the set-up code → (globals of the tests, None or what failed)."""
    names = Names(program)  # the globals of the tests
    entry_point = problem["entry_point"]
    failure = None  # in the words of the feedback
    try:
        try:
            found = program.ask("load", program.code, entry_point)
        except Exception as error:
            # It may have come as far as to define the entry point.
            failure = f"The program does not load: {describe(error)}"
            found = program.ask("name", entry_point)
        if not found:
            return names, failure or f"The program does not define `{entry_point}`."

        # The entry point may be called like a built-in: MBPP/126 defines `sum`. Set-up code comes
        # after the program, since MBPP's uses its classes.
        names[entry_point] = found[0]
        exec(compile_test(problem["setup"]), names)
    except ProgramFailed as failed:
        return names, failure or f"The program {failed} while it was loaded."
    except (Exception, SystemExit) as error:
        return names, failure or f"The tests' set-up code raised {describe(error)}"
    return names, failure


# ── Running a test: None if it passes, else the line of feedback ─────────────────────────────────


def run_assert(program, names, source):
    """Run one test in Python, with `names` as its globals → None, or feedback."""
    program.last = None  # explain looks at the calls of this test alone
    error = None  # what ended the test before its end
    try:
        # OUR operators and built-ins, on plain data: a program's object has none.
        exec(compile_test(source), names)
    except (Exception, SystemExit, ProgramFailed) as raised:
        error = raised
    # An `except:` of the test's own may have hidden the end of the program.
    if not error and not program.gone:
        return None
    # Out of memory is the judge itself: another one tries again.
    if isinstance(error, MemoryError):
        raise error
    return explain(program, source, error)


def explain(program, source, error):
    """The feedback for a test in Python: what was called, what happened, what was expected."""
    # The last call of the program, and what came of it: `event` is a predicate.
    name, question, reply = program.last or ("", b"", b"")
    args, kwargs, gave = program.open_call(question, reply) if question else ([], {}, [])
    event = program.gone  # how its process has ended, or None
    if isinstance(error, ProgramFailed):
        event = str(error)
    elif hasattr(error, "report"):
        event = f"raised {error.report}"
    elif gave:
        event = f"gave {text.short(text.show(gave[0]))}"

    # `assert f([1, 2]) == 3`, or the other way round: a call, and what looks up no name.
    tree = ast.parse(source)
    call, value = text.sides_of_assert(tree)
    if event and is_call(call, name) and not names_in(value):
        expected = text.source_of(value)
        if gave:
            got, expected = text.apart(text.show(gave[0]), expected)
            event = f"gave {text.short(got)}"
        return f"`{text.short(text.source_of(call))}` {event}, expected {text.short(expected, 80)}"

    # Any other test: the call as it was sent, and the assert that fails.
    condition = find_assert(tree, error)
    subject = condition or "the test"  # what the feedback is about
    if question:
        subject = text.show_call(name, args, kwargs)
    elif error and not isinstance(error, (ProgramFailed, AssertionError)):
        event = f"raised {describe(error)}"
    ending = f"; the test is: {text.short(condition)}" if condition else ""
    return f"`{text.short(subject)}` {event or 'does not hold'}{ending}"


def is_call(node, name):
    """Is it the source of a call of the function, or of the method, `name`?"""
    function = getattr(node, "func", None)
    return name and name in (getattr(function, "id", ""), getattr(function, "attr", ""))


def find_assert(tree, error):
    """The source of the assert at which a test has failed, or of its last; "" if it has none."""
    # The innermost line of the test that the exception went through.
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    line = [0, *(frame.lineno for frame in frames if frame.filename == "<test>")][-1]  # 0: none
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    failing = [node for node in asserts if node.lineno <= line <= node.end_lineno]
    return "".join(text.source_of(node) for node in (failing or asserts)[-1:])


def describe(error):
    """An exception in words. The sandbox puts a report on those that come from the program."""
    return getattr(error, "report", f"{type(error).__name__}: {error}")


def run_script(zygote, limits, code, test):
    """Run a program that reads stdin and prints: does it print what is expected?"""
    expected = text.one_line(test["output"])
    # A process for each test: a script is its process.
    with closing(Program(zygote, limits, code, test["input"])) as program:
        try:
            # White space does not count, so let there be much of it.
            printed = program.run_script(4 * len(expected) + (1 << 20))
            if text.is_same_output(printed, test["output"]):
                return None  # it passes
            printed, expected = text.apart(text.one_line(printed), expected)
            event = f"gave '{text.short(printed, 80)}'"  # what came back, beside what was expected
        except ProgramFailed as failed:
            event = str(failed)
        except Exception as error:
            event = f"raised {describe(error)}"
    given = text.short(text.one_line(test["input"]), 80)
    return f"input '{given}' {event}, expected '{text.short(expected, 80)}'"


# ── The verdict on a program, and its reward ─────────────────────────────────────────────────────


LOST = "The tests took too much time or memory on what the program gave."
NO_PROGRAM = "There is no program in this answer. Write one, in a ```python block."


class Verdict(NamedTuple):
    public_passed: bool
    hidden_passed: bool
    feedback: str  # o_t: why it does not load, or the first PUBLIC test that fails. Else "".


def reward(row):
    """The oracle reward R(x, y) of a row with a verdict: do public and hidden tests all pass?

    This is where hidden results go: to the labels of R_φ and the choice of its epoch (03), to the
    expert and RFT (04), to the oracle rule and the measures (06), to printed counts. They reach no
    feedback, nothing that R_φ reads, and (but for the oracle rule) no pick, stop or state.

    >>> reward({"public_passed": True, "hidden_passed": False})
    False
    """
    # BEGIN SOLUTION
    return row["public_passed"] and row["hidden_passed"]
    # END SOLUTION


def make_verdict(failures, most, retry=""):
    """What the tests of a program said → its Verdict, with the feedback o_t.

    failures: the first failure of the public tests, then that of the hidden ones, a line each, or
    None where all passed. Of one that is missing the failure is LOST. The feedback is the public
    failure alone, as text.clean(line, most) gives it, and then " " + retry, if the problem has
    that. It is "" if the public tests pass.

    >>> make_verdict([None, "`f(5)` gave 5, expected 6"], 300)
    Verdict(public_passed=True, hidden_passed=False, feedback='')
    """
    # BEGIN SOLUTION
    public_failure, hidden_failure = [*failures, LOST, LOST][:2]
    # Of the public failure alone: what the next turn reads must not speak of hidden tests.
    feedback = text.clean(public_failure or "", most)
    if feedback and retry:
        feedback = f"{feedback} {retry}"
    return Verdict(public_failure is None, hidden_failure is None, feedback)
    # END SOLUTION


def judge(zygote, problems, limits, task_id, code):
    """Run one program on its tests. Yields the first failure of the public tests, as feedback, or
    None, and then that of the hidden ones.

    The time limit is for loading, and then for all public or all hidden tests together. A script
    has it for each test. Without public tests, what loads passes them.
    """
    problem = problems[task_id]
    if is_script(problem):
        for field in KINDS:
            outcomes = (run_script(zygote, limits, code, test) for test in problem[field])
            yield next(filter(None, outcomes), None)  # the first failure ends the rest
        return

    # One process for both, but the program is loaded anew. The public verdict is out by then.
    program = Program(zygote, limits, code)
    try:
        for field in KINDS:
            if program.gone:
                program.close()
                program = Program(zygote, limits, code)
            yield run_tests(program, problem, problem[field])
    finally:
        program.close()


def run_tests(program, problem, tests):
    """Load a program and run tests on it until one fails → its feedback, or None."""
    program.start_clock()  # of loading
    names, failure = load(program, problem)
    if program.gone or problem["entry_point"] not in names:
        return failure  # there is nothing to test
    # The time limit is for all of them together.
    program.start_clock()
    outcomes = (run_assert(program, names, test) for test in tests)
    feedback = next(filter(None, outcomes), None)
    # A program that fails as it is loaded is wrong, but what it answers tells more.
    if failure and tests:
        return f"{failure}; {feedback or 'but it passes the tests'}"
    return failure or feedback


def execute(problems, programs, timeout=5.0, workers=None, memory=1024, feedback=300, strict=False):
    """Judge each distinct program once: (task_id, code) pairs → {pair: Verdict}.

    timeout in seconds, memory in MB of address space, feedback in characters. workers: how many at
    a time, by default one per core. strict: stop where the cage is not complete.
    """
    # The distinct ones, in order. Where there is no code, there is nothing to run.
    verdicts = dict.fromkeys(programs)
    retries = {task_id: problems[task_id].get("retry", "") for task_id, _ in verdicts}
    for task_id, code in verdicts:
        if not code:
            failures = [NO_PROGRAM, NO_PROGRAM]
            verdicts[task_id, code] = make_verdict(failures, len(NO_PROGRAM), retries[task_id])
    to_run = [(task_id, code) for task_id, code in verdicts if code]
    needed = {task_id: problems[task_id] for task_id, _ in to_run}
    limits = {"timeout": timeout, "memory": memory}  # of each program, in s and MB

    # As they come, in the order of the programs.
    results = run_all(judge, to_run, needed, limits, workers, strict)
    for count, ((task_id, code), failures) in enumerate(results, 1):
        verdicts[task_id, code] = make_verdict(failures, feedback, retries[task_id])
        # On a terminal, count.
        if sys.stderr.isatty() and (count == len(to_run) or count % 100 == 0):
            end = "\n" if count == len(to_run) else ""
            print(f"\r  executing {count}/{len(to_run)}", end=end, file=sys.stderr)
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
    # The first program that has feedback.
    example = next((step for step in steps if step["feedback"]), steps[0])
    print(f"  for example {example['task_id']}:\n{indent(example['code'])}")
    print(f"  feedback: {example['feedback'] or '(passes the public tests)'}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--problems", required=True, help="problems.jsonl")
    add("--samples", required=True, help="what stage 01 wrote")
    add("--out", required=True, help="steps.jsonl to write")
    add("--timeout", type=float, default=5.0, help="CPU s per load and kind of test [%(default)s]")
    add("--memory", type=int, default=1024, help="MB of address space per program [%(default)s]")
    add("--feedback", type=int, default=300, help="characters of feedback at most [%(default)s]")
    add("--workers", type=int, default=os.cpu_count(), help="programs at a time [%(default)s]")
    add("--require-sandbox", action="store_true", help="stop where seccomp or Landlock is missing")
    args = parser.parse_args()
    check_flags(args)
    return args


def main():
    # Read the problems and the samples y_t.
    args = parse_args()
    problems = read_problems(args.problems, args.require_sandbox)
    samples = read_jsonl(args.samples, "policy? task_id trajectory turn completion", STEP_KEY)
    check_task_ids(args.samples, samples, problems, args.problems)

    # Judge each distinct program once, then give every sample its verdict.
    programs = []
    for sample in samples:
        entry_point = problems[sample["task_id"]]["entry_point"]
        programs.append((sample["task_id"], extract_code(sample["completion"], entry_point)))
    limits = (args.timeout, args.workers, args.memory, args.feedback)
    verdicts = execute(problems, programs, *limits, strict=args.require_sandbox)
    steps = []  # the samples, each with its verdict
    for sample, (task_id, code) in zip(samples, programs):
        steps.append(dict(sample, code=code, **verdicts[task_id, code]._asdict()))
    write_jsonl(args.out, steps)
    print_summary(steps, len(verdicts), args.out)


if __name__ == "__main__":
    main()
