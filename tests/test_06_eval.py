"""Stage 06: the rules, the search, the interval."""
import itertools, json, random, re

import numpy as np
import pytest
from conftest import problem, read, run, stage, step, write

ex = stage(6)


def candidate(public=False, hidden=False, score=0.0, code="c"):
    return dict(completion=code, code=code, public_passed=public, hidden_passed=hidden, feedback="" if public else f"{code} is wrong", score=score, scores=[score], tokens=3)


def test_rules_by_hand():
    #                   0: fails, best score      1: public only           2: right                3: public only, ties with 1   4: fails
    five = [candidate(score=9.0), candidate(True, score=1.0), candidate(True, True, score=0.5), candidate(True, score=1.0), candidate(score=9.0)]
    assert {rule: ex.pick(rule, five, 0.85) for rule in ex.RULES} == {"Random": 4, "LV": 0, "PT": 1, "PT+LV": 1, "oracle": 2}
    none = [candidate(score=1.0), candidate(score=3.0), candidate(score=3.0), candidate(hidden=True, score=2.0)]
    assert {rule: ex.pick(rule, none, 0.3) for rule in ex.RULES} == {"Random": 1, "LV": 1, "PT": 1, "PT+LV": 1, "oracle": 0}
    assert ex.pick("PT", none, 0.99) == ex.pick("Random", none, 0.99) == 3           # PT without a pass is Random
    assert ex.pick("oracle", [candidate(True), candidate()], 0.0) == 1               # it would rather go on than stop wrong


def environment(codes, hidden_of=lambda task, code: code == "good"):
    """Stubs: codes[task][turn][candidate] is what is sampled; a code that starts with g or p passes the public tests."""
    asked = []
    def sample(wanted):
        asked.append(dict(wanted))
        return {key: (json.loads(key[2]), codes[key[0]][turn - 1][key[3]], 3) for key, turn in wanted.items()}
    def judge(pairs): return {(t, c): (c[0] in "gp", hidden_of(t, c), "" if c[0] in "gp" else f"{c} is wrong") for t, c in pairs}
    def score(pairs): return {pair: (float(len(pair[1])), -1.0) for pair in pairs}      # two verifiers: the first one picks
    return sample, judge, score, asked


CODES = {"a": [["bad", "worse"], ["bad2", "public"], ["no", "no"]], "b": [["good", "bad"], ["x", "x"], ["x", "x"]], "c": [["bad", "b"], ["bad", "b"], ["good", "b"]]}
PROBLEMS = [problem(t) for t in "abc"]
PT = ex.Arm("PT", 2, 0.7, "real")


def test_search_by_hand():
    sample, judge, score, asked = environment(CODES)
    rows = list(ex.search(PROBLEMS, [ex.Arm("LV", 2, 0.7, "real"), PT], 3, sample, judge, score, 0))
    story = lambda rule, task: [(r["turn"], r["candidates"][r["picked"]]["code"]) for r in rows if r["rule"] == rule and r["task_id"] == task]
    # LV takes the longest: a: worse → public (passes, stops); b: good; c: bad → bad → good.
    assert story("LV", "a") == [(1, "worse"), (2, "public")] and story("LV", "b") == [(1, "good")] and story("LV", "c") == [(1, "bad"), (2, "bad"), (3, "good")]
    second = next(r for r in rows if r["rule"] == "LV" and r["task_id"] == "a" and r["turn"] == 2)
    assert second["messages"] == [dict(role="user", content="Write f for a."), dict(role="assistant", content="worse"), dict(role="user", content="worse is wrong")]
    assert {r["rule"]: r["programs_run"] for r in rows} == {"LV": 1, "PT": 2}
    assert len(asked[0]) == 6                                                        # turn 1: three problems, two candidates, once for both rules
    assert rows[0]["candidates"][1]["score"] == 5.0 and rows[0]["candidates"][1]["scores"] == (5.0, -1.0)


def test_hidden_results_steer_nothing():
    """Flip every hidden result: states, picks and stops stay the same for all rules but the oracle."""
    arms = [ex.Arm(rule, 2, 0.7, "real") for rule in ex.RULES[:4]] + [ex.Arm("Random", 1, 0.7, v) for v in ex.CONTROLS]
    runs = []
    for hidden in (lambda t, c: c == "good", lambda t, c: c != "good", lambda t, c: True, lambda t, c: False):
        sample, judge, score, asked = environment(CODES, hidden)
        rows = list(ex.search(PROBLEMS, arms, 3, sample, judge, score, 0))
        runs.append(([(r["rule"], r["variant"], r["task_id"], r["turn"], r["messages"], r["picked"]) for r in rows], [list(a) for a in asked]))
    assert runs[0] == runs[1] == runs[2] == runs[3]


@pytest.mark.parametrize("rule, better, test", [
    ("PT", lambda c, coin: next((i for i, d in enumerate(c) if d["hidden_passed"]), 0), "test_hidden_results_steer_nothing"),     # peeks
    ("PT+LV", lambda c, coin: max(range(len(c)), key=lambda i: c[i]["score"]), "test_rules_by_hand"),                             # forgets the tests
    ("LV", lambda c, coin: min(range(len(c)), key=lambda i: c[i]["score"]), "test_rules_by_hand"),                                # the worst for the best
    ("Random", lambda c, coin: 0, "test_rules_by_hand")])                                                                         # the first is not any
def test_a_broken_rule_is_caught(monkeypatch, rule, better, test):
    whole = ex.pick
    monkeypatch.setattr(ex, "pick", lambda r, candidates, coin: better(candidates, coin) if r == rule else whole(r, candidates, coin))
    with pytest.raises(AssertionError): globals()[test]()


def test_controls():
    codes = {t: [["bad" + t], ["bad2" + t], ["bad3" + t]] for t in "abc"}
    arms = [ex.Arm("Random", 1, 0.7, v) for v in ("real", *ex.CONTROLS)]
    sample, judge, score, _ = environment(codes)
    rows = {(r["variant"], r["task_id"], r["turn"]): r["messages"] for r in ex.search(PROBLEMS, arms, 3, sample, judge, score, 0)}
    assert [len(rows["fresh", "a", t]) for t in (1, 2, 3)] == [1, 1, 1]
    real, swapped = rows["real", "a", 2], rows["swapped", "a", 2]
    assert real[:2] == swapped[:2] and real[2]["content"] == "bada is wrong" and swapped[2]["content"] == "badb is wrong"
    assert rows["swapped", "c", 2][2]["content"] == "bada is wrong" and len(rows["swapped", "a", 3]) == 5
    for variant, told in (("failed", "The program failed."), ("removed", "")):
        assert [m["content"] for m in rows[variant, "a", 3]] == ["Write f for a.", "bada", told, "bad2a", told]


# Three problems of one run, by hand: the acts (public pass, right) of one arm, and the candidates of turn 1.
ARM, A, B, C = ex.Arm("Random", 1, 0.7, "real"), ("r", "g", "a"), ("r", "g", "b"), ("r", "h", "c")


def book(**more):
    acts = [[(False, False), (True, True)], [(True, False)], [(False, False), (False, False), (True, True)]]
    five = [candidate(score=2.0, code="v"), candidate(True, score=3.0, code="w"), candidate(True, True, score=1.0, code="x"),
            candidate(True, True, score=4.0, code="y"), candidate(True, True, score=4.0, code="y")]
    for c in five: c["scores"] = [c["score"], -c["score"]]
    turn1 = [five, five[:2] + five[:2] + five[:1], five[2:] + five[2:4]]
    return dict(acts={("p", ARM): acts}, turn1={"p": turn1}, keys=[A, B, C], drawn=ex.resample([A, B, C]), turns=3)


NAN = pytest.approx(float("nan"), nan_ok=True)


def test_carried_forward():
    assert [ex.carry(acts, 3) for acts in book()["acts"]["p", ARM]] == [[0, 1, 1], [0, 0, 0], [0, 0, 1]]          # a public pass alone is not right
    assert ex.carry([], 2) == [NAN, NAN]


def test_recovery():
    """After turn 1, a and c are open: a is right at turn 2. Of the samples after the first, 3 of a's four are right, all of c's."""
    going, fresh = ex.recovery(book(), "p", ARM, 1)
    assert going.tolist() == [1.0, NAN, 0.0] and fresh.tolist() == [0.75, NAN, 1.0]
    going, fresh = ex.recovery(book(), "p", ARM, 2)
    assert going.tolist() == [NAN, NAN, 1.0] and fresh.tolist() == [NAN, NAN, 1.0]


def test_best_of_n():
    value = lambda rule, n, which=0: ex.best_of(book(), "p", rule, n, which)[0]
    assert [value("PT", n) for n in (1, 2, 3)] == [0, 0, 0]                          # w, the first that passes, is wrong
    assert [value("LV", n) for n in (1, 2, 3, 4)] == [0, 0, 0, 1]                    # v, w, w, y
    assert [value("PT+LV", n) for n in (1, 2, 3, 4)] == [0, 0, 0, 1]
    assert [value("PT+LV", n, 1) for n in (1, 2, 3, 4)] == [0, 0, 1, 1]              # the second verifier likes x best of those that pass
    assert value("Random", 4) == 0.6


def test_pass_at_k_equals_enumeration():
    for right, total, k in [(3, 5, 1), (3, 5, 2), (1, 16, 5), (0, 4, 2), (4, 4, 3), (2, 6, 6)]:
        draws = list(itertools.combinations([1] * right + [0] * (total - right), k))
        assert ex.pass_at(k, right, total) == pytest.approx(sum(map(max, draws)) / len(draws))
    assert ex.best_of(book(), "p", "oracle", 2)[0] == pytest.approx(0.9)             # 1 − (2 · 1) / (5 · 4)


def test_pairwise_counts_each_program_once():
    """a: x and y (1, 4) against v and w (2, 3): 2 of 4 pairs. b and c have one kind alone, and do not count."""
    assert ex.pairwise(book(), "p").tolist() == [0.5, NAN, NAN] == ex.pairwise(book(), "p", 1).tolist()


def bounds(values, runs=None, groups=None, resamples=1000):
    n = len(values)
    keys = [((runs or ["r"] * n)[k], (groups or ["g"] * n)[k], k) for k in range(n)]
    return ex.interval(ex.resample(keys, resamples), values)


def test_interval_of_what_cannot_vary():
    assert bounds([1.0] * 3, groups="abc") == (1.0, 1.0, 1.0)
    assert bounds([0.25]) == (0.25, 0.25, 0.25)


def test_interval_equals_enumeration():
    for values in ([0, 0, 1, 1], [0, 0, 0, 0, 1], [1, 2, 4]):
        means = sorted(sum(draw) / len(values) for draw in itertools.product(values, repeat=len(values)))     # all equally likely
        low, high = means[int(0.025 * len(means))], means[-1 - int(0.025 * len(means))]
        mean, l, h = bounds(values, resamples=20000)
        assert mean == sum(values) / len(values) and l == pytest.approx(low, abs=0.02) and h == pytest.approx(high, abs=0.02)


def test_groups_and_runs_are_resampled_as_a_whole():
    # Two groups of 50 equal problems: the mean is 0, ½ or 1 with probability ¼, ½, ¼, so the interval is [0, 1]; problems alone would give ±.1.
    assert bounds([1.0] * 50 + [0.0] * 50, groups=["a"] * 50 + ["b"] * 50)[1:] == (0.0, 1.0)
    assert bounds([1.0, 0.0] * 50, groups=list(range(100)))[1] > 0.35
    # The same for two runs in which every problem agrees.
    assert bounds([1.0] * 50 + [0.0] * 50, runs=["x"] * 50 + ["y"] * 50, groups=list(range(50)) * 2)[1:] == (0.0, 1.0)


def test_interval_over_the_problems_that_count():
    """Of four problems two count: their mean, and resamples divide by how often these two were drawn."""
    drawn = [[1, 1, 1, 1], [2, 0, 2, 0], [0, 2, 1, 1]]
    for values, weights in (([1.0, 0.0, 0.0, 0.0], [1, 1, 0, 0]), ([1.0, 0.0, np.nan, np.nan], None)):
        mean, low, high = ex.interval(np.array(drawn), values, weights)                      # the resamples: ½, 1, 0
        assert mean == 0.5 and low == pytest.approx(0.025) and high == pytest.approx(0.975)


def test_difference_is_paired():
    rng = random.Random(0)
    keys = [("r", g, f"{g}{k}") for g in range(40) for k in range(5)]
    mine, base = dict(drawn=ex.resample(keys)), np.array([float(rng.random() < 0.5) for _ in keys])
    assert ex.difference(mine, base, base) == "+0.0 [+0.0, +0.0] inside the noise"
    assert ex.difference(mine, base + 0.01, base) == "+1.0 [+1.0, +1.0] above zero"
    assert ex.difference(mine, base - 0.01, base).endswith("below zero")


def test_the_share_of_the_gain():
    """Real feedback brings 20 of 40 problems from wrong to right, the control 10 of these: half of the gain is out of its reach."""
    def section(times):
        keys, swapped, many = [("r", str(k), str(k)) for k in range(4 * times)], ARM._replace(variant="swapped"), lambda *ends: np.array(ends).repeat(times, 1)
        right = {("p", ARM): many([0, 0, 0, 1.0], [1, 1, 0, 1]), ("p", swapped): many([0, 0, 0, 1.0], [1, 0, 0, 1])}
        return ex.feedback_section(dict(arms=dict(p=[ARM, swapped]), right=right, turns=2, drawn=ex.resample(keys)), ["p"], ARM)
    assert "| p | another problem's feedback | +25.0 [+" in section(10) and "| p | another problem's feedback | 50 [" in section(10)
    assert "| p | another problem's feedback | – |" in section(1)                    # of four problems nobody can tell that anything was gained


def test_beside_the_papers_tables():
    """Four turns of two problems. The tables are of turn 3; the chart is of all, its lines named by colour."""
    greedy, lv, best = ARM._replace(temperature=0.0), ex.Arm("LV", 5, 0.7, "real"), ex.Arm("PT+LV", 5, 0.7, "real")
    ends = lambda *shares: np.array([[share >= 0.5, share == 1.0] for share in shares], float)
    right = {("base", greedy): ends(0, 0, 0, 1), ("base", lv): ends(0, 0, 0, 0), ("base", best): ends(0, 0, 0.5, 0.5),
             ("rft-1", greedy): ends(0, 0, 0.5, 0), ("rft-1", lv): ends(0, 0, 0.5, 0), ("rft-1", best): ends(0.5, 0.5, 1, 1)}
    arms = [greedy, ARM, lv, best]
    text = ex.paper_section(dict(arms={"base": arms, "rft-1": arms}, right=right, turns=4, drawn=ex.resample([("r", k, k) for k in "ab"])), ["base", "rft-1"], "rft-1")
    assert "| after turn 3 | greedy | the paper's | rft-1 − this row | PT+LV, N = 5 | the paper's | rft-1 − this row |" in text
    assert "| base | 0.0 [0.0, 0.0] | 35.1 | +50.0 [+0.0, +100.0] inside the noise | 50.0 [0.0, 100.0] | 47.3 | +50.0 [" in text
    assert "| rft-1 | 50.0 [0.0, 100.0] | 31.1 |  | 100.0 [100.0, 100.0] | 46.7 |  |" in text
    assert "| LV | 50.0 [0.0, 100.0] | 43.3 |" in text and "| PT+LV | 100.0 [100.0, 100.0] | 51.1 |" in text
    assert 'x-axis "turn" [1, 2, 3, 4]' in text and "line [0.0, 0.0, 50.0, 50.0]\n    line [50.0, 50.0, 100.0, 100.0]\n```" in text
    assert "\nblack: base · red: rft-1\n" in text


def folder(tmp_path, name="run", change=False):
    """A run of two policies and two problems, written by hand."""
    for policy, second in (("base", "bad2"), ("mucode-1", "good")):
        sample, judge, score, _ = environment({"a": [["bad", "bad"], [second, "bad"]], "b": [["good", "bad"], ["x", "x"]]})
        arms = [ex.Arm("Random", 1, 0.0, "real"), *(ex.Arm("Random", 1, 0.7, v) for v in ("real", *ex.CONTROLS)), *(ex.Arm(rule, 2, 0.7, "real") for rule in ex.RULES)]
        rows = [dict(r, policy=policy, verifiers=[f"{policy}/verifier", "base/verifier"]) for r in ex.search([problem("a"), problem("b")], arms, 2, sample, judge, score, 0)]
        (tmp_path / name / policy).mkdir(parents=True)
        write(tmp_path / name / policy / "eval.jsonl", rows)
        write(tmp_path / name / policy / "scored.jsonl", [step("a", policy=policy, score=0.0), step("b", policy=policy, public=True, hidden=True, code="g", score=1.0)])
    return tmp_path / name


def test_report(tmp_path, capsys):
    path = folder(tmp_path)
    for name in ("one.md", "two.md"): run(6, "report", "--run", path, "--out", tmp_path / name)
    text = (tmp_path / "one.md").read_text()
    assert text == (tmp_path / "two.md").read_text()
    assert "| base | greedy | 50.0 [0.0, 100.0] | 50.0 [0.0, 100.0] |" in text
    assert "| mucode-1 | greedy | 50.0 [0.0, 100.0] | 100.0 [100.0, 100.0] |" in text
    assert "| mucode-1 − base | greedy | +0.0 [+0.0, +0.0] inside the noise | +50.0 [+0.0, +100.0] inside the noise |" in text
    assert "bad is wrong" in text
    assert "| after turn 2 | greedy | the paper's | mucode-1 − this row |" in text and "| base | 50.0 [0.0, 100.0] | 35.1 | +50.0 [+0.0, +100.0] inside the noise |" in text
    assert "## Training" not in text                                                # nothing was trained in this folder, as in humaneval/
    run(6, "report", "--run", path, folder(tmp_path, "second"), "--out", tmp_path / "both.md")
    assert "2 runs" in (tmp_path / "both.md").read_text()


def test_report_subtracts_the_right_way(tmp_path):
    """Four turns of one problem: LV, PT+LV and the oracle pick the right candidate at once, Random and PT at turn 4 alone."""
    two = [candidate(code="bad"), candidate(True, True, code="good")]
    rows = [dict(arm._asdict(), policy="base", verifiers=["v"], task_id="a", turn=turn, messages=[dict(role="user", content="x")], candidates=two[:arm.n] if turn < 4 else two[::-1][:arm.n],
                 picked=1 if arm.n > 1 and turn < 4 and arm.rule not in ("Random", "PT") else 0, programs_run=1)
            for turn in (1, 2, 3, 4) for arm in [ex.Arm("Random", 1, 0.0, "real"), ARM, *(ex.Arm(rule, 2, 0.7, "real") for rule in ex.RULES)]]
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/eval.jsonl", rows)
    run(6, "report", "--run", tmp_path, "--out", tmp_path / "o")
    text, up, same = (tmp_path / "o").read_text(), "+100.0 [+100.0, +100.0] above zero", "+0.0 [+0.0, +0.0] inside the noise"
    assert f"| base | LV − Random, N = 2 | {up} | {up} | {up} | {same} |" in text and f"| base | PT+LV − PT, N = 2 | {up} |" in text
    assert "| base | PT − LV, N = 2 | -100.0 [-100.0, -100.0] below zero |" in text and f"| base | oracle − PT+LV, N = 2 | {same} |" in text
    assert "turn 4 − turn 3" in text and f"| base | greedy | {up} |" in text and f"| base | PT+LV, N = 2 | {same} |" in text
    assert text.count("| base | LV − Random, N = 2 |") == 1
    assert text.count("base, turn 1, R_φ") == 1 and text.count("base, turn 2: the same program again") == 1 and text.count("base, turn 4, R_φ") == 1


def test_differences_are_of_the_first_three_turns_and_the_last():
    right = {("a", ARM): np.array([[0.0], [0], [0], [1], [0], [1]]), ("b", ARM): np.array([[0.0], [1], [0], [0], [1], [0]])}
    text = ex.contrasts(dict(turns=6, right=right, drawn=ex.resample([("r", "g", "a")])), ["which"], [(["a − b"], ("a", ARM), ("b", ARM))])
    assert text.startswith("| which | turn 1 | turn 2 | turn 3 | turn 6 |") and [cell.split()[0] for cell in text.splitlines()[2].split(" | ")[1:]] == ["+0.0", "-100.0", "+0.0", "+100.0"]


def test_the_chart_of_candidates_shows_the_verifier_that_picks():
    """Two verifiers: the first likes the wrong program, the second the right one. The table has both, the chart the first."""
    two = [dict(candidate(True, False, code="bad"), scores=[1.0, 0.0]), dict(candidate(True, True, code="good"), scores=[0.0, 1.0])]
    text = ex.candidates_section(dict(turn1=dict(p=[two]), verifiers=dict(p=["own", "other"]), drawn=ex.resample([("r", "g", "a")])), "p")
    assert re.findall(r"line \[(.*)\]", text) == ["50.0, 50.0", "0.0, 0.0", "50.0, 100.0", "0.0, 0.0", "0.0, 0.0"]
    assert "purple" not in text.split("```")[2] and "| LV, own | 0.0 [0.0, 0.0] | 0.0 [0.0, 0.0] |" in text and "| LV, other | 0.0 [0.0, 0.0] | 100.0 [100.0, 100.0] |" in text


def test_a_program_is_told_once_for_each_policy():
    rows = lambda who, *codes: [dict(policy=who, turn=t, messages=[dict(content="x")], candidates=[candidate(code=code)]) for t, code in enumerate(codes, 1)]
    text = ex.tell(dict(greedy={"base": {"a": rows("base", "one", "one")}, "rft-1": {"a": rows("rft-1", "one", "two")}}), "rft-1")
    assert re.findall("(?:base|rft-1), turn .", text) == ["base, turn 1", "base, turn 2", "rft-1, turn 1", "rft-1, turn 2"]
    assert text.count("again") == 1 and re.findall("```python\n(.*)", text) == ["one", "one", "two"]


def test_what_a_policy_was_made_from(tmp_path):
    for name, labels in (("base", None), ("mucode-1", dict(steps=9, overruled=1, examples=8, wrong=2)), ("rft-1", dict(steps=9, examples=4, wrong=1))):
        (tmp_path / name / "policy").mkdir(parents=True)
        write(tmp_path / name / "policy/metrics.jsonl", [dict(loss_last=0.5)])
        if labels: write(tmp_path / name / "examples.metrics.jsonl", [labels])
    assert ex.training_section(str(tmp_path)).splitlines() == [
        "| policy | labels: steps | labels: overruled | labels: examples | labels: wrong | policy: loss_last |", "| --- | --- | --- | --- | --- | --- |",
        "| base | – | – | – | – | 0.500 |", "| mucode-1 | 9 | 1 | 8 | 2 (25%) | 0.500 |", "| rft-1 | 9 | – | 4 | 1 (25%) | 0.500 |"]


def test_report_of_one_candidate_and_no_verifier(tmp_path):
    sample, judge, _, _ = environment({"a": [["bad"], ["good"]], "b": [["good"], ["good"]]})
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/eval.jsonl", [dict(r, policy="base", verifiers=[]) for r in ex.search(
        [problem("a"), problem("b")], [ARM._replace(temperature=0.0), ARM], 2, sample, judge, lambda pairs: dict.fromkeys(pairs, ()), 0)])
    run(6, "report", "--run", tmp_path, "--out", tmp_path / "o")
    assert "| base | N = 1 | 50.0 [0.0, 100.0] | 100.0 [100.0, 100.0] |" in (tmp_path / "o").read_text()


def test_bad_input(tmp_path, refused):
    (tmp_path / "empty").mkdir()
    refused(lambda: run(6, "report", "--run", tmp_path / "empty", "--out", tmp_path / "o"), tmp_path / "empty", "base/eval.jsonl")
    path = folder(tmp_path)
    rows = read(path / "base/eval.jsonl")
    write(path / "base/eval.jsonl", [rows[0], {**rows[1], "picked": None}])
    refused(lambda: run(6, "report", "--run", path, "--out", tmp_path / "o"), "base/eval.jsonl", "row 2", "'picked'")
    for broken in (dict(picked=7), dict(candidates=[{}])):
        write(path / "base/eval.jsonl", [rows[0], {**rows[1], **broken}])
        refused(lambda: run(6, "report", "--run", path, "--out", tmp_path / "o"), "base/eval.jsonl", "row 2", "'candidates' or 'picked'")
    assert not (tmp_path / "o").exists()


def test_a_smoke_report_says_that_it_means_nothing(tmp_path):
    path = folder(tmp_path)
    for preset, warned in (("toy", False), ("smoke", True)):
        (path / "settings").write_text(f"PRESET={preset}\nSEED=0\n")
        run(6, "report", "--run", path, "--out", tmp_path / "o")
        assert ("mean nothing" in (tmp_path / "o").read_text()) is warned
