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

from lib.rows import EXAMPLE, count, finite, iterate_jsonl, state

TEMPLATE = Path(__file__).with_name("page.html")

# How much a page holds: problems as they are read, and their characters as JSON (of training
# problems a quarter as many).
MOST_PROBLEMS = 1000
MOST = 4_500_000

# What of a row of scored.jsonl the expert's part shows.
STEP = dict(task_id=str, turn=count, code=str, completion=str, score=finite, messages=state)
STEP.update(public_passed=bool, hidden_passed=bool)


def add_row(problems, policy, rule, row):
    """Add a row of eval.jsonl to {task_id: what is known of the problem}, of the first problems."""
    if row["task_id"] not in problems and len(problems) == MOST_PROBLEMS:
        return
    empty = dict(prompt=row["messages"][0]["content"], programs={}, scores={}, episodes={})
    problem = problems.setdefault(row["task_id"], empty)

    # Each program has a number. Its verdict is the same for all policies, its score is not.
    programs = problem["programs"]
    scores = problem["scores"].setdefault(policy, {})
    numbers = []
    for candidate in row["candidates"]:
        verdict = [candidate[name] for name in ("public_passed", "hidden_passed", "feedback")]
        number, *_ = programs.setdefault(candidate["code"], (len(programs), *verdict))
        if candidate["score"] is not None:
            scores[number] = round(candidate["score"], 5)
        numbers.append(number)

    # A turn is the place of the pick, and then the candidates.
    turns = problem["episodes"].setdefault(policy, {}).setdefault(rule, {})
    turns[row["turn"]] = [row["picked"], *numbers]


def pack_problem(task_id, problem):
    """The same as lists: programs [code, public, hidden, feedback], turns [pick, candidates …]."""
    numbers = range(len(problem["programs"]))
    scores = {}
    for policy, known in problem["scores"].items():
        scores[policy] = [known.get(number) for number in numbers]
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
        prompt = step["messages"][0]["content"]
        empty = dict(prompt=prompt, programs={}, states=[], number_of={}, best=None)
        problem = problems.setdefault(step["task_id"], empty)

        # A program: its number, R, R_φ, and how often it was written.
        programs = problem["programs"]
        reward = int(measures.execute.reward(step))
        program = programs.setdefault(step["code"], [len(programs), reward, step["score"], 0])
        program[-1] += 1
        problem["number_of"][step["completion"]] = program[0]
        problem["states"].append([step["turn"], program[0]])

    # y*: the label of the problem's examples.
    for example in iterate_jsonl(examples, dict(EXAMPLE, task_id=str)):
        if problem := problems.get(example["task_id"]):
            problem["best"] = problem["number_of"].get(example["completion"][0]["content"])

    packed = []
    for task_id, problem in problems.items():
        programs = [
            [code, reward, round(score, 2), times]
            for code, (_, reward, score, times) in problem["programs"].items()
        ]
        row = dict(id=task_id, prompt=problem["prompt"], programs=programs)
        packed.append(dict(row, states=problem["states"], best=problem["best"]))
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


def make_table(markdown):
    """A table of report.md as HTML."""
    head, _, *lines = [line.strip("| ").split(" | ") for line in markdown.strip().splitlines()]
    rows = ["".join(f"<th>{html.escape(cell)}" for cell in head)]
    rows += ["".join(f"<td>{html.escape(cell)}" for cell in line) for line in lines]
    return f"<div class='wide'><table><tr>{'<tr>'.join(rows)}</table></div>"


def make_page(words, sentences, charts, results, policies, ours):
    """The text of report.html.

    words: title, summary, levels (what is resampled), and methods, the tables of differences in
    Markdown. sentences: the verdicts. charts: (heading, words, [SVG, …]) of each.
    """
    # What the script reads: the trajectories of the first run, and its expert.
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

    # What stands there without a script.
    figures = ""
    for heading, explained, panels in charts:
        caption = f"<h3>{html.escape(heading)}</h3><p>{html.escape(explained)}</p>"
        figures += f"<figure>{caption}<div>{''.join(panels)}</div></figure>\n"
    items = [html.escape(sentence).replace("**", "") for sentence in sentences]
    tables = [make_table(table) for table in words["methods"].split("\n\n") if table.strip()]
    parts = {
        "title": html.escape(f"μCode: {words['title']}"),
        "summary": html.escape(words["summary"]),
        "levels": html.escape(words["levels"]),
        "methods": "".join(tables) or "<p>There is one policy.</p>",
        "verdicts": f"<ul class='verdict'><li>{'<li>'.join(items)}</ul>" if items else "",
        "charts": figures,
        # In a script "</script>" would end it, whatever stands around it.
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # In one go: no part is searched for the names of others.
    page = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(
        r"\{(title|summary|levels|verdicts|methods|charts|data)\}",
        lambda name: parts[name[1]],
        page,
    )
