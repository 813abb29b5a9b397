"""Stage 06 · evaluate: search over turns at test time, and report what the run has shown.

What it does in μCode (Algorithm 2, multi-turn best-of-N). At each turn N programs are sampled from π(· | s_t), a rule
picks ONE, the public tests judge it; if they pass, or t = T, that is the answer, else the picked program and its
feedback alone go into s_{t+1}. The rules:

    Random    any of the N                              PT       the first that passes the public tests, else Random
    LV        argmax of the verifier R_φ                PT+LV    argmax of R_φ among those that pass, else among all
    oracle    a right one if there is one: the bound that no rule can pass (it reads hidden results, the others never do)

N = 1 is greedy (temperature 0). Two controls ask whether feedback is read, with N = 1 at the sampling temperature:

    fresh     every turn starts from s_1 again: what blind retries would reach
    swapped   the same states, but each feedback is that of another problem

Equal states are sampled once for all rules, with noise that belongs to (problem, candidate, turn): rules are compared
on the same candidates, and N = 5 begins with the candidates of N = 1.

search  READS problems.jsonl, a policy, its verifier    WRITES eval.jsonl, a row a problem, rule and turn, for example
        {"policy": "mucode-2", "rule": "PT+LV", "n": 5, "temperature": 0.7, "variant": "real", "seed": 0, "task_id": "test-3",
         "turn": 1, "messages": […], "candidates": [{"code": …, "public_passed": true, "score": 2.1, …}, …], "picked": 4, "programs_run": 5}
report  READS a run's folder (or several, one a seed)    WRITES report.md
RUN     python 06_eval.py search --problems problems/test.jsonl --policy mucode-2/policy --verifier mucode-2/verifier --out mucode-2/eval.jsonl
        python 06_eval.py report --run runs/toy --out runs/toy/report.md
COSTS   the embedded world, 600 problems: 30 s a policy on two CPU cores.

Differs from the paper: every number has a 95 % interval, and every comparison is paired on the same problems.
"""
import argparse, glob, importlib, json, os, sys

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
expert = importlib.import_module("04_relabel")

RULES = ("Random", "LV", "PT", "PT+LV", "oracle")


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


# ── Search ───────────────────────────────────────────────────────────────────────────────────────────────────────

def pick(rule, candidates, uniform):
    """Index of the candidate that a rule picks. `uniform` in [0, 1) is the coin of Random. Ties go to the lowest index."""
    every = range(len(candidates))
    passing = [i for i in every if candidates[i]["public_passed"]]
    if rule == "Random" or (rule == "PT" and not passing): return int(uniform * len(candidates))
    if rule == "PT": return passing[0]
    if rule in ("LV", "PT+LV"):
        among = passing if rule == "PT+LV" and passing else every
        return max(among, key=lambda i: (candidates[i]["score"], -i))
    right = [i for i in passing if candidates[i]["hidden_passed"]]
    failing = [i for i in every if i not in passing]             # the oracle would rather go on than stop with a wrong program
    return (right or failing or [0])[0]


def search(problems, arms, turns, sample, judge, score, seed):
    """Algorithm 2 for several arms at once. An arm is (rule, n, temperature, variant).

    sample({(task_id, temperature, chat as JSON, candidate): turn}) → {key: (messages, completion, tokens)}
    judge([(task_id, code)]) → {pair: (public, hidden, feedback)}        score([(task_id, code)]) → {pair: R_φ or None}
    Yields the rows of eval.jsonl.
    """
    first = {p["task_id"]: [dict(role="user", content=p["prompt"])] for p in problems}
    states = {arm: dict(first) for arm in arms}                                      # arm → {task_id: s_t} of what is still open
    for turn in range(1, turns + 1):
        wanted = {(task, arm[2], json.dumps(s), j): turn for arm in arms for task, s in states[arm].items() for j in range(arm[1])}
        if not wanted: return
        drawn = sample(wanted)
        programs = {key: (key[0], execute.extract_code(completion)) for key, (_, completion, _) in drawn.items()}
        verdicts, scores = judge(list(programs.values())), score(list(programs.values()))
        for arm in arms:
            rule, n, temperature, variant = arm
            picks = {}
            for task, s in states[arm].items():
                candidates = []
                for j in range(n):
                    key = (task, temperature, json.dumps(s), j)
                    messages, completion, tokens = drawn[key]
                    public, hidden, feedback = verdicts[programs[key]]
                    candidates.append(dict(completion=completion, code=programs[key][1], public_passed=public, hidden_passed=hidden,
                                           feedback=feedback, score=scores[programs[key]], tokens=tokens))
                coin = float(rollout.noise(seed, task, "pick", turn, 1)[0])
                picks[task] = messages, candidates, pick(rule, candidates, coin)
                yield dict(rule=rule, n=n, temperature=temperature, variant=variant, seed=seed, task_id=task, turn=turn, messages=messages,
                            candidates=candidates, picked=picks[task][2], programs_run=1 if rule in ("Random", "LV") else n)
            still = [task for task, (_, candidates, i) in picks.items() if not candidates[i]["public_passed"]]
            said = {task: picks[task][1][picks[task][2]]["feedback"] for task in still}
            if variant == "swapped":                             # each problem hears the next one's feedback
                said = {task: said[still[(k + 1) % len(still)]] for k, task in enumerate(still)}
            states[arm] = {task: first[task] if variant == "fresh" else
                           rollout.next_messages(dict(picks[task][1][picks[task][2]], messages=picks[task][0], feedback=said[task])) for task in still}


def main_search(args):
    problems = execute.read_problems(args.problems)
    arms = [("Random", 1, 0.0, "real"), *(("Random", 1, args.temperature, variant) for variant in ("real", "fresh", "swapped")),
            *((rule, args.n, args.temperature, "real") for rule in RULES if args.verifier or "LV" not in rule)]
    policy, tokenizer = rollout.load_policy(args.policy)
    room = rollout.context_length(policy) - args.max_new_tokens
    for p in problems.values():
        if rollout.fit(tokenizer, [dict(role="user", content=p["prompt"])], room)[1] is None:
            stop(f"{args.problems}: task_id '{p['task_id']}', field 'prompt' has more tokens than the {room} that the context of {args.policy} leaves")
    judge_model = verifier.load_verifier(args.verifier) if args.verifier else None

    def sample(wanted):
        drawn = {}
        for temperature in sorted({key[1] for key in wanted}):
            keys = [key for key in wanted if key[1] == temperature]
            fitted = {text: rollout.fit(tokenizer, json.loads(text), room) for text in {key[2] for key in keys}}
            for i, completion, tokens in rollout.sample(policy, tokenizer, [fitted[key[2]][1] for key in keys], [(key[0], key[3], wanted[key]) for key in keys],
                                                        temperature, args.max_new_tokens, args.batch_size, args.seed):
                drawn[keys[i]] = fitted[keys[i][2]][0], completion, tokens
        return drawn

    seen = {}
    def judge(pairs):
        seen.update(execute.execute(problems, [pair for pair in pairs if pair not in seen], args.timeout, args.workers))
        return seen

    scored = {}
    def score(pairs):
        if judge_model is None: return dict.fromkeys(pairs)
        new = list(dict.fromkeys(pair for pair in pairs if pair not in scored))
        sequences = [verifier.encode_program(judge_model[1], problems[task]["prompt"], code) for task, code in new]
        scored.update(zip(new, verifier.score_sequences(judge_model[0], sequences, judge_model[1].pad_token_id, args.batch_size)))
        return scored

    rows = [dict(row, policy=args.name, group=problems[row["task_id"]].get("group", row["task_id"])) for row in search(list(problems.values()), arms, args.turns, sample, judge, score, args.seed)]
    write_jsonl(args.out, rows)
    final = correct_by_turn(rows, args.turns)
    print(f"06 search: {args.name} on {len(problems)} problems, {len(seen)} distinct programs: right after turn {args.turns}: " + ", ".join(
          f"{label(arm)} {sum(c[-1] for c in final[arm].values()) / len(problems):.1%}" for arm in arms if arm[3] == "real") + f" → {args.out}")
    row = max((r for r in rows if r["rule"] == "PT"), key=lambda r: r["turn"])
    print(f"  for example {row['task_id']}, turn {row['turn']}, after: {row['messages'][-1]['content'][:200]}\n    " + row["candidates"][row["picked"]]["code"].replace("\n", "\n    "))


# ── What the rows say ────────────────────────────────────────────────────────────────────────────────────────────

def correct_by_turn(rows, turns):
    """{arm: {task_id: [right after turn 1, …, T]}}: the last pick at or before each turn, carried forward."""
    result = {}
    for r in sorted(rows, key=lambda r: r["turn"]):
        mine = result.setdefault((r["rule"], r["n"], r["temperature"], r["variant"]), {}).setdefault(r["task_id"], [])
        chosen = r["candidates"][r["picked"]]
        mine[r["turn"] - 1:] = [chosen["public_passed"] and chosen["hidden_passed"]] * (turns - r["turn"] + 1)
    return result


def label(arm):
    rule, n, temperature, variant = arm
    return "greedy" if temperature == 0 else f"{rule}, N = {n}" + ("" if variant == "real" else f", {variant}")


def interval(values, resamples=1000):
    """Mean and 95 % interval of one number a problem: [(run, group, value)] → (mean, low, high).

    Problems of a group are variants of each other, and a training seed is one draw: so runs are resampled, then
    groups within a run, then problems within a group (hierarchical bootstrap, percentiles).
    """
    import numpy as np
    rng, runs = np.random.default_rng(0), {}
    for run, group, value in values: runs.setdefault(run, {}).setdefault(group, []).append(float(value))
    if not runs: return float("nan"), float("nan"), float("nan")
    sums, counts = [], []
    for groups in runs.values():
        size = np.array([len(v) for v in groups.values()])                           # (G,)
        table = np.zeros((len(size), size.max()))                                    # (G, M), problems of a group in a row
        for g, v in enumerate(groups.values()): table[g, :len(v)] = v
        g = rng.integers(len(size), size=(len(runs) * resamples, len(size)))         # (B, G)
        m = (rng.random((*g.shape, size.max())) * size[g][..., None]).astype(int)    # (B, G, M)
        inside = np.arange(size.max()) < size[g][..., None]
        sums.append((table[g[..., None], m] * inside).sum((1, 2)))                   # (B,)
        counts.append(size[g].sum(1))
    # Replicate b draws as many runs as there are; slot k of it takes its own copy of the drawn run's resamples.
    drawn = rng.integers(len(runs), size=(resamples, len(runs)))
    copy = np.arange(resamples)[:, None] * len(runs) + np.arange(len(runs))
    means = np.array(sums)[drawn, copy].sum(1) / np.array(counts)[drawn, copy].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean([v for _, _, v in values])), float(low), float(high)


def percent(values):
    mean, low, high = interval(values)
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def difference(first, second):
    """Paired: {(run, group, task): value} of two arms → points, interval, and a plain word."""
    mean, low, high = interval([(run, group, first[run, group, task] - second[run, group, task]) for run, group, task in first])
    word = "above zero" if low > 0 else "below zero" if high < 0 else "inside the noise"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], {word}"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows]) + "\n"


# ── Report ───────────────────────────────────────────────────────────────────────────────────────────────────────

EVAL = dict(policy=str, rule=str, n=int, temperature=(int, float), variant=str, task_id=str, turn=int, messages=list, candidates=list, picked=int, programs_run=int)


def read_policy(run, name):
    """What the report needs of one policy's folder: outcomes at test time, the verifier on test programs, the cost of training."""
    rows = read_jsonl(f"{run}/{name}/eval.jsonl", EVAL)
    group, turns = {r["task_id"]: r.get("group", r["task_id"]) for r in rows}, max(r["turn"] for r in rows)
    right = {arm: {(run, group[task], task): c for task, c in mine.items()} for arm, mine in correct_by_turn(rows, turns).items()}
    pairs, used = [], {}
    for r in rows:
        arm = (r["rule"], r["n"], r["temperature"], r["variant"])
        used.setdefault(arm, []).append((sum(c["tokens"] for c in r["candidates"]), r["programs_run"]))
        if r["rule"] == "Random" and r["n"] > 1 and r["turn"] == 1 and r["candidates"][0]["score"] is not None:
            labels = {c["code"]: (c["score"], c["public_passed"] and c["hidden_passed"]) for c in r["candidates"]}
            accuracy = verifier.pairwise_accuracy(*zip(*labels.values()))
            if accuracy is not None: pairs.append((run, group[r["task_id"]], accuracy))
    found = dict(right=right, pairs=pairs, used=used, turns=turns)
    for what, path in (("policy", "policy/metrics.jsonl"), ("verifier", "verifier/metrics.jsonl"), ("steps", "scored.jsonl")):
        found[what] = read_jsonl(f"{run}/{name}/{path}", {}) if os.path.exists(f"{run}/{name}/{path}") else []
    return found


def training_row(name, found):
    """One policy's line of the training table; D is everything sampled so far, the first three columns are this policy's own."""
    own = [s for s in found["steps"] if s["policy"] == name]
    problems = expert.by_problem(found["steps"])
    covered = [mine for mine in problems.values() if any(map(expert.right, mine))]
    lost = sum(not expert.judge_programs(mine)[expert.best_step(mine, 1.0, 0.1)["code"]] for mine in covered)
    fit = found["policy"][0] if found["policy"] else {}
    kept = next((r for r in found["verifier"] if r["kept"]), {})
    held = f"{kept['pairwise']:.3f} / {kept['top1']:.3f}" if kept.get("pairwise") is not None else "-"
    return [name, fit.get("examples", "-"), fit.get("steps", "-"), sum(s["tokens"] for s in own), len({(s["task_id"], s["code"]) for s in own}),
            f"{len(problems) - len(covered)} of {len(problems)}", lost, held]


def tell(run, names, found):
    """One problem turn by turn: greedy, the first one that the base never solves and the last policy repairs."""
    greedy = ("Random", 1, 0.0, "real")
    base, last = (found[name]["right"][greedy] for name in (names[0], names[-1]))
    mine = [key for key in last if key[0] == run]
    key = next((k for k in mine if last[k][-1] and not last[k][0] and not base[k][-1]), mine[0])
    lines = []
    for name in (names[0], names[-1]):
        rows = [r for r in read_jsonl(f"{run}/{name}/eval.jsonl", EVAL) if r["task_id"] == key[2] and (r["rule"], r["n"], r["temperature"], r["variant"]) == greedy]
        if not lines: lines.append(f"Problem {key[2]}: **{rows[0]['messages'][0]['content']}**\n")
        for r in rows:
            c = r["candidates"][r["picked"]]
            verdict = c["feedback"] or ("right" if c["hidden_passed"] else "passes the public tests, fails a hidden one")
            score = "" if c["score"] is None else f" (R_φ = {c['score']:.2f})"
            lines.append(f"{name}, turn {r['turn']}{score}:\n\n```python\n{c['code']}\n```\n\n→ {verdict}\n")
    return "\n".join(lines)


def report(runs):
    """The whole of report.md, from rows on disk."""
    found, names = {}, None
    for run in runs:
        mine = {os.path.basename(os.path.dirname(f)) for f in glob.glob(f"{run}/*/eval.jsonl")}
        if "base" not in mine: stop(f"{run}: no base/eval.jsonl in this folder; evaluate a run (run_all.sh, or 06_eval.py search) first")
        if names is not None and mine != set(names): stop(f"{run}: other policies ({', '.join(sorted(mine))}) than {runs[0]}")
        names = sorted(mine, key=lambda name: (name != "base", not name.startswith("mucode-"), name))
        for name in names: found.setdefault(name, []).append(read_policy(run, name))
    merged = {name: {arm: {k: v for f in parts for k, v in f["right"][arm].items()} for arm in parts[0]["right"]} for name, parts in found.items()}
    turns, arms = found["base"][0]["turns"], list(merged["base"])
    at = lambda name, arm, t: {key: float(c[t - 1]) for key, c in merged[name][arm].items()}
    values = lambda name, arm, t: [(run, group, v) for (run, group, _), v in at(name, arm, t).items()]
    last = {}                                                            # method → its last iteration
    for name in names[1:]: last[name.rpartition("-")[0]] = name
    finals = [*last.values()]
    greedy = arms[0]
    single = {variant: arm for arm in arms for variant in [arm[3]] if arm[1] == 1 and arm[2] > 0}
    rule = {arm[0]: arm for arm in arms if arm[1] > 1}
    columns = [f"turn {t}" for t in range(1, turns + 1)]

    out = [f"# μCode: {', '.join(os.path.basename(os.path.normpath(run)) for run in runs)}\n",
           f"{len(merged['base'][greedy])} test problems in {len({k[:2] for k in merged['base'][greedy]})} groups, {len(runs)} run(s). Accuracy in %, right = public and hidden tests pass, "
           "carried forward; brackets: 95 % interval, resampling " + ("runs, " if len(runs) > 1 else "") + "groups, then problems. Differences are paired on the same problems.\n",
           "## Accuracy by turn\n",
           table(["policy", "rule", *columns, "tokens", "programs run"], [
               [name, label(arm), *(percent(values(name, arm, t)) for t in range(1, turns + 1)),
                *(sum(x[i] for f in found[name] for x in f["used"][arm]) for i in (0, 1))] for name in names for arm in arms if arm[3] == "real"])]
    if finals:
        pairs = [(finals[0], "base")] + [(name, "base") for name in finals[1:]] + [(finals[0], name) for name in finals[1:]]
        out += ["## What training brings (points)\n", table(["difference", "rule", *columns], [
            [f"{a} − {b}", label(arm), *(difference(at(a, arm, t), at(b, arm, t)) for t in range(1, turns + 1))]
            for a, b in pairs for arm in [greedy, single["real"], *[rule[r] for r in ("PT+LV",) if r in rule]]])]
    out += ["## Is feedback read? (N = 1, points above the control)\n", table(["policy", "control", *columns[1:]], [
        [name, what, *(difference(at(name, single["real"], t), at(name, single[variant], t)) for t in range(2, turns + 1))]
        for name in ["base", *finals] for variant, what in (("fresh", "fresh turn-1 samples"), ("swapped", "another problem's feedback"))])]
    if "LV" in rule:
        out += ["## Does the verifier pick well? (points)\n", table(["policy", "difference", *columns], [
            [name, f"{a} − {b}", *(difference(at(name, rule[a], t), at(name, rule[b], t)) for t in range(1, turns + 1))]
            for name in ["base", *finals] for a, b in (("LV", "Random"), ("PT+LV", "PT"))]),
            "Pairwise accuracy of R_φ on the turn-1 candidates of test problems (chance 50):\n",
            table(["policy", "pairwise accuracy", "problems"], [[name, percent([p for f in found[name] for p in f["pairs"]]), sum(len(f["pairs"]) for f in found[name])] for name in names])]
    for i, run in enumerate(runs):
        out += [f"## Training: {os.path.basename(os.path.normpath(run))}\n", table(
            ["policy", "examples", "optimiser steps", "tokens sampled", "programs run", "problems without a right program", "y* wrong though a right one is known", "verifier held out: pairwise / top 1"],
            [training_row(name, found[name][i]) for name in names])]
    out += ["## One problem, turn by turn (greedy)\n", tell(runs[0], ["base", (finals or ["base"])[0]], {n: dict(right=merged[n]) for n in names})]
    return "\n".join(out)


def main_report(args):
    text = report(args.run)
    with open(args.out + ".part", "w", encoding="utf-8") as file: file.write(text)
    os.replace(args.out + ".part", args.out)
    print(text)
    print(f"06 report → {args.out}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="The docstring at the top of the file says the rest.")
    sub = ap.add_subparsers(required=True)
    p = sub.add_parser("search")
    p.set_defaults(main=main_search)
    p.add_argument("--problems", required=True, help="problems.jsonl")
    p.add_argument("--policy", required=True, help="checkpoint folder or hub name of π")
    p.add_argument("--verifier", help="checkpoint folder of R_φ (absent: no LV, no PT+LV)")
    p.add_argument("--out", required=True, help="eval.jsonl to write")
    p.add_argument("--name", default="base", help="what the rows call this policy")
    p.add_argument("--turns", type=int, default=3, help="T")
    p.add_argument("--n", type=int, default=5, help="candidates a turn, N")
    p.add_argument("--temperature", type=float, default=0.7, help="of everything but the greedy row")
    p.add_argument("--max-new-tokens", type=int, default=1000, help="tokens a program may have")
    p.add_argument("--batch-size", type=int, default=256, help="rows sampled or scored together")
    p.add_argument("--timeout", type=float, default=5.0, help="seconds for a program's public tests, and again for the hidden ones")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time")
    p.add_argument("--seed", type=int, default=0)
    p = sub.add_parser("report")
    p.set_defaults(main=main_report)
    p.add_argument("--run", required=True, nargs="+", help="folder of a run; several are pooled, one a seed")
    p.add_argument("--out", required=True, help="report.md to write")
    args = ap.parse_args()
    args.main(args)


if __name__ == "__main__":
    main()
