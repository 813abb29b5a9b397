"""Stage 06 · evaluate: search over turns at test time, and report what the run has shown.

What it does in μCode (Algorithm 2, multi-turn best-of-N). At each turn N programs are sampled from
π(· | s_t), a rule picks ONE, the public tests judge it; if they pass, or t = T, that is the answer, else
the picked program and its feedback, and nothing else, go into s_{t+1}. The rules:

    Random   any of the N                        PT      the first that passes the public tests, else Random
    LV       argmax of the verifier R_φ          PT+LV   argmax of R_φ among those that pass, else among all
    oracle   a right one if there is one: the bound of all rules (it reads hidden results, no other does)

One more row is greedy: N = 1 at temperature 0. Two controls, N = 1 at 0.7, ask whether feedback is read:

    fresh    every turn starts from s_1 again: what blind retries would reach
    swapped  every feedback is that of another open problem: what its words are worth

Equal states are sampled once for all rules, with noise that belongs to (problem, candidate, turn): rules
are compared on the same candidates, and N = 5 begins with the candidates of N = 1.

search  READS problems.jsonl, π, R_φ
        WRITES eval.jsonl, a row a problem, rule and turn, for example {"rule": "PT+LV", "n": 5, "temperature": 0.7,
        "variant": "real", "seed": 0, "task_id": "test-3", "turn": 1, "messages": […], "candidates": [{"code": …,
        "public_passed": true, "score": 3.65, …}, …], "picked": 0, "programs_run": 5, "policy": "mucode-2", …}
report  READS the folder of a run (or of several, one a seed)
        WRITES report.md
RUN     python 06_eval.py search --problems test.jsonl --policy mucode-2/policy \\
            --verifier mucode-2/verifier --out mucode-2/eval.jsonl
        python 06_eval.py report --run runs/toy --out runs/toy/report.md
COSTS   the embedded world, 600 problems: 20 to 45 s a policy on two CPU cores

Differs from the paper: every number has a 95 % interval; comparisons are paired on the same problems.
"""
import argparse, glob, importlib, json, os, sys

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
expert = importlib.import_module("04_relabel")

RULES = ("Random", "LV", "PT", "PT+LV", "oracle")


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────
# The same lines in every stage, so that each file can be read alone (skip them after the first).

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
    except ValueError as e: stop(f"{path}, row {len(rows) + 1}: not JSON in UTF-8 ({e})")
    return rows or stop(f"{path}: no rows; the stage that writes this file had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as file:
        for row in rows: file.write(json.dumps(row) + "\n")
    os.replace(path + ".part", path)


# ── Search ───────────────────────────────────────────────────────────────────────────────────────

def pick(rule, candidates, coin):
    """Index of the candidate that a rule picks; `coin` in [0, 1) is Random's. Ties go to the lowest index."""
    every = range(len(candidates))
    passing = [i for i in every if candidates[i]["public_passed"]]
    if rule == "Random" or rule == "PT" and not passing: return int(coin * len(candidates))
    if rule == "PT": return passing[0]
    if rule in ("LV", "PT+LV"):
        among = passing if rule == "PT+LV" and passing else every
        return max(among, key=lambda i: (candidates[i]["score"], -i))
    # The oracle: a right program; else one that fails openly, because it would rather go on than stop wrong.
    right = [i for i in passing if candidates[i]["hidden_passed"]]
    failing = [i for i in every if i not in passing]
    return (right or failing or [0])[0]


def swap(said):
    """{task_id: feedback} → the same with each problem hearing the next one's."""
    tasks = list(said)
    return {task: said[tasks[(k + 1) % len(tasks)]] for k, task in enumerate(tasks)}


def search(problems, arms, turns, sample, judge, score, seed):
    """Algorithm 2, for several arms (rule, n, temperature, variant) at once. Yields the rows of eval.jsonl.

    sample({(task_id, temperature, chat as JSON, candidate): turn}) → {key: (messages, completion, tokens)}
    judge([(task_id, code)]) → {pair: (public, hidden, feedback)}; score(the same) → {pair: R_φ, or None}
    """
    first = {p["task_id"]: [dict(role="user", content=p["prompt"])] for p in problems}          # s_1
    states = {arm: dict(first) for arm in arms}                                 # s_t of what is still open
    for turn in range(1, turns + 1):
        # 1. N candidates from every open state; a state that several arms share is sampled once.
        wanted = {(task, arm[2], json.dumps(s), j): turn
                  for arm in arms for task, s in states[arm].items() for j in range(arm[1])}
        if not wanted: return
        drawn = sample(wanted)
        # 2. Run and score each distinct program once.
        programs = {key: (key[0], execute.extract_code(completion)) for key, (_, completion, _) in drawn.items()}
        verdicts, scores = judge(list(programs.values())), score(list(programs.values()))
        for arm in arms:
            rule, n, temperature, variant = arm
            chosen, following = {}, {}
            for task, s in states[arm].items():
                candidates = []
                for key in [(task, temperature, json.dumps(s), j) for j in range(n)]:
                    messages, completion, tokens = drawn[key]
                    public, hidden, feedback = verdicts[programs[key]]
                    candidates.append(dict(completion=completion, code=programs[key][1], public_passed=public,
                                           hidden_passed=hidden, feedback=feedback,
                                           score=scores[programs[key]], tokens=tokens))
                # 3. The rule picks one.
                picked = pick(rule, candidates, float(rollout.noise(seed, task, "pick", turn, 1)[0]))
                chosen[task] = dict(candidates[picked], messages=messages)
                yield dict(rule=rule, n=n, temperature=temperature, variant=variant, seed=seed, task_id=task, turn=turn,
                           messages=messages, candidates=candidates, picked=picked,
                           programs_run=1 if rule in ("Random", "LV") else n)
            # 4. Stop where the public tests pass; else append the pick and its feedback.
            said = {task: c["feedback"] for task, c in chosen.items() if not c["public_passed"]}
            if variant == "swapped": said = swap(said)
            for task, feedback in said.items():
                following[task] = rollout.next_messages(dict(chosen[task], feedback=feedback))
            states[arm] = {task: first[task] for task in said} if variant == "fresh" else following


def main_search(args):
    problems = execute.read_problems(args.problems)
    arms = [("Random", 1, 0.0, "real")] + [("Random", 1, args.temperature, v) for v in ("real", "fresh", "swapped")]
    arms += [(rule, args.n, args.temperature, "real") for rule in RULES if args.verifier or "LV" not in rule]
    policy, tokenizer = rollout.load_policy(args.policy)
    room, scored, seen = rollout.context_length(policy) - args.max_new_tokens, {}, {}
    for p in problems.values():
        if rollout.fit(tokenizer, [dict(role="user", content=p["prompt"])], room)[1] is None:
            stop(f"{args.problems}, task_id '{p['task_id']}': field 'prompt' has more than the {max(0, room)} tokens that "
                 f"{args.policy} has beside {args.max_new_tokens} new ones; lower --max-new-tokens or shorten it")
    if args.verifier: reward, reader = verifier.load_verifier(args.verifier)

    def sample(wanted):
        drawn = {}
        for temperature in sorted({key[1] for key in wanted}):
            keys = [key for key in wanted if key[1] == temperature]
            fitted = {text: rollout.fit(tokenizer, json.loads(text), room) for text in {k[2]: 0 for k in keys}}
            for i, completion, tokens in rollout.sample(
                    policy, tokenizer, [fitted[k[2]][1] for k in keys], [(k[0], k[3], wanted[k]) for k in keys],
                    temperature, args.max_new_tokens, args.batch_size, args.seed):
                drawn[keys[i]] = fitted[keys[i][2]][0], completion, tokens
        return drawn

    def judge(pairs):
        seen.update(execute.execute(problems, [p for p in pairs if p not in seen], args.timeout, args.workers))
        return seen

    def score(pairs):
        if not args.verifier: return dict.fromkeys(pairs)
        new = list(dict.fromkeys(p for p in pairs if p not in scored))
        sequences = [verifier.encode_program(reader, problems[task]["prompt"], code) for task, code in new]
        scored.update(zip(new, verifier.score_sequences(reward, sequences, args.batch_size)))
        return scored

    rows = [dict(row, policy=args.name, group=problems[row["task_id"]].get("group", row["task_id"]))
            for row in search(list(problems.values()), arms, args.turns, sample, judge, score, args.seed)]
    write_jsonl(args.out, rows)
    right = correct_by_turn(rows, args.turns)
    shown = [f"{label(arm)} {sum(c[-1] for c in right[arm].values()) / len(problems):.1%}"
             for arm in arms if arm[3] == "real" and (arm[1] > 1 or arm[2] == 0)]
    print(f"06 search: {args.name} on {len(problems)} problems, {len(seen)} distinct programs; "
          f"right after turn {args.turns}: {', '.join(shown)} → {args.out}")
    row = max((r for r in rows if r["rule"] == "PT"), key=lambda r: r["turn"])
    chat = [m["content"] for m in row["messages"]] + [row["candidates"][row["picked"]]["code"]]
    print(f"  for example {row['task_id']}, PT, turn {row['turn']}:\n    "
          + "\n    → ".join(text.replace("\n", "\n    ") for text in chat))


# ── What the rows say ────────────────────────────────────────────────────────────────────────────

def arm_of(row):
    return row["rule"], row["n"], row["temperature"], row["variant"]


def label(arm):
    rule, n, temperature, variant = arm
    return "greedy" if temperature == 0 else f"{rule}, N = {n}" + ("" if variant == "real" else f", {variant}")


def correct_by_turn(rows, turns):
    """{arm: {task_id: [right after turn 1, …, T]}}: the last pick at or before each turn, carried forward."""
    right = {}
    for r in sorted(rows, key=lambda r: r["turn"]):
        mine = right.setdefault(arm_of(r), {}).setdefault(r["task_id"], [])
        mine[r["turn"] - 1:] = [expert.right(r["candidates"][r["picked"]])] * (turns - r["turn"] + 1)
    return right


def interval(values, resamples=1000):
    """Mean and 95 % interval of one number a problem: [(run, group, value)] → (mean, low, high).

    Hierarchical bootstrap, percentiles. A training seed is one draw, and problems of a group are variants
    of each other: so runs are resampled, then groups within a run, then problems within a group.
    """
    import numpy as np
    rng, runs, sums, counts = np.random.default_rng(0), {}, [], []
    for run, group, value in values: runs.setdefault(run, {}).setdefault(group, []).append(float(value))
    if not runs: return float("nan"), float("nan"), float("nan")
    for groups in runs.values():        # as many resamples of each run as could be drawn: none is used twice
        size = np.array([len(v) for v in groups.values()])                              # (G,)
        table = np.zeros((len(size), size.max()))                                       # (G, M): a group in a row
        for g, v in enumerate(groups.values()): table[g, :len(v)] = v
        g = rng.integers(len(size), size=(len(runs) * resamples, len(size)))            # (B, G) groups
        m = (rng.random((*g.shape, size.max())) * size[g][..., None]).astype(int)       # (B, G, M) problems in them
        inside = np.arange(size.max()) < size[g][..., None]
        sums.append((table[g[..., None], m] * inside).sum((1, 2)))                      # (B,)
        counts.append(size[g].sum(1))
    drawn = rng.integers(len(runs), size=(resamples, len(runs)))                        # which runs a resample holds
    copy = np.arange(resamples)[:, None] * len(runs) + np.arange(len(runs))             # a resample of its own for each
    means = np.array(sums)[drawn, copy].sum(1) / np.array(counts)[drawn, copy].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean([v for _, _, v in values])), float(low), float(high)


def percent(values):
    mean, low, high = interval(values)
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def difference(first, second):
    """Paired: two {(run, group, task_id): value} of the same problems → points, interval, and a plain word."""
    mean, low, high = interval([(*key[:2], first[key] - second[key]) for key in first])
    word = "above zero" if low > 0 else "below zero" if high < 0 else "inside the noise"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {word}"


# ── Report ───────────────────────────────────────────────────────────────────────────────────────

EVAL = dict(policy=str, rule=str, n=int, temperature=(int, float), variant=str, task_id=str, turn=int, messages=list,
            candidates=list, picked=int, programs_run=int)


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows]) + "\n"


def read_policy(run, name):
    """What the report needs of one policy's folder."""
    rows = read_jsonl(f"{run}/{name}/eval.jsonl", EVAL)
    group, turns = {r["task_id"]: r.get("group", r["task_id"]) for r in rows}, max(r["turn"] for r in rows)
    right = {arm: {(run, group[task], task): c for task, c in mine.items()}
             for arm, mine in correct_by_turn(rows, turns).items()}
    pairs, spent = [], {arm: [0, 0] for arm in right}   # R_φ on turn-1 candidates; tokens, programs of each arm
    for r in rows:
        spent[arm_of(r)][0] += sum(c["tokens"] for c in r["candidates"])
        spent[arm_of(r)][1] += r["programs_run"]
        if r["rule"] == "Random" and r["n"] > 1 and r["turn"] == 1 and r["candidates"][0]["score"] is not None:
            programs = {c["code"]: (c["score"], expert.right(c)) for c in r["candidates"]}
            accuracy = verifier.pairwise_accuracy(*zip(*programs.values()))
            if accuracy is not None: pairs.append((run, group[r["task_id"]], accuracy))
    found = dict(right=right, pairs=pairs, spent=spent, turns=turns)
    for what, file in dict(policy="policy/metrics.jsonl", verifier="verifier/metrics.jsonl", steps="scored.jsonl").items():
        found[what] = read_jsonl(f"{run}/{name}/{file}", {}) if os.path.exists(f"{run}/{name}/{file}") else []
    return found


def training_row(name, found):
    """One policy's line of the training table. Coverage is that of D, all steps up to and including its own."""
    own = [s for s in found["steps"] if s["policy"] == name]
    problems = expert.by_problem(found["steps"]).values()
    uncovered = sum(not any(map(expert.right, mine)) for mine in problems)
    fit, kept = (found["policy"] or [{}])[0], next((r for r in found["verifier"] if r["kept"]), {})
    held = f"{kept['pairwise']:.3f}, {kept['top1']:.3f}, {kept['problems']}" if kept.get("pairwise") is not None else "–"
    return [name, fit.get("examples", "–"), fit.get("steps", "–"), sum(s["tokens"] for s in own),
            len({(s["task_id"], s["code"]) for s in own}),
            f"{uncovered} of {len(problems)}", held]


def tell(run, found, first, last):
    """One problem turn by turn, greedy: the first that `last` repairs and `first` never solves."""
    greedy = ("Random", 1, 0.0, "real")
    before, after = found[first][0]["right"][greedy], found[last][0]["right"][greedy]
    repaired = (key for key in after if after[key][-1] and not after[key][0] and not before[key][-1])
    task, lines = next(repaired, next(iter(after)))[2], []
    for name in dict.fromkeys((first, last)):
        for r in read_jsonl(f"{run}/{name}/eval.jsonl", EVAL):
            if r["task_id"] != task or arm_of(r) != greedy: continue
            if not lines: lines.append(f"{task}: **{r['messages'][0]['content']}**\n")
            c = r["candidates"][r["picked"]]
            score = "" if c["score"] is None else f", R_φ = {c['score']:.2f}"
            passed = "right" if c["hidden_passed"] else "passes the public tests, fails a hidden one"
            lines.append(f"{name}, turn {r['turn']}{score}:\n\n```python\n{c['code']}\n```\n\n→ {c['feedback'] or passed}\n")
    return "\n".join(lines)


def read_runs(runs):
    """{policy: [read_policy of each run]}, the base first, then μCode's. Every run must hold the same policies."""
    found = {}
    for run in runs:
        mine = {os.path.basename(os.path.dirname(f)) for f in glob.glob(f"{run}/*/eval.jsonl")}
        if "base" not in mine: stop(f"{run}: no base/eval.jsonl in this folder; run_all.sh makes it")
        if found and mine != set(found): stop(f"{run}: holds {', '.join(sorted(mine))}, but {runs[0]} {', '.join(found)}")
        for name in sorted(mine, key=lambda name: (name != "base", not name.startswith("mucode-"), name)):
            found.setdefault(name, []).append(read_policy(run, name))
    return found


def right_after(found, name, arm, turn):
    """{(run, group, task_id): 1.0 if a policy's arm is right after this turn, else 0.0}, over all runs."""
    return {key: float(correct[turn - 1]) for f in found[name] for key, correct in f["right"][arm].items()}


def differences(found, first, second, turns):
    """Two (policy, arm), paired by problem: one difference a turn."""
    return [difference(right_after(found, *first, t), right_after(found, *second, t)) for t in turns]


def accuracy_table(found, arms, turns):
    rows = []
    for name, arm in ((name, arm) for name in found for arm in arms if arm[3] == "real"):
        right = [right_after(found, name, arm, t) for t in turns]
        rows.append([name, label(arm), *(percent([(*key[:2], v) for key, v in r.items()]) for r in right),
                     *(sum(f["spent"][arm][i] for f in found[name]) for i in (0, 1))])
    return table(["policy", "rule", *(f"turn {t}" for t in turns), "tokens", "programs run"], rows)


def training_gain_table(found, finals, arms, turns):
    pairs = [(name, "base") for name in finals] + [(finals[0], name) for name in finals[1:]]
    return table(["difference", "rule", *(f"turn {t}" for t in turns)], [
        [f"{a} − {b}", label(arm), *differences(found, (a, arm), (b, arm), turns)] for a, b in pairs for arm in arms])


def feedback_table(found, names, one, turns):
    controls = dict(fresh="fresh turn-1 samples", swapped="another problem's feedback")
    return table(["policy", "real feedback against", *(f"turn {t}" for t in turns)], [
        [name, what, *differences(found, (name, one["real"]), (name, one[variant]), turns)]
        for name in names for variant, what in controls.items()])


def verifier_tables(found, names, many, turns):
    picks = table(["policy", "difference", *(f"turn {t}" for t in turns)], [
        [name, f"{a} − {b}", *differences(found, (name, many[a]), (name, many[b]), turns)]
        for name in names for a, b in (("LV", "Random"), ("PT+LV", "PT"))])
    pairs = {name: [pair for f in found[name] for pair in f["pairs"]] for name in found}
    return (picks + "\nPairwise accuracy of R_φ on turn-1 candidates (chance is 50), each policy's with its own verifier:\n\n"
            + table(["policy", "pairwise accuracy", "problems with right and wrong ones"],
                    [[name, percent(mine), len(mine)] for name, mine in pairs.items()]))


def report(runs):
    """The text of report.md, from rows on disk."""
    found = read_runs(runs)
    arms, turns = list(found["base"][0]["right"]), range(1, found["base"][0]["turns"] + 1)
    one = {arm[3]: arm for arm in arms if arm[1] == 1 and arm[2] > 0}           # N = 1 at temperature 0.7, by variant
    many = {arm[0]: arm for arm in arms if arm[1] > 1}                          # N = 5, by rule
    finals = list({name.rpartition("-")[0]: name for name in found if name != "base"}.values())     # each method's last policy
    compared = [arms[0], one["real"], *(many[rule] for rule in ("PT", "PT+LV") if rule in many)]
    keys, title = right_after(found, "base", arms[0], 1), lambda run: os.path.basename(os.path.abspath(run))

    out = [f"# μCode: {', '.join(map(title, runs))}\n",
           f"{len(keys)} problems in {len({key[:2] for key in keys})} groups, {len(runs)} run{'s' * (len(runs) > 1)}. "
           "Accuracy in %: right = public and hidden tests pass, carried forward. In brackets the 95 % interval, from "
           f"resampling {'runs, ' * (len(runs) > 1)}groups, then problems. Differences are in points, paired on the "
           "same problems.\n",
           "## Accuracy by turn\n", accuracy_table(found, arms, turns)]
    if finals: out += ["## What training brings\n", training_gain_table(found, finals, compared, turns)]
    out += ["## Is feedback read? (N = 1)\n", feedback_table(found, ["base", *finals], one, turns[1:])]
    if "LV" in many:
        out += [f"## Does the verifier pick well? (N = {many['LV'][1]})\n", verifier_tables(found, ["base", *finals], many, turns)]
    for i, run in enumerate(runs):
        out += [f"## Training: {title(run)}\n", table(
            ["policy", "examples", "optimiser steps", "tokens sampled", "distinct programs run",
             "no right program known after it", "its verifier, held out: pairwise, top 1, problems"],
            [training_row(name, found[name][i]) for name in found])]
    out += ["## One problem, turn by turn\n", tell(runs[0], found, "base", (finals or ["base"])[0])]
    return "\n".join(out)


def main_report(args):
    text = report(args.run)
    with open(args.out + ".part", "w", encoding="utf-8") as file: file.write(text)
    os.replace(args.out + ".part", args.out)
    print(f"06 report: {', '.join(args.run)} → {args.out}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = ap.add_subparsers(required=True)
    p = sub.add_parser("search")
    p.set_defaults(main=main_search)
    p.add_argument("--problems", required=True, help="problems.jsonl")
    p.add_argument("--policy", required=True, help="checkpoint folder or hub name of π")
    p.add_argument("--verifier", help="checkpoint folder of R_φ (absent: no LV, no PT+LV)")
    p.add_argument("--out", required=True, help="eval.jsonl to write")
    p.add_argument("--name", default="base", help="what the rows call this policy")
    p.add_argument("--turns", type=int, default=3, help="T")
    p.add_argument("--n", type=int, default=5, help="N, candidates a turn")
    p.add_argument("--temperature", type=float, default=0.7, help="of all arms but the greedy one")
    p.add_argument("--max-new-tokens", type=int, default=1000, help="tokens a completion may have")
    p.add_argument("--batch-size", type=int, default=256, help="rows sampled or scored together")
    p.add_argument("--timeout", type=float, default=5.0,
                   help="seconds for a program's public tests, and again for its hidden ones")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time")
    p.add_argument("--seed", type=int, default=0)
    p = sub.add_parser("report")
    p.set_defaults(main=main_report)
    p.add_argument("--run", required=True, nargs="+", help="folder of a run; several are pooled, one a seed")
    p.add_argument("--out", required=True, help="report.md to write")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        if type(value) is int and value < 1 and flag != "seed": stop(f"--{flag.replace('_', '-')} must be at least 1, not {value}")
    args.main(args)


if __name__ == "__main__":
    main()
