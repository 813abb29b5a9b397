"""Graded tests of stage 04: the expert, and relabelling."""

import pytest
from grading import expect, points

pytestmark = pytest.mark.stage04

NAMES = ("base", "mucode-1", "mucode-2")


def make_step(rng, task, trajectory, turn, policy="base", **more):
    """A step with its reward: wrong, if `more` does not say otherwise."""
    state = [{"role": "user", "content": f"Write f for {task}."}]
    for earlier in range(1, turn):
        words = f"{task} {trajectory} {earlier}"
        state.append({"role": "assistant", "content": f"program {words}"})
        state.append({"role": "user", "content": f"feedback {words}"})
    code = f"# {policy}: {task}, trajectory {trajectory}, turn {turn}, {rng.randrange(10**6)}"
    row = {
        "policy": policy,
        "task_id": task,
        "trajectory": trajectory,
        "turn": turn,
        "messages": state,
        "completion": f"```python\n{code}\n```",
        "code": code,
        "public_passed": False,
        "hidden_passed": False,
        "score": rng.uniform(-2, 2),
        "reward": False,
    }
    return dict(row, **more)


def correct(score):
    return dict(score=score, reward=True, public_passed=True, hidden_passed=True)


def shuffled(rng, rows):
    return rng.sample(rows, len(rows))


# ── best_step ────────────────────────────────────────────────────────────────────────────────────


@points(2)
def test_among_correct_programs_the_expert_takes_the_favourite_of_the_verifier(student, rng):
    level = rng.uniform(-1, 0)
    places = rng.sample(range(100), 4)
    worse = make_step(rng, "p", places[0], 1, **correct(level))
    best = make_step(rng, "p", places[1], 2, **correct(level + 0.5))
    # Judged wrong here, near the time limit, and right elsewhere: `with_rewards` has settled it.
    best.update(hidden_passed=False)
    # The verifier likes these better, and they are wrong: one passes the public tests.
    liked = make_step(rng, "p", places[2], 1, score=level + 3)
    half = make_step(rng, "p", places[3], 1, score=level + 2, public_passed=True)
    for _ in range(4):
        steps = shuffled(rng, [worse, best, liked, half])
        expect(
            student.best_step(steps, 1.0, 0.1),
            best,
            (worse, "R_φ chooses among correct programs (field reward): the higher score wins"),
            (liked, "R weighs β_O = 1, and R_φ only β_L = 0.1: a correct program comes first"),
            (half, "R asks for the hidden tests, too: read the field reward"),
            (best["completion"], "return the whole step, not its completion"),
        )


@points(1)
def test_where_no_program_is_correct_the_verifier_decides_alone(student, rng):
    level = rng.uniform(-1, 1)
    scores = (level, level + 1, level - 1)
    places = rng.sample(range(100), 3)
    steps = [make_step(rng, "p", k, 1, score=score) for k, score in zip(places, scores)]
    first = steps[0]
    for _ in range(3):
        expect(
            student.best_step(shuffled(rng, steps), 1.0, 0.1),
            steps[1],
            (None, "Eq. 4 has an answer here, too: a wrong program, R_φ's favourite"),
            (first, "R is 0 for all, but their scores differ"),
            (steps[2], "argmax, not argmin"),
        )


@points(2)
def test_the_betas_weigh_the_oracle_against_the_verifier(student, rng):
    level = rng.uniform(-1, 1)
    places = rng.sample(range(100), 3)
    good = make_step(rng, "p", places[0], 2, **correct(level))
    liked = make_step(rng, "p", places[1], 1, score=level + 4)
    late = make_step(rng, "p", places[2], 3, **correct(level + 1))
    ignored = "β_O and β_L are arguments: they weigh R and R_φ"
    # β_L = 0.1: R wins by 1 − 0.3. β_L = 0.5: 4 · 0.5 outvotes it. β_O = 0: R_φ alone.
    table = [
        (1.0, 0.1, late, [good, liked]),
        (1.0, 0.5, liked, [good, late]),
        (0.0, 1.0, liked, [good, late]),
        (1.0, 0.0, good, [liked]),
        (100, 1, late, [good, liked]),
    ]
    for beta_oracle, beta_learned, expected, others in table:
        words = f"{ignored} ({beta_oracle} and {beta_learned} here)"
        expect(
            student.best_step(shuffled(rng, [expected, *others]), beta_oracle, beta_learned),
            expected,
            *((other, words) for other in others),
        )


@points(1)
def test_ties_go_to_the_lowest_turn_then_policy_then_trajectory(student, rng):
    level = rng.uniform(-1, 1)
    table = [  # the earlier one first
        (
            dict(turn=1, trajectory=5, policy="mucode-1"),
            dict(turn=2, trajectory=0, policy="base"),
            "the lower turn comes first, whatever policy and trajectory are",
        ),
        (
            dict(turn=2, trajectory=5, policy="base"),
            dict(turn=2, trajectory=0, policy="mucode-1"),
            "of one turn, 'base' comes before 'mucode-1', whatever the trajectories are",
        ),
        (
            dict(turn=2, trajectory=3, policy="base"),
            dict(turn=2, trajectory=10, policy="base"),
            "of one turn and policy, the lower trajectory comes first: 3 before 10",
        ),
    ]
    for earlier, later, words in table:
        equal = correct(level)
        first, second = (make_step(rng, "p", **where, **equal) for where in (earlier, later))
        for steps in ([first, second], [second, first]):
            expect(student.best_step(steps, 1.0, 0.1), first, (second, words))


# ── relabel ──────────────────────────────────────────────────────────────────────────────────────


def example(step, label):
    """What relabelling makes of a step whose label is that of another one."""
    answer = {"role": "assistant", "content": label["completion"]}
    return {"task_id": step["task_id"], "prompt": step["messages"], "completion": [answer]}


def trajectory_of(step):
    return step["task_id"], step["trajectory"]


def make_world(rng):
    """Steps of two problems with y*, mixed up → (steps, {task_id: the step of y*})."""
    steps = []
    best = {}
    for task in ("p", "q"):
        for trajectory in range(3):
            for turn in range(1, trajectory + 2):
                steps.append(make_step(rng, task, trajectory, turn))
        # Trajectory 2 ends with a correct program, trajectory 3 begins with the better one.
        steps[-1].update(correct(-1.0 - rng.random()))
        best[task] = make_step(rng, task, 3, 1, **correct(rng.random()))
        steps.append(best[task])
    return shuffled(rng, steps), best


@points(3)
def test_every_visited_state_gets_the_best_program_of_its_problem(student, rng):
    steps, best = make_world(rng)
    expected = [example(step, best[step["task_id"]]) for step in steps]
    # What each trajectory ends with, and what is best in it.
    ends = {trajectory_of(s): s for s in sorted(steps, key=lambda s: s["turn"])}
    peaks = {
        trajectory_of(s): s for s in sorted(steps, key=lambda s: s["reward"] + s["score"] / 10)
    }
    trajectory_only = "the expert looked at this trajectory only, not at all of the problem's"
    last = {}
    for step in steps:
        last[step["task_id"]] = step
    x_alone = [dict(row, prompt=row["prompt"][:1]) for row in expected]
    open_only = [row for row, step in zip(expected, steps) if not step["reward"]]
    first_only = [row for row, step in zip(expected, steps) if step["turn"] == 1]
    solved = {trajectory_of(s) for s in steps if s["reward"]}
    rft = [row for row, s in zip(expected, steps) if trajectory_of(s) in solved]
    expect(
        student.relabel(steps),
        expected,
        ([example(s, ends[trajectory_of(s)]) for s in steps], trajectory_only),
        ([example(s, peaks[trajectory_of(s)]) for s in steps], trajectory_only),
        ([example(step, step) for step in steps], "these are the programs that were written there"),
        ([example(s, last[s["task_id"]]) for s in steps], "y* is the best program, not the last"),
        (x_alone, "the prompt is the whole state s_t, failed programs and feedback included"),
        (open_only, "states where a correct program was written get y*, too"),
        (first_only, "EVERY state that was visited gets y*, not the first ones alone"),
        (rft, "that is RFT: here the states of failed trajectories get y*, too"),
        (sorted(expected, key=lambda row: row["task_id"]), "in the order of the steps"),
    )


@points(1)
def test_the_betas_reach_the_expert(student, rng):
    good = make_step(rng, "p", 0, 1, **correct(rng.uniform(-1, 0)))
    liked = make_step(rng, "p", 1, 2, score=rng.uniform(3, 4))
    steps = [liked, good]
    hint = "the betas must reach Eq. 4: hand them on to best_step, which weighs R and R_φ by them"
    by_oracle = [example(step, good) for step in steps]
    by_verifier = [example(step, liked) for step in steps]
    expect(student.relabel(steps, 1.0, 0.1), by_oracle, (by_verifier, hint))
    expect(student.relabel(steps, 0.0, 1.0), by_verifier, (by_oracle, hint))


@points(1)
def test_a_problem_without_a_correct_program_gets_a_wrong_one_or_is_dropped(student, rng):
    level = rng.uniform(-1, 1)
    covered = make_step(rng, "p", 0, 1, **correct(level))
    other = make_step(rng, "p", 1, 1, score=level + 1)
    bad = make_step(rng, "q", 0, 1, score=level)
    liked = make_step(rng, "q", 1, 1, score=level + 1)
    steps = [bad, other, liked, covered]
    dropped = [example(other, covered), example(covered, covered)]
    kept = [example(bad, liked), dropped[0], example(liked, liked), dropped[1]]
    hint = "drop_uncovered leaves out problems, not steps, and only if it is True"
    expect(student.relabel(steps), kept, (dropped, hint))
    expect(
        student.relabel(steps, 1.0, 0.1, True),
        dropped,
        (kept, hint),
        ([dropped[1]], hint),
    )
