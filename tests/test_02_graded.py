"""Graded tests of stage 02: the program in an answer, its reward, its feedback."""

from lib import text

import pytest
from grading import expect, fail, points

pytestmark = pytest.mark.stage02

LOST = "The tests took too much time or memory on what the program gave."


# ── choose_block ─────────────────────────────────────────────────────────────────────────────────


def make_name(rng):
    """The name of an entry point."""
    return "f_" + "".join(rng.choices("abcdefgh", k=5))


@points(2)
def test_the_program_is_the_last_block_that_defines_the_entry_point(student, rng):
    f = make_name(rng)
    first, last = (f"def {f}(xs):\n    return {rng.random()}" for _ in range(2))
    helper = f"def helper():\n    return {rng.random()}"
    example = f"print({f}([1]))"
    blocks = [("python", first), ("python", helper), ("", last), ("python", example)]
    expect(
        student.choose_block(blocks, f),
        last,
        (first, "this is the first one; models correct themselves further down"),
        (example, "this block is the last, but it does not define the entry point"),
        (helper, "this block does not define the entry point"),
    )
    expect(student.choose_block(blocks[:2], f), first)


@points(1)
def test_a_class_an_async_function_and_an_assignment_define_a_name_too(student, rng):
    f = make_name(rng)
    definitions = [
        f"class {f}:\n    pass",
        f"class {f}(list):\n    pass",
        f"import os\n\nasync def {f}(): pass",
        f"{f} = lambda xs: xs",
        f"{f}: object = sorted",
    ]
    for code in definitions:
        expect(student.choose_block([("", code), ("python", "x = 1")], f), code)


@points(1)
def test_a_call_a_longer_name_and_what_is_indented_define_nothing(student, rng):
    f = make_name(rng)
    others = [
        f"{f}([1, 2])",
        f"def {f}s(xs): pass",
        f"def my_{f}(xs): pass",
        f"class Solution:\n    def {f}(self, xs): pass",
        f"# def {f}(xs): pass",
    ]
    right = f"def {f}(xs): return {rng.random()}"
    for code in others:
        expect(
            student.choose_block([("python", right), ("python", code)], f),
            right,
            (code, f"this block defines no {f} at the left margin"),
        )


@points(1)
def test_without_a_definition_the_last_block_in_python_counts_and_then_the_last(student, rng):
    f = make_name(rng)
    one, two = (f"print({rng.random()})" for _ in range(2))
    for language in ("python", "py", "python3"):
        blocks = [("python", two), (language, one), ("text", "no program")]
        expect(
            student.choose_block(blocks, f),
            one,
            ("no program", "a block in Python is better than the last one"),
            (two, "this is the first block in Python, not the last"),
        )
    expect(student.choose_block([("", one), ("text", two)], f), two)
    expect(student.choose_block([], f), "")
    # Without an entry point there is nothing to look for.
    blocks = [("python", one), ("", "def g(): pass"), ("", "y = 2")]
    expect(student.choose_block(blocks, ""), one)


# ── reward ───────────────────────────────────────────────────────────────────────────────────────


@points(2)
def test_a_program_is_correct_if_public_and_hidden_tests_pass(student, rng):
    hints = {
        (True, False): "a program that fails hidden tests is wrong, though the public ones pass",
        (False, True): "a program that fails public tests is wrong, whatever the hidden ones say",
        (False, False): "this program fails everything",
        (True, True): "this program passes everything",
    }
    for public, hidden in rng.sample(list(hints) * 3, 12):
        row = {"task_id": "p", "public_passed": public, "hidden_passed": hidden, "feedback": ""}
        right = public and hidden
        expect(bool(student.reward(row)), right, (not right, hints[public, hidden]))


# ── make_verdict ─────────────────────────────────────────────────────────────────────────────────


def make_failure(rng):
    """A line about a test that fails."""
    return f"`f({rng.randrange(1000)})` gave {rng.random()}, expected 7"


@points(1)
def test_a_verdict_says_of_both_kinds_of_tests_whether_all_passed(student, rng):
    outcomes = [None, make_failure(rng)]
    combinations = [(public, hidden) for public in outcomes for hidden in outcomes]
    for public, hidden in rng.sample(combinations * 3, 12):
        verdict = student.make_verdict([public, hidden], 300)
        if getattr(verdict, "kind", "") != "Verdict":
            fail(f"expected: a Verdict, for its callers use its fields\ngot:      {verdict!r}")
        expect(
            verdict[:2],
            (public is None, hidden is None),
            ((public is not None, hidden is not None), "None says that all tests passed"),
            ((hidden is None, public is None), "public comes first"),
        )


@points(2)
def test_feedback_is_about_the_public_tests_and_never_about_hidden_ones(student, rng):
    public, hidden = make_failure(rng), make_failure(rng)
    leak = (True, False, hidden)
    hint = "the next turn would read what a hidden test expects"
    expect(student.make_verdict([None, hidden], 300), (True, False, ""), (leak, hint))
    expect(
        student.make_verdict([public, hidden], 300),
        (False, False, public),
        ((False, False, hidden), hint),
        ((False, False, f"{public} {hidden}"), hint),
    )
    expect(student.make_verdict([public, None], 300), (False, True, public))


@points(1)
def test_feedback_is_one_clean_line_of_limited_length_and_then_the_retry(student, rng):
    public = f"`f({rng.randrange(1000)})` raised ValueError: a\nb\x1b[0m" + "x" * 300
    retry = f"Write f{rng.randrange(1000)} again."
    for most in (60, 200):
        line = text.clean(public, most)
        verdict = student.make_verdict([public, None], most, retry)
        expect(
            verdict,
            (False, True, f"{line} {retry}"),
            ((False, True, f"{public} {retry}"), "use text.clean: one line, at most so long"),
            ((False, True, text.clean(f"{public} {retry}", most)), "the retry is never cut"),
            ((False, True, line), "the retry is missing"),
        )
        # What passes the public tests needs no other try.
        hint = "no feedback, no retry"
        expect(
            student.make_verdict([None, public], most, retry),
            (True, False, ""),
            ((True, False, retry), hint),
            ((True, False, f" {retry}"), hint),
        )


@points(1)
def test_a_failure_that_is_missing_is_a_failure(student, rng):
    passed = "what was lost did not pass"
    expect(student.make_verdict([], 300), (False, False, LOST), ((True, True, ""), passed))
    expect(student.make_verdict([None], 300), (True, False, ""), ((True, True, ""), passed))
    public = make_failure(rng)
    expect(student.make_verdict([public], 300), (False, False, public))
