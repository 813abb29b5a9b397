"""lib/problems.py: tests that lie, for a control of stage 06. (What is refused: test_malformed.)"""

from lib.problems import make_liars, swap_expected

import pytest
from conftest import problem, stage

execute = stage(2)


def public_of(*tests):
    """The public tests of a problem with these, once they lie."""
    return swap_expected(dict(problem("a"), public_tests=list(tests)))["public_tests"]


@pytest.mark.parametrize(
    "tests, lies",
    [
        (["assert f(1) == 2", "assert f(3) == 4"], ["assert f(1) == 4", "assert f(3) == 2"]),
        # Only two of them, and whichever side the call is on.
        (
            ["assert [1] == f('==')", "assert f(3) == 4", "assert f(5) == 6"],
            ["assert f('==') == 4", "assert f(3) == [1]", "assert f(5) == 6"],
        ),
        # Scripts
        (
            [dict(input="1", output="2"), dict(input="3", output="4")],
            [dict(input="1", output="4"), dict(input="3", output="2")],
        ),
    ],
)
def test_two_tests_expect_each_others_value(tests, lies):
    assert public_of(*tests) == lies


@pytest.mark.parametrize(
    "tests",
    [
        [],
        ["assert f(1) == 2"],
        ["assert f(1) == 2", "assert f(3) is None"],
        ["assert f(1) in (2, 3)", "assert f(3) == 4"],
        ["x = f(1)\nassert x == 2", "assert f(3) == 4"],
    ],
)
def test_what_has_nothing_to_swap_tells_the_truth(tests):
    assert public_of(*tests) == tests


def test_the_truth_is_left_as_it_was():
    tests = ["assert f(1) == 2", "assert f(3) == 4"]
    row = dict(problem("a"), public_tests=tests, hidden_tests=["assert f(5) == 6"])
    swap_expected(row)
    assert row["public_tests"] == ["assert f(1) == 2", "assert f(3) == 4"]
    assert row["hidden_tests"] == ["assert f(5) == 6"]


def test_problems_that_cannot_lie_are_refused_if_all_are_like_that(refused):
    able = dict(problem("a"), public_tests=["assert f(1) == 2", "assert f(3) == 4"])
    unable = dict(problem("b"), public_tests=["assert f(1) == 2"])
    liars = make_liars({"a": able, "b": unable}, "p.jsonl")
    assert liars["lying a"]["public_tests"] == ["assert f(1) == 4", "assert f(3) == 2"]
    assert liars["lying b"] == unable
    refused(lambda: make_liars({"b": unable}, "p.jsonl"), "p.jsonl", "lying")


def test_a_correct_program_fails_tests_that_lie_and_hears_of_the_first():
    tests = ["assert f(1) == 10", "assert f(2) == 20", "assert f(3) == 30"]
    lying = swap_expected(dict(problem("a"), public_tests=tests))
    right, obedient = "def f(x): return 10 * x", "def f(x): return {1: 20, 2: 10, 3: 30}[x]"
    verdicts = execute.execute({"a": lying}, [("a", right), ("a", obedient)])
    assert verdicts["a", right].feedback == "`f(1)` gave 10, expected 20"
    assert verdicts["a", obedient].public_passed
