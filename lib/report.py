"""The report of a run: reads the rows of stage 06's search, asks its measures, lays out tables.

Nothing of the method is here. What is measured, and how, is in 06_eval.py, which hands itself over
as `measures`. A result is an array (K,) over the K problems, nan where a problem does not count.
"""

import glob
import os
from pathlib import Path

from lib.chart import charts, line_chart, turns_chart
from lib.page import make_page
from lib.results import BY_CHANCE, in_order, label, last_of_each, main_three, method_of, read_runs
from lib.rows import finite, read_jsonl, stop, write_text

import numpy as np

# The paper's own numbers (Tables 1 to 3): Llama-3.2-1B on MBPP, turn 3. Another model and other
# data, so it is their order that ours can be held against.
PAPER_BEST = dict(base=47.3, rft=46.7, rft_lv=49.0, mucode_ov=48.2, mucode_lv=48.5, mucode=51.1)
PAPER = {"greedy": dict(base=35.1, rft=31.1, mucode=37.9), "PT+LV, N = 5": PAPER_BEST}
PAPER_RULES = {"Random": 37.5, "LV": 43.3, "PT": 49.4, "PT+LV": 51.1}


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
    """A table in Markdown, or nothing where a run has nothing for it (N = 1: nothing to pick)."""
    if not rows:
        return ""
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


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────


def answer(results, question, first, second, turn):
    """A question that a difference answers: yes if it is above zero, no if it is below."""
    gain = results.right[first][turn - 1] - results.right[second][turn - 1]
    mean, low, high = (100 * value for value in results.estimate(gain))
    word = "yes" if low > 0 else "no" if high < 0 else "inside the noise"
    return f"{question} **{word}**, {mean:+.1f} [{low:+.1f}, {high:+.1f}] points"


def verdicts(results, ours, one):
    """What the run says in three sentences, or four beside RFT, as far as it was asked."""
    turn = min(3, results.turns)
    sentences = []
    greedy = one._replace(temperature=0.0)
    for rival in main_three(last_of_each(results.policies), ours):
        if rival != ours:
            question = f"Does {ours} beat {'its base' if rival == 'base' else rival}?"
            sentence = answer(results, question, (ours, greedy), (rival, greedy), turn)
            sentences.append(f"{sentence} (greedy, after turn {turn}).")
    swapped = (ours, one._replace(variant="swapped"))
    if swapped in results.picks and turn > 1:
        sentence = answer(results, f"Does {ours} read feedback?", (ours, one), swapped, 2)
        sentences.append(f"{sentence} over hearing another problem's (N = 1, turn 2).")
    for arm in results.arms(ours):
        if arm.rule == "PT+LV":
            question = f"Does the verifier of {ours} earn its place?"
            chance = (ours, arm._replace(rule=BY_CHANCE))
            sentence = answer(results, question, (ours, arm), chance, turn)
            sentence += " over a random one of the candidates that pass the public tests"
            sentences.append(f"{sentence} (PT+LV, N = {arm.n}, turn {turn}).")
            break
    return sentences


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
    """Each rule against the one before it in RULES, and PT+LV against its matched control."""
    before = dict(zip(results.measures.RULES[1:], results.measures.RULES))
    rows = []
    for policy in policies:
        arms = results.arms(policy)
        for arm in arms:
            rival = arm._replace(rule=before.get(arm.rule))
            if rival in arms:
                words = [policy, f"{arm.rule} − {rival.rule}, N = {arm.n}"]
                rows.append((words, (policy, arm), (policy, rival)))
            random = arm._replace(rule="Random")
            if arm.rule == "PT+LV" and random in arms:
                # Of PT+LV's last pick, what the public tests do, and what R_φ adds to them.
                chance = arm._replace(rule=BY_CHANCE)
                for first, second in ((chance, random), (arm, chance)):
                    words = [policy, f"{first.rule} − {second.rule}, N = {arm.n}"]
                    rows.append((words, (policy, first), (policy, second)))
    return contrasts(results, ["policy", "difference"], rows)


def candidates_section(results, policy):
    """Accuracy at turn 1 by the number of candidates, for each rule and verifier (Figs. 3, 4)."""
    ns, accuracies = results.by_candidates(policy)
    rows = [[name, *(share(results, a) for a in row)] for name, row in accuracies.items()]
    return table(["rule", *(f"N = {n}" for n in ns)], rows if len(ns) > 1 else [])


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
    if not compared or results.turns < 2:
        return ""
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
            row = [policy, label(arm)]
            for turn in range(1, results.turns + 1):
                holds, repeats = results.repetition(policy, arm, turn)
                row += [share(results, holds), share(results, repeats)]
            del row[3]  # at turn 1 there is nothing to repeat
            rows.append(row)
    return table(head, rows)


def recovery_section(results, policies, one):
    """Rec(t): the next turn of open episodes beside fresh samples for the same problems."""
    rows = []
    for policy in policies:
        lost = results.lost(policy, one)
        for turn in range(1, results.turns):
            repaired, fresh = results.recovery(policy, one, turn)
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
            if np.isnan(accuracy).all():
                continue  # one candidate each: there is nothing to compare
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
        return ""
    notes = {policy: {} for policy in policies}
    for policy in policies:
        for name, file in files.items():
            path = f"{run}/{policy}/{file}"
            for place, row in enumerate(read_jsonl(path, {}) if os.path.exists(path) else [], 1):
                for key, value in row.items():
                    if not (value is None or isinstance(value, bool) or finite(value)):
                        stop(f"{path}, row {place}: field '{key}' is no number")
                if row.get("examples") and row.get("wrong") is not None:
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


# ── The whole ────────────────────────────────────────────────────────────────────────────────────

TEMPLATE = Path(__file__).with_name("report_template.md")
SMOKE = "\n**PRESET=smoke: too small to learn anything; these numbers mean nothing.**\n"


def is_smoke_run(run):
    """Was the folder made by PRESET=smoke?"""
    settings = Path(run, "settings")
    return settings.exists() and "PRESET=smoke\n" in settings.read_text()


def extent(results):
    """What the figures are of, and what their intervals resample, in words."""
    groups = len({(run, group) for run, group, _ in results.keys})
    problems = f"{len(results.keys)} problems in {groups} groups"
    if len(results.runs) == 1:
        return f"{problems}, 1 run", "groups, then problems"
    several = f"{len(results.runs)} runs, each with groups of its own"
    return f"{problems}, {several}", "runs, groups, then problems"


def write_report(runs, out, measures):
    """Read the runs and write OUT and, beside it, its picture as SVG."""
    results = read_runs(runs, measures)

    # The base and the last policy of each method. Ours is the first of these methods.
    last = last_of_each(results.policies)
    ours = last[:2][-1]
    single = [arm for arm in results.arms("base") if arm.n == 1]
    one = next(arm for arm in single if arm.temperature > 0)

    # What report.md and the page both say.
    summary, levels = extent(results)
    words = dict(summary=summary, levels=levels)
    words["title"] = ", ".join(os.path.basename(os.path.abspath(run)) for run in runs)
    words["methods"] = methods_section(results, last, ours, single)
    sentences = verdicts(results, ours, one)

    path = os.path.splitext(out)[0]  # of the page and the picture, which lie beside it

    text = TEMPLATE.read_text(encoding="utf-8").format(
        **words,
        verdicts="".join(f"- {sentence}\n" for sentence in sentences) + "\n" * bool(sentences),
        warning=SMOKE if any(map(is_smoke_run, runs)) else "",
        ours=ours,
        picture=os.path.basename(path) + ".svg",
        paper=paper_section(results, last, ours),
        by_chance=BY_CHANCE,
        rules=rules_section(results, last[:2]),
        candidates=candidates_section(results, ours),
        feedback=feedback_section(results, last, one),
        answers=answers_section(results, last, single),
        recovery=recovery_section(results, last, one),
        verifier=verifier_section(results),
        training="\n".join(training_section(run, measures) for run in runs),
        everything=everything_section(results),
    )
    # What has no table says nothing.
    head, *sections = text.split("\n## ")
    text = "\n## ".join([head, *(section for section in sections if "|" in section)])

    drawn = charts(results, last, ours, runs[0])
    page = make_page(words, sentences, drawn, results, last, ours)
    write_text(path + ".svg", [line_chart(*turns_chart(results, last))])
    write_text(path + ".html", [page])
    write_text(out, [text])
