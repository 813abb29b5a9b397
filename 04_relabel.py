"""Stage 04 · relabel: ask the local-search expert what should have been written, at every state that was visited.

What it does in μCode (Section 4.2, Eqs. 4 and 5). Code generation is one-step recoverable: from any state, whatever
failed before, the right program can be written in one turn. So the expert needs no rollouts and no value function.
For each problem x it searches among the programs that were sampled for x, in all iterations so far:

    y*(x) = argmax over y of   β_O · R(x, y) + β_L · R_φ(x, y)                  (Eq. 4; β_O = 1, β_L = 0.1)

where R is the oracle (public and hidden tests pass) and R_φ the verifier, which breaks the ties: it prefers, among
right programs, those that look right. The label of EVERY state visited for x is then the same y*(x):

    D* = {(x, s_t, y*(x))}                                                      (Eq. 5)

A method is a row of METHODS below. RFT, the baseline, imitates what successful trajectories did, as it was
generated, the failed first tries included.

READS   scored.jsonl     all steps of D with their score R_φ (stage 03)
WRITES  examples.jsonl   one example a step, for example
        {"task_id": "train-17", "prompt": [{"role": "user", …}, {"role": "assistant", …}, {"role": "user",
         "content": "`f([])` gave 3, expected 7"}], "completion": [{"role": "assistant", "content": "…"}]}
RUN     python 04_relabel.py --scored base/scored.jsonl --out mucode-1/examples.jsonl --method mucode
COSTS   seconds; standard library only.

Differs from the paper: Eq. 4 imitates a wrong program where no right one was ever sampled. That is the default here
too; --drop-uncovered leaves such problems out. A state visited by several trajectories counts once for each visit.
"""
import argparse, json, os, sys

# What a method imitates. Flags on the command line override the two β.
METHODS = {
    "mucode": dict(beta_oracle=1.0, beta_learned=0.1, relabel=True),      # Eq. 4 at every state
    "rft":    dict(beta_oracle=1.0, beta_learned=0.0, relabel=False),     # successful trajectories, as generated
}


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_jsonl(path, fields, key=()):
    """All rows of a JSON Lines file. `fields` = {name: type} must be in every row, and no two rows may share their `key` fields."""
    rows, seen = [], set()
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for n, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    stop(f"{path}, row {n}: not a JSON object; one object a line is expected")
                for name, kind in fields.items():
                    if name not in row:
                        stop(f"{path}, row {n}: field '{name}' is missing")
                    if not isinstance(row[name], kind) or (isinstance(row[name], bool) and kind is not bool):
                        stop(f"{path}, row {n}: field '{name}' is {json.dumps(row[name])[:40]}, a {getattr(kind, '__name__', 'number')} is expected")
                mine = tuple(row.get(name) for name in key)
                if key and mine in seen:
                    stop(f"{path}, row {n}: fields {', '.join(key)} = {mine} stand in an earlier row too; keep one of them")
                seen.add(mine)
                rows.append(row)
    except OSError as e:
        stop(f"{path}: {e.strerror}")
    except ValueError as e:
        stop(f"{path}, row {len(rows) + 1}: not JSON in UTF-8 ({e})")
    return rows or stop(f"{path}: no rows; the stage that writes this file did not finish or had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    os.replace(path + ".part", path)


# ── The expert ───────────────────────────────────────────────────────────────────────────────────────────────────

def key(step):
    """The order in which ties are broken: turn, then policy, then trajectory; the earliest wins."""
    return step["turn"], step["policy"], step["trajectory"]


def right(step):
    """The oracle reward R(x, y) of Section 3: 1 iff public and hidden tests pass."""
    return step["public_passed"] and step["hidden_passed"]


def judge_programs(steps):
    """{code: R} of one problem's steps. A program that was judged both ways counts once, as right."""
    verdict = {}
    for s in steps: verdict[s["code"]] = verdict.get(s["code"], False) or right(s)
    return verdict


def best_step(steps, beta_oracle, beta_learned):
    """Eq. 4 over the steps of one problem → the earliest step that carries y*(x)."""
    verdict = judge_programs(steps)
    return min(steps, key=lambda s: (-(beta_oracle * verdict[s["code"]] + beta_learned * s["score"]), key(s)))


def by_problem(steps):
    """{task_id: its steps}, in the order of the file."""
    problems = {}
    for s in steps: problems.setdefault(s["task_id"], []).append(s)
    return problems


def example(step, completion):
    """(s_t → y) as a conversational prompt-completion row."""
    return dict(task_id=step["task_id"], prompt=step["messages"], completion=[dict(role="assistant", content=completion)])


def relabel(steps, beta_oracle=1.0, beta_learned=0.1, drop_uncovered=False):
    """Eq. 5: one example for each visited state, all of a problem's with the same y*(x)."""
    problems, examples = by_problem(steps), []
    for s in steps:
        mine = problems[s["task_id"]]
        if drop_uncovered and not any(map(right, mine)): continue
        examples.append((s, mine))
    best = {task: best_step(mine, beta_oracle, beta_learned)["completion"] for task, mine in problems.items()}
    return [example(s, best[s["task_id"]]) for s, _ in examples]


def imitate(steps):
    """RFT: every (s_t, y_t) of the trajectories that ended right, as generated."""
    ended = {(s["policy"], s["task_id"], s["trajectory"]) for s in steps if right(s)}
    return [example(s, s["completion"]) for s in steps if (s["policy"], s["task_id"], s["trajectory"]) in ended]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="The docstring at the top of the file says the rest.")
    ap.add_argument("--scored", required=True, help="all steps so far, with their score")
    ap.add_argument("--out", required=True, help="examples.jsonl to write")
    ap.add_argument("--method", choices=METHODS, default="mucode")
    ap.add_argument("--beta-oracle", type=float, help="β_O of Eq. 4 (default: the method's)")
    ap.add_argument("--beta-learned", type=float, help="β_L of Eq. 4 (default: the method's)")
    ap.add_argument("--drop-uncovered", action="store_true", help="leave out problems for which no right program was sampled")
    args = ap.parse_args()

    steps = read_jsonl(args.scored, dict(policy=str, task_id=str, trajectory=int, turn=int, messages=list, completion=str, code=str,
                                         public_passed=bool, hidden_passed=bool, score=(int, float)),
                       ("policy", "task_id", "trajectory", "turn"))
    method = METHODS[args.method]
    beta_oracle = method["beta_oracle"] if args.beta_oracle is None else args.beta_oracle
    beta_learned = method["beta_learned"] if args.beta_learned is None else args.beta_learned
    examples = relabel(steps, beta_oracle, beta_learned, args.drop_uncovered) if method["relabel"] else imitate(steps)
    if not examples: stop(f"{args.scored}: no example is left for method '{args.method}': no trajectory is right; sample more or start from a better base")
    write_jsonl(args.out, examples)

    problems = by_problem(steps)
    covered = [mine for mine in problems.values() if any(map(right, mine))]
    lost = sum(not judge_programs(mine)[best_step(mine, beta_oracle, beta_learned)["code"]] for mine in covered)
    print(f"04 relabel: {args.method}: {len(examples)} examples from {len(steps)} steps; no right program for {len(problems) - len(covered)} of "
          f"{len(problems)} problems; y* wrong although a right one was sampled for {lost} → {args.out}")
    old, new = next(((s, e) for s, e in zip(steps, examples) if s["turn"] > 1 and s["completion"] != e["completion"][0]["content"]), (steps[0], examples[0]))
    print(f"  for example {old['task_id']}, turn {old['turn']}, after: {old['messages'][-1]['content']}\n    written:\n      "
          + old["completion"].replace("\n", "\n      ") + "\n    label y*:\n      " + new["completion"][0]["content"].replace("\n", "\n      "))


if __name__ == "__main__":
    main()
