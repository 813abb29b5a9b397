"""Stage 04: Eq. 4 and Eq. 5 against a table that is written out."""

import pytest
from conftest import chat, read, run, stage, step, write

expert = stage(4)

# Problem p has two trajectories that end well: `better` at once, `good` after `wrong`. `half`
# passes the public tests alone. For q no correct program was sampled.
WRONG = step("p", code="wrong", score=3.0)
STATE = chat("Write f for p.", WRONG["completion"], "`f(1)` gave 1, expected 2")
GOOD = step("p", code="good", turn=2, public=True, hidden=True, score=0.5, messages=STATE)
BETTER = step("p", 1, code="better", public=True, hidden=True, score=0.7)
HALF = step("p", 2, code="half", public=True, hidden=False, score=2.0)
BAD = step("q", code="bad", score=-1.0)
LIKELY = step("q", 1, code="likely", score=1.0)
P = [WRONG, GOOD, BETTER, HALF]
Q = [BAD, LIKELY]
rate = expert.with_rewards


def labels(examples):
    """The program that each example teaches."""
    return [example["completion"][0]["content"].split("\n")[1] for example in examples]


# ── μCode ────────────────────────────────────────────────────────────────────────────────────────


def test_every_state_gets_the_best_program_of_its_problem():
    # p: 1 + 0.1 · 0.7 for `better` beats 1 + 0.1 · 0.5 for `good`, 0.1 · 3 for `wrong` and 0.1 · 2
    # for `half` (the public tests alone are not enough). q: the verifier's favourite is imitated.
    examples = expert.relabel(rate(P + Q))
    assert labels(examples) == ["better"] * 4 + ["likely"] * 2

    # The states are untouched, and the label is the model's own text.
    assert [example["prompt"] for example in examples] == [row["messages"] for row in P + Q]
    answer = dict(role="assistant", content="```python\nbetter\n```")
    assert examples[0]["completion"] == [answer]
    assert set(examples[0]) == {"task_id", "prompt", "completion"}


@pytest.mark.parametrize(
    "beta_oracle, beta_learned, expected",
    [
        (1.0, 0.0, "better"),  # β_L = 0: of two correct programs the earlier turn's
        (0.0, 1.0, "wrong"),  # β_O = 0: the verifier alone
        (1.0, 0.1, "better"),  # 1.07 against 1.05, 0.3 and 0.2
        (1.0, 0.5, "wrong"),  # 0.5 · 3 against 1 + 0.5 · 0.7: R_φ outvotes R
    ],
)
def test_betas_weigh_the_oracle_and_the_verifier(beta_oracle, beta_learned, expected):
    assert labels(expert.relabel(rate(P), beta_oracle, beta_learned)) == [expected] * 4


@pytest.mark.parametrize(
    "later, earlier",
    [
        (dict(turn=2, trajectory=0), dict(turn=1, trajectory=5)),
        (dict(turn=2, policy="base"), dict(turn=1, policy="mucode-1")),
        (dict(policy="mucode-1", trajectory=0), dict(policy="base", trajectory=5)),
        (dict(trajectory=2), dict(trajectory=1)),
    ],
)
def test_ties_go_to_the_earliest_turn_then_policy_then_trajectory(later, earlier):
    equal = dict(public=True, hidden=True, score=0.0)
    steps = [step(code="later", **later, **equal), step(code="earlier", **earlier, **equal)]
    assert expert.best_step(rate(steps), 1.0, 0.1)["code"] == "earlier"
    assert expert.best_step(rate(steps[::-1]), 1.0, 0.1)["code"] == "earlier"


def test_the_label_is_the_earliest_completion_word_for_word():
    passing = dict(code="c", public=True, hidden=True, score=1.0)
    first = step(trajectory=0, completion="Here:\n```python\nc\n```", **passing)
    second = step(trajectory=1, completion="c", **passing)
    example = expert.relabel(rate([second, first]))[0]
    assert example["completion"][0]["content"] == "Here:\n```python\nc\n```"


def test_a_program_judged_both_ways_counts_as_correct():
    rows = [
        step(code="c", score=0.0, completion="Here:\n```python\nc\n```"),
        step(code="c", trajectory=1, public=True, hidden=True, score=0.0),
        step(code="d", trajectory=2, score=5.0),
    ]
    for order in (rows, rows[::-1]):
        assert {row["code"]: row["reward"] for row in rate(order)} == {"c": True, "d": False}

        # The label is still the earliest row's text, though that row was judged wrong.
        for example in expert.relabel(rate(order)):
            assert example["completion"][0]["content"] == "Here:\n```python\nc\n```"


def test_problems_without_a_correct_program_can_be_dropped():
    assert labels(expert.relabel(rate(P + Q), drop_uncovered=True)) == ["better"] * 4


# ── Baselines and variants ───────────────────────────────────────────────────────────────────────


def test_rft_imitates_successful_trajectories_as_generated():
    # Turn 1 of the first trajectory too. `half` and q are out.
    assert labels(expert.imitate_successful(rate(P + Q))) == ["wrong", "good", "better"]


def test_rft_without_failed_tries_and_of_first_turns():
    # `wrong` came before `good`, at turn 2; `half` passes the public tests alone.
    examples = expert.imitate_correct(rate(P + Q))
    assert labels(examples) == ["good", "better"]
    assert [example["prompt"] for example in examples] == [GOOD["messages"], BETTER["messages"]]
    assert labels(expert.imitate_correct(rate(P + Q), last_turn=1)) == ["better"]
    assert labels(expert.imitate_correct(rate(P + Q), last_turn=2)) == ["good", "better"]


def test_any_correct_program_may_be_the_label_and_its_score_has_no_say():
    """Three correct programs of 300 problems, one of them sampled twice: a third each."""
    passing = dict(public=True, hidden=True)
    names = ("often", "often", "liked", "late")
    scores = {"often": 0.0, "liked": 9.0, "late": 0.0}
    steps = []
    for k in range(300):
        task = f"p{k}"
        for trajectory, code in enumerate(names):
            turn = 2 if code == "late" else 1
            row = step(task, trajectory, code=code, turn=turn, score=scores[code], **passing)
            steps.append(row)
        steps.append(step(task, 9, code="wrong", score=5.0))
    settings = dict(beta_oracle=1.0, beta_learned=0.1)
    programs = labels(expert.relabel_at_random(rate(steps), **settings))

    # All five states of a problem have one label, and the same in every call.
    chosen = programs[::5]
    assert programs == [program for program in chosen for _ in range(5)]
    assert programs == labels(expert.relabel_at_random(rate(steps), **settings))
    counts = {code: chosen.count(code) for code in scores}
    assert sum(counts.values()) == 300
    assert all(75 <= count <= 125 for count in counts.values()), counts

    # Where none is correct it is μCode: R_φ decides.
    uncovered = [dict(row, task_id=f"q{k}") for k in range(30) for row in Q]
    assert labels(expert.relabel_at_random(rate(uncovered), **settings)) == ["likely"] * 60


def test_mucode_any_is_a_method(tmp_path):
    steps = [dict(row, task_id=f"p{k}") for k in range(30) for row in P]
    scored = write(tmp_path / "scored", steps)
    run(4, "--scored", scored, "--out", tmp_path / "out", "--method", "mucode_any")
    assert set(labels(read(tmp_path / "out"))) == {"good", "better"}


def test_rft_lv_imitates_the_verifiers_favourite_trajectories_as_generated():
    # p's trajectories end with good 0.5, better 0.7, half 2.0 (`wrong`, 3.0, is no end), q's with
    # −1.0 and 1.0. The best one, two, three of each problem:
    assert labels(expert.imitate_best(rate(P + Q), most=1)) == ["half", "likely"]
    assert labels(expert.imitate_best(rate(P + Q), most=2)) == ["better", "half", "bad", "likely"]
    assert len(expert.imitate_best(rate(P + Q), most=3)) == len(P + Q)


def test_as_in_the_code_the_best_failures_are_relabelled_and_successes_keep_their_own():
    # Ends: good and better are correct. half 2.0, fail0 1.0, fail1 5.0 and fail2 −2.0 failed: the
    # best three of these get y*, the argmax of 100 · R + R_φ over ends: better, 100.7. The states
    # of the first trajectory get its own `good`, the failed first turn too.
    scores = (1.0, 5.0, -2.0)
    failures = [step("p", 3 + k, code=f"fail{k}", score=score) for k, score in enumerate(scores)]
    examples = expert.relabel_as_code(rate(P + failures), 100.0, 1.0, 3)
    assert labels(examples) == ["good"] * 2 + ["better"] * 4
    kept = P + failures[:2]
    assert [example["prompt"] for example in examples] == [row["messages"] for row in kept]

    # Nothing is correct: R_φ decides.
    assert labels(expert.relabel_as_code(rate(Q), 100.0, 1.0, 3)) == ["likely"] * 2


# ── The command line ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "method, expected",
    [
        ("mucode", ["better"] * 4),
        ("mucode_ov", ["better"] * 4),
        ("mucode_lv", ["wrong"] * 4),
        ("mucode_drop", ["better"] * 4),
        ("mucode_code", ["good", "good", "better", "better"]),
        ("rft", ["wrong", "good", "better"]),
        ("rft_correct", ["good", "better"]),
        ("rft_first", ["better"]),
        ("rft_lv", ["wrong", "good", "better", "half"]),
        ("rft_code", ["good", "good", "better"]),
    ],
)
def test_methods(tmp_path, method, expected):
    scored = write(tmp_path / "scored", P)
    run(4, "--scored", scored, "--out", tmp_path / "out", "--method", method)
    assert labels(read(tmp_path / "out")) == expected


@pytest.fixture
def make_examples(tmp_path, capsys):
    """make_examples(flag, …): stage 04 on p and q → (labels, the row of counts, what it prints)."""
    scored = write(tmp_path / "scored", P + Q)

    def call(*flags):
        run(4, "--scored", scored, "--out", tmp_path / "out.jsonl", *flags)
        (counts,) = read(tmp_path / "out.metrics.jsonl")
        return labels(read(tmp_path / "out.jsonl")), counts, capsys.readouterr().out

    return call


def test_what_was_labelled_is_counted(make_examples):
    programs, counts, printed = make_examples()
    assert programs == ["better"] * 4 + ["likely"] * 2
    assert counts == dict(
        steps=6, tokens=30, programs=6, problems=2, uncovered=1, overruled=0, examples=6, wrong=2
    )
    assert "no correct program was sampled for 1 of 2 problems" in printed
    assert "R_φ outvoted the oracle for 0 of the others" in printed


def test_a_verifier_that_outvotes_the_oracle_is_counted(make_examples):
    programs, counts, printed = make_examples("--beta-oracle", "0")
    assert programs[:4] == ["wrong"] * 4
    assert counts["overruled"] == 1
    assert "R_φ outvoted the oracle for 1 of the others" in printed


def test_rft_has_no_verifier_that_could_outvote(make_examples):
    programs, counts, printed = make_examples("--method", "rft")
    assert programs == ["wrong", "good", "better"]
    assert counts["wrong"] == 1
    assert "overruled" not in counts
    assert "outvoted" not in printed


def test_the_flag_replaces_the_setting_of_the_method(make_examples):
    programs, counts, _ = make_examples("--drop-uncovered")
    assert programs == ["better"] * 4
    assert (counts["uncovered"], counts["wrong"]) == (1, 0)


@pytest.mark.parametrize(
    "rows, flags, words",
    [
        (Q, ["--method", "rft"], ["no example"]),
        ([dict(WRONG, score="high")], [], ["row 1", "'score'"]),
        ([{k: WRONG[k] for k in WRONG if k != "messages"}], [], ["row 1", "'messages'", "missing"]),
        (["{"], [], ["row 1", "JSON"]),
        ([], [], ["no rows"]),
        ([WRONG, WRONG], [], ["row 2", "trajectory"]),
    ],
)
def test_bad_input_is_refused(tmp_path, refused, rows, flags, words):
    scored = write(tmp_path / "scored", rows)
    out = tmp_path / "out"
    refused(lambda: run(4, "--scored", scored, "--out", out, *flags), scored, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    "flags", [["--beta-oracle", 0], ["--beta-learned", 1], ["--drop-uncovered"]]
)
def test_a_flag_that_the_method_does_not_use_is_refused(tmp_path, refused, flags):
    scored = write(tmp_path / "scored", P + Q)
    call = ("--scored", scored, "--out", tmp_path / "out", "--method", "rft")
    refused(lambda: run(4, *call, *flags), flags[0], "rft")
