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


def hear(said, variant):
    """{task_id: feedback} → what the next turn hears: in the controls, something else."""
    tasks = list(said)
    if variant == "swapped": return {task: said[tasks[(k + 1) % len(tasks)]] for k, task in enumerate(tasks)}
    if variant == "failed": return dict.fromkeys(said, "The program failed.")
    return dict.fromkeys(said, "") if variant == "removed" else said


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
            for task, feedback in hear(said, variant).items():
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


def resample(keys, resamples=1000):
    """Hierarchical bootstrap: keys [(run, group, task_id)] → how often each is drawn, (resamples, K).

    A training seed is one draw, and problems of a group are variants of each other: so runs are resampled, then
    groups within a run, then problems within a group.
    """
    import numpy as np
    rng, tree, drawn = np.random.default_rng(0), {}, np.zeros((resamples, len(keys)))
    for k, (run, group, _) in enumerate(keys): tree.setdefault(run, {}).setdefault(group, []).append(k)
    runs = [[np.array(mine) for mine in groups.values()] for groups in tree.values()]
    for counts in drawn:
        for r in rng.integers(len(runs), size=len(runs)):
            for g in rng.integers(len(runs[r]), size=len(runs[r])):
                mine = runs[r][g]
                counts += np.bincount(mine[rng.integers(len(mine), size=len(mine))], minlength=len(keys))
    return drawn


def interval(drawn, values, weights=None):
    """Σ value / Σ weight with its 95 % interval → (mean, low, high); a problem that does not count weighs 0."""
    import numpy as np
    values, weights = np.array(values, float), np.ones(len(values)) if weights is None else np.array(weights, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn @ values / (drawn @ weights)
        return float(values.sum() / weights.sum()), *map(float, np.nanpercentile(means, [2.5, 97.5]))


# ── Report ───────────────────────────────────────────────────────────────────────────────────────
# Values are {key: number} with key = (run, group, task_id); a problem that is missing does not count. A book holds
#   acts   {(policy, arm): {key: [(public pass, right) of the pick at turn 1, 2, …]}}
#   first  {policy: {key: candidates of turn 1}}, as many as were ever drawn
#   spent  {(policy, arm): [tokens sampled, programs run]};  keys, drawn: what resample takes and gives

EVAL = dict(policy=str, rule=str, n=int, temperature=(int, float), variant=str, task_id=str, turn=int, messages=list,
            candidates=list, picked=int, programs_run=int)
GREEDY, ONE = ("Random", 1, 0.0, "real"), ("Random", 1, 0.7, "real")
# The paper's own numbers, Llama-3.2-1B on MBPP, T = 3: greedy and PT+LV of 5 by method, rules of 5 for μCode.
PAPER = {"base": (35.1, 47.3), "rft": (31.1, 46.7), "rft_lv": ("–", 49.0), "mucode_ov": ("–", 48.2), "mucode_lv": ("–", 48.5),
         "mucode": (37.9, 51.1), "Random": 37.5, "LV": 43.3, "PT": 49.4, "PT+LV": 51.1}


def read_runs(runs):
    """The book of one or several runs, which must hold the same policies."""
    book = dict(acts={}, first={}, spent={}, names=[])
    for run in runs:
        mine = {os.path.basename(os.path.dirname(f)) for f in glob.glob(f"{run}/*/eval.jsonl")}
        if "base" not in mine: stop(f"{run}: no base/eval.jsonl in this folder; run_all.sh makes it")
        if book["names"] and mine != set(book["names"]):
            stop(f"{run}: holds {', '.join(sorted(mine))}, but {runs[0]} {', '.join(book['names'])}")
        book["names"] = sorted(mine, key=lambda name: (["base", *expert.METHODS].index(method_of(name)), name))
        for name in book["names"]:
            first = book["first"].setdefault(name, {})
            for r in sorted(read_jsonl(f"{run}/{name}/eval.jsonl", EVAL), key=lambda r: r["turn"]):
                key, arm, picked = (run, r.get("group", r["task_id"]), r["task_id"]), arm_of(r), r["candidates"][r["picked"]]
                book["acts"].setdefault((name, arm), {}).setdefault(key, []).append((picked["public_passed"], expert.right(picked)))
                spent = book["spent"].setdefault((name, arm), [0, 0])
                spent[0] += sum(c["tokens"] for c in r["candidates"]); spent[1] += r["programs_run"]
                if r["turn"] == 1 and len(r["candidates"]) > len(first.get(key, ())): first[key] = r["candidates"]
    book["keys"] = list(book["acts"]["base", GREEDY])
    return book | dict(drawn=resample(book["keys"]), turns=max(map(len, book["acts"]["base", ONE].values())))


def method_of(name):
    return name.rpartition("-")[0] or name


def after(book, name, arm, turn):
    """{key: 1.0 if this arm is right after this turn, else 0.0}: the last pick at or before it, carried forward."""
    return {key: float(mine[min(turn, len(mine)) - 1][1]) for key, mine in book["acts"].get((name, arm), {}).items()}


def best_of(book, name, rule, n, which=0):
    """{key: is what a rule picks among the first n candidates of turn 1 right?}; LV by the which-th verifier, Random on average."""
    values = {}
    for key, candidates in book["first"][name].items():
        mine = [dict(c, score=c["scores"][which]) if "LV" in rule else c for c in candidates[:n]]
        right = [expert.right(c) for c in mine]
        values[key] = sum(right) / len(right) if rule == "Random" else float(right[pick(rule, mine, 0.0)])
    return values


def pairwise(book, name, which=0):
    """{key: pairwise accuracy of the which-th verifier on the distinct candidates of turn 1}, where some are right and some wrong."""
    values = {}
    for key, candidates in book["first"][name].items():
        programs = {c["code"]: (c["scores"][which], expert.right(c)) for c in candidates if c["scores"]}
        accuracy = verifier.pairwise_accuracy(*zip(*programs.values())) if programs else None
        if accuracy is not None: values[key] = accuracy
    return values


def recovery(book, name, turn):
    """Episodes still open after a turn: {key: right in the next}, and {key: accuracy of fresh turn-1 samples}."""
    going = {key: mine for key, mine in book["acts"][name, ONE].items() if len(mine) > turn}
    fresh = {key: sum(map(expert.right, book["first"][name][key])) / len(book["first"][name][key]) for key in going}
    return {key: float(mine[turn][1]) for key, mine in going.items()}, fresh


def estimate(book, values):
    keys = book["keys"]
    return interval(book["drawn"], [values.get(k, 0) for k in keys], [k in values for k in keys])


def percent(book, values):
    """{key: share} → "mean [low, high]" in %."""
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * v for v in estimate(book, values))) if values else "–"


def difference(book, first, second):
    """Paired by problem → points, interval, and a plain word."""
    both = {k: first[k] - second[k] for k in first if k in second}
    if not both: return "–"
    mean, low, high = estimate(book, both)
    word = "above zero" if low > 0 else "below zero" if high < 0 else "inside the noise"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {word}"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows]) + "\n"


def chart(x, lines):
    """{label: [{key: share} for each x]} as a Mermaid chart. It has no legend: the title names the lines in order."""
    means = {label: [f"{100 * sum(v.values()) / max(1, len(v)):.1f}" for v in values] for label, values in lines.items()}
    return "\n".join(["```mermaid", "xychart-beta", f'  title "{", ".join(lines)}"', f"  x-axis [{', '.join(map(str, x))}]",
                      '  y-axis "right, %"', *(f"  line [{', '.join(line)}]" for line in means.values()), "```\n"])


def methods_section(book, finals, many):
    rows, ours, three = [], finals[-1] if finals else "base", min(3, book["turns"])
    for name in ["base", *finals]:
        cells = [(after(book, name, arm, three), after(book, ours, arm, three)) for arm in (GREEDY, many["PT+LV"])]
        rows.append([name, *(percent(book, mine) for mine, _ in cells),
                     *("" if name == ours else difference(book, best, mine) for mine, best in cells),
                     ", ".join(map(str, PAPER.get(method_of(name), "–")))])
    return "## Methods (the paper's Tables 1 and 2)\n", table(
        ["policy", "N = 1, greedy", "N = 5, PT+LV", f"{ours} − it, N = 1", f"{ours} − it, N = 5", "the paper's, on MBPP with 1 B: N = 1, 5"], rows)


def turns_section(book, finals):
    turns, lines = range(1, book["turns"] + 1), {}
    for name in ["base", *finals]: lines[name] = [after(book, name, ONE, t) for t in turns]
    return "## By turn (Fig. 2), N = 1 at 0.7\n", chart(turns, lines), table(
        ["policy", *(f"turn {t}" for t in turns)], [[name, *(percent(book, v) for v in values)] for name, values in lines.items()])


def rules_section(book, name, many):
    turns, rows, before = range(1, book["turns"] + 1), [], None
    for rule in many:
        right = [after(book, name, many[rule], t) for t in turns]
        rows.append([rule, *(percent(book, v) for v in right), difference(book, right[0], before) if before else "", PAPER.get(rule, "–")])
        before = right[0]
    return f"## Rules for {name}, N = 5 (Table 3)\n", table(
        ["rule", *(f"turn {t}" for t in turns), "− the rule above, turn 1", "the paper's, turn 3"], rows)


def candidates_section(book, name):
    most = max(map(len, book["first"][name].values()))
    ns, lines = [n for n in (1, 2, 3, 5, 8, 11, 16) if n <= most], {}
    for rule in RULES: lines[rule] = [best_of(book, name, rule, n) for n in ns]
    return f"## By N (Figs. 3 and 4), turn 1 of {name}\n", chart(ns, lines), table(
        ["rule", *(f"N = {n}" for n in ns)], [[rule, *(percent(book, v) for v in values)] for rule, values in lines.items()])


def feedback_section(book, names, variants):
    turns = range(2, book["turns"] + 1)
    rows = [[name, what, *(difference(book, after(book, name, ONE, t), after(book, name, (*ONE[:3], variant), t)) for t in turns)]
            for name in names for variant, what in variants.items()]
    return "## Is feedback read? N = 1 at 0.7, real feedback against\n", table(["policy", "control", *(f"turn {t}" for t in turns)], rows)


def recovery_section(book, names):
    rows = []
    for name in names:
        lost = {key: float(mine[-1] == (True, False)) for key, mine in book["acts"][name, ONE].items()}
        for t in range(1, book["turns"]):
            going, fresh = recovery(book, name, t)
            rows.append([name, t, len(going), percent(book, going), percent(book, fresh), difference(book, going, fresh), percent(book, lost) if t == 1 else ""])
    return ("## One-step recoverability: episodes still open after turn t\n", table(
        ["policy", "t", "open", "right at turn t + 1", "a fresh turn 1 for the same problems", "what the history brings", "ended by a public pass with a hidden fail"], rows))


def verifier_section(book, names):
    rows = []
    for name in names:
        own, verifiers = pairwise(book, name), book["verifiers"].get(name, [])
        for which, path in enumerate(verifiers):
            mine = pairwise(book, name, which)
            rows.append([name, path, percent(book, mine), difference(book, own, mine) if which else ""])
    return "## The verifier on turn-1 candidates: pairwise accuracy (chance is 50)\n", table(
        ["programs of", "verifier", "pairwise", "its own − it"], rows)


def training_section(runs, names):
    """What each policy cost and knew. Coverage is that of D, all steps of its method up to and including its own."""
    rows = []
    for run in runs:
        for name in names:
            method, _, last = name.rpartition("-")
            chain = ["base"] + [f"{method}-{i}" for i in range(1, int(last) + 1)] if method else ["base"]
            steps = [s for x in chain for f in sorted(glob.glob(f"{run}/{x}/turn*.steps.jsonl")) for s in read_jsonl(f, STEP)]
            own, problems = [s for s in steps if s["policy"] == name], expert.by_problem(steps).values()
            notes = {x: (read_jsonl(f"{run}/{name}/{f}", {}) if os.path.exists(f"{run}/{name}/{f}") else [{}]) for x, f in
                     dict(fit="policy/metrics.jsonl", labels="examples.metrics.jsonl", held="verifier/metrics.jsonl").items()}
            kept = next((r for r in notes["held"] if r.get("kept")), {})
            rows.append([name, notes["fit"][0].get("examples", "–"), notes["fit"][0].get("steps", "–"), sum(s["tokens"] for s in own),
                         len({(s["task_id"], s["code"]) for s in own}), notes["labels"][0].get("wrong", "–"),
                         f"{sum(not any(map(expert.right, mine)) for mine in problems)} of {len(problems)}",
                         f"{kept['pairwise']:.3f}, {kept['top1']:.3f}, {kept['problems']}" if kept.get("pairwise") is not None else "–"])
    return "## Training\n", table(["policy", "examples", "optimiser steps", "tokens sampled", "distinct programs run", "labels that are wrong programs",
                                   "no right program known after it", "its verifier, held out: pairwise, top 1, problems"], rows)


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
