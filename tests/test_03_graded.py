"""Graded tests of stage 03: the Bradley–Terry loss, and how well a verifier ranks."""

import math

import pytest
from grading import Tensor, expect, points

pytestmark = pytest.mark.stage03


# ── bt_loss ──────────────────────────────────────────────────────────────────────────────────────


def minus_log_sigma(gap):
    return math.log1p(math.exp(-gap))


def pull(scores):
    """10⁻³ · mean R_φ²."""
    return 1e-3 * sum(score * score for score in scores) / len(scores)


def pair_losses(right, wrong, sign=1):
    """− log σ of every pair of a correct and a wrong program."""
    return [minus_log_sigma(sign * (r - w)) for r in right for w in wrong]


def mean(values):
    return sum(values) / len(values)


def make_problem(rng, right, wrong):
    """Scores of so many correct and so many wrong programs."""
    return [[rng.uniform(-2, 3) for _ in range(n)] for n in (right, wrong)]


def arguments(problems, rng=None):
    """[(scores of correct ones, of wrong ones), …] → scores, labels, owners, as tensors."""
    rows = []
    for owner, (right, wrong) in enumerate(problems):
        rows += [(score, 1, 5 + owner) for score in right] + [
            (score, 0, 5 + owner) for score in wrong
        ]
    if rng:
        rng.shuffle(rows)
    scores, labels, owners = zip(*rows)
    return Tensor(scores), Tensor(labels), Tensor(owners)


@points(2)
def test_one_pair_costs_minus_log_sigma_of_its_gap(student, rng):
    for _ in range(3):
        right, wrong = rng.uniform(-3, 3), rng.uniform(-3, 3)
        scores, labels, owners = arguments([([right], [wrong])])
        add = pull(scores)
        expect(
            student.bt_loss(scores, labels, owners),
            minus_log_sigma(right - wrong) + add,
            (minus_log_sigma(wrong - right) + add, "the sign: the CORRECT program should win"),
            (minus_log_sigma(right - wrong), "10⁻³ · mean R_φ² is missing"),
            (-minus_log_sigma(right - wrong) + add, "a loss is positive: − log σ, not log σ"),
            (max(0.0, wrong - right) + add, "a hinge is not − log σ"),
        )


@points(2)
def test_the_loss_is_a_mean_over_the_pairs_of_a_problem_and_then_over_problems(student, rng):
    problems = [make_problem(rng, 1, 1), make_problem(rng, 2, 3), make_problem(rng, 4, 1)]
    scores, labels, owners = arguments(problems, rng)
    by_problem = [pair_losses(*problem) for problem in problems]
    every = [loss for losses in by_problem for loss in losses]
    rights = [score for right, _ in problems for score in right]
    wrongs = [score for _, wrong in problems for score in wrong]
    add = pull(scores)
    expect(
        student.bt_loss(scores, labels, owners),
        mean(list(map(mean, by_problem))) + add,
        (mean(every) + add, "this is the mean over all pairs: problems with many weigh too much"),
        (mean(list(map(sum, by_problem))) + add, "the pairs of a problem are averaged, not summed"),
        (sum(map(mean, by_problem)) + add, "problems are averaged, not summed"),
        (mean(pair_losses(rights, wrongs)) + add, "pairs are of ONE problem: look at owners"),
    )


@points(1)
def test_a_problem_whose_programs_are_all_of_one_kind_has_no_pair(student, rng):
    both = make_problem(rng, 2, 2)
    only_wrong, only_right = make_problem(rng, 0, 3), make_problem(rng, 2, 0)
    scores, labels, owners = arguments([only_wrong, both, only_right])
    loss = mean(pair_losses(*both))
    expect(
        student.bt_loss(scores, labels, owners),
        loss + pull(scores),
        (loss / 3 + pull(scores), "a problem without a pair does not count in the mean"),
        (loss + pull(both[0] + both[1]), "the pull is on the scores of all programs"),
        (math.nan, "the mean of no pairs is not a number"),
    )


@points(1)
def test_the_gradient_lifts_the_correct_program_and_lowers_the_wrong_one(student, rng):
    right, wrong = rng.uniform(0.5, 1), rng.uniform(1, 1.5)
    scores, labels, owners = arguments([([right], [wrong])])
    _, gradient = student.bt_loss(scores, labels, owners, gradient=0)
    slope = 1 / (1 + math.exp(right - wrong))  # σ(− gap)
    lost = "the pairs have lost their gradient: keep them tensors, no .item(), no float()"
    expect(
        gradient,
        [-slope + 1e-3 * right, slope + 1e-3 * wrong],
        ([1e-3 * right, 1e-3 * wrong], lost),
        (None, lost),
        ([slope + 1e-3 * right, -slope + 1e-3 * wrong], "the sign: it lifts the wrong program"),
    )


@points(1)
def test_scores_far_apart_give_no_infinity(student, rng):
    for gap in (200.0 + rng.random(), -200.0 - rng.random()):
        scores, labels, owners = arguments([([gap], [0.0])])
        hint = "exp overflows: softplus(−gap) is the same and does not"
        expect(
            student.bt_loss(scores, labels, owners),
            max(0.0, -gap) + pull(scores),
            (math.inf, hint),
            (math.nan, hint),
        )


# ── pairwise_accuracy ────────────────────────────────────────────────────────────────────────────


def shuffled(rng, rows):
    """[(score, label), …] in another order → scores, labels."""
    rng.shuffle(rows)
    scores, labels = zip(*rows)
    return list(scores), list(labels)


@points(2)
def test_it_is_the_share_of_pairs_in_which_the_correct_program_scores_higher(student, rng):
    # From the best to the worst: right, wrong, right, wrong, wrong. Of 2 · 3 pairs 5 are in order.
    levels = sorted((rng.uniform(-9, 9) for _ in range(5)), reverse=True)
    scores, labels = shuffled(rng, list(zip(levels, [1, 0, 1, 0, 0])))
    expect(
        student.pairwise_accuracy(scores, labels),
        5 / 6,
        (1 / 6, "the wrong program should not win"),
        (1.0, "this only looks at the best program"),
        (5 / 20, "pairs are of a correct and a wrong program, and each counts once"),
        (5 / 10, "pairs of two correct or two wrong programs do not count"),
        (5, "a share: divide by the number of pairs"),
    )
    expect(student.pairwise_accuracy([-level for level in scores], labels), 1 / 6)


@points(1)
def test_a_tie_is_half_a_success(student, rng):
    level = rng.uniform(-5, 5)
    scores, labels = shuffled(rng, [(level, 1), (level, 0), (level - 1, 1), (level, 1)])
    expect(
        student.pairwise_accuracy(scores, labels),
        1 / 3,
        (0.0, "a tie is half a success, not none"),
        (2 / 3, "a tie is half a success, not a whole one"),
    )


@points(1)
def test_without_both_kinds_there_is_no_accuracy(student, rng):
    level = rng.random()
    expect(student.pairwise_accuracy([level, 0.0], [1, 1]), None)
    expect(student.pairwise_accuracy([level, 0.0], [0, 0]), None)
    expect(student.pairwise_accuracy([level, -1.0], [1, 0]), 1.0)
