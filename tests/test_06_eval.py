"""Stage 06: the rules, Algorithm 2 by hand, the measures and their intervals."""

import itertools
import json
from argparse import Namespace

from lib import models
from lib import results as results_of

import numpy as np
import pytest
from conftest import candidate, chat, contents, environment, problem, read, run, stage, write

evaluate = stage(6)

NAN = pytest.approx(float("nan"), nan_ok=True)


def arm_of(rule, n, variant="real", temperature=0.7):
    return evaluate.Arm(rule, n, temperature, variant)


# ── The rules ────────────────────────────────────────────────────────────────────────────────────


def picks_of_rules(candidates, coin):
    return {rule: evaluate.pick(rule, candidates, coin) for rule in evaluate.RULES}


def test_rules_by_hand():
    five = [
        candidate(score=9.0),  # 0: fails, best score
        candidate(True, score=1.0),  # 1: public only
        candidate(True, True, score=0.5),  # 2: correct
        candidate(True, score=1.0),  # 3: public only, ties with 1
        candidate(score=9.0),  # 4: fails, ties with 0
    ]
    expected = {"Random": 4, "LV": 0, "PT": 1, "PT+LV": 1, "oracle": 2}
    assert picks_of_rules(five, coin=0.85) == expected


def test_rules_by_hand_where_no_candidate_passes_the_public_tests():
    four = [
        candidate(score=1.0),
        candidate(score=3.0),
        candidate(score=3.0),
        candidate(hidden=True, score=2.0),
    ]
    expected = {"Random": 1, "LV": 1, "PT": 1, "PT+LV": 1, "oracle": 0}
    assert picks_of_rules(four, coin=0.3) == expected

    # PT is then Random.
    assert evaluate.pick("PT", four, 0.99) == evaluate.pick("Random", four, 0.99) == 3


def test_the_oracle_would_rather_go_on_than_stop_on_a_wrong_answer():
    assert evaluate.pick("oracle", [candidate(True), candidate()], 0.0) == 1
    assert evaluate.pick("oracle", [candidate(True), candidate(True)], 0.9) == 0


# ── Algorithm 2, one problem ─────────────────────────────────────────────────────────────────────


def told(feedback, **more):
    """A candidate that fails the public tests with this feedback."""
    return dict(candidate(**more), feedback=feedback)


def end_of(episode, candidates):
    """Answer an episode for the last time → its picks."""
    with pytest.raises(StopIteration) as end:
        episode.send(candidates)
    return end.value.value


def test_an_episode_by_hand():
    """The picks and their feedback, nothing else, become the next state."""
    episode = evaluate.episode("LV", "real", [0.0, 0.0, 0.0])
    assert next(episode) == []

    # Turn 1: the second candidate has the higher score. All hidden tests passed: that is not seen.
    first_two = [
        told("o1a", score=1.0, code="y1a"),
        told("o1b", hidden=True, score=2.0, code="y1b"),
    ]
    s2 = episode.send(first_two)
    assert s2 == [("y1b", "o1b")]

    # Turn 3 = T is the last, passed or not. No state changes under the next one.
    second_two = [told("o2", score=2.0, code="y2a"), told("no", score=1.0, code="y2b")]
    assert episode.send(second_two) == [("y1b", "o1b"), ("y2a", "o2")]
    assert end_of(episode, second_two) == [1, 0, 0]
    assert s2 == [("y1b", "o1b")]


@pytest.mark.parametrize("hidden", [False, True])
def test_an_episode_stops_when_the_public_tests_pass_and_whatever_the_hidden_ones_say(hidden):
    episode = evaluate.episode("PT", "real", [0.0, 0.0, 0.0])
    next(episode)
    assert end_of(episode, [candidate(hidden=True), candidate(public=True, hidden=hidden)]) == [1]


def test_a_fresh_episode_starts_every_turn_from_the_problem():
    episode = evaluate.episode("Random", "fresh", [0.0, 0.0])
    next(episode)
    assert episode.send([candidate(code="y1")]) == []


def test_every_turn_of_an_episode_has_its_coin():
    episode = evaluate.episode("Random", "real", [0.99, 0.0, 0.5])
    next(episode)
    episode.send([candidate()] * 100)
    episode.send([candidate()] * 100)
    assert end_of(episode, [candidate()] * 100) == [99, 0, 50]


def test_there_is_a_new_coin_for_each_problem_turn_and_seed():
    coins = {evaluate.toss(seed, task, turn) for seed in (0, 1) for task in "ab" for turn in (1, 2)}
    assert len(coins) == 8
    assert evaluate.toss(0, "a", 1) == evaluate.toss(0, "a", 1)
    assert all(0 <= coin < 1 for coin in coins)


def test_a_control_without_a_branch_is_not_taken_for_real_feedback():
    _, judge, _, _ = environment(CODES)
    assert evaluate.hear("real", {"a": ["as it is"]}, judge) == {"a": ["as it is"]}
    with pytest.raises(AssertionError, match="stale: no such control"):
        evaluate.hear("stale", {"a": [told("o")]}, judge)
    # Every row of CONTROLS has its branch.
    for variant in evaluate.CONTROLS:
        heard = evaluate.hear(variant, {"a": [told("o_a")], "b": [candidate(public=True)]}, judge)
        assert list(heard) == ["a", "b"]


def test_a_lie_is_what_changed_tests_say_of_the_same_program():
    """Only open problems are judged again, and nothing but what is heard changes."""
    asked = []

    def judge(programs):
        asked.extend(programs)
        return {program: (False, False, f"{program[1]} fails another test") for program in programs}

    open_one = told("the truth", code="y")
    passed = candidate(public=True, code="z")
    heard = evaluate.hear("lying", {"a": [open_one], "b": [passed]}, judge)
    assert asked == [("lying a", "y")]
    assert heard["a"] == [dict(open_one, feedback="y fails another test")]
    assert heard["b"][0]["public_passed"]


def test_a_search_with_feedback_that_lies(tmp_path, capsys, tiny, monkeypatch):
    """From the command line, with programs as given: what is told, what stops, what counts."""
    tests = ["assert f(1) == 10", "assert f(2) == 20"]
    row = dict(problem("a"), public_tests=tests, hidden_tests=["assert f(3) == 30"])
    problems = write(tmp_path / "problems.jsonl", [row])
    # At turn 2 the policy does what it was told, so its program is wrong. At turn 3 it is right.
    answers = {
        1: "def f(x): return 0",
        2: "def f(x): return {1: 20, 2: 10}[x]",
        3: "def f(x): return 10 * x",
    }

    def sampler(problems, args):
        def sample_states(states, temperature):
            for i, state in enumerate(states):
                yield i, f"```python\n{answers[state['turn']]}\n```", 3

        return sample_states, None

    monkeypatch.setattr(evaluate.rollout, "make_sampler", sampler)
    out = tmp_path / "out.jsonl"
    flags = ["--policy", tiny, "--turns", 3, "--n", 1, "--controls", "lying"]
    run(6, "search", "--problems", problems, "--out", out, *flags)
    rows = [row for row in read(out) if row["variant"] == "lying"]
    assert contents(rows[-1]["messages"])[2::2] == ["`f(1)` gave 0, expected 20", ""]
    # What the rows keep of a candidate is the truth.
    kept = [row["candidates"][0]["feedback"] for row in rows]
    assert kept == ["`f(1)` gave 0, expected 10", "`f(1)` gave 20, expected 10", ""]
    assert [row["candidates"][0]["hidden_passed"] for row in rows] == [False, False, True]


def test_a_rule_without_a_branch_reads_no_hidden_result():
    with pytest.raises(AssertionError, match="majority: no such rule"):
        evaluate.pick("majority", [candidate(), candidate(True, True)], 0.0)


def test_controls_change_what_is_heard():
    feedback = {"a": "o_a", "b": "o_b", "c": "o_c"}
    assert evaluate.feedback_heard("real", feedback) == feedback
    swapped = {"a": "o_b", "b": "o_c", "c": "o_a"}
    assert evaluate.feedback_heard("swapped", feedback) == swapped
    failed = dict.fromkeys("abc", "The program failed.")
    assert evaluate.feedback_heard("failed", feedback) == failed
    assert evaluate.feedback_heard("removed", feedback) == dict.fromkeys("abc", "")


# ── Many episodes at once ────────────────────────────────────────────────────────────────────────

CODES = {
    "a": [["bad", "worse"], ["bad2", "public"], ["no", "no"]],
    "b": [["good", "bad"], ["x", "x"], ["x", "x"]],
    "c": [["bad", "b"], ["bad", "b"], ["good", "b"]],
}
PROBLEMS = {task: problem(task) for task in "abc"}


def search_rows(arms, codes, turns=3):
    """The rows of a search with stubs, and what it asked to sample, turn by turn."""
    sample, judge, score, requests = environment(codes)
    rows = list(evaluate.search(PROBLEMS, arms, turns, sample, judge, score, 0))
    return rows, requests


def test_search_by_hand():
    rows, requests = search_rows([arm_of("LV", 2), arm_of("PT", 2)], CODES)

    def picked(rule, task):
        return [
            (row["turn"], row["candidates"][row["picked"]]["code"])
            for row in rows
            if row["rule"] == rule and row["task_id"] == task
        ]

    # LV takes the longest program. `public` passes and stops.
    assert picked("LV", "a") == [(1, "worse"), (2, "public")]
    assert picked("LV", "b") == [(1, "good")]
    assert picked("LV", "c") == [(1, "bad"), (2, "bad"), (3, "good")]
    by_key = {(row["rule"], row["task_id"], row["turn"]): row for row in rows}
    assert by_key["LV", "a", 2]["messages"] == [
        dict(role="user", content="Write f for a."),
        dict(role="assistant", content="worse"),
        dict(role="user", content="worse is wrong"),
    ]

    # What a rule needs: LV runs what it picks, PT runs all.
    assert {row["rule"]: row["programs_run"] for row in rows} == {"LV": 1, "PT": 2}

    # The first verifier picks, all of them score.
    assert rows[0]["candidates"][1]["score"] == 5.0
    assert rows[0]["candidates"][1]["scores"] == (5.0, -1.0)

    # Turn 1: three problems, two candidates, sampled once for both rules.
    assert len(requests[0]) == 6
    assert {draw.turn for draw in requests[0]} == {1}


def test_a_row_holds_the_state_that_was_sampled_from():
    """A state that does not fit comes back shortened."""
    sample, judge, score, _ = environment(CODES)

    def sample_shortened(draws):
        drawn = sample(draws)
        return {draw: (chat("short"), text, tokens) for draw, (_, text, tokens) in drawn.items()}

    arms = [arm_of("LV", 2)]
    rows = list(evaluate.search(PROBLEMS, arms, 2, sample_shortened, judge, score, 0))
    assert {row["turn"] for row in rows} == {1, 2}
    assert all(row["messages"] == chat("short") for row in rows)


LONG, SHORT = json.dumps(chat("x", "y1", "o1")), json.dumps(chat("x"))
WANTED = [
    evaluate.Draw("a", 0.7, LONG, 2, 0),
    evaluate.Draw("a", 0.0, SHORT, 1, 0),
    evaluate.Draw("b", 0.7, SHORT, 3, 4),
]


def test_a_draw_is_sampled_as_a_row_of_stage_01():
    """Each temperature in its own call, and answers in any order."""

    def sample_states(states, temperature):
        for i, state in reversed(list(enumerate(states))):
            key = (state["task_id"], state["trajectory"], state["turn"])
            # A long state does not fit, and is shortened in place.
            state["messages"] = state["messages"][:1]
            yield i, f"{key} at {temperature}", i

    short = chat("x")
    assert dict(evaluate.draw_all(WANTED, sample_states)) == {
        WANTED[0]: [short, "('a', 0, 2) at 0.7", 0],
        WANTED[1]: [short, "('a', 0, 1) at 0.0", 0],
        WANTED[2]: [short, "('b', 4, 3) at 0.7", 1],
    }


@pytest.fixture
def counted_search(tmp_path, tiny, monkeypatch):
    """search(out, seed) runs the stage and returns what it asked for: draws, verdicts and scores.

    With stop_after = k it is killed as the k-th of these calls begins.
    """
    problems = write(tmp_path / "p", [problem("a"), problem("b")])
    model, tokenizer = models.load_policy(str(tiny))
    models.save_checkpoint(model, tokenizer, str(tmp_path / "policy"))
    calls = []

    def counted(kind, function):
        def call(*args, **more):
            answers = function(*args, **more)
            calls.append((kind, len(args[2 if kind == "scores" else 1])))
            if len(calls) == search.stop_after:
                raise KeyboardInterrupt
            return answers

        return call

    def draw_all(draws, sample_states):
        calls.append(("draws", len(draws)))
        if len(calls) == search.stop_after:
            raise KeyboardInterrupt
        yield from original(draws, sample_states)

    original = evaluate.draw_all
    monkeypatch.setattr(evaluate, "draw_all", draw_all)
    for kind, place, name in [
        ("verdicts", evaluate.execute, "execute"),
        ("scores", evaluate.verifier, "score_programs"),
    ]:
        monkeypatch.setattr(place, name, counted(kind, getattr(place, name)))

    def search(out, seed=0, stop_after=None):
        search.stop_after = stop_after
        calls.clear()
        flags = ("--problems", problems, "--policy", tmp_path / "policy", "--seed", seed)
        flags += ("--verifier", verifier_of(tiny, tmp_path), "--turns", 2, "--n", 2)
        run(6, "search", *flags, "--max-new-tokens", 4, "--controls", "--out", out)
        return list(calls)

    return search


def verifier_of(tiny, folder):
    """A verifier with a random head."""
    path = folder / "verifier"
    if not path.exists():
        model, tokenizer = evaluate.verifier.make_verifier(str(tiny), 0)
        models.save_checkpoint(model, tokenizer, str(path))
    return path


def test_a_search_that_was_cut_off_goes_on_to_the_same_bytes(tmp_path, counted_search, capsys):
    """Killed before each draw, verdict and score in turn: nothing is asked for twice."""
    calls = counted_search(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    assert [kind for kind, _ in calls] == ["draws", "verdicts", "scores"] * 2
    assert all(count > 0 for _, count in calls[:4])
    for stop_after in range(1, 7):
        out = tmp_path / f"cut{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            counted_search(out, stop_after=stop_after)
        # What was under way is asked for again.
        again = counted_search(out)
        assert again[stop_after - 1 :] == calls[stop_after - 1 :]
        assert all(count == 0 for _, count in again[: stop_after - 1])
        assert out.read_bytes() == whole
        assert not (tmp_path / f"cut{stop_after}.part").exists()

    # Another seed is other work.
    with pytest.raises(KeyboardInterrupt):
        counted_search(tmp_path / "cut", stop_after=5)
    assert counted_search(tmp_path / "cut", seed=1)[0] == calls[0]


def test_each_distinct_program_is_judged_and_scored_once():
    sample, judge, score, _ = environment(CODES)
    judged = []
    scored = []

    def judge_and_note(programs):
        judged.extend(programs)
        return judge(programs)

    def score_and_note(programs):
        scored.extend(programs)
        return score(programs)

    arms = [arm_of("LV", 2), arm_of("PT", 2)]
    list(evaluate.search(PROBLEMS, arms, 3, sample, judge_and_note, score_and_note, 0))
    assert len(judged) == len(set(judged))
    assert judged == scored
    assert ("c", "bad") in judged


def check_that_hidden_results_steer_nothing():
    """Other hidden results, the same states, picks and stops for all rules but the oracle."""
    arms = [arm_of(rule, 2) for rule in evaluate.RULES if rule != "oracle"]
    arms += [arm_of("Random", 1, variant) for variant in evaluate.CONTROLS]
    runs = []
    for passes_hidden in (
        lambda task, code: code == "good",
        lambda task, code: code != "good",
        lambda task, code: True,
        lambda task, code: False,
    ):
        sample, judge, score, requests = environment(CODES, passes_hidden)
        rows = list(evaluate.search(PROBLEMS, arms, 3, sample, judge, score, 0))
        fields = ("rule", "variant", "task_id", "turn", "messages", "picked")
        decisions = [[row[field] for field in fields] for row in rows]
        runs.append((decisions, [list(request) for request in requests]))
    assert runs[0] == runs[1] == runs[2] == runs[3]


def test_hidden_results_steer_nothing():
    check_that_hidden_results_steer_nothing()


def peek(candidates, coin):
    """The first whose hidden tests pass."""
    return next((i for i, c in enumerate(candidates) if c["hidden_passed"]), 0)


def best_score(candidates, coin):
    return max(range(len(candidates)), key=lambda i: candidates[i]["score"])


def worst_score(candidates, coin):
    return min(range(len(candidates)), key=lambda i: candidates[i]["score"])


def first(candidates, coin):
    return 0


@pytest.mark.parametrize(
    "rule, broken, check",
    [
        ("PT", peek, check_that_hidden_results_steer_nothing),
        ("PT+LV", best_score, test_rules_by_hand),  # forgets the tests
        ("LV", worst_score, test_rules_by_hand),
        ("Random", first, test_rules_by_hand),
    ],
)
def test_a_broken_rule_is_caught(monkeypatch, rule, broken, check):
    pick = evaluate.pick

    def broken_pick(any_rule, candidates, coin):
        if any_rule == rule:
            return broken(candidates, coin)
        return pick(any_rule, candidates, coin)

    monkeypatch.setattr(evaluate, "pick", broken_pick)
    with pytest.raises(AssertionError):
        check()


def test_states_of_the_controls_turn_by_turn():
    codes = {task: [[f"bad{k}{task}"] for k in (1, 2, 3)] for task in "abc"}
    arms = [arm_of("Random", 1, variant) for variant in ("real", *evaluate.CONTROLS)]
    rows, _ = search_rows(arms, codes)
    states = {
        (row["variant"], row["task_id"], row["turn"]): contents(row["messages"]) for row in rows
    }

    assert [len(states["fresh", "a", turn]) for turn in (1, 2, 3)] == [1, 1, 1]
    assert states["real", "a", 2] == ["Write f for a.", "bad1a", "bad1a is wrong"]

    # Of three open problems each hears the next one's feedback, the last one the first's.
    assert states["swapped", "a", 2] == ["Write f for a.", "bad1a", "bad1b is wrong"]
    assert states["swapped", "c", 2] == ["Write f for c.", "bad1c", "bad1a is wrong"]
    assert states["swapped", "b", 3][3:] == ["bad2b", "bad2c is wrong"]
    for variant, heard in (("failed", "The program failed."), ("removed", "")):
        expected = ["Write f for a.", "bad1a", heard, "bad2a", heard]
        assert states[variant, "a", 3] == expected


def test_swapped_feedback_is_of_a_problem_that_is_still_open():
    """b stops at once, so a hears c and c hears a: there is no feedback that says "passed"."""
    codes = dict(CODES, c=[["bad3", "b"], ["bad", "b"]])
    rows, _ = search_rows([arm_of("Random", 1, "swapped")], codes, turns=2)
    states = {(row["task_id"], row["turn"]): contents(row["messages"]) for row in rows}
    assert ("b", 2) not in states
    assert states["a", 2] == ["Write f for a.", "bad", "bad3 is wrong"]
    assert states["c", 2] == ["Write f for c.", "bad3", "bad is wrong"]


# ── With a model ─────────────────────────────────────────────────────────────────────────────────


def test_more_candidates_begin_with_those_of_fewer(tiny):
    """Rules and N are compared on the same draws: noise belongs to (problem, candidate, turn)."""
    args = Namespace(policy=str(tiny), server=None, max_new_tokens=4, batch_size=64, seed=0)
    sample_states, _ = evaluate.rollout.make_sampler([problem("a")], args)
    state = json.dumps(chat("Write f for a."))

    def sample(n, temperature=0.7, turn=1):
        draws = [evaluate.Draw("a", temperature, state, turn, i) for i in range(n)]
        answers = evaluate.draw_all(draws, sample_states)
        drawn = {draw: text for draw, (_, text, _) in answers}
        return [drawn[draw] for draw in draws]

    five = sample(5)
    assert sample(2) == five[:2]
    assert len(set(five)) == 5
    assert sample(5, turn=2) != five
    assert len(set(sample(5, temperature=0.0))) == 1


def test_the_arms_of_a_search():
    """Greedy, N = 1, each control, then every rule for each N above 1; LV needs a verifier."""
    args = Namespace(n=[1, 5], temperature=0.7, controls=["fresh", "swapped"], verifier=["v"])
    single = [arm_of("Random", 1, temperature=0.0), arm_of("Random", 1)]
    single += [arm_of("Random", 1, "fresh"), arm_of("Random", 1, "swapped")]
    assert evaluate.make_arms(args) == single + [arm_of(rule, 5) for rule in evaluate.RULES]
    args.verifier = []
    without = [arm_of(rule, 5) for rule in ("Random", "PT", "oracle")]
    assert evaluate.make_arms(args) == single + without


# ── Measures ─────────────────────────────────────────────────────────────────────────────────────

# The picks of three problems, as (public pass, correct), and five candidates of turn 1. The second
# verifier turns the scores of the first around.
PICKS = {
    "a": [(False, False), (True, True)],
    "b": [(True, False)],
    "c": [(False, False), (False, False), (True, True)],
}
V = candidate(score=2.0, code="v")
W = candidate(True, score=3.0, code="w")
X = candidate(True, True, score=1.0, code="x")
Y = candidate(True, True, score=4.0, code="y")
FIVE = [dict(c, scores=[c["score"], -c["score"]]) for c in (V, W, X, Y, Y)]


def test_the_last_pick_is_carried_forward():
    # A public pass alone is not correct.
    assert evaluate.carry_forward(PICKS["a"], 3) == [0, 1, 1]
    assert evaluate.carry_forward(PICKS["b"], 3) == [0, 0, 0]
    assert evaluate.carry_forward(PICKS["c"], 3) == [0, 0, 1]
    assert evaluate.carry_forward(PICKS["c"], 2) == [0, 0]
    assert evaluate.carry_forward([], 2) == [NAN, NAN]


def test_recovery_is_the_next_turn_of_open_episodes_beside_fresh_samples():
    # Fresh are the samples after the first, which began the episode: w, x, y, y.
    five = [False, False, True, True, True]
    assert evaluate.recovery(PICKS["a"], five, 1) == (1.0, 0.75)
    assert evaluate.recovery(PICKS["a"], five, 2) == (NAN, NAN)
    assert evaluate.recovery(PICKS["b"], five, 1) == (NAN, NAN)
    assert evaluate.recovery(PICKS["c"], five[2:], 1) == (0.0, 1.0)
    assert evaluate.recovery(PICKS["c"], five[2:], 2) == (1.0, 1.0)
    assert evaluate.recovery(PICKS["a"], five[:1], 1) == (1.0, NAN)


def test_an_answer_without_a_program_repeats_nothing():
    """An episode of four turns that wrote x, x again, nothing, and nothing."""
    codes = ["x", "x", "", ""]
    answers = [results_of.repetition(codes, turn) for turn in (1, 2, 3, 4, 5)]
    assert str(answers[0]) == "(1.0, nan)"
    assert answers[1:4] == [(1.0, 1.0), (0.0, 0.0), (0.0, 0.0)]
    assert str(answers[4]) == "(nan, nan)"


def test_lost_is_a_public_pass_with_a_hidden_fail():
    lost = {task: results_of.is_lost(picks) for task, picks in PICKS.items()}
    assert lost == {"a": 0.0, "b": 1.0, "c": 0.0}
    assert results_of.is_lost([(False, False)]) == 0.0


def test_the_matched_control_is_the_mean_of_those_that_pass():
    wrong, right = candidate(public=True), candidate(True, True)
    assert evaluate.by_chance([right, wrong, candidate(), wrong, candidate(hidden=True)]) == 1 / 3
    assert evaluate.by_chance([right]) == 1.0
    assert evaluate.by_chance([candidate(), candidate(hidden=True)]) == 0.0


def test_best_of_n_by_hand():
    def accuracies(rule, which=0):
        return [evaluate.best_of(FIVE, rule, n, which) for n in (1, 2, 3, 4)]

    # w, the first that passes, is wrong.
    assert accuracies("PT") == [0, 0, 0, 0]
    # v, w, w, y.
    assert accuracies("LV") == [0, 0, 0, 1]
    assert accuracies("PT+LV") == [0, 0, 0, 1]
    # The second verifier likes x best of those that pass, and of all.
    assert accuracies("PT+LV", which=1) == [0, 0, 1, 1]
    assert accuracies("LV", which=1) == [0, 0, 1, 1]
    assert accuracies("Random") == [0.6] * 4


@pytest.mark.parametrize(
    "correct, total, k", [(3, 5, 1), (3, 5, 2), (1, 16, 5), (0, 4, 2), (4, 4, 3), (2, 6, 6)]
)
def test_pass_at_k_equals_enumeration(correct, total, k):
    outcomes = [1] * correct + [0] * (total - correct)
    draws = list(itertools.combinations(outcomes, k))
    expected = sum(map(max, draws)) / len(draws)
    assert evaluate.pass_at(k, correct, total) == pytest.approx(expected)


def test_the_oracle_of_n_is_pass_at_n():
    # Three of five are correct: 1 − (2 · 1) / (5 · 4).
    assert evaluate.best_of(FIVE, "oracle", 2) == pytest.approx(0.9)


def test_pairwise_accuracy_counts_each_program_once():
    """x and y (1, 4) against v and w (2, 3): 2 of 4 pairs, though y was sampled twice."""
    assert evaluate.pairwise(FIVE) == evaluate.pairwise(FIVE, 1) == 0.5

    # Candidates of one kind have no pair.
    assert evaluate.pairwise(FIVE[:2]) == NAN
    assert evaluate.pairwise(FIVE[2:]) == NAN


# ── Intervals ────────────────────────────────────────────────────────────────────────────────────


def estimate(values, runs=None, groups=None, resamples=1000):
    """The mean of values and its interval; all of one run and one group, unless named."""
    runs = runs or ["r"] * len(values)
    groups = groups or ["g"] * len(values)
    keys = list(zip(runs, groups, range(len(values))))
    return results_of.interval(results_of.resample(keys, resamples), values)


def test_what_cannot_vary_has_no_interval():
    assert estimate([1.0] * 3, groups="abc") == (1.0, 1.0, 1.0)
    assert estimate([0.25]) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[0, 0, 1, 1], [0, 0, 0, 0, 1], [1, 2, 4]])
def test_the_interval_equals_enumeration(values):
    # All draws with replacement, which are equally likely.
    draws = itertools.product(values, repeat=len(values))
    means = sorted(sum(draw) / len(values) for draw in draws)
    tail = int(0.025 * len(means))
    mean, low, high = estimate(values, resamples=20_000)
    assert mean == sum(values) / len(values)
    assert low == pytest.approx(means[tail], abs=0.02)
    assert high == pytest.approx(means[-1 - tail], abs=0.02)


def test_groups_are_resampled_as_a_whole():
    # Two groups of 50 equal problems: the mean is 0, ½ or 1 with probability ¼, ½, ¼, so the
    # interval is [0, 1]. Problems alone would give ½ ± 0.1.
    halves = [1.0] * 50 + [0.0] * 50
    _, low, high = estimate(halves, groups=["a"] * 50 + ["b"] * 50)
    assert (low, high) == (0.0, 1.0)
    _, low, high = estimate([1.0, 0.0] * 50, groups=list(range(100)))
    assert 0.35 < low < high < 0.65


def test_runs_are_resampled_as_a_whole():
    # The same for two runs in which every problem agrees. Their groups have the same names.
    halves = [1.0] * 50 + [0.0] * 50
    _, low, high = estimate(halves, runs=["x"] * 50 + ["y"] * 50, groups=list(range(50)) * 2)
    assert (low, high) == (0.0, 1.0)


def test_problems_of_a_group_are_resampled_too():
    """One group of two problems: each of the draws (1, 1), (1, 0), (0, 1), (0, 0) is as likely."""
    drawn = results_of.resample([("r", "g", 0), ("r", "g", 1)], 4000)
    assert set(map(tuple, drawn.tolist())) == {(2, 0), (1, 1), (0, 2)}
    assert (drawn[:, 0] == 1).mean() == pytest.approx(0.5, abs=0.03)


def test_the_interval_is_over_the_problems_that_count():
    """Two of four count. Resamples divide by how often these two were drawn: ½, 1 and 0."""
    drawn = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 2, 1, 1]])
    weighted = results_of.interval(drawn, [1.0, 0.0, 0.0, 0.0], [1, 1, 0, 0])
    with_nan = results_of.interval(drawn, [1.0, 0.0, np.nan, np.nan])
    for mean, low, high in (weighted, with_nan):
        assert mean == 0.5
        assert low == pytest.approx(0.025)
        assert high == pytest.approx(0.975)
