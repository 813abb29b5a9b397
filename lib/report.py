"""The report of a run: reads the rows of stage 06's search, asks its measures, lays out tables.

Nothing of the method is here. What is measured, and how, is in 06_eval.py, which hands itself over
as `measures`. A result is an array (K,) over the K problems, nan where a problem does not count.
"""

import glob
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from lib.chart import line_chart
from lib.rows import read_jsonl, stop, write_text

import numpy as np

EVAL_FIELDS = dict(policy=str, rule=str, variant=str, task_id=str, messages=list, candidates=list)
EVAL_FIELDS.update(n=int, temperature=(int, float), turn=int, picked=int, programs_run=int)
CANDIDATE_FIELDS = {"completion", "code", "public_passed", "hidden_passed", "feedback"}
CANDIDATE_FIELDS |= {"score", "scores", "tokens"}

# The paper's own numbers (Tables 1 to 3): Llama-3.2-1B on MBPP, turn 3. Another model and other
# data, so it is their order that ours can be held against.
PAPER_BEST = dict(base=47.3, rft=46.7, rft_lv=49.0, mucode_ov=48.2, mucode_lv=48.5, mucode=51.1)
PAPER = {"greedy": dict(base=35.1, rft=31.1, mucode=37.9), "PT+LV, N = 5": PAPER_BEST}
PAPER_RULES = {"Random": 37.5, "LV": 43.3, "PT": 49.4, "PT+LV": 51.1}


def label(arm):
    """What a table calls an arm."""
    if arm.temperature == 0:
        return "greedy"
    name = "N = 1" if arm.n == 1 else f"{arm.rule}, N = {arm.n}"
    return name if arm.variant == "real" else f"{name}, {arm.variant}"


def method_of(policy):
    """ "mucode-2" → "mucode"; "base" is its own."""
    return policy.rpartition("-")[0] or policy


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
    turn1: dict = field(default_factory=dict)  # policy → {key: candidates of turn 1}
    spent: dict = field(default_factory=dict)  # (policy, arm) → [tokens sampled, programs run]
    verifiers: dict = field(default_factory=dict)  # policy → those that scored its candidates

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

    def over_episodes(self, measure, policy, arm, *more):
        """A measure of the picks of an arm and the candidates of turn 1 → its result."""
        picks = self.picks[policy, arm]
        turn1 = self.turn1[policy]
        return np.array([measure(picks[key], turn1[key], *more) for key in self.keys]).T


def read_runs(runs, measures):
    """The results of one or several runs, which must hold the same policies."""
    results = Results(measures, runs)
    for run in runs:
        files = glob.glob(f"{run}/*/eval.jsonl")
        policies = in_order({os.path.basename(os.path.dirname(f)) for f in files}, measures)
        if "base" not in policies:
            stop(f"{run}: no base/eval.jsonl in this folder; run_all.sh makes it")
        if results.policies and policies != results.policies:
            expected = ", ".join(results.policies)
            stop(f"{run}: holds {', '.join(policies)}, but {runs[0]} {expected}")
        results.policies = policies
        for policy in policies:
            read_policy(results, run, policy)

    # From rows by key to arrays over all keys: then a figure is a mean, and its interval one
    # product of matrices.
    every = (key for picks in results.picks.values() for key in picks)
    results.keys = list(dict.fromkeys(every))
    results.turns = max(len(p) for picks in results.picks.values() for p in picks.values())
    results.drawn = resample(results.keys)
    for who, picks in results.picks.items():
        picks = {key: picks.get(key, []) for key in results.keys}
        carried = [measures.carry_forward(picks[key], results.turns) for key in results.keys]
        results.picks[who] = picks
        results.right[who] = np.array(carried).T
    for policy, turn1 in results.turn1.items():
        results.turn1[policy] = {key: turn1.get(key, []) for key in results.keys}
    return results


def in_order(policies, measures):
    """Policies in the order of METHODS and iterations, the base first."""
    methods = ["base", *measures.expert.METHODS]
    place = {method: i for i, method in enumerate(methods)}
    return sorted(policies, key=lambda p: (place.get(method_of(p), len(place)), len(p), p))


def read_policy(results, run, policy):
    """Add the rows of RUN/POLICY/eval.jsonl to the results."""
    path = f"{run}/{policy}/eval.jsonl"
    rows = read_jsonl(path, EVAL_FIELDS)
    for number, row in enumerate(rows, 1):
        is_whole = all(c.keys() >= CANDIDATE_FIELDS for c in row["candidates"])
        if not is_whole or not 0 <= row["picked"] < len(row["candidates"]):
            stop(f"{path}, row {number}: field 'candidates' or 'picked' is damaged; search again")

    turn1 = results.turn1.setdefault(policy, {})
    for row in sorted(rows, key=lambda row: row["turn"]):
        key = (run, row.get("group", row["task_id"]), row["task_id"])
        arm = results.measures.arm_of(row)
        candidates = row["candidates"]
        best = candidates[row["picked"]]

        # What the episode picked, and what it cost.
        picks = results.picks.setdefault((policy, arm), {}).setdefault(key, [])
        picks.append((best["public_passed"], results.measures.execute.reward(best)))
        results.codes.setdefault((policy, arm), {}).setdefault(key, []).append(best["code"])
        spent = results.spent.setdefault((policy, arm), [0, 0])
        spent[0] += sum(candidate["tokens"] for candidate in candidates)
        spent[1] += row["programs_run"]
        results.verifiers[policy] = row.get("verifiers", [])

        # All sampled candidates of turn 1, from the arm that saw most of them.
        is_sampled = row["turn"] == 1 and row["temperature"] > 0
        if is_sampled and len(candidates) > len(turn1.get(key, ())):
            turn1[key] = candidates


# ── Cells and tables ─────────────────────────────────────────────────────────────────────────────


def share(results, result):
    """A result → "mean [low, high]" in %."""
    if np.isnan(result).all():
        return "–"
    mean, low, high = (100 * value for value in results.estimate(result))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def difference(results, first, second):
    """Two results, paired by problem → points of first − second, interval, and a plain word."""
    if np.isnan(first - second).all():
        return "–"
    mean, low, high = (100 * value for value in results.estimate(first - second))
    verdict = "above zero" if low > 0 else "below zero" if high < 0 else "inside the noise"
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] {verdict}"


def table(head, rows):
    """A table in Markdown, or a line where a run has nothing for it (N = 1: nothing to pick)."""
    if not rows:
        return "This run has nothing to compare here.\n"
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def contrasts(results, head, rows, since=1):
    """Paired differences by turn. rows: (words, (policy, arm), (policy, arm))."""
    turns = [t for t in range(since, results.turns + 1) if t <= 3 or t == results.turns]
    lines = []
    for words, first, second in rows:
        cells = [
            difference(results, results.right[first][t - 1], results.right[second][t - 1])
            for t in turns
        ]
        lines.append([*words, *cells])
    return table([*head, *(f"turn {t}" for t in turns)], lines)


# ── Sections ─────────────────────────────────────────────────────────────────────────────────────


def paper_section(results, policies, ours):
    """Tables 1 to 3 as the paper prints them, its numbers beside ours."""
    at = min(3, results.turns) - 1
    head = [f"after turn {at + 1}"]
    rows = [[policy] for policy in policies]
    for arm in results.arms("base"):
        if label(arm) not in PAPER:
            continue
        head += [label(arm), "the paper's", f"{ours} − this row"]
        best = results.right[ours, arm][at]
        for row, policy in zip(rows, policies):
            result = results.right[policy, arm][at]
            row.append(share(results, result))
            row.append(PAPER[label(arm)].get(method_of(policy), "–"))
            row.append("" if policy == ours else difference(results, best, result))
    text = table(head, rows)

    rules = []
    for arm in results.arms(ours):
        if arm.n == 5:
            accuracy = share(results, results.right[ours, arm][at])
            rules.append([arm.rule, accuracy, PAPER_RULES.get(arm.rule, "–")])
    if rules:
        text += "\n" + table([f"{ours}, N = 5, after turn {at + 1}", "ours", "the paper's"], rules)
    return text


def methods_section(results, policies, ours, single):
    """Every method against ours, by turn, and what turns beyond the third bring."""
    arms = single + [arm for arm in results.arms("base") if arm.rule == "PT+LV"][:1]
    rows = [
        ([f"{ours} − {policy}", label(arm)], (ours, arm), (policy, arm))
        for policy in policies
        for arm in arms
        if policy != ours
    ]
    text = contrasts(results, ["difference", "rule"], rows)
    if results.turns <= 3:
        return text

    later = []
    for policy in policies:
        for arm in arms:
            right = results.right[policy, arm]
            later.append([policy, label(arm), difference(results, right[-1], right[2])])
    return text + "\n" + table(["policy", "rule", f"turn {results.turns} − turn 3"], later)


def rules_section(results, policies):
    """Each rule against the one before it in RULES."""
    before = dict(zip(results.measures.RULES[1:], results.measures.RULES))
    rows = []
    for policy in policies:
        arms = results.arms(policy)
        for arm in arms:
            rival = arm._replace(rule=before.get(arm.rule))
            if rival in arms:
                words = [policy, f"{arm.rule} − {rival.rule}, N = {arm.n}"]
                rows.append((words, (policy, arm), (policy, rival)))
    return contrasts(results, ["policy", "difference"], rows)


def candidates_section(results, policy):
    """Accuracy at turn 1 by the number of candidates, for each rule and verifier (Figs. 3, 4)."""
    fewest = min(map(len, results.turn1[policy].values()))
    ns = [n for n in (1, 2, 3, 5, 8, 11, 16) if n <= fewest]
    with_verifier = [rule for rule in results.measures.RULES if "LV" in rule]
    lines = [(rule, rule, 0) for rule in results.measures.RULES if rule not in with_verifier]
    for which, path in enumerate(results.verifiers[policy]):
        lines += [(f"{rule}, {path}", rule, which) for rule in with_verifier]
    rows = []
    for name, rule, which in lines:
        best_of = results.measures.best_of
        accuracies = [results.over_problems(best_of, policy, rule, n, which) for n in ns]
        rows.append([name, *(share(results, accuracy) for accuracy in accuracies)])
    return table(["rule", *(f"N = {n}" for n in ns)], rows)


def feedback_section(results, policies, one):
    """Real feedback − each control, by turn; and the share of the gain that is its content."""
    compared = []
    shares = []
    for policy, arm in results.picks:
        if arm.variant == "real" or policy not in policies:
            continue
        words = [policy, results.measures.CONTROLS[arm.variant]]
        compared.append((words, (policy, one), (policy, arm)))
        real = results.right[policy, one]
        missed = real[-1] - results.right[policy, arm][-1]
        gain = real[-1] - real[0]
        # Without a gain that is above zero there is nothing to take a share of.
        cell = "–"
        if results.estimate(gain)[1] > 0:
            mean, low, high = (100 * value for value in results.estimate(missed, weights=gain))
            cell = f"{mean:.0f} [{low:.0f}, {high:.0f}]"
        shares.append([*words, cell])
    return (
        contrasts(results, ["policy", "control"], compared, since=2)
        + f"\nOf the points gained from turn 1 to turn {results.turns}, the share (%) that the "
        + "control does not reach (–: no gain that is above zero):\n\n"
        + table(["policy", "control", "share"], shares)
    )


def answers_section(results, policies, single):
    """By turn: the share of answers with a program, and with the program of the turn before."""
    head = ["policy", "rule", "turn 1: a program"]
    for turn in range(2, results.turns + 1):
        head += [f"turn {turn}: a program", f"turn {turn}: the same again"]
    rows = []
    for policy in policies:
        for arm in single:
            codes = [results.codes[policy, arm].get(key, []) for key in results.keys]
            row = [policy, label(arm)]
            for turn in range(1, results.turns + 1):
                pairs = [results.measures.repetition(picked, turn) for picked in codes]
                holds, repeats = np.array(pairs).T
                row += [share(results, holds), share(results, repeats)]
            del row[3]  # at turn 1 there is nothing to repeat
            rows.append(row)
    return table(head, rows)


def recovery_section(results, policies, one):
    """Rec(t): the next turn of open episodes beside fresh samples for the same problems."""
    rows = []
    for policy in policies:
        lost = np.array(list(map(results.measures.is_lost, results.picks[policy, one].values())))
        for turn in range(1, results.turns):
            recovery = results.measures.recovery
            repaired, fresh = results.over_episodes(recovery, policy, one, turn)
            row = [policy, turn, (~np.isnan(repaired)).sum()]
            row += [share(results, repaired), share(results, fresh)]
            row += [difference(results, repaired, fresh), share(results, lost) if turn == 1 else ""]
            rows.append(row)
    head = ["policy", "t", "open after turn t", "correct at turn t + 1"]
    head += ["fresh turn-1 samples, the same problems", "what the history brings"]
    head += [f"of all, by turn {results.turns}: stopped by a public pass with a hidden fail"]
    return table(head, rows)


def verifier_section(results):
    """Pairwise accuracy of each verifier on each policy's candidates."""
    rows = []
    for policy in results.policies:
        for which, path in enumerate(results.verifiers[policy]):
            accuracy = results.over_problems(results.measures.pairwise, policy, which)
            if which == 0:
                own = accuracy
            row = [policy, path, share(results, accuracy), (~np.isnan(accuracy)).sum()]
            rows.append([*row, difference(results, own, accuracy) if which > 0 else ""])
    head = ["candidates of", "verifier", "pairwise accuracy"]
    head += ["problems with correct and wrong ones", "its own verifier − this one"]
    return table(head, rows)


def training_section(run, measures):
    """What each policy was made from, as stages 04, 05 and 03 noted it."""
    files = dict(labels="examples.metrics.jsonl", policy="policy/metrics.jsonl")
    files["verifier"] = "verifier/metrics.jsonl"
    folders = glob.glob(f"{run}/*/policy")
    policies = in_order((os.path.basename(os.path.dirname(f)) for f in folders), measures)
    title = f"### {os.path.basename(os.path.abspath(run))}\n\n"
    if not policies:
        return title + "Nothing was trained in this folder.\n"
    notes = {policy: {} for policy in policies}
    for policy in policies:
        for name, file in files.items():
            path = f"{run}/{policy}/{file}"
            for row in read_jsonl(path, {}) if os.path.exists(path) else []:
                if "wrong" in row:
                    row["wrong"] = f"{row['wrong']} ({row['wrong'] / row['examples']:.0%})"
                # Of the verifier's epochs, the one that was kept.
                if not row.pop("kept", True):
                    continue
                for key, value in row.items():
                    cell = f"{value:.3f}" if isinstance(value, float) else value
                    notes[policy][f"{name}: {key}"] = cell

    # Columns in the order of the fullest row.
    fullest = sorted(notes.values(), key=len, reverse=True)
    columns = list(dict.fromkeys(column for note in fullest for column in note))
    rows = [[p, *(note.get(column, "–") for column in columns)] for p, note in notes.items()]
    return title + table(["policy", *columns], rows)


def everything_section(results):
    """Accuracy by turn of every policy and arm, and what it cost."""
    rows = []
    for policy in results.policies:
        for arm in results.arms(policy):
            accuracies = [share(results, right) for right in results.right[policy, arm]]
            rows.append([policy, label(arm), *accuracies, *results.spent[policy, arm]])
    turns = [f"turn {turn}" for turn in range(1, results.turns + 1)]
    return table(["policy", "rule", *turns, "tokens", "programs run"], rows)


def picture(results, policies):
    """Accuracy by turn with intervals: a panel for greedy, one for PT+LV, a line per policy."""
    panels = {}
    for arm in results.arms("base"):
        if label(arm) in PAPER:
            panel = panels.setdefault(f"problems solved, {label(arm)}", {})
            for policy in policies:
                panel[policy] = [results.estimate(right) for right in results.right[policy, arm]]
    return line_chart(panels, "turn")


# ── The whole ────────────────────────────────────────────────────────────────────────────────────

TEMPLATE = Path(__file__).with_name("report_template.md")
SMOKE = "\n**PRESET=smoke: too small to learn anything; these numbers mean nothing.**\n"


def is_smoke_run(run):
    """Was the folder made by PRESET=smoke?"""
    settings = Path(run, "settings")
    return settings.exists() and "PRESET=smoke\n" in settings.read_text()


def write_report(runs, out, measures):
    """Read the runs and write OUT and, beside it, its picture as SVG."""
    results = read_runs(runs, measures)

    # The base and the last policy of each method. Ours is the first of these methods.
    last = list({method_of(policy): policy for policy in results.policies}.values())
    ours = last[:2][-1]
    single = [arm for arm in results.arms("base") if arm.n == 1]
    one = next(arm for arm in single if arm.temperature > 0)
    several = len(runs) > 1
    picture_path = os.path.splitext(out)[0] + ".svg"

    text = TEMPLATE.read_text(encoding="utf-8").format(
        title=", ".join(os.path.basename(os.path.abspath(run)) for run in runs),
        count=len(results.keys),
        groups=len({(run, group) for run, group, _ in results.keys}),
        runs=f"{len(runs)} runs, each with groups of its own" if several else "1 run",
        levels="runs, groups, then problems" if several else "groups, then problems",
        warning=SMOKE if any(map(is_smoke_run, runs)) else "",
        ours=ours,
        picture=os.path.basename(picture_path),
        paper=paper_section(results, last, ours),
        methods=methods_section(results, last, ours, single),
        rules=rules_section(results, last[:2]),
        candidates=candidates_section(results, ours),
        feedback=feedback_section(results, last, one),
        answers=answers_section(results, last, single),
        recovery=recovery_section(results, last, one),
        verifier=verifier_section(results),
        training="\n".join(training_section(run, measures) for run in runs),
        everything=everything_section(results),
    )
    write_text(picture_path, [picture(results, last)])
    write_text(out, [text])
