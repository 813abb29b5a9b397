"""report.html: what a run has written, problem by problem, in one file that opens from the disk.

report.md counts, and this shows the programs. Its script is in page.html, its data is JSON beside
it: every program of a problem once, and for each policy, rule and turn the numbers of its
candidates.
"""

import html
import json
import os
import re
from pathlib import Path

from lib.rows import finite, iterate_jsonl, state

TEMPLATE = Path(__file__).with_name("page.html")
MOST = 4_500_000  # characters of problems, and a quarter of that of training problems
MOST_PROBLEMS = 1000

STEP = dict(task_id=str, turn=int, code=str, completion=str, score=finite, messages=state)
STEP.update(policy=str, public_passed=bool, hidden_passed=bool)


def add_row(problems, policy, rule, row):
    """Add a row of eval.jsonl to {task_id: what is known of the problem}, of the first problems."""
    if row["task_id"] not in problems and len(problems) == MOST_PROBLEMS:
        return
    new = dict(prompt=row["messages"][0]["content"], programs={}, scores={}, episodes={})
    problem = problems.setdefault(row["task_id"], new)
    scores = problem["scores"].setdefault(policy, {})
    numbers = []
    for candidate in row["candidates"]:
        verdict = [candidate[name] for name in ("public_passed", "hidden_passed", "feedback")]
        number = len(problem["programs"])
        number, *_ = problem["programs"].setdefault(candidate["code"], (number, *verdict))
        if candidate["score"] is not None:
            scores[number] = round(candidate["score"], 2)
        numbers.append(number)
    turns = problem["episodes"].setdefault(policy, {}).setdefault(rule, {})
    turns[row["turn"]] = [row["picked"], *numbers]


def pack_problem(task_id, problem):
    """The same as lists: programs [code, public, hidden, feedback], turns [pick, candidates …]."""
    count = len(problem["programs"])
    scores = {}
    for policy, known in problem["scores"].items():
        scores[policy] = [known.get(number) for number in range(count)]
    episodes = {}
    for policy, rules in problem["episodes"].items():
        episodes[policy] = {
            rule: [turns[turn] for turn in sorted(turns)] for rule, turns in rules.items()
        }
    programs = [
        [code, int(public), int(hidden), feedback]
        for code, (_, public, hidden, feedback) in problem["programs"].items()
    ]
    packed = dict(id=task_id, prompt=problem["prompt"], programs=programs)
    return dict(packed, scores=scores, episodes=episodes)


def read_expert(run, method, measures):
    """What the expert chose from the steps of π_0: a training problem each, or [] without files."""
    scored = os.path.join(run, "base", "scored.jsonl")
    examples = os.path.join(run, f"{method}-1", "examples.jsonl")
    if not (os.path.exists(scored) and os.path.exists(examples)):
        return []

    # All programs of a problem, and its states: in which turn, and what was written there.
    problems = {}
    for step in iterate_jsonl(scored, STEP):
        if step["task_id"] not in problems and len(problems) == MOST_PROBLEMS:
            continue
        new = dict(prompt=step["messages"][0]["content"], programs={}, states=[], texts={})
        problem = problems.setdefault(step["task_id"], new)
        new = [len(problem["programs"]), int(measures.execute.reward(step)), step["score"], 0]
        program = problem["programs"].setdefault(step["code"], new)
        program[3] += 1
        problem["texts"][step["completion"]] = program[0]
        problem["states"].append([step["turn"], program[0]])

    # y*: the label of the problem's examples.
    for example in iterate_jsonl(examples, dict(task_id=str, completion=list)):
        problem = problems.get(example["task_id"], dict(texts={}))
        problem["best"] = problem["texts"].get(example["completion"][0]["content"])

    packed = []
    for task_id, problem in problems.items():
        programs = [
            [code, reward, round(score, 2), count]
            for code, (_, reward, score, count) in problem["programs"].items()
        ]
        row = dict(id=task_id, prompt=problem["prompt"], programs=programs)
        packed.append(dict(row, states=problem["states"], best=problem.get("best")))
    return packed


def up_to(rows, most):
    """As many of the rows as have so many characters as JSON."""
    kept = []
    for row in rows:
        most -= len(json.dumps(row, ensure_ascii=False))
        if most < 0:
            break
        kept.append(row)
    return kept


def make_page(title, sentences, charts, results, policies, ours):
    """The text of report.html. sentences: the verdicts. charts: [(heading, words, SVG), …]."""
    run = results.runs[0]
    problems = [pack_problem(task_id, problem) for task_id, problem in results.shown.items()]
    method = ours.rpartition("-")[0]
    data = dict(
        policies=policies,
        ours=ours,
        method=method,
        count=sum(key[0] == run for key in results.keys),
        problems=up_to(problems, MOST),
        expert=up_to(read_expert(run, method, results.measures), MOST // 4),
    )
    figures = ""
    for heading, words, svg in charts:
        caption = f"<h3>{html.escape(heading)}</h3><p>{html.escape(words)}</p>"
        figures += f"<figure>{caption}{svg}</figure>\n"
    items = [html.escape(sentence).replace("**", "") for sentence in sentences]
    parts = {
        "title": html.escape(f"μCode: {title}"),
        "verdicts": f"<ul class='verdict'><li>{'<li>'.join(items)}</ul>" if items else "",
        "charts": figures,
        # In a script "</script>" would end it, whatever stands around it.
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # In one go: no part is searched for the names of others.
    page = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{(title|verdicts|charts|data)\}", lambda name: parts[name[1]], page)
