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


def coin_of(rng, index, count):
    """A coin that says this candidate."""
    return (index + rng.uniform(0.05, 0.95)) / count


def places(rng, count, wanted):
    """So many different places above 0, in ascending order."""
    return sorted(rng.sample(range(1, count), wanted))


@points(1)
def test_random_takes_the_candidate_that_the_coin_says(student, rng):
    for _ in range(3):
        count = rng.randrange(5, 12)
        candidates = [candidate(rng, public=k == 0, score=-float(k)) for k in range(count)]
        (index,) = places(rng, count, 1)
        expect(student.pick("Random", candidates, coin_of(rng, index, count)), index)


@points(1)
def test_lv_takes_the_highest_score_and_of_equals_the_first(student, rng):
    for _ in range(3):
        count = rng.randrange(6, 12)
        first, equal = places(rng, count, 2)
        low, passing = rng.sample([k for k in range(count) if k not in (first, equal)], 2)
        scores = [rng.uniform(-5, 5) for _ in range(count)]
        scores[first] = scores[equal] = 6.0
        scores[low] = -6.0
        candidates = [candidate(rng, k == passing, score=scores[k]) for k in range(count)]
        expect(
            student.pick("LV", candidates, rng.random()),
            first,
            (equal, "of equals the first"),
            (low, "the highest score, not the lowest"),
            (passing, "LV does not look at public tests"),
        )


@points(2)
def test_pt_takes_the_first_that_passes_the_public_tests_or_a_random_one(student, rng):
    for _ in range(3):
        count = rng.randrange(6, 12)
        first, later, liked, random = rng.sample(range(1, count), 4)
        first, later = min(first, later), max(first, later)
        passing = (first, later)
        candidates = [candidate(rng, k in passing, score=float(k == liked)) for k in range(count)]
        expect(
            student.pick("PT", candidates, coin_of(rng, random, count)),
            first,
            (later, "the FIRST that passes"),
            (random, "a candidate passes the public tests: that comes before chance"),
            (liked, "a candidate passes the public tests: that comes before scores"),
        )
        failing = [candidate(rng, score=float(k == liked)) for k in range(count)]
        expect(
            student.pick("PT", failing, coin_of(rng, random, count)),
            random,
            (0, "if none passes, Random decides, by the coin"),
            (liked, "if none passes, Random decides: PT knows no scores"),
        )


@points(2)
def test_pt_lv_takes_the_favourite_of_those_that_pass_or_of_all(student, rng):
    for _ in range(3):
        count = rng.randrange(6, 12)
        early, best, equal = places(rng, count, 3)
        (liked,) = rng.sample([k for k in range(count) if k not in (early, best, equal)], 1)
        level = rng.uniform(-5, 5)
        scores = [level - rng.uniform(2, 3) for _ in range(count)]
        scores[liked] = level + 1
        scores[early] = level - 1
        scores[best] = scores[equal] = level
        passing = (early, best, equal)
        candidates = [candidate(rng, k in passing, score=scores[k]) for k in range(count)]
        expect(
            student.pick("PT+LV", candidates, rng.random()),
            best,
            (liked, "only candidates that pass the public tests may be picked"),
            (early, "of those that pass, the favourite of R_φ, not the first"),
            (equal, "of equals the first"),
        )
        failing = [candidate(rng, score=score) for score in scores]
        random = rng.choice([k for k in range(count) if k != liked])
        hint = "if none passes it is LV: the favourite of all"
        picked = student.pick("PT+LV", failing, coin_of(rng, random, count))
        expect(picked, liked, (0, hint), (random, hint))


@points(2)
def test_the_oracle_takes_a_correct_program_and_else_one_that_fails_openly(student, rng):
    wrong, half, odd, right = (False, False), (True, False), (False, True), (True, True)
    false_pass = "this passes the public tests and fails hidden ones: the episode would end, wrong"

    def ask(outcomes):
        # R_φ likes the first best.
        rows = [candidate(rng, *outcome, -float(k)) for k, outcome in enumerate(outcomes)]
        return student.pick("oracle", rows, rng.random())

    for _ in range(3):
        count = rng.randrange(5, 10)
        outcomes = [half, *rng.choices([wrong, half, odd], k=count - 1)]
        first, later = places(rng, count, 2)
        # Nothing is correct: the first that fails openly.
        outcomes[first] = wrong
        outcomes[1:first] = [half] * (first - 1)
        expect(ask(outcomes), first, (0, false_pass))
        # Hidden tests alone do not make a program correct.
        outcomes[first] = odd
        outcomes[later] = right
        expect(
            ask(outcomes),
            later,
            (first, "R asks for public AND hidden tests"),
            (0, false_pass),
        )
        # Two that are correct: the first of them.
        outcomes[first] = right
        expect(ask(outcomes), first, (later, "of equals the first"), (0, false_pass))
    expect(ask([half, half]), 0)


@points(2)
def test_no_rule_but_the_oracle_reads_hidden_results(student, rng):
    for _ in range(2):
        count = rng.randrange(4, 9)
        random, first, liked = rng.sample(range(1, count), 3)
        first, liked = min(first, liked), max(first, liked)
        expected = {"Random": random, "LV": liked, "PT": first, "PT+LV": liked}
        for rule in rng.sample(list(expected), 4):
            for correct in range(count):
                rows = [
                    candidate(rng, k in (first, liked), k == correct, float(k == liked))
                    for k in range(count)
                ]
                picked = student.pick(rule, rows, coin_of(rng, random, count))
                leak = f"{rule} has read hidden results"
                others = {correct} - {expected[rule]}
                expect(picked, expected[rule], *((other, leak) for other in others))


# ── episode ──────────────────────────────────────────────────────────────────────────────────────


def turn_of(rng, count, best, **more):
    """`count` candidates that all fail the public tests. R_φ likes number `best`."""
    return [candidate(rng, score=float(k == best), **more) for k in range(count)]


def said(candidates, index):
    """What a pick adds to the state."""
    return candidates[index]["completion"], candidates[index]["feedback"]


@points(3)
def test_the_state_grows_by_the_pick_and_its_feedback_and_by_nothing_else(student, rng):
    variant = rng.choice(["real", "swapped", "failed", "removed"])
    bests = [rng.randrange(1, 3), *rng.choices(range(3), k=2)]
    turns = [turn_of(rng, 3, best) for best in bests]
    states, picks, has_ended = student.drive("episode", ("LV", variant, [0.1] * 3), turns)
    first, second = said(turns[0], bests[0]), said(turns[1], bests[1])
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
    expect((picks, has_ended), (bests, True))

    # What an episode hears instead in a control is handed to it as feedback: it goes in like any.
    for variant in ("real", "swapped", "failed", "removed"):
        states, _, _ = student.drive("episode", ("LV", variant, [0.1] * 2), turns[:2])
        hint = f'only "fresh" forgets: the variant "{variant}" grows like "real"'
        expect(states, [[], [first]], ([[], []], hint))


@points(2)
def test_an_episode_stops_at_a_public_pass_whatever_the_hidden_tests_say(student, rng):
    for hidden in (False, True):
        # At the last of some turns a candidate passes. Hidden tests alone pass before.
        count = rng.randrange(2, 5)
        index, random = rng.sample(range(4), 2)
        turns = [turn_of(rng, 4, 1, hidden=True) for _ in range(count)]
        turns[-1][index].update(public_passed=True, hidden_passed=hidden, feedback="")
        coins = [coin_of(rng, random, 4)] * (count + 2)
        states, picks, has_ended = student.drive("episode", ("PT", "real", coins), turns)
        if not has_ended:
            hint = "a pick that passes the PUBLIC tests ends an episode, whatever else it does"
            fail(f"expected: the episode ends\ngot:      another state\nhint:     {hint}")
        hint = "it stopped at turn 1: only PUBLIC tests stop an episode, no hidden ones"
        expected = [random] * (count - 1) + [index]
        expect(picks, expected, ([random], hint), (index, "return the picks of all turns"))
        expect(len(states), count)


@points(1)
def test_an_episode_has_one_turn_for_each_coin(student, rng):
    for count in (1, 2, 4):
        # A coin for each turn, and each says another candidate than the one before.
        expected = [rng.randrange(3)]
        while len(expected) < count:
            expected.append((expected[-1] + rng.randrange(1, 3)) % 3)
        coins = [coin_of(rng, index, 3) for index in expected]
        turns = [turn_of(rng, 3, 0) for _ in range(count)]
        states, picks, has_ended = student.drive("episode", ("Random", "real", coins), turns)
        hint = "each turn has its own coin"
        expect((picks, has_ended), (expected, True), ((expected[:1] * count, True), hint))
        expect(len(states), count)


@points(1)
def test_in_the_variant_fresh_every_state_is_that_of_turn_1(student, rng):
    bests = [1, *rng.choices(range(3), k=2)]
    turns = [turn_of(rng, 3, best) for best in bests]
    states, picks, _ = student.drive("episode", ("LV", "fresh", [0.0] * 3), turns)
    grown = [[], [said(turns[0], 1)], [said(turns[0], 1), said(turns[1], bests[1])]]
    expect(states, [[], [], []], (grown, "a fresh episode starts every turn from x alone"))
    expect(picks, bests)


# ── recovery ─────────────────────────────────────────────────────────────────────────────────────

FAILED, HALF, RIGHT = (False, False), (True, False), (True, True)


@points(2)
def test_recovery_is_the_next_turn_beside_fresh_samples(student, rng):
    others = [True, False, *(rng.random() < 0.5 for _ in range(rng.randrange(3, 8)))]
    fresh = [False, *rng.sample(others, len(others))]
    rate = sum(fresh) / (len(fresh) - 1)
    all_of_them = sum(fresh) / len(fresh)
    counted = "the first sample is the one that the episode began with: it is known to have failed"
    for _ in range(3):
        turn = rng.randrange(1, 4)
        repaired = float(rng.random() < 0.5)
        picks = [FAILED] * turn + [RIGHT if repaired else FAILED]
        expect(
            student.recovery(picks, fresh, turn),
            (repaired, rate),
            ((repaired, all_of_them), counted),
            ((1 - repaired, rate), "the list counts from 0: turn t + 1 is at index t"),
            ((rate, repaired), "first the episode, then the fresh samples"),
        )
    half = "a public pass is not a correct program"
    expect(student.recovery([FAILED, HALF], fresh, 1), (0.0, rate), ((1.0, rate), half))


@points(1)
def test_an_episode_that_is_over_has_nothing_to_recover(student, rng):
    fresh = [False, True, *(rng.random() < 0.5 for _ in range(3))]
    over = "the episode was over after turn t: there is no turn t + 1, and no 0 in its place"
    for end in (RIGHT, HALF):
        turn = rng.randrange(1, 4)
        picks = [FAILED] * (turn - 1) + [end]
        expect(
            student.recovery(picks, fresh, turn),
            (NAN, NAN),
            ((0.0, sum(fresh[1:]) / 4), over),
            ((0.0, 0.0), over),
        )
    # It goes on: then there is.
    expect(student.recovery([*picks, FAILED], [False, True], turn), (0.0, 1.0))


@points(1)
def test_without_another_sample_there_is_no_mean(student, rng):
    expect(
        student.recovery([FAILED, RIGHT], [False], 1), (1.0, NAN), ((1.0, 0.0), "0 of 0 is no 0")
    )
