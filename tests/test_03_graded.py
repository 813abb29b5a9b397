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


def arguments(problems, rng):
    """[(scores of correct ones, of wrong ones), …] → scores, labels, owners, in any order."""
    rows = []
    owners = rng.sample([0, *rng.sample(range(1, 90), len(problems) - 1)], len(problems))
    for owner, (right, wrong) in zip(owners, problems):
        rows += [(score, 1, owner) for score in right] + [(score, 0, owner) for score in wrong]
    rng.shuffle(rows)
    scores, labels, owners = zip(*rows)
    return Tensor(scores), Tensor(labels), Tensor(owners)


@points(2)
def test_one_pair_costs_minus_log_sigma_of_its_gap(student, rng):
    for _ in range(3):
        right, wrong = rng.uniform(-3, 3), rng.uniform(-3, 3)
        scores, labels, owners = arguments([([right], [wrong])], rng)
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
    scores, labels, owners = arguments([only_wrong, both, only_right], rng)
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
    scores, labels, owners = arguments([([right], [wrong])], rng)
    _, gradient = student.bt_loss(scores, labels, owners, gradient=0)
    slope = 1 / (1 + math.exp(right - wrong))  # σ(− gap)
    lost = "the pairs have lost their gradient: keep them tensors, no .item(), no float()"

    def in_order(of_right, of_wrong):
        return [of_right if label else of_wrong for label in labels]

    expect(
        gradient,
        in_order(-slope + 1e-3 * right, slope + 1e-3 * wrong),
        (in_order(1e-3 * right, 1e-3 * wrong), lost),
        (None, lost),
        (in_order(slope + 1e-3 * right, -slope + 1e-3 * wrong), "the sign: it lifts the wrong one"),
    )


@points(1)
def test_scores_far_apart_give_no_infinity(student, rng):
    for gap in (200.0 + rng.random(), -200.0 - rng.random()):
        scores, labels, owners = arguments([([gap], [0.0])], rng)
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


def by_hand(labels):
    """The share of pairs in order, for programs from the best to the worst."""
    right = [k for k, label in enumerate(labels) if label]
    wrong = [k for k, label in enumerate(labels) if not label]
    return sum(r < w for r in right for w in wrong) / (len(right) * len(wrong))


@points(2)
def test_it_is_the_share_of_pairs_in_which_the_correct_program_scores_higher(student, rng):
    for _ in range(5):
        # From the best to the worst, with a wrong one and then a correct one somewhere.
        count = rng.randrange(5, 12)
        labels = rng.sample([1, 0, 1, 0, 0, *rng.choices([0, 1], k=count - 5)], count)
        levels = sorted((rng.uniform(-9, 9) for _ in labels), reverse=True)
        share = by_hand(labels)
        pairs = sum(labels) * (count - sum(labels))
        scores, shuffled_labels = shuffled(rng, list(zip(levels, labels)))
        expect(
            student.pairwise_accuracy(scores, shuffled_labels),
            share,
            (1 - share, "the wrong program should not win"),
            (float(labels[0]), "this only looks at the best program"),
            (share * pairs, "a share: divide by the number of pairs"),
            (share * pairs / count**2, "pairs are of a correct and a wrong program"),
            (share * pairs / (count * (count - 1) / 2), "pairs of one kind do not count"),
        )


@points(1)
def test_a_tie_is_half_a_success(student, rng):
    for _ in range(3):
        # Of so many correct and wrong programs all tie, and a correct one is below them.
        right, wrong = rng.randrange(1, 5), rng.randrange(1, 5)
        level = rng.uniform(-5, 5)
        rows = [(level, 1)] * right + [(level, 0)] * wrong + [(level - 1, 1)]
        share = right / (right + 1)
        expect(
            student.pairwise_accuracy(*shuffled(rng, rows)),
            share / 2,
            (0.0, "a tie is half a success, not none"),
            (share, "a tie is half a success, not a whole one"),
        )


@points(1)
def test_without_both_kinds_there_is_no_accuracy(student, rng):
    for _ in range(6):
        scores = [rng.random() for _ in range(rng.randrange(2, 6))]
        label = rng.randrange(2)
        labels = [label] * len(scores)
        expect(student.pairwise_accuracy(scores, labels), None)
        # One of the other kind, at the top.
        best = scores.index(max(scores))
        labels[best] = 1 - label
        expect(student.pairwise_accuracy(scores, labels), 1.0 - label)
