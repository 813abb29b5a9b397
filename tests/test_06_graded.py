"""Graded tests of stage 06: the rule that picks, the episode of Algorithm 2, Rec(t)."""

import math

import pytest
from grading import expect, fail, points

pytestmark = pytest.mark.stage06

NAN = math.nan


def candidate(rng, public=False, hidden=False, score=0.0):
    """A judged and scored candidate."""
    return {
        "completion": f"program {rng.random()}",
        "public_passed": public,
        "hidden_passed": hidden,
        "feedback": "" if public else f"`f({rng.randrange(1000)})` gave {rng.random()}",
        "score": score,
    }


# ── pick ─────────────────────────────────────────────────────────────────────────────────────────


@points(1)
def test_random_takes_the_candidate_that_the_coin_says(student, rng):
    candidates = [candidate(rng, public=k == 0, score=-float(k)) for k in range(7)]
    for k in (1, 3, 6):
        coin = (k + rng.uniform(0.05, 0.95)) / 7
        expect(student.pick("Random", candidates, coin), k)


@points(1)
def test_lv_takes_the_highest_score_and_of_equals_the_first(student, rng):
    level = rng.uniform(-5, 5)
    scores = [level - 1, level - 2, level + 1, level, level + 1]
    candidates = [candidate(rng, public=k == 3, score=score) for k, score in enumerate(scores)]
    expect(
        student.pick("LV", candidates, rng.random()),
        2,
        (4, "of equals the first"),
        (1, "the highest score, not the lowest"),
        (3, "LV does not look at public tests"),
    )


@points(2)
def test_pt_takes_the_first_that_passes_the_public_tests_or_a_random_one(student, rng):
    passing = (2, 4)
    candidates = [candidate(rng, k in passing, score=float(k)) for k in range(6)]
    coin = 0.9
    expect(
        student.pick("PT", candidates, coin),
        2,
        (4, "the FIRST that passes"),
        (5, "a candidate passes the public tests: it comes before chance and scores"),
    )
    failing = [candidate(rng, score=score) for score in (0.0, 9.0, 0.0, 0.0)]
    coin = (2 + rng.random()) / 4
    expect(
        student.pick("PT", failing, coin),
        2,
        (0, "if none passes, Random decides, by the coin"),
        (1, "if none passes, Random decides: PT knows no scores"),
    )


@points(2)
def test_pt_lv_takes_the_favourite_of_those_that_pass_or_of_all(student, rng):
    level = rng.uniform(-5, 5)
    scores = [level + 9, level, level + 2, level + 1, level + 2]
    candidates = [candidate(rng, k > 0, score=score) for k, score in enumerate(scores)]
    expect(
        student.pick("PT+LV", candidates, rng.random()),
        2,
        (0, "only candidates that pass the public tests may be picked"),
        (1, "of those that pass, the favourite of R_φ, not the first"),
        (4, "of equals the first"),
    )
    failing = [candidate(rng, score=score) for score in (level, level - 1, level + 1)]
    hint = "if none passes it is LV: the favourite of all"
    expect(student.pick("PT+LV", failing, 0.0), 2, (0, hint), (1, hint))


@points(2)
def test_the_oracle_takes_a_correct_program_and_else_one_that_fails_openly(student, rng):
    kinds = {"wrong": (False, False), "half": (True, False), "right": (True, True)}

    def ask(*names, scores=(3.0, 2.0, 1.0, 0.0)):
        candidates = [candidate(rng, *kinds[name], score) for name, score in zip(names, scores)]
        return student.pick("oracle", candidates, rng.random())

    half = "this passes the public tests and fails hidden ones: the episode would stop, wrong"
    expect(ask("half", "wrong", "right", "right"), 2, (0, half), (1, "a correct one is there"))
    expect(ask("half", "half", "wrong", "wrong"), 2, (0, half))
    # Hidden tests alone do not make a program correct.
    odd = [candidate(rng, False, True), candidate(rng, True, True)]
    expect(student.pick("oracle", odd, 0.0), 1, (0, "R asks for public AND hidden tests"))
    expect(ask("half", "half"), 0)


@points(2)
def test_no_rule_but_the_oracle_reads_hidden_results(student, rng):
    coin = (1 + rng.random()) / 4
    public = [False, False, True, True]
    expected = {"Random": 1, "LV": 3, "PT": 2, "PT+LV": 3}
    for rule, index in expected.items():
        for correct in range(4):
            candidates = [candidate(rng, public[k], k == correct, score=float(k)) for k in range(4)]
            picked = student.pick(rule, candidates, coin)
            leak = f"{rule} has read hidden results"
            expect(picked, index, *((other, leak) for other in {correct} - {index}))


# ── episode ──────────────────────────────────────────────────────────────────────────────────────


def turn_of(rng, count, best, **more):
    """`count` candidates that all fail the public tests. R_φ likes number `best`."""
    return [candidate(rng, score=float(k == best), **more) for k in range(count)]


def said(candidates, index):
    """What a pick adds to the state."""
    return candidates[index]["completion"], candidates[index]["feedback"]


@points(3)
def test_the_state_grows_by_the_pick_and_its_feedback_and_by_nothing_else(student, rng):
    turns = [turn_of(rng, 3, best) for best in (2, 0, 1)]
    states, picks, has_ended = student.drive("episode", ("LV", "real", [0.5] * 3), turns)
    first, second = said(turns[0], 2), said(turns[1], 0)
    every = [(c["completion"], c["feedback"]) for c in turns[0]]
    expect(
        states,
        [[], [first], [first, second]],
        ([[], [first], [second]], "the state forgets: s_3 = (x, y_1, o_1, y_2, o_2)"),
        ([[], every, every + [said(turns[1], k) for k in range(3)]], "the pick alone, not all N"),
        (
            [[], [said(turns[0], 0)], [said(turns[0], 0), said(turns[1], 0)]],
            "it did not ask `pick`",
        ),
        ([[], [], []], "s_{t+1} holds the pick and its feedback"),
    )
    expect((picks, has_ended), ([2, 0, 1], True))


@points(2)
def test_an_episode_stops_at_a_public_pass_whatever_the_hidden_tests_say(student, rng):
    for hidden in (False, True):
        turns = [turn_of(rng, 3, 1, hidden=True), turn_of(rng, 3, 0)]
        turns[1][2].update(public_passed=True, hidden_passed=hidden, feedback="")
        arguments = ("PT", "real", [0.9, 0.1, 0.1])
        states, picks, has_ended = student.drive("episode", arguments, turns)
        if not has_ended:
            fail(
                "expected: the episode ends, for its pick passes the public tests\n"
                "got:      another state\nhint:     only PUBLIC tests may stop it"
            )
        hint = "it stopped at turn 1: only PUBLIC tests stop an episode, no hidden ones"
        expect(picks, [2, 2], ([2], hint), (2, "return the picks of all turns"))
        expect(states, [[], [said(turns[0], 2)]])


@points(1)
def test_an_episode_has_one_turn_for_each_coin(student, rng):
    for count in (1, 2, 4):
        # The coins say candidate 1, 2, 1, 2: a new one each turn.
        coins = [(1 + turn % 2 + rng.uniform(0.1, 0.9)) / 3 for turn in range(count)]
        turns = [turn_of(rng, 3, 0) for _ in range(count)]
        states, picks, has_ended = student.drive("episode", ("Random", "real", coins), turns)
        expected = [1 + turn % 2 for turn in range(count)]
        hint = "each turn has its own coin"
        expect((picks, has_ended), (expected, True), (([1] * count, True), hint))
        expect(len(states), count)


@points(1)
def test_in_the_variant_fresh_every_state_is_that_of_turn_1(student, rng):
    turns = [turn_of(rng, 2, 1) for _ in range(3)]
    states, picks, _ = student.drive("episode", ("LV", "fresh", [0.0] * 3), turns)
    expect(states, [[], [], []])
    expect(picks, [1, 1, 1])


# ── recovery ─────────────────────────────────────────────────────────────────────────────────────

FAILED, HALF, RIGHT = (False, False), (True, False), (True, True)


@points(2)
def test_recovery_is_the_next_turn_beside_fresh_samples(student, rng):
    fresh = [False, *(k < 3 for k in range(rng.randrange(5, 9)))]
    rate = 3 / (len(fresh) - 1)
    all_of_them = 3 / len(fresh)
    counted = "the first sample is the one that the episode began with: it is known to have failed"
    for picks, turn, repaired in (([FAILED, RIGHT], 1, 1.0), ([FAILED, FAILED, RIGHT], 2, 1.0)):
        expect(
            student.recovery(picks, fresh, turn),
            (repaired, rate),
            ((repaired, all_of_them), counted),
            ((0.0, rate), "the list counts from 0: turn t + 1 is at index t"),
            ((rate, repaired), "first the episode, then the fresh samples"),
        )
    half = "a public pass is not a correct program"
    expect(student.recovery([FAILED, HALF], fresh, 1), (0.0, rate), ((1.0, rate), half))


@points(1)
def test_an_episode_that_is_over_has_nothing_to_recover(student, rng):
    fresh = [False, True, *(rng.random() < 0.5 for _ in range(3))]
    over = "the episode was over after turn t: there is no turn t + 1, and no 0 in its place"
    for picks, turn in (([RIGHT], 1), ([FAILED, HALF], 2)):
        expect(
            student.recovery(picks, fresh, turn),
            (NAN, NAN),
            ((0.0, sum(fresh[1:]) / 4), over),
            ((0.0, 0.0), over),
        )


@points(1)
def test_without_another_sample_there_is_no_mean(student, rng):
    expect(
        student.recovery([FAILED, RIGHT], [False], 1), (1.0, NAN), ((1.0, 0.0), "0 of 0 is no 0")
    )
