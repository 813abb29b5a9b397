"""Graded tests of stage 05: which tokens carry loss, and what it is."""

import math

import pytest
from grading import Tensor, expect, points

pytestmark = pytest.mark.stage05

NO_LOSS = -100


# ── collate ──────────────────────────────────────────────────────────────────────────────────────


def make_example(rng, prompt, completion):
    """An example (ids, n) with so many tokens of each."""
    return [rng.randrange(3, 400) for _ in range(prompt + completion)], completion


def tensors(ids, targets):
    return Tensor(ids), Tensor(targets)


@points(2)
def test_the_targets_are_the_completion_and_nothing_else(student, rng):
    # All of one length: no padding.
    sizes = [(1, 6), (4, 3), (6, 1)]
    examples = [make_example(rng, *size) for size in sizes]
    everything = [ids for ids, _ in examples]
    expected = [[NO_LOSS] * (len(ids) - n) + ids[len(ids) - n :] for ids, n in examples]
    prompts = [ids[: len(ids) - n] + [NO_LOSS] * n for ids, n in examples]
    shifted = [row[1:] + [NO_LOSS] for row in expected]
    without_end = [row[:-1] + [NO_LOSS] for row in expected]
    expect(
        student.collate(examples),
        tensors(everything, expected),
        (
            tensors(everything, everything),
            "the loss covers prompt tokens: the model imitates its failures",
        ),
        (tensors(everything, prompts), "this is the prompt: the loss is on the completion"),
        (tensors(everything, shifted), "do not shift: targets stand where their ids stand"),
        (
            tensors(everything, without_end),
            "the end token is a target: the model must learn to stop",
        ),
    )


@points(1)
def test_shorter_examples_are_padded_on_the_right_and_padding_carries_no_loss(student, rng):
    examples = [make_example(rng, *size) for size in ((2, 3), (1, 1), (5, 4))]
    width = 9
    ids = []
    targets = []
    left = []
    for own, n in examples:
        gap = width - len(own)
        ids.append(own + [0] * gap)
        left.append([0] * gap + own)
        targets.append([NO_LOSS] * (len(own) - n) + own[len(own) - n :] + [NO_LOSS] * gap)
    zeros = [row[:k] + [0] * (width - k) for row, k in zip(targets, (5, 2, 9))]
    no_padding = [[NO_LOSS] * (width - n) + own[len(own) - n :] for own, n in examples]
    expect(
        student.collate(examples),
        tensors(ids, targets),
        (tensors(ids, zeros), "padding carries loss: its target must be NO_LOSS, not 0"),
        (
            tensors(left, no_padding),
            "pad on the right: on the left, every position would be another",
        ),
        (
            tensors(ids, no_padding),
            "the completion ends before the padding, not at the end of the row",
        ),
    )


# ── completion_loss ──────────────────────────────────────────────────────────────────────────────

VOCABULARY = 6


def make_logits(rng, rows, width):
    """Logits (B, K, V), not normalised."""
    draw = [[[rng.uniform(-3, 3) for _ in range(VOCABULARY)] for _ in range(width)]]
    for _ in range(rows - 1):
        draw.append([[rng.uniform(-3, 3) for _ in range(VOCABULARY)] for _ in range(width)])
    return draw


def surprise(logits, target):
    """− log π(target), by hand."""
    return math.log(sum(map(math.exp, logits))) - logits[target]


def losses(logits, targets):
    """− log π of all targets that carry loss, row by row."""
    return [
        surprise(logits[b][k], target)
        for b, row in enumerate(targets)
        for k, target in enumerate(row)
        if target != NO_LOSS
    ]


def ask(student, logits, targets, **more):
    return student.completion_loss(Tensor(logits), Tensor(targets), **more)


@points(2)
def test_the_loss_is_the_sum_of_minus_log_probabilities(student, rng):
    logits = make_logits(rng, 3, 4)
    targets = [[rng.randrange(VOCABULARY) for _ in range(4)] for _ in range(3)]
    each = losses(logits, targets)
    picked = [-logits[b][k][targets[b][k]] for b in range(3) for k in range(4)]
    expect(
        ask(student, logits, targets),
        sum(each),
        (sum(each) / len(each), "a sum, not a mean: the caller divides by the tokens of the step"),
        (sum(each) / 3, "a sum, not a mean over rows"),
        (-sum(each), "the sign: − log π"),
        (sum(picked), "logits are no log-probabilities: softmax first"),
    )


@points(2)
def test_targets_without_loss_count_nothing(student, rng):
    logits = make_logits(rng, 2, 5)
    targets = [[NO_LOSS, NO_LOSS, 1, 4, NO_LOSS], [2, NO_LOSS, NO_LOSS, 5, 3]]
    each = losses(logits, targets)
    # Whatever the model says where nothing is asked, nothing changes.
    for size in (1.0, 20.0):
        for row, row_targets in zip(logits, targets):
            for k, target in enumerate(row_targets):
                if target == NO_LOSS:
                    row[k] = [size * logit for logit in row[k]]
        as_zero = [[max(0, target) for target in row] for row in targets]
        as_last = [[VOCABULARY - 1 if t == NO_LOSS else t for t in row] for row in targets]
        expect(
            ask(student, logits, targets),
            sum(each),
            (sum(losses(logits, as_zero)), "NO_LOSS was taken for token 0"),
            (sum(losses(logits, as_last)), "NO_LOSS was taken for the last token"),
            (sum(each) / len(each), "a sum, not a mean"),
            (sum(each) / 10, "a sum, not a mean"),
        )


@points(1)
def test_logits_and_targets_are_aligned_and_the_gradient_flows(student, rng):
    logits = make_logits(rng, 1, 3)
    targets = [[NO_LOSS, rng.randrange(VOCABULARY), NO_LOSS]]
    shifted = surprise(logits[0][0], targets[0][1])
    value, gradient = ask(student, logits, targets, gradient=0)
    expect(
        value,
        surprise(logits[0][1], targets[0][1]),
        (shifted, "do not shift: logits[:, k] predicts targets[:, k]"),
    )
    # ∂ − log π(y) / ∂ logit_v = π(v) − [v = y].
    total = sum(map(math.exp, logits[0][1]))
    slope = [math.exp(logit) / total for logit in logits[0][1]]
    slope[targets[0][1]] -= 1
    zeros = [0.0] * VOCABULARY
    expect(gradient, [[zeros, slope, zeros]])
