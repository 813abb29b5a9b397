"""Stage 04: Eq. 4 and Eq. 5 against a table written out."""
import pytest
from conftest import read, run, stage, step, write

ex = stage(4)
#                                   policy     trajectory turn  code   public hidden score
ROWS = [step("p", code="wrong", score=3.0),
        step("p", code="good", trajectory=0, turn=2, public=True, hidden=True, score=0.5),
        step("p", code="better", trajectory=1, public=True, hidden=True, score=0.7),
        step("p", code="half", trajectory=2, public=True, hidden=False, score=2.0),
        step("q", code="bad", score=-1.0),
        step("q", code="likely", trajectory=1, score=1.0)]
ROWS[1]["messages"] = ROWS[0]["messages"] + [dict(role="assistant", content=ROWS[0]["completion"]), dict(role="user", content="`f(1)` gave 1, expected 2")]


def labels(examples):
    return [e["completion"][0]["content"].split("\n")[1] for e in examples]


def test_eq_4_and_5():
    # p: 1 + 0.1·0.7 for `better` beats 1 + 0.1·0.5 for `good`, 0.1·3 for `wrong`, 0.1·2 for `half` (public alone is not right).
    # q: no right program was sampled; the verifier's favourite is imitated.
    examples = ex.relabel(ROWS)
    assert labels(examples) == ["better"] * 4 + ["likely"] * 2
    assert [e["prompt"] for e in examples] == [r["messages"] for r in ROWS]          # the states, untouched
    assert examples[0]["completion"] == [dict(role="assistant", content=ROWS[2]["completion"])]
    assert set(examples[0]) == {"task_id", "prompt", "completion"}


@pytest.mark.parametrize("beta_oracle, beta_learned, expected", [
    (1.0, 0.0, "better"),           # β_L = 0: of two right programs the earlier turn's
    (0.0, 1.0, "wrong"),            # β_O = 0: the verifier alone
    (1.0, 0.1, "better"),           # 1.07 against 1.05, 0.3 and 0.2
    (1.0, 0.5, "wrong"),            # 0.5 · 3 = 1.5 against 1 + 0.5 · 0.7 = 1.35: with β_L this large R_φ can overrule R
])
def test_betas(beta_oracle, beta_learned, expected):
    assert labels(ex.relabel(ROWS[:4], beta_oracle, beta_learned)) == [expected] * 4


def test_ties_go_to_the_earliest_turn_then_policy_then_trajectory():
    def winner(*rows): return ex.best_step([step(public=True, hidden=True, score=0.0, code=str(k), **r) for k, r in enumerate(rows)], 1.0, 0.1)["code"]
    assert winner(dict(turn=2, trajectory=0), dict(turn=1, trajectory=5)) == "1"
    assert winner(dict(policy="mucode-1", trajectory=0), dict(policy="base", trajectory=5)) == "1"
    assert winner(dict(trajectory=2), dict(trajectory=1)) == "1"


def test_the_label_is_the_earliest_completion_word_for_word():
    first, second = step(trajectory=0, code="c", public=True, hidden=True, score=1.0), step(trajectory=1, code="c", public=True, hidden=True, score=1.0)
    first["completion"], second["completion"] = "Here:\n```python\nc\n```", "c"
    assert ex.relabel([second, first])[0]["completion"][0]["content"] == "Here:\n```python\nc\n```"


def test_judged_both_ways_counts_as_right():
    rows = [step(code="c", score=0.0), step(code="c", trajectory=1, public=True, hidden=True, score=0.0), step(code="d", trajectory=2, score=5.0)]
    for order in (rows, rows[::-1]):
        assert labels(ex.relabel(order)) == ["c"] * 3
        assert ex.judge_programs(order) == {"c": True, "d": False}


def test_drop_uncovered():
    assert labels(ex.relabel(ROWS, drop_uncovered=True)) == ["better"] * 4


def test_rft_keeps_successful_trajectories_as_generated():
    assert labels(ex.imitate_successful(ROWS)) == ["wrong", "good", "better"]        # turn 1 of trajectory 0 too; `half` and q are out


def test_rft_lv_keeps_the_verifiers_favourite_trajectories_as_generated():
    # p's trajectories end with good 0.5, better 0.7, half 2.0 (`wrong`, 3.0, is no end); q's with −1.0 and 1.0. The best two of each:
    assert labels(ex.imitate_best(ROWS, most=2)) == ["better", "half", "bad", "likely"]
    assert labels(ex.imitate_best(ROWS, most=1)) == ["half", "likely"]
    assert len(ex.imitate_best(ROWS, most=3)) == len(ROWS)


def test_mucode_code_relabels_the_best_failures_and_leaves_successes_their_own():
    rows = ROWS[:4] + [step("p", code=f"fail{k}", trajectory=3 + k, score=s) for k, s in enumerate((1.0, 5.0, -2.0))]
    # ends: good and better are right; half 2.0, fail0 1.0, fail1 5.0, fail2 −2.0 failed: the best three of these get y*.
    # y* = argmax 100·R + R_φ over ends = better (100.7). The states of trajectory 0 get its own `good`, the failed first turn too.
    assert labels(ex.relabel_as_code(rows, 100.0, 1.0, False, 3)) == ["good", "good", "better", "better", "better", "better"]
    assert [e["prompt"] for e in ex.relabel_as_code(rows, 100.0, 1.0, False, 3)] == [r["messages"] for r in rows[:6]]
    assert labels(ex.relabel_as_code(ROWS[4:], 100.0, 1.0, False, 3)) == ["likely", "likely"]  # nothing right: R_φ decides
    assert ex.relabel_as_code(ROWS[4:], 100.0, 1.0, True, 3) == []


@pytest.mark.parametrize("method, expected", [
    ("mucode", ["better"] * 4), ("mucode_ov", ["better"] * 4), ("mucode_lv", ["wrong"] * 4), ("mucode_drop", ["better"] * 4),
    ("mucode_code", ["good", "good", "better", "better"]), ("rft", ["wrong", "good", "better"]), ("rft_lv", ["wrong", "good", "better", "half"]),
    ("rft_code", ["good", "good", "better"])])
def test_methods(tmp_path, method, expected):
    run(4, "--scored", write(tmp_path / "scored", ROWS[:4]), "--out", tmp_path / "out", "--method", method)
    assert labels(read(tmp_path / "out")) == expected


def test_stage(tmp_path, capsys):
    scored, out = write(tmp_path / "scored", ROWS), tmp_path / "out"
    run(4, "--scored", scored, "--out", out)
    said = capsys.readouterr().out
    assert labels(read(out)) == ["better"] * 4 + ["likely"] * 2
    assert "no right program was sampled for 1 of 2 problems, R_φ outvoted the oracle for 0 of the others" in said
    assert read(tmp_path / "out.metrics.jsonl") == [dict(steps=6, tokens=30, programs=6, problems=2, uncovered=1, overruled=0, examples=6, wrong=2)]
    run(4, "--scored", scored, "--out", out, "--beta-oracle", "0")
    assert labels(read(out))[:4] == ["wrong"] * 4 and "outvoted the oracle for 1 of" in capsys.readouterr().out
    run(4, "--scored", scored, "--out", out, "--method", "rft")
    assert labels(read(out)) == ["wrong", "good", "better"]
    assert "overruled" not in read(tmp_path / "out.metrics.jsonl")[0] and "outvoted" not in capsys.readouterr().out      # RFT has no R_φ to do so
    run(4, "--scored", scored, "--out", out, "--drop-uncovered")
    assert len(read(out)) == 4


@pytest.mark.parametrize("rows, args, words", [
    (ROWS[4:], ["--method", "rft"], ["no example"]),
    ([{**ROWS[0], "score": "high"}], [], ["row 1", "'score'"]),
    ([{k: v for k, v in ROWS[0].items() if k != "messages"}], [], ["row 1", "'messages'", "missing"]),
    (["{"], [], ["row 1", "JSON"]), ([], [], ["no rows"]),
    ([ROWS[0], ROWS[0]], [], ["row 2", "trajectory"]),
])
def test_bad_input(tmp_path, refused, rows, args, words):
    scored = write(tmp_path / "scored", rows)
    refused(lambda: run(4, "--scored", scored, "--out", tmp_path / "out", *args), scored, *words)
    assert not (tmp_path / "out").exists()


def test_flags_that_a_method_does_not_use_are_refused(tmp_path, refused):
    scored = write(tmp_path / "scored", ROWS)
    for flags in (["--beta-oracle", "0"], ["--beta-learned", "1"], ["--drop-uncovered"]):
        refused(lambda: run(4, "--scored", scored, "--out", tmp_path / "out", "--method", "rft", *flags), flags[0], "rft")
