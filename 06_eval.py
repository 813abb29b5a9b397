r"""Stage 06 · evaluate: search over turns at test time, and report what the run has shown.

What it does in μCode (Algorithm 2, multi-turn best-of-N). At each turn N programs are sampled from
π(· | s_t), a rule picks ONE, the public tests judge it; if they pass, or t = T, that is the answer, else
the picked program and its feedback, and nothing else, go into s_{t+1}. The rules:

    Random   any of the N                        PT      the first that passes the public tests, else Random
    LV       argmax of the verifier R_φ          PT+LV   argmax of R_φ among those that pass, else among all
    oracle   a right one if there is one: at a turn, the bound of all rules (it reads hidden results, no other does)

One more row is greedy: Random of N = 1 at temperature 0. Controls, N = 1 at 0.7, ask whether feedback is read:

    fresh    every turn starts from s_1 again: what blind retries would reach
    swapped  every feedback is that of another open problem        failed   … is "The program failed."
    removed  … is empty

An Arm is one way to search: a rule, N, a temperature, a variant of the feedback. Equal states are sampled
once for all arms, with noise that belongs to (problem, candidate, turn): rules are compared on the same
candidates, and N = 16 begins with the candidates of N = 5.

search  READS problems.jsonl, π, R_φ (of several verifiers the first picks, the others only score)
        WRITES eval.jsonl, a row a problem, arm and turn, for example {"rule": "PT+LV", "n": 5, "temperature": 0.7,
        "variant": "real", "seed": 0, "task_id": "test-3", "turn": 1, "messages": […], "candidates": [{"code": …,
        "public_passed": true, "score": 3.65, …}, …], "picked": 0, "programs_run": 5, "policy": "mucode-2", …}
report  READS the folder of a run (or of several, one a seed)
        WRITES report.md: the paper's tables and figures, what it does not measure, three problems told turn by turn
RUN     in the folder of a run, such as runs/toy:
        python ../../06_eval.py search --problems problems/test.jsonl --policy mucode-2/policy --name mucode-2 \
            --verifier mucode-2/verifier --max-new-tokens 48 --out try.eval.jsonl
        python ../../06_eval.py report --run . --out report.md
COSTS   the café, 600 problems: 15 to 30 s a policy

Differs from the paper: every number has a 95 % interval; comparisons are paired on the same problems.
"""
import argparse, gc, glob, importlib, json, os, random, sys
from collections import namedtuple
from math import comb

import numpy as np

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
expert = importlib.import_module("04_relabel")

RULES = ("Random", "LV", "PT", "PT+LV", "oracle")
CONTROLS = ("fresh", "swapped", "failed", "removed")
Arm = namedtuple("Arm", "rule n temperature variant")


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
    """Algorithm 2, for several arms at once. Yields the rows of eval.jsonl.

    sample({(task_id, temperature, chat as JSON, candidate): turn}) → {key: (messages, completion, tokens)}
    judge([(task_id, code)]) → {pair: (public, hidden, feedback)}
    score(the same) → {pair: its R_φ by each verifier}; the first one's picks
    """
    start = {p["task_id"]: [dict(role="user", content=p["prompt"])] for p in problems}          # s_1
    states = {arm: dict(start) for arm in arms}                                 # s_t of what is still open
    verdicts, scores = {}, {}
    for turn in range(1, turns + 1):
        # 1. N candidates from every open state. Arms in the same state ask for the same keys: it is sampled once.
        keys = {(arm, task): [(task, arm.temperature, json.dumps(state), j) for j in range(arm.n)]
                for arm in arms for task, state in states[arm].items()}
        if not keys: return
        drawn = sample({key: turn for mine in keys.values() for key in mine})
        # 2. Run and score each distinct program once.
        programs = {key: (key[0], execute.extract_code(completion)) for key, (_, completion, _) in drawn.items()}
        new = [pair for pair in dict.fromkeys(programs.values()) if pair not in verdicts]
        verdicts.update(judge(new))
        scores.update(score(new))
        made = {}
        for key, (_, completion, tokens) in drawn.items():
            (public, hidden, feedback), by_each = verdicts[programs[key]], scores[programs[key]]
            made[key] = dict(completion=completion, code=programs[key][1], public_passed=public, hidden_passed=hidden,
                             feedback=feedback, score=by_each[0] if by_each else None, scores=by_each, tokens=tokens)
        # 3. The rule picks one.
        chosen = {arm: {} for arm in arms}
        for (arm, task), mine in keys.items():
            candidates, messages = [made[key] for key in mine], drawn[mine[0]][0]
            picked = pick(arm.rule, candidates, float(rollout.noise(seed, task, "pick", turn, 1)[0]))
            chosen[arm][task] = dict(candidates[picked], messages=messages)
            yield dict(arm._asdict(), seed=seed, task_id=task, turn=turn, messages=messages, candidates=candidates, picked=picked,
                       programs_run=1 if arm.rule in ("Random", "LV") else arm.n)
        # 4. Stop where the public tests pass; else append the pick and its feedback.
        for arm in arms:
            said = {task: c["feedback"] for task, c in chosen[arm].items() if not c["public_passed"]}
            states[arm] = {task: start[task] if arm.variant == "fresh" else rollout.next_messages(dict(chosen[arm][task], feedback=heard))
                           for task, heard in hear(said, arm.variant).items()}


def main_search(args):
    problems = execute.read_problems(args.problems)
    arms = [Arm("Random", 1, 0.0, "real")] + [Arm("Random", 1, args.temperature, variant) for variant in ("real", *args.controls)]
    arms += [Arm(rule, n, args.temperature, "real") for n in args.n if n > 1 for rule in RULES if args.verifier or "LV" not in rule]
    policy, tokenizer = rollout.load_policy(args.policy)
    room = rollout.context_length(policy) - args.max_new_tokens
    for p in problems.values():
        if rollout.fit(tokenizer, [dict(role="user", content=p["prompt"])], room)[1] is None:
            stop(f"{args.problems}, task_id '{p['task_id']}': field 'prompt' has more than the {max(0, room)} tokens that "
                 f"{args.policy} has beside {args.max_new_tokens} new ones; lower --max-new-tokens or shorten it")
    verifiers = [verifier.load_verifier(path) for path in args.verifier]

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
        return execute.execute(problems, pairs, args.timeout, args.workers, strict=args.require_sandbox)

    def score(pairs):
        scores = {pair: () for pair in pairs}
        for reward, reader in verifiers:
            sequences = [verifier.encode_program(reader, problems[task]["prompt"], code) for task, code in pairs]
            for pair, score in zip(pairs, verifier.score_sequences(reward, sequences, args.batch_size)): scores[pair] += (score,)
        return scores

    rows = [dict(row, policy=args.name, verifiers=args.verifier, group=problems[row["task_id"]].get("group", row["task_id"]))
            for row in search(list(problems.values()), arms, args.turns, sample, judge, score, args.seed)]
    write_jsonl(args.out, rows)
    last = {(arm_of(r), r["task_id"]): expert.right(r["candidates"][r["picked"]]) for r in rows}       # rows come by turn
    shown = [f"{label(arm)} {sum(last[arm, task] for task in problems) / len(problems):.1%}"
             for arm in arms if arm.variant == "real" and (arm.n > 1 or arm.temperature == 0)]
    programs = len({(r["task_id"], c["code"]) for r in rows for c in r["candidates"]})
    print(f"06 search: {args.name} on {len(problems)} problems, {programs} distinct programs; "
          f"right after turn {args.turns}: {', '.join(shown)} → {args.out}")
    row = max(rows, key=lambda r: (r["rule"] == "PT", r["turn"]))
    chat = [m["content"] for m in row["messages"]] + [row["candidates"][row["picked"]]["code"]]
    print(f"  for example {row['task_id']}, {label(arm_of(row))}, turn {row['turn']}:\n    "
          + "\n    → ".join(text.replace("\n", "\n    ") for text in chat))


# ── What the rows say ────────────────────────────────────────────────────────────────────────────

def arm_of(row):
    return Arm(*(row[field] for field in Arm._fields))


def label(arm):
    if arm.temperature == 0: return "greedy"
    return ("N = 1" if arm.n == 1 else f"{arm.rule}, N = {arm.n}") + ("" if arm.variant == "real" else f", {arm.variant}")


def resample(keys, resamples=1000):
    """Hierarchical bootstrap: K keys (run, group, task_id) → how often each is drawn, (resamples, K).

    A training seed is one draw, and problems of a group are variants of each other: so runs are drawn with
    replacement, then groups of each drawn run, then problems of each drawn group.
    """
    tree, drawn, rng = {}, np.zeros((resamples, len(keys)), np.float32), random.Random(0)
    for k, (run, group, _) in enumerate(keys): tree.setdefault(run, {}).setdefault(group, []).append(k)
    runs, again = [list(groups.values()) for groups in tree.values()], lambda items: rng.choices(items, k=len(items))
    for counts in drawn:
        np.add.at(counts, [k for run in again(runs) for group in again(run) for k in again(group)], 1)
    return drawn


def interval(drawn, values, weights=None):
    """Σ value / Σ weight over K problems, with its 95 % interval over the resamples `drawn` → (mean, low, high).

    The weight is 1; a problem whose value is nan does not count.
    """
    weights = np.asarray(~np.isnan(values) if weights is None else weights, float)
    values = np.nan_to_num(np.asarray(values, float))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn @ np.float32(values) / (drawn @ np.float32(weights))     # a resample without any problem that counts is nan
    return float(values.sum() / weights.sum()), *map(float, np.nanpercentile(means, [2.5, 97.5]))


def pass_at(k, right, total):
    """The chance that k of `total` samples, drawn without return, hold one of the `right` ones (Chen et al., 2021)."""
    return 1 - comb(total - right, k) / comb(total, k)


# ── Report ───────────────────────────────────────────────────────────────────────────────────────
# The K keys are (run, group, task_id). A result is an array of K numbers, nan where a problem does not count. A book holds
#   acts   {(policy, arm): for each key [(public pass, right) of the pick at turn 1, 2, …]}
#   right  {(policy, arm): (turns, K), is the last pick so far right?}
#   turn1  {policy: for each key the candidates of turn 1}, as many as any rule saw
#   spent  {(policy, arm): [tokens sampled, programs run]}
#   greedy {policy: {task_id: its greedy rows}} of the first run
#   verifiers {policy: those that scored its candidates}; names, arms, keys, turns: what there is; drawn: of resample

EVAL = dict(policy=str, rule=str, n=int, temperature=(int, float), variant=str, task_id=str, turn=int, messages=list,
            candidates=list, picked=int, programs_run=int)
CANDIDATE = {"completion", "code", "public_passed", "hidden_passed", "feedback", "score", "scores", "tokens"}
# The paper's own numbers (Tables 1 to 3): Llama-3.2-1B on MBPP, turn 3. Another model and other data: hold their order against ours.
PAPER = {"greedy": dict(base=35.1, rft=31.1, mucode=37.9),
         "PT+LV, N = 5": dict(base=47.3, rft=46.7, rft_lv=49.0, mucode_ov=48.2, mucode_lv=48.5, mucode=51.1)}
PAPER_RULES = {"Random": 37.5, "LV": 43.3, "PT": 49.4, "PT+LV": 51.1}

AGAINST = dict(fresh="fresh turn-1 samples", swapped="another problem's feedback", failed="“The program failed.”", removed="empty feedback")
COLOURS = dict(black="#000000", red="#d62728", blue="#1f77b4", green="#2ca02c", orange="#ff7f0e", purple="#9467bd", brown="#8c564b", grey="#9f9f9f")


def method_of(name):
    """"mucode-2" → "mucode"; "base" is its own."""
    return name.rpartition("-")[0] or name


def in_order(names):
    """Policies in the order of METHODS and iterations, the base first."""
    order = {method: k for k, method in enumerate(["base", *expert.METHODS])}
    return sorted(names, key=lambda name: (order.get(method_of(name), len(order)), len(name), name))


def carry(acts, turns):
    """Is the last pick right after turn 1 … T? An episode that stopped keeps its last."""
    return [float(acts[min(t, len(acts) - 1)][1]) if acts else np.nan for t in range(turns)]


def read_runs(runs):
    """The book of one or several runs, which must hold the same policies."""
    book = dict(acts={}, turn1={}, spent={}, greedy={}, verifiers={}, names=[])
    for run in runs:
        mine = {os.path.basename(os.path.dirname(f)) for f in glob.glob(f"{run}/*/eval.jsonl")}
        if "base" not in mine: stop(f"{run}: no base/eval.jsonl in this folder; run_all.sh makes it")
        if book["names"] and mine != set(book["names"]):
            stop(f"{run}: holds {', '.join(sorted(mine))}, but {runs[0]} {', '.join(book['names'])}")
        book["names"] = in_order(mine)
        for name in book["names"]:
            turn1 = book["turn1"].setdefault(name, {})
            rows = read_jsonl(f"{run}/{name}/eval.jsonl", EVAL)
            for n, r in enumerate(rows, 1):
                if not (0 <= r["picked"] < len(r["candidates"]) and all(CANDIDATE <= c.keys() for c in r["candidates"])):
                    stop(f"{run}/{name}/eval.jsonl, row {n}: field 'candidates' or 'picked' is not as search writes it; search again")
            for r in sorted(rows, key=lambda r: r["turn"]):
                key, arm, chosen = (run, r.get("group", r["task_id"]), r["task_id"]), arm_of(r), r["candidates"][r["picked"]]
                book["acts"].setdefault((name, arm), {}).setdefault(key, []).append((chosen["public_passed"], expert.right(chosen)))
                book["verifiers"][name] = r.get("verifiers", [])
                spent = book["spent"].setdefault((name, arm), [0, 0])                  # what the budget columns show
                spent[0] += sum(c["tokens"] for c in r["candidates"])
                spent[1] += r["programs_run"]
                if r["turn"] == 1 and r["temperature"] and len(r["candidates"]) > len(turn1.get(key, ())): turn1[key] = r["candidates"]
                if run == runs[0] and r["temperature"] == 0: book["greedy"].setdefault(name, {}).setdefault(r["task_id"], []).append(r)
    # From rows by key to arrays over the keys: then every figure is a mean, and every interval one matrix product.
    book["arms"] = {name: [arm for who, arm in book["acts"] if who == name] for name in book["names"]}
    book["keys"] = keys = list(dict.fromkeys(key for acts in book["acts"].values() for key in acts))
    book["turns"] = turns = max(len(acts) for mine in book["acts"].values() for acts in mine.values())
    book["acts"] = {who: [acts.get(key, []) for key in keys] for who, acts in book["acts"].items()}
    book["turn1"] = {name: [turn1.get(key, []) for key in keys] for name, turn1 in book["turn1"].items()}
    book["right"] = {who: np.array([carry(acts, turns) for acts in mine]).T for who, mine in book["acts"].items()}
    return book | dict(drawn=resample(keys))


def best_of(book, name, rule, n, which=0):
    """Does a rule pick a right one among the first n candidates of turn 1? LV and PT+LV by verifier `which`.

    Random on average, and the oracle as pass@n: both over all choices of n, not the first alone.
    """
    result = []
    for candidates in book["turn1"][name]:
        right = list(map(expert.right, candidates))
        if rule == "Random": result.append(sum(right) / len(right))
        elif rule == "oracle": result.append(pass_at(n, sum(right), len(right)))
        else:
            liked = [dict(c, score=c["scores"][which]) if "LV" in rule else c for c in candidates[:n]]
            result.append(float(right[pick(rule, liked, 0.0)]))
    return np.array(result)


def pairwise(book, name, which=0):
    """Pairwise accuracy of verifier `which` on the candidates of turn 1, where some are right and some wrong."""
    result = []
    for candidates in book["turn1"][name]:
        # By code: a program that was sampled twice is one program, or a favourite of the policy would count double.
        programs = {c["code"]: (c["scores"][which], expert.right(c)) for c in candidates}
        accuracy = verifier.pairwise_accuracy(*zip(*programs.values()))
        result.append(np.nan if accuracy is None else accuracy)
    return np.array(result)


def recovery(book, name, arm, turn):
    """Of the N = 1 episodes still open after `turn` → right at the next?, accuracy of fresh turn-1 samples for the same problems.

    Fresh ones are the candidates of turn 1 but the first: that one began the episode, so it is known to have failed.
    """
    going, fresh = [], []
    for acts, candidates in zip(book["acts"][name, arm], book["turn1"][name]):
        others = list(map(expert.right, candidates[1:]))
        going.append(float(acts[turn][1]) if len(acts) > turn else np.nan)
        fresh.append(sum(others) / len(others) if others and len(acts) > turn else np.nan)
    return np.array(going), np.array(fresh)


def percent(book, result):
    """An array of shares → "mean [low, high]" in %."""
    return "–" if np.isnan(result).all() else "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * v for v in interval(book["drawn"], result)))


def difference(book, mine, other):
    """Two results, paired by problem → points of mine − other, interval, and a plain word."""
    if np.isnan(mine - other).all(): return "–"
    mean, low, high = interval(book["drawn"], mine - other)
    word = "above zero" if low > 0 else "below zero" if high < 0 else "inside the noise"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] {word}"


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, r)) + " |" for r in [head, ["---"] * len(head), *rows]) + "\n"


def chart(what, xs, lines):
    """{name: a result for each x} as a line chart of Mermaid's, which knows no legend: the words below name the lines."""
    drawn = [f"    line [{', '.join(f'{100 * np.nanmean(result):.1f}' for result in line)}]" for line in lines.values()]
    palette = '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "' + ", ".join(COLOURS.values()) + '"}}}}%%'
    return "\n".join(["```mermaid", palette, "xychart-beta", f'    x-axis "{what}" [{", ".join(map(str, xs))}]', '    y-axis "right, %"', *drawn, "```", "",
                      " · ".join(f"{colour}: {name}" for colour, name in zip(list(COLOURS) * len(lines), lines)) + "\n"])


def contrasts(book, head, rows, since=1):
    """A table of paired differences by turn: rows (words, (policy, arm), (policy, arm))."""
    turns = [t for t in range(since, book["turns"] + 1) if t <= 3 or t == book["turns"]]
    return table([*head, *(f"turn {t}" for t in turns)], [
        [*words, *(difference(book, book["right"][a][t - 1], book["right"][b][t - 1]) for t in turns)] for words, a, b in rows])


def paper_section(book, names, ours):
    """Tables 1 to 3 as the paper prints them, its numbers beside ours; accuracy by turn as a chart (Fig. 2)."""
    at, head, rows = min(3, book["turns"]) - 1, [], [[name] for name in names]
    arms = [arm for arm in book["arms"]["base"] if label(arm) in PAPER]
    for arm in arms:
        head += [label(arm), "the paper's", f"{ours} − this row"]
        for row, name in zip(rows, names):
            result = book["right"][name, arm][at]
            row += [percent(book, result), PAPER[label(arm)].get(method_of(name), "–"),
                    "" if name == ours else difference(book, book["right"][ours, arm][at], result)]
    rules = [[arm.rule, percent(book, book["right"][ours, arm][at]), PAPER_RULES.get(arm.rule, "–")]
             for arm in book["arms"][ours] if arm.n == 5]
    return (table([f"after turn {at + 1}", *head], rows) + "\n"
            + (table([f"{ours}, N = 5, after turn {at + 1}", "ours", "the paper's"], rules) + "\n" if rules else "")
            + f"{label(arms[-1])}, by turn (Fig. 2):\n\n"
            + chart("turn", range(1, book["turns"] + 1), {name: book["right"][name, arms[-1]] for name in names}))


def candidates_section(book, name):
    """Accuracy at turn 1 by the number of candidates, for each rule and verifier (Figs. 3 and 4)."""
    ns = [n for n in (1, 2, 3, 5, 8, 11, 16) if n <= min(map(len, book["turn1"][name]))]
    lines = {rule: [best_of(book, name, rule, n) for n in ns] for rule in ("Random", "PT", "oracle")}
    for which, path in enumerate(book["verifiers"][name]):
        for rule in ("LV", "PT+LV"): lines[f"{rule}, {path}"] = [best_of(book, name, rule, n, which) for n in ns]
    drawn = dict(list(lines.items())[:5])                       # of the verifiers only the first, which picks: the others lie upon it
    return chart("N", ns, drawn) + "\n" + table(["rule", *(f"N = {n}" for n in ns)], [
        [rule, *(percent(book, result) for result in line)] for rule, line in lines.items()])


def feedback_section(book, names, one):
    """Real feedback − each control, by turn; and the share of what the turns bring that is due to its content."""
    arms, rows = [(name, arm) for name in names for arm in book["arms"][name] if arm.variant in AGAINST], []
    for name, arm in arms:
        real, other = book["right"][name, one], book["right"][name, arm]
        gain, share = real[-1] - real[0], "–"
        if interval(book["drawn"], gain)[1] > 0:                                # else there is nothing to take a share of
            share = "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * v for v in interval(book["drawn"], real[-1] - other[-1], gain)))
        rows.append([name, AGAINST[arm.variant], share])
    return (contrasts(book, ["policy", "control"], [((name, AGAINST[arm.variant]), (name, one), (name, arm)) for name, arm in arms], 2)
            + f"\nOf the points gained from turn 1 to turn {book['turns']}, the share (%) that the control does not reach (–: no gain that is above zero):\n\n"
            + table(["policy", "control", "share"], rows))


def recovery_section(book, names, one):
    rows = []
    for name in names:
        # The one act that no later turn can mend: the public tests pass, so the episode stops, and a hidden one fails.
        lost = np.array([float(acts[-1] == (True, False)) for acts in book["acts"][name, one]])
        for t in range(1, book["turns"]):
            going, fresh = recovery(book, name, one, t)
            rows.append([name, t, (~np.isnan(going)).sum(), percent(book, going), percent(book, fresh), difference(book, going, fresh),
                         percent(book, lost) if t == 1 else ""])
    return table(["policy", "t", "open after turn t", "right at turn t + 1", "fresh turn-1 samples, the same problems",
                  "what the history brings", f"of all, by turn {book['turns']}: stopped by a public pass with a hidden fail"], rows)


def verifier_section(book):
    rows = []
    for name in book["names"]:
        each = [pairwise(book, name, which) for which in range(len(book["verifiers"][name]))]
        for path, mine in zip(book["verifiers"][name], each):
            rows.append([name, path, percent(book, mine), (~np.isnan(mine)).sum(), difference(book, each[0], mine) if mine is not each[0] else ""])
    return table(["candidates of", "verifier", "pairwise accuracy", "problems with right and wrong ones", "its own verifier − this one"], rows)


def training_section(run):
    """What each policy was made from, as stages 04, 05 and 03 noted it."""
    names = in_order(os.path.basename(os.path.dirname(f)) for f in glob.glob(f"{run}/*/policy"))
    files = dict(labels="examples.metrics.jsonl", policy="policy/metrics.jsonl", verifier="verifier/metrics.jsonl")
    notes = {name: {} for name in names}
    for name in names:
        for what, file in files.items():
            for row in read_jsonl(f"{run}/{name}/{file}", {}) if os.path.exists(f"{run}/{name}/{file}") else []:
                if "wrong" in row: row["wrong"] = f"{row['wrong']} ({row['wrong'] / row['examples']:.0%})"
                if row.pop("kept", True):
                    notes[name].update({f"{what}: {k}": f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()})
    heads = dict.fromkeys(head for mine in sorted(notes.values(), key=len, reverse=True) for head in mine)     # in the fullest row's order
    return table(["policy", *heads], [[name, *(mine.get(head, "–") for head in heads)] for name, mine in notes.items()])


def tell(book, name, most=3):
    """Problems turn by turn, greedy: those that `name` repairs and the base never solves come first."""
    won = lambda rows: expert.right(rows[-1]["candidates"][0])
    base, mine, lines = book["greedy"]["base"], book["greedy"][name], []
    repaired = [task for task in mine if len(mine[task]) > 1 and won(mine[task]) and not won(base[task])]
    for task in (repaired + [t for t in mine if t not in repaired])[:most]:
        lines.append(f"### {task}\n\n{mine[task][0]['messages'][0]['content']}\n")
        told = [r for who in dict.fromkeys(("base", name)) for r in book["greedy"][who][task]]
        for before, r in zip([None, *told], told):
            c = r["candidates"][0]
            if before and before["policy"] == r["policy"] and before["candidates"][0]["code"] == c["code"]:
                lines.append(f"{r['policy']}, turn {r['turn']}: the same program again\n")
                continue
            score = "" if c["score"] is None else f", R_φ = {c['score']:.2f}"
            passed = "right" if c["hidden_passed"] else "passes the public tests, fails a hidden one"
            lines.append(f"{r['policy']}, turn {r['turn']}{score}:\n\n```python\n{c['code']}\n```\n\n→ {c['feedback'] or passed}\n")
    return "\n".join(lines)


def report(runs):
    """The text of report.md, from rows on disk."""
    book = read_runs(runs)
    title = lambda run: os.path.basename(os.path.abspath(run))
    names = list({method_of(name): name for name in book["names"]}.values())                         # the base, and each method's last policy
    ours = names[:2][-1]                                                                             # the first of these methods
    smoke = any("PRESET=smoke\n" in open(f"{run}/settings").read() for run in runs if os.path.exists(f"{run}/settings"))
    real = {name: [arm for arm in arms if arm.variant == "real"] for name, arms in book["arms"].items()}
    one = next(arm for arm in real["base"] if arm.n == 1 and arm.temperature)
    shown = [arm for arm in real["base"] if arm.n == 1] + [arm for arm in real["base"] if arm.rule == "PT+LV"][:1]
    rivals = [(name, a, a._replace(rule=rule)) for name in names[:2] for a in real[name]
              for better, rule in zip(RULES[1:], RULES) if a.rule == better and a._replace(rule=rule) in real[name]]

    out = [f"# μCode: {', '.join(map(title, runs))}\n",
           f"{len(book['keys'])} problems in {len({key[:2] for key in book['keys']})} groups, {len(runs)} run{'s, each with groups of its own' * (len(runs) > 1)}. "
           "Accuracy in %: right = public and hidden tests pass; an episode that has stopped keeps its last program. In brackets the 95 % "
           f"interval, from resampling {'runs, ' * (len(runs) > 1)}groups, then problems. Differences are in points, paired on the same problems.\n",
           *(["**PRESET=smoke: too small to learn anything; these numbers mean nothing.**\n"] if smoke else []),
           "greedy: one candidate a turn at temperature 0; the rest is sampled at 0.7. Of N candidates, Random takes any, LV the favourite of the "
           "verifier R_φ, PT the first that passes the public tests (if none does, any), PT+LV R_φ's favourite among those that pass (if none does, "
           "among all), the oracle a right one. Tokens are those sampled; programs run, those that the rule needs: one a turn for Random and LV, N for the others.\n",
           "## As in the paper (Tables 1 to 3, Fig. 2; its numbers are of Llama-3.2-1B on MBPP)\n", paper_section(book, names, ours),
           "## Methods, by turn\n", contrasts(book, ["difference", "rule"], [
               ((f"{ours} − {name}", label(arm)), (ours, arm), (name, arm)) for name in names if name != ours for arm in shown])]
    if book["turns"] > 3:
        out += [table(["policy", "rule", f"turn {book['turns']} − turn 3"], [
            [name, label(arm), difference(book, book["right"][name, arm][-1], book["right"][name, arm][2])] for name in names for arm in shown])]
    out += ["## Which rule?\n", contrasts(book, ["policy", "difference"], [
                ((name, f"{a.rule} − {b.rule}, N = {a.n}"), (name, a), (name, b)) for name, a, b in rivals]),
            f"## How many candidates? Turn 1 of {ours} (Figs. 3 and 4)\n",
            "The rule picks among the first N that were sampled. Random and the oracle are averages over all choices of N of them.\n",
            candidates_section(book, ours),
            "## Is feedback read? N = 1: real feedback − the control\n", feedback_section(book, names, one),
            "## One-step recoverability, N = 1\n", recovery_section(book, names, one),
            "## The verifier on the candidates of turn 1 (chance is 50)\n", verifier_section(book)]
    for run in runs:
        if not glob.glob(f"{run}/*/policy"): continue           # humaneval/ holds searches alone
        out += [f"## Training: {title(run)}\n", "labels: what stage 04 made of all steps so far; uncovered: problems without a right program; overruled: those where R_φ "
                "outvoted the oracle; wrong: labels that are wrong programs. verifier: of the epoch that was kept, on held-out problems.\n", training_section(run)]
    out += ["## Problems told turn by turn, greedy\n", "R_φ is each policy's own verifier: compare it within a policy.\n", tell(book, ours),
            "## Everything, by turn\n", table(["policy", "rule", *(f"turn {t + 1}" for t in range(book["turns"])), "tokens", "programs run"], [
                [name, label(arm), *(percent(book, result) for result in book["right"][name, arm]), *book["spent"][name, arm]]
                for name in book["names"] for arm in real[name]])]
    return "\n".join(out)


def main_report(args):
    gc.disable()                                                # to look for garbage among millions of rows takes a third of the time
    text = report(args.run)
    try:
        os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
        with open(args.out + ".part", "w", encoding="utf-8") as file: file.write(text)
        os.replace(args.out + ".part", args.out)
    except OSError as e: stop(f"{args.out}: cannot be written ({e.strerror})")
    print(f"06 report: {', '.join(args.run)} → {args.out}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = ap.add_subparsers(required=True)
    p = sub.add_parser("search", help="multi-turn best-of-N → rows")
    p.set_defaults(main=main_search)
    p.add_argument("--problems", required=True, help="problems.jsonl")
    p.add_argument("--policy", required=True, help="checkpoint folder or hub name of π")
    p.add_argument("--verifier", nargs="+", default=[], help="folder of R_φ, which picks; others only score (absent: no LV, no PT+LV)")
    p.add_argument("--out", required=True, help="eval.jsonl to write")
    p.add_argument("--name", default="base", help="what the rows call this policy [%(default)s]")
    p.add_argument("--turns", type=int, default=3, help="T [%(default)s]")
    p.add_argument("--n", type=int, nargs="+", default=[5], help="N, candidates a turn; one or several [%(default)s]")
    p.add_argument("--temperature", type=float, default=0.7, help="of all arms but the greedy one [%(default)s]")
    p.add_argument("--controls", nargs="*", default=CONTROLS[:2], choices=CONTROLS, help="what N = 1 hears instead of its feedback [%(default)s]")
    p.add_argument("--max-new-tokens", type=int, default=1000, help="tokens a completion may have [%(default)s]")
    p.add_argument("--batch-size", type=int, default=256, help="rows sampled or scored together [%(default)s]")
    p.add_argument("--timeout", type=float, default=5.0, help="CPU seconds, as in stage 02 [%(default)s]")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time [%(default)s]")
    p.add_argument("--require-sandbox", action="store_true", help="stop where seccomp or Landlock is missing")
    p.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    p = sub.add_parser("report", help="rows → report.md")
    p.set_defaults(main=main_report)
    p.add_argument("--run", required=True, nargs="+", help="folder of a run; several are pooled, one a seed")
    p.add_argument("--out", required=True, help="report.md to write")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        for number in value if isinstance(value, list) else [value]:
            if type(number) in (int, float) and (number < 0 or number == 0 and flag != "seed"):
                stop(f"--{flag.replace('_', '-')} is {number}: too small")
    args.main(args)


if __name__ == "__main__":
    main()
