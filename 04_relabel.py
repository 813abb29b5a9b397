r"""Stage 04 · relabel: ask the local-search expert what should have been written, at every state visited.

What it does in μCode (Section 4.2). Code generation is one-step recoverable: from any state, whatever
failed before, the right program can be written in one turn. So the expert needs no rollouts and no value
function. It searches among the programs that were sampled for x, in all iterations so far:

    y*(x) = argmax over y of   β_O · R(x, y) + β_L · R_φ(x, y)            (Eq. 4; β_O = 1, β_L = 0.1)

where R is the oracle (public and hidden tests pass) and R_φ the verifier, which chooses among right
programs. (R_φ is a raw logit: a gap of more than 10 would outvote R. This stage counts how often.) The
search is "local" because it looks no further than those programs. EVERY state visited for x gets the label:

    D* = {(x, s_t, y*(x))}                                                (Eq. 5)

A method is a row of METHODS below. RFT, the baseline, imitates what successful trajectories did as it
was generated, their failed first tries included.

READS   scored.jsonl     all steps of D with their score R_φ (stage 03)
WRITES  examples.jsonl   one example a step, for example
        {"task_id": "train-67", "prompt": [{"role": "user", …}, {"role": "assistant", …}, {"role": "user",
         "content": "`f([])` gave 2, expected 1"}], "completion": [{"role": "assistant", "content": "…"}]}
RUN     in the folder of a run, such as runs/toy:
        python ../../04_relabel.py --scored base/scored.jsonl --method mucode --out try.examples.jsonl
COSTS   seconds; standard library only

Differs from the paper: nothing in Eqs. 4 and 5. Where no right program was ever sampled for x, Eq. 4
imitates a wrong one; --drop-uncovered leaves such problems out. A state counts once for each visit.
"""
import argparse, json, os, sys


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────
# The same lines in every stage: skip them after the first.

def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_jsonl(path, fields, key=()):
    """The rows of a JSON Lines file. Every row has `fields` = {name: type}; no two share their `key` fields."""
    rows, seen = [], set()
    try:
        for n, line in enumerate(open(path, encoding="utf-8", newline="\n"), 1):
            row = json.loads(line)
            if not isinstance(row, dict): stop(f"{path}, row {n}: not a JSON object; one a line is expected")
            for name, kind in fields.items():
                if name not in row: stop(f"{path}, row {n}: field '{name}' is missing")
                if not isinstance(row[name], kind) or isinstance(row[name], bool) and kind is not bool:
                    stop(f"{path}, row {n}: field '{name}' is {json.dumps(row[name])[:40]}, "
                         f"a {getattr(kind, '__name__', 'number')} is expected")
            mine = tuple(row.get(name) for name in key)
            if mine and mine in seen: stop(f"{path}, row {n}: {', '.join(key)} = {mine} stands in an earlier row too")
            seen.add(mine)
            rows.append(row)
    except OSError as e: stop(f"{path}: {e.strerror}")
    except ValueError as e: stop(f"{path}, row {len(rows) + 1}: not a line of JSON in UTF-8 ({getattr(e, 'msg', e)})")
    return rows or stop(f"{path}: no rows; the stage that writes this file had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            for row in rows: file.write(json.dumps(row) + "\n")
        os.replace(path + ".part", path)
    except OSError as e: stop(f"{path}: cannot be written ({e.strerror})")


# ── The expert ───────────────────────────────────────────────────────────────────────────────────

def right(step):
    """The oracle reward R(x, y): 1 iff public and hidden tests pass."""
    return step["public_passed"] and step["hidden_passed"]


def by_problem(steps):
    """{task_id: its steps}, in the order of the file."""
    problems = {}
    for s in steps: problems.setdefault(s["task_id"], []).append(s)
    return problems


def judge_programs(steps):
    """{code: R} of one problem's steps. A program that two calls of stage 02 judged differently counts as right."""
    verdict = {}
    for s in steps: verdict[s["code"]] = verdict.get(s["code"], False) or right(s)
    return verdict


def best_step(steps, beta_oracle, beta_learned):
    """Eq. 4 over one problem's steps → the step that carries y*(x).

    Several rows may hold the same program, each in another completion: the label is the earliest row's
    (turn, then policy, then trajectory), word for word as the model wrote it.
    """
    verdict = judge_programs(steps)
    # β_O·R + β_L·R_φ: among right programs R_φ decides; where none is right, R_φ alone does, and y* is wrong.
    value = lambda s: beta_oracle * verdict[s["code"]] + beta_learned * s["score"]
    return min(steps, key=lambda s: (-value(s), s["turn"], s["policy"], s["trajectory"]))


def example(step, completion):
    """(s_t → y) as a conversational prompt-completion row, the form that other trainers read too."""
    return dict(task_id=step["task_id"], prompt=step["messages"],
                completion=[dict(role="assistant", content=completion)])


def relabel(steps, beta_oracle=1.0, beta_learned=0.1, drop_uncovered=False):
    """Eq. 5: one example for each visited state, all of a problem's with the same y*(x)."""
    labels = {}
    for task, mine in by_problem(steps).items():
        if not drop_uncovered or any(map(right, mine)):
            labels[task] = best_step(mine, beta_oracle, beta_learned)["completion"]
    return [example(s, labels[s["task_id"]]) for s in steps if s["task_id"] in labels]


def last_steps(steps):
    """{(policy, task_id, trajectory): the step of its highest turn}: what each trajectory ended with."""
    return {trajectory(s): s for s in sorted(steps, key=lambda s: s["turn"])}


def trajectory(step):
    return step["policy"], step["task_id"], step["trajectory"]


def imitate_successful(steps):
    """RFT: every (s_t, y_t) of the trajectories that ended right, as generated."""
    chosen = {key for key, last in last_steps(steps).items() if right(last)}
    return [example(s, s["completion"]) for s in steps if trajectory(s) in chosen]


def imitate_best(steps, most):
    """RFT_LV: the same for the `most` trajectories a problem whose last program R_φ likes best, right or wrong."""
    chosen = set()
    for mine in by_problem(steps).values():
        last = last_steps(mine)
        chosen.update(sorted(last, key=lambda key: -last[key]["score"])[:most])
    return [example(s, s["completion"]) for s in steps if trajectory(s) in chosen]


def relabel_as_code(steps, beta_oracle, beta_learned, drop_uncovered, most):
    """What the authors' program does where the paper says Eqs. 4 and 5.

    Only last programs are candidates for y*. It labels the states of a problem's `most` best-scored failed
    trajectories (their RFT: of none); a successful trajectory's states get its own last program; all others are left out.
    """
    labels = {}
    for mine in by_problem(steps).values():
        last = last_steps(mine)
        if drop_uncovered and not any(map(right, last.values())): continue
        best = best_step(list(last.values()), beta_oracle, beta_learned)["completion"]
        failed = sorted((key for key in last if not right(last[key])), key=lambda key: -last[key]["score"])
        labels.update({key: best for key in failed[:most]})
        labels.update({key: s["completion"] for key, s in last.items() if right(s)})
    return [example(s, labels[trajectory(s)]) for s in steps if trajectory(s) in labels]


# What a method makes of D, and its settings. β_O and β_L are those of Eq. 4.
RELABEL = dict(beta_oracle=1.0, beta_learned=0.1, drop_uncovered=False)
METHODS = {
    "mucode":      (relabel, RELABEL),                                                          # the paper's
    "mucode_ov":   (relabel, dict(RELABEL, beta_learned=0.0)),                                  # oracle verifier alone
    "mucode_lv":   (relabel, dict(RELABEL, beta_oracle=0.0)),                                   # learned verifier alone
    "mucode_drop": (relabel, dict(RELABEL, drop_uncovered=True)),                               # no wrong y*
    "mucode_code": (relabel_as_code, dict(RELABEL, beta_oracle=100.0, beta_learned=1.0, most=3)),     # the authors' program
    "rft":         (imitate_successful, {}),                                                    # the baseline
    "rft_lv":      (imitate_best, dict(most=3)),                                                # … with R_φ for the oracle
    "rft_code":    (relabel_as_code, dict(RELABEL, beta_oracle=100.0, beta_learned=1.0, most=0)),     # the authors' RFT relabels too
}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--scored", required=True, help="all steps so far, with their score")
    ap.add_argument("--out", required=True, help="examples.jsonl to write")
    ap.add_argument("--method", choices=METHODS, default="mucode", help="a row of METHODS [%(default)s]")
    ap.add_argument("--beta-oracle", type=float, help="β_O of Eq. 4 (default: the method's)")
    ap.add_argument("--beta-learned", type=float, help="β_L of Eq. 4 (default: the method's)")
    ap.add_argument("--drop-uncovered", action="store_true", default=None, help="leave out problems without any right program (where a method relabels)")
    args = ap.parse_args()

    fields = dict(policy=str, task_id=str, trajectory=int, turn=int, messages=list, completion=str, code=str,
                  public_passed=bool, hidden_passed=bool, score=(int, float))
    steps = read_jsonl(args.scored, fields, ("policy", "task_id", "trajectory", "turn"))
    make, settings = METHODS[args.method]
    for name in RELABEL:
        if getattr(args, name) is None: continue
        if name not in settings: stop(f"--{name.replace('_', '-')}: method '{args.method}' has no expert of Eq. 4; leave the flag out")
        settings = dict(settings, **{name: getattr(args, name)})
    examples = make(steps, **settings)
    if not examples:
        stop(f"{args.scored}: no example for method '{args.method}', as no step has both 'public_passed' and "
             "'hidden_passed'; sample more trajectories or start from a better base")
    # Coverage is the expert's limit: y* can only be as good as the best program that was sampled.
    problems = by_problem(steps).values()
    covered = [mine for mine in problems if any(map(right, mine))]
    good, said = {(s["task_id"], s["completion"]) for s in steps if right(s)}, lambda e: e["completion"][0]["content"]
    mistaken = [e for e in examples if (e["task_id"], said(e)) not in good]
    noted = dict(steps=len(steps), tokens=sum(s.get("tokens", 0) for s in steps), programs=len({(s["task_id"], s["code"]) for s in steps}),
                 problems=len(problems), uncovered=len(problems) - len(covered))
    if "beta_learned" in settings:                              # only in Eq. 4 can R_φ outvote the oracle
        noted["overruled"] = len({mine[0]["task_id"] for mine in covered} & {e["task_id"] for e in mistaken})
    noted.update(examples=len(examples), wrong=len(mistaken))
    write_jsonl(args.out.removesuffix(".jsonl") + ".metrics.jsonl", [noted])
    write_jsonl(args.out, examples)

    print(f"04 relabel: {args.method}: {len(examples)} examples from {len(steps)} steps, {len(mistaken)} of them wrong programs; "
          f"no right program was sampled for {len(problems) - len(covered)} of {len(problems)} problems"
          + (f", R_φ outvoted the oracle for {noted['overruled']} of the others" if "overruled" in noted else "") + f" → {args.out}")
    # To be shown: a label that repairs what was written, if there is one.
    e = max(examples, key=lambda e: (len(e["prompt"]) > 1 and said(e) != e["prompt"][-2]["content"], (e["task_id"], said(e)) in good))
    told = dict(x=e["prompt"][0]["content"])
    if len(e["prompt"]) > 1: told.update(y=e["prompt"][-2]["content"], o=e["prompt"][-1]["content"])
    told["y*, right" if (e["task_id"], said(e)) in good else "y*, wrong"] = said(e)
    print(f"  for example {e['task_id']}, the problem, the end of a state and its label:")
    for symbol, text in told.items(): print(f"    {symbol}: " + text.replace("\n", "\n       "))


if __name__ == "__main__":
    main()
