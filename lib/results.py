"""What the rows of stage 06's search say: picks, programs and candidates, by policy and problem.

A result is an array (K,) over the K problems, nan where a problem does not count.
"""

import glob
import os
import random
from dataclasses import dataclass, field

from lib.page import add_row
from lib.rows import count, finite, iterate_jsonl, state, stop, whole

import numpy as np


def label(arm):
    """What a table calls an arm."""
    if arm.temperature == 0:
        return "greedy"
    name = "N = 1" if arm.n == 1 else f"{arm.rule}, N = {arm.n}"
    return name if arm.variant == "real" else f"{name}, {arm.variant}"


def method_of(policy):
    """ "mucode-2" → "mucode"; "base" is its own."""
    return policy.rpartition("-")[0] or policy


def last_of_each(policies):
    """The base, and the last policy of each method."""
    return list({method_of(policy): policy for policy in policies}.values())


def main_three(policies, ours):
    """Of these policies the base, ours and RFT's: those that are compared first."""
    return [p for p in policies if p == ours or method_of(p) in ("base", "rft")]


def is_lost(picks):
    """What no later turn can mend: the episode stopped on a public pass with a hidden fail."""
    return float(picks[-1] == (True, False))


def repetition(codes, turn):
    """(Does an episode's answer of a turn hold a program?, the same as the turn before?)

    codes: the programs that it picked, turn by turn. nan if it is over, or has no turn before.
    """
    if len(codes) < turn:
        return np.nan, np.nan
    has_program = float(codes[turn - 1] != "")  # the list counts from 0
    repeats = has_program * (codes[turn - 1] == codes[turn - 2]) if turn > 1 else np.nan
    return has_program, repeats


# ── Intervals ────────────────────────────────────────────────────────────────────────────────────


def resample(keys, resamples=1000):
    """Hierarchical bootstrap: K keys (run, group, task_id) → counts (resamples, K).

    A training seed is one draw, and problems of a group are variants of each other. So: draw runs,
    then groups of each drawn run, then problems of each drawn group, all with replacement. Count
    how often each problem is drawn.
    """
    tree = {}  # {run: {group: [its problems]}}
    for k, (run, group, _) in enumerate(keys):
        tree.setdefault(run, {}).setdefault(group, []).append(k)
    runs = [list(groups.values()) for groups in tree.values()]

    # Seeded: the same rows give the same intervals, in every report.
    rng = random.Random(0)
    drawn = np.zeros((resamples, len(keys)), np.float32)
    for row in drawn:
        counts = [0] * len(keys)  # of each problem in this resample
        for run in rng.choices(runs, k=len(runs)):
            for group in rng.choices(run, k=len(run)):
                for problem in rng.choices(group, k=len(group)):
                    counts[problem] += 1
        row[:] = counts
    return drawn


def interval(drawn, values, weights=None):
    """Σ value / Σ weight over K problems, with its 95 % interval over the resamples `drawn`.

    → (mean, low, high). The weight is 1, and 0 where the value is nan: it does not count.
    """
    weights = np.asarray(~np.isnan(values) if weights is None else weights, float)
    values = np.nan_to_num(np.asarray(values, float))  # (K,)
    mean = values.sum() / weights.sum()  # of the problems as they are

    # A resample without any problem that counts is nan, and left out.
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn @ np.float32(values) / (drawn @ np.float32(weights))  # (resamples,)
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return float(mean), float(low), float(high)


# ── A row of eval.jsonl ──────────────────────────────────────────────────────────────────────────

CANDIDATE = dict(completion=str, code=str, public_passed=bool, hidden_passed=bool, feedback=str)


def is_candidate(value):
    """One program that was sampled, judged and scored?"""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), kind) for name, kind in CANDIDATE.items())
        and whole(value.get("tokens"))
        and isinstance(value.get("scores"), list)
        and all(map(finite, value["scores"]))
        and "score" in value
        and (value["score"] is None or finite(value["score"]))
    )


def candidates(value):
    """a list of candidates: completion, code, verdicts, feedback, score, scores, tokens"""
    return isinstance(value, list) and bool(value) and all(map(is_candidate, value))


def paths(value):
    """a list of paths"""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


FIELDS = dict(policy=str, rule=str, variant=str, task_id=str, n=count, turn=count)
FIELDS.update(temperature=finite, messages=state, candidates=candidates, picked=whole)
FIELDS.update({"programs_run": whole, "group?": str, "verifiers?": paths})
KEY = ("policy", "rule", "n", "temperature", "variant", "task_id", "turn")

# What stands for the rule in an arm that is the matched control of PT+LV.
BY_CHANCE = "any that passes"

# Of a candidate of turn 1 no more is kept: a run may have 100,000 rows.
KEPT = ("code", "public_passed", "hidden_passed", "score", "scores")


def check_row(where, row, policy):
    """Stop unless the fields of a row agree with each other and with the folder of the file."""
    sampled = row["candidates"]
    if row["policy"] != policy:
        stop(f"{where}: field 'policy' is '{row['policy']}', and its folder is of {policy}")
    if row["picked"] >= len(sampled):
        stop(f"{where}: field 'picked' is {row['picked']}, of {len(sampled)} candidates")
    if len(sampled) != row["n"]:
        stop(f"{where}: field 'candidates' has {len(sampled)}, but 'n' is {row['n']}")
    if any(len(candidate["scores"]) != len(row["verifiers"]) for candidate in sampled):
        stop(f"{where}: field 'candidates': not one score for each of 'verifiers'")


# ── Reading a run ────────────────────────────────────────────────────────────────────────────────


@dataclass
class Results:
    """What the rows of one or several runs say about K problems (run, group, task_id)."""

    measures: object  # 06_eval.py
    runs: list  # folders, one a seed
    keys: list = field(default_factory=list)  # the K problems
    policies: list = field(default_factory=list)  # the base first, then as in METHODS
    turns: int = 0
    drawn: np.ndarray = None  # (resamples, K): how often each problem is drawn
    picks: dict = field(default_factory=dict)  # (policy, arm) → {key: [(public pass, correct)]}
    codes: dict = field(default_factory=dict)  # the same → {key: [the program picked, …]}
    right: dict = field(default_factory=dict)  # the same → (turns, K): last pick correct?
    chances: dict = field(default_factory=dict)  # … of PT+LV → {key: [(public pass, chance)]}
    turn1: dict = field(default_factory=dict)  # policy → {key: candidates of turn 1}
    spent: dict = field(default_factory=dict)  # (policy, arm) → [tokens sampled, programs run]
    verifiers: dict = field(default_factory=dict)  # policy → those that scored its candidates
    shown: dict = field(default_factory=dict)  # what the page shows of the first run: lib/page.py

    def arms(self, policy):
        """The arms with real feedback that a policy was searched with."""
        return [arm for name, arm in self.picks if name == policy and arm.variant == "real"]

    def estimate(self, values, weights=None):
        """A result → (mean, low, high)."""
        return interval(self.drawn, values, weights)

    def over_problems(self, measure, policy, *more):
        """A measure of the candidates of turn 1 → its result."""
        turn1 = self.turn1[policy]
        return np.array([measure(turn1[key], *more) for key in self.keys])

    def by_candidates(self, policy):
        """Accuracy at turn 1 by the number of candidates → (the numbers, {rule: its results})."""
        fewest = min(map(len, self.turn1[policy].values()))
        ns = [n for n in (1, 2, 3, 5, 8, 11, 16) if n <= fewest]
        with_verifier = [rule for rule in self.measures.RULES if "LV" in rule]
        lines = [(rule, rule, 0) for rule in self.measures.RULES if rule not in with_verifier]
        for which, path in enumerate(self.verifiers[policy]):
            lines += [(f"{rule}, {path}", rule, which) for rule in with_verifier]
        accuracies = {}
        for name, rule, which in lines:
            best_of = self.measures.best_of
            accuracies[name] = [self.over_problems(best_of, policy, rule, n, which) for n in ns]
        return ns, accuracies

    def recovery(self, policy, arm, turn):
        """Rec(t) of each episode of an arm: correct at turn t + 1?, fresh samples' accuracy."""
        rows = []
        for key in self.keys:
            fresh = list(map(self.measures.execute.reward, self.turn1[policy][key]))
            rows.append(self.measures.recovery(self.picks[policy, arm][key], fresh, turn))
        return np.array(rows).T

    def repetition(self, policy, arm, turn):
        """Of each answer of a turn: does it hold a program?, that of the turn before?"""
        codes = (self.codes[policy, arm].get(key, []) for key in self.keys)
        return np.array([repetition(of_episode, turn) for of_episode in codes]).T

    def lost(self, policy, arm):
        """Which episodes stopped on a public pass with a hidden fail, the unrecoverable end?"""
        return np.array([is_lost(picks) for picks in self.picks[policy, arm].values()])


def read_runs(runs, measures):
    """The results of one or several runs, which must hold the same policies."""
    if len({os.path.realpath(run) for run in runs}) < len(runs):
        stop(f"--run names a folder twice: {' '.join(runs)}")
    results = Results(measures, runs)
    for run in runs:
        files = glob.glob(f"{glob.escape(run)}/*/eval.jsonl")
        policies = in_order({os.path.basename(os.path.dirname(f)) for f in files}, measures)
        if "base" not in policies:
            stop(f"{run}: no base/eval.jsonl in this folder; run_all.sh makes it")
        if results.policies and policies != results.policies:
            expected = ", ".join(results.policies)
            stop(f"{run}: holds {', '.join(policies)}, but {runs[0]} {expected}")
        results.policies = policies
        arms = {policy: read_policy(results, run, policy) for policy in policies}
        check_arms(run, arms)
    check_runs(results)

    # From rows by key to arrays over all keys: then a figure is a mean, and its interval one
    # product of matrices.
    every = (key for picks in results.picks.values() for key in picks)
    results.keys = list(dict.fromkeys(every))
    results.turns = max(len(p) for picks in results.picks.values() for p in picks.values())
    check_episodes(results)
    results.drawn = resample(results.keys)
    for who, picks in results.picks.items():
        picks = {key: picks.get(key, []) for key in results.keys}
        carried = [measures.carry_forward(picks[key], results.turns) for key in results.keys]
        results.picks[who] = picks
        results.right[who] = np.array(carried).T
    # The matched control of PT+LV, as a rule of its own that nobody searched with.
    for (policy, arm), chances in results.chances.items():
        chances = [chances.get(key, []) for key in results.keys]
        carried = [measures.carry_forward(chance, results.turns) for chance in chances]
        results.right[policy, arm._replace(rule=BY_CHANCE)] = np.array(carried).T
    for policy, turn1 in results.turn1.items():
        results.turn1[policy] = {key: turn1.get(key, []) for key in results.keys}
    return results


def in_order(policies, measures):
    """Policies in the order of METHODS and iterations, the base first."""
    methods = ["base", *measures.expert.METHODS]
    place = {method: i for i, method in enumerate(methods)}
    return sorted(policies, key=lambda p: (place.get(method_of(p), len(place)), len(p), p))


def read_policy(results, run, policy):
    """Add the rows of RUN/POLICY/eval.jsonl to the results → its arms."""
    path = f"{run}/{policy}/eval.jsonl"
    is_shown = run == results.runs[0] and policy in last_of_each(results.policies)
    turn1 = results.turn1.setdefault(policy, {})
    episodes = {}  # arm → {key: {turn: (public pass, correct, code, chance)}}
    for place, row in enumerate(iterate_jsonl(path, FIELDS, KEY), 1):
        # Rows of another program may have neither of these.
        row = dict(dict(group=row["task_id"], verifiers=[]), **row)
        check_row(f"{path}, row {place}", row, policy)
        key = (run, row["group"], row["task_id"])
        arm = results.measures.arm_of(row)
        best = row["candidates"][row["picked"]]

        # What the episode picked (and what any pick that passes would be worth), and what it cost.
        correct = results.measures.execute.reward(best)
        chance = results.measures.by_chance(row["candidates"]) if arm.rule == "PT+LV" else None
        outcome = best["public_passed"], correct, best["code"], chance
        episodes.setdefault(arm, {}).setdefault(key, {})[row["turn"]] = outcome
        if is_shown and arm.variant == "real":
            add_row(results.shown, policy, label(arm), row)
        spent = results.spent.setdefault((policy, arm), [0, 0])
        spent[0] += sum(candidate["tokens"] for candidate in row["candidates"])
        spent[1] += row["programs_run"]
        if results.verifiers.setdefault(policy, row["verifiers"]) != row["verifiers"]:
            stop(f"{path}, row {place}: field 'verifiers' differs from that of other rows")

        # All sampled candidates of turn 1, from the arm that saw most of them.
        is_sampled = row["turn"] == 1 and row["temperature"] > 0
        if is_sampled and row["n"] > len(turn1.get(key, ())):
            turn1[key] = [{name: c[name] for name in KEPT} for c in row["candidates"]]
    if not episodes:
        stop(f"{path}: no rows; the stage that writes this file had nothing to write")

    add_episodes(results, path, policy, episodes)
    return set(episodes)


def add_episodes(results, path, policy, episodes):
    """Add what each episode picked: {arm: {key: {turn: (public pass, correct, code, chance)}}}.

    Stops unless every arm meets the same problems, and its episodes have no gap.
    """
    keys = set().union(*episodes.values())
    for arm, by_key in episodes.items():
        if by_key.keys() != keys:
            missing = min(keys - by_key.keys())[-1]
            stop(f"{path}: {label(arm)} has no row of task_id '{missing}', which others have")
        for key, turns in by_key.items():
            if max(turns) != len(turns):
                missing = f"a turn before {max(turns)} is missing"
                stop(f"{path}: {label(arm)}, task_id '{key[-1]}': {missing}")
            outcomes = [turns[turn] for turn in sorted(turns)]
            picks = results.picks.setdefault((policy, arm), {})
            picks[key] = [(public, correct) for public, correct, _, _ in outcomes]
            codes = results.codes.setdefault((policy, arm), {})
            codes[key] = [code for _, _, code, _ in outcomes]
            if arm.rule == "PT+LV":
                chances = results.chances.setdefault((policy, arm), {})
                chances[key] = [(public, chance) for public, _, _, chance in outcomes]


def check_arms(run, arms):
    """Stop if two policies of a run were searched in ways of which neither includes the other.

    On the way to the last policy a run asks for less.
    """
    widest = max(arms, key=lambda policy: len(arms[policy]))
    for policy, own in arms.items():
        if not own <= arms[widest]:
            extra = ", ".join(sorted(label(arm) for arm in own - arms[widest]))
            reason = f"was searched with {extra}, and {widest} was not"
            stop(f"{run}/{policy}/eval.jsonl: {reason}; delete one of both, and search anew")


def check_runs(results):
    """Stop if a policy was searched in other ways in another run, or on other problems."""
    for run in results.runs:
        problems = None
        for (policy, arm), picks in results.picks.items():
            keys = {key for key in picks if key[0] == run}
            path = f"{run}/{policy}/eval.jsonl"
            if not keys:
                stop(f"{path}: has no rows of {label(arm)}, and another run has")
            if problems is not None and keys != problems:
                task_id = min(keys ^ problems)[-1]
                stop(f"{path}: of other problems than the base's, such as task_id '{task_id}'")
            problems = keys


def check_episodes(results):
    """Stop if an episode is over before its time, or goes on after it: rows are missing."""
    for (policy, arm), picks in results.picks.items():
        for (run, _, task_id), of_episode in picks.items():
            passes = [public for public, _ in of_episode]
            fault = None
            if not passes[-1] and len(passes) < results.turns:
                fault = f"ends after turn {len(passes)} of {results.turns} without a public pass"
            if any(passes[:-1]):
                fault = "goes on after a public pass"
            if fault:
                stop(f"{run}/{policy}/eval.jsonl: {label(arm)}, task_id '{task_id}' {fault}")
