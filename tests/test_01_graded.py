"""Graded tests of stage 01: the state as a chat, and the sampling step."""

import math

import pytest
from grading import Tensor, expect, points

pytestmark = pytest.mark.stage01


# ── next_messages ────────────────────────────────────────────────────────────────────────────────


def message(role, content):
    return {"role": role, "content": content}


def make_state(rng, turns):
    """A state of turn `turns` + 1, as a chat."""
    state = [message("user", f"Write f for problem {rng.randrange(1000)}.")]
    for turn in range(turns):
        state.append(message("assistant", f"program {turn} {rng.random()}"))
        state.append(message("user", f"feedback {turn} {rng.random()}"))
    return state


@points(1)
def test_the_next_state_is_the_old_one_and_then_the_program_and_its_feedback(student, rng):
    for turns in (0, 1, 3):
        state = make_state(rng, turns)
        y = f"def f(): return {rng.random()}"
        o = f"`f()` gave {rng.random()}"
        program, feedback = message("assistant", y), message("user", o)
        expect(
            student.next_messages(state, y, o),
            [*state, program, feedback],
            ([*state, feedback, program], "the feedback comes after the program"),
            ([*state, message("user", y), message("assistant", o)], "the roles are exchanged"),
            ([*state, program], "the feedback is missing"),
            ([*state, feedback], "the model must see its own program, not only the feedback"),
            ([*state[:1], program, feedback], "earlier turns are part of the state"),
            ([program, feedback], "the state begins with the problem and all earlier turns"),
        )


@points(1)
def test_program_and_feedback_stay_word_for_word(student, rng):
    y = f"  ```python\n\tx = {rng.random()}\n```  \n\n"
    o = f"\n`f({rng.random()})` gave '' \n"
    state = make_state(rng, 1)
    stripped = [*state, message("assistant", y.strip()), message("user", o.strip())]
    expect(
        student.next_messages(state, y, o),
        [*state, message("assistant", y), message("user", o)],
        (stripped, "white space is part of what was sampled: training must see the same text"),
    )


# ── choose ───────────────────────────────────────────────────────────────────────────────────────

VOCABULARY = 7


def make_distribution(rng):
    """Probabilities of a vocabulary, each at least a few percent."""
    weights = [0.2 + rng.random() for _ in range(VOCABULARY)]
    return [weight / sum(weights) for weight in weights]


def inside(rng, probabilities, token):
    """A number that belongs to a token: in its stretch of the cumulative distribution."""
    return sum(probabilities[:token]) + rng.uniform(0.1, 0.9) * probabilities[token]


def logs(rows, power=1.0):
    """Logits whose softmax is each row, raised to a power and divided by its sum."""
    return Tensor([[power * math.log(p) for p in row] for row in rows])


def draw(student, logits, uniform, temperature):
    """The tokens that are chosen, as numbers."""
    return student.choose(logits, Tensor(uniform), temperature)


@points(1)
def test_a_token_is_drawn_where_the_cumulative_probability_first_exceeds_the_number(student, rng):
    # Every token once, beside each other, and then some.
    tokens = [*range(VOCABULARY), *rng.choices(range(VOCABULARY), k=4)]
    rows = [make_distribution(rng) for _ in tokens]
    uniform = [inside(rng, row, token) for row, token in zip(rows, tokens)]
    likely = [row.index(max(row)) for row in rows]
    expect(
        draw(student, logs(rows), uniform, 1.0),
        Tensor(tokens),
        (Tensor(likely), "this is the most likely token: the number plays no part"),
        (Tensor(token + 1 for token in tokens), "one too far: count the tokens that end below it"),
        (Tensor(token - 1 for token in tokens), "one too low: its own sum exceeds the number"),
    )


@points(1)
def test_a_token_of_probability_0_is_never_drawn_however_near_to_1_the_number_is(student, rng):
    almost_one = 1 - 2**-24  # the last float32 before 1
    rows = [make_distribution(rng) for _ in range(200)]
    ends = [rng.randrange(2, VOCABULARY) for _ in rows]
    logits = logs(rows)
    for row, end in zip(logits, ends):
        row[end:] = [-200.0] * (VOCABULARY - end)
    expect(
        draw(student, logits, [almost_one] * len(rows), 1.0),
        Tensor(end - 1 for end in ends),
        (Tensor([VOCABULARY - 1] * len(rows)), "these are the last tokens, whose probability is 0"),
    )


@points(2)
def test_the_temperature_divides_the_logits(student, rng):
    for temperature in (0.5, 0.25, 2.0):
        tokens = rng.choices(range(1, VOCABULARY), k=9)
        rows = [make_distribution(rng) for _ in tokens]
        uniform = [inside(rng, row, token) for row, token in zip(rows, tokens)]
        # The logits times the temperature: divided by it, they are those of the rows again.
        chosen = draw(student, logs(rows, temperature), uniform, temperature)
        expect(
            chosen,
            Tensor(tokens),
            (draw(student, logs(rows, temperature), uniform, 1.0), "the temperature is ignored"),
            (draw(student, logs(rows, temperature), uniform, 1 / temperature), "it multiplies"),
        )


@points(1)
def test_at_temperature_zero_the_most_likely_token_is_taken_whatever_the_number(student, rng):
    rows = [make_distribution(rng) for _ in range(9)]
    rows[0] = sorted(rows[0])
    likely = [row.index(max(row)) for row in rows]
    for _ in range(2):
        uniform = [rng.random() for _ in rows]
        expect(draw(student, logs(rows), uniform, 0), Tensor(likely))


@points(1)
def test_a_constant_that_is_added_to_the_logits_changes_nothing(student, rng):
    tokens = rng.choices(range(1, VOCABULARY), k=5)
    rows = [make_distribution(rng) for _ in tokens]
    uniform = [inside(rng, row, token) for row, token in zip(rows, tokens)]
    for constant in (-150.0, 0.0, 150.0):
        logits = Tensor([[logit + constant for logit in row] for row in logs(rows)])
        expect(draw(student, logits, uniform, 1.0), Tensor(tokens))
