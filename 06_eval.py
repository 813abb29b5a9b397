r"""Stage 06 · evaluate: search over turns at test time, and measure what a run has shown.

WHAT IT DOES IN μCODE (Algorithm 2, multi-turn best-of-N)
  An episode is a trajectory at test time. At each turn N programs are sampled from π(· | s_t) and
  run, and a rule picks ONE. If that passes the public tests, or t = T, it is the answer. Else the
  pick and its feedback, and nothing else, go into s_{t+1}. The rules:

      Random   any of the N
      LV       Learned Verifier: argmax of R_φ
      PT       Public Tests: the first that passes them, or Random if none does
      PT+LV    argmax of R_φ among those that pass, or LV if none does
      oracle   a correct program if there is one: the bound. No other rule reads hidden results.

  Greedy is Random with N = 1 at temperature 0. Controls, with N = 1, ask whether feedback is read:
  their episodes hear something else (CONTROLS, below), or start every turn from s_1 again.

  An Arm is one way to search: a rule, N, a temperature, a variant of the feedback. Equal states are
  sampled once for all arms, with noise that belongs to (problem, candidate, turn). So as long as
  their states are equal, as at turn 1, rules see the same candidates, and N = 16 begins with the
  candidates of N = 5.

search  READS   problems.jsonl, π, and R_φ (of several verifiers the first picks)
        WRITES  eval.jsonl, a row per problem, arm and turn, for example
                {"rule": "PT+LV", "n": 5, "temperature": 0.7, "variant": "real", "seed": 0,
                 "task_id": "test-3", "turn": 1, "messages": […], "candidates": [{"code": …,
                 "score": 3.14, …}, …], "picked": 0, "programs_run": 5, …}
report  READS   the folder of a run (or of several, one a seed)
        WRITES  report.md and, beside it, report.html and report.svg
RUN     in the folder of a run, such as runs/toy:
        python ../../06_eval.py search --problems problems/test.jsonl --policy mucode-2/policy \
            --name mucode-2 --verifier mucode-2/verifier --max-new-tokens 48 --out try.eval.jsonl
        python ../../06_eval.py report --run . --out report.md
        search --server http://localhost:8000/v1 has an engine sample, and --policy names its model.
COSTS   the café, 600 problems: 13 to 33 s a policy

DIFFERS FROM THE PAPER: every number has a 95 % interval, and comparisons are paired by problem.
"""

import argparse
import gc
import importlib
import json
import os
import sys
from collections import namedtuple
from math import comb

from lib.problems import LIAR, make_liars
from lib.report import label, write_report
from lib.resume import open_memory, work_of
from lib.rows import check_flags, indent, write_jsonl

import numpy as np

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
expert = importlib.import_module("04_relabel")  # METHODS, the order of the report

RULES = ("Random", "LV", "PT", "PT+LV", "oracle")
# What an episode hears instead of its own feedback, in the words of the report.
CONTROLS = {
    "fresh": "fresh turn-1 samples",
    "swapped": "another problem's feedback",
    "lying": "feedback that lies (two expected values swapped)",
    "failed": "“The program failed.”",
    "removed": "empty feedback",
}

# One way to search. And what a candidate is drawn from: s_t as JSON, its turn (a state can come
# again, with other noise), and the candidate's number below N.
Arm = namedtuple("Arm", "rule n temperature variant")
Draw = namedtuple("Draw", "task_id temperature chat turn candidate")


# ── Algorithm 2 ──────────────────────────────────────────────────────────────────────────────────


def pick(rule, candidates, coin):
    """Index of the candidate that a rule picks (see the top of the file). Ties go to the first.

    Of a candidate it reads public_passed and score (R_φ), and for the oracle, only there,
    hidden_passed. Random takes number ⌊coin · N⌋, coin in [0, 1). Where no candidate is correct,
    the oracle takes the first that fails the public tests, else candidate 0.

    >>> wrong, right = dict(public_passed=False, score=9.0), dict(public_passed=True, score=1.0)
    >>> [pick(rule, [wrong, right], 0.0) for rule in ("Random", "LV", "PT", "PT+LV")]
    [0, 0, 1, 1]
    """
    # BEGIN SOLUTION
    # Public results are for everybody to see. Hidden ones are read by the oracle alone, below.
    indices = range(len(candidates))
    passing = [i for i in indices if candidates[i]["public_passed"]]
    if rule == "Random" or (rule == "PT" and not passing):
        return int(coin * len(candidates))
    if rule == "PT":
        return passing[0]
    # argmax R_φ. Without a public pass PT+LV is LV.
    if rule in ("LV", "PT+LV"):
        eligible = passing if rule == "PT+LV" and passing else indices
        return max(eligible, key=lambda i: (candidates[i]["score"], -i))

    # The oracle. Without a correct program it takes one that fails openly, for it would rather go
    # on to the next turn than stop on a wrong answer.
    assert rule == "oracle", f"{rule}: no such rule"
    correct = [i for i in passing if candidates[i]["hidden_passed"]]
    failing = [i for i in indices if i not in passing]
    return (correct or failing or [0])[0]
    # END SOLUTION


def episode(rule, variant, coins):
    """Algorithm 2 for one problem, as a generator: it yields s_t and is sent s_t's N candidates.

    Of s_t it yields what came after x: the history [(y_1, o_1), …, (y_{t−1}, o_{t−1})]. coins: T
    numbers, turn t's for `pick`. The pick's completion and feedback, and nothing else, join the
    history, but in the variant "fresh", where it stays []. It ends after the turn whose pick
    passes the PUBLIC tests, or after T, and returns the index of each turn's pick.

    >>> running = episode("PT", "real", [0.0, 0.0, 0.0])
    >>> next(running)
    []
    >>> running.send([dict(completion="y", feedback="o", public_passed=False)])
    [('y', 'o')]
    """
    # BEGIN SOLUTION
    history = []  # s_1 = x
    picks = []  # their indices
    for coin in coins:  # t = 1 … T
        # y_t^1 … y_t^N ~ π(· | s_t), judged and scored by whoever runs this.
        candidates = yield history
        picks.append(pick(rule, candidates, coin))

        # The stop: PUBLIC tests, and nothing else.
        chosen = candidates[picks[-1]]
        if chosen["public_passed"]:
            break

        # s_{t+1} = (s_t, y_t, o_t): the pick and its feedback alone.
        if variant != "fresh":
            history = history + [(chosen["completion"], chosen["feedback"])]
    return picks
    # END SOLUTION


def toss(seed, task_id, turn):
    """The coin of a problem and turn: two Random arms in one state pick alike."""
    return float(rollout.noise(seed, task_id, "pick", turn, 1)[0])


def feedback_heard(variant, feedback):
    """{task_id: feedback} of all open problems → what each is told in this variant."""
    if variant == "swapped":
        # Each hears the feedback of the next problem, and the last that of the first.
        tasks = list(feedback)
        neighbours = tasks[1:] + tasks[:1]
        return {task: feedback[neighbour] for task, neighbour in zip(tasks, neighbours)}
    if variant == "failed":
        return dict.fromkeys(feedback, "The program failed.")
    if variant == "removed":
        return dict.fromkeys(feedback, "")
    # A control without a branch must not pass for real feedback. (In `fresh`, s_1 hears nothing.)
    assert variant in ("real", "fresh", "lying"), f"{variant}: no such control"
    return feedback


def hear(variant, candidates, judge):
    """{task_id: candidates} of one arm → the same, with the feedback that its episodes hear."""
    if variant == "real":
        return candidates
    # In a control N = 1, so the one candidate is the pick. Its problem stays open if it fails.
    only = {task: candidate for task, (candidate,) in candidates.items()}
    feedback = {task: c["feedback"] for task, c in only.items() if not c["public_passed"]}
    if variant == "lying":
        # The same programs, judged by tests of which two have each other's expected value.
        twins = {task: (LIAR + task, only[task]["code"]) for task in feedback}
        verdicts = judge(list(twins.values()))
        feedback = {task: verdicts[twin][2] for task, twin in twins.items()}
    heard = feedback_heard(variant, feedback)
    return {task: [dict(c, feedback=heard.get(task, ""))] for task, c in only.items()}


# ── Many episodes at once ────────────────────────────────────────────────────────────────────────


def search(problems, arms, turns, sample, judge, score, seed):
    """Algorithm 2 for every arm and {task_id: problem}. Yields the rows of eval.jsonl, by turn.

    sample([Draw, …]) → {Draw: (messages, completion, tokens)}.
    judge([(task_id, code), …]) → {(task_id, code): (public_passed, hidden_passed, feedback)}.
    score(the same) → {(task_id, code): (its R_φ by each verifier, …)}. Rules use the first.
    """
    # Every episode begins by asking for the candidates of s_1.
    episodes = {}
    for arm in arms:
        for task in problems:
            coins = [toss(seed, task, turn) for turn in range(1, turns + 1)]
            episodes[arm, task] = episode(arm.rule, arm.variant, coins)
    # Of s_t, what came after x: (arm, task_id) → [(y_1, o_1), …]
    histories = {key: next(running) for key, running in episodes.items()}
    answers = {key: [] for key in episodes}  # (s_t, its candidates) of each turn
    picks = {}  # of each episode that has ended
    programs = {}  # (task_id, code) → its verdict and scores, of all turns
    turn = 0
    while histories:
        turn += 1
        # 1. N candidates from every state. Arms in one state ask for the same draws, made once.
        wanted = {}
        for (arm, task), history in histories.items():
            chat = json.dumps(rollout.chat_of(problems[task], history))
            wanted[arm, task] = [Draw(task, arm.temperature, chat, turn, i) for i in range(arm.n)]
        drawn = sample(list(dict.fromkeys(draw for draws in wanted.values() for draw in draws)))

        # 2. Run each distinct program once on ALL tests, and score it. `pick` says who sees what.
        judged = judge_candidates(problems, drawn, judge, score, programs)
        asked = {arm: {} for arm in arms}
        for (arm, task), draws in wanted.items():
            messages, _, _ = drawn[draws[0]]
            asked[arm][task] = [judged[draw] for draw in draws]
            answers[arm, task].append((messages, asked[arm][task]))

        # 3. Each episode picks one, and asks for the candidates of its next state or ends.
        histories = {}
        for arm in arms:
            for task, candidates in hear(arm.variant, asked[arm], judge).items():
                try:
                    histories[arm, task] = episodes[arm, task].send(candidates)
                except StopIteration as end:
                    picks[arm, task] = end.value
    yield from make_rows(answers, picks, turn, seed)


def make_rows(answers, picks, turns, seed):
    """The rows of eval.jsonl: {(arm, task_id): [(s_t, candidates), …]}, {(arm, task_id): picks}."""
    for t in range(turns):
        for (arm, task), of_episode in answers.items():
            if t >= len(of_episode):
                continue  # it has ended
            messages, candidates = of_episode[t]
            # What the rule itself would have to run.
            cost = 1 if arm.rule in ("Random", "LV") else arm.n
            row = dict(arm._asdict(), seed=seed, task_id=task, turn=t + 1, messages=messages)
            yield dict(row, candidates=candidates, picked=picks[arm, task][t], programs_run=cost)


def judge_candidates(problems, drawn, judge, score, programs):
    """{Draw: (messages, completion, tokens)} → {Draw: candidate}, judged and scored.

    programs: {(task_id, code): (verdict, scores)} of all turns so far. New ones are added.
    """
    program_of = {}  # two candidates can hold one program, and a later turn can repeat it
    for draw, (_, text, _) in drawn.items():
        entry_point = problems[draw.task_id]["entry_point"]
        program_of[draw] = draw.task_id, execute.extract_code(text, entry_point)
    new = [program for program in dict.fromkeys(program_of.values()) if program not in programs]
    verdicts = judge(new)
    scores = score(new)
    programs.update((program, (verdicts[program], scores[program])) for program in new)

    # A candidate is what rules pick from, and what eval.jsonl keeps.
    candidates = {}
    for draw, (_, completion, tokens) in drawn.items():
        verdict, by_verifier = programs[program_of[draw]]
        candidate = dict(completion=completion, code=program_of[draw][1])
        candidate.update(zip(("public_passed", "hidden_passed", "feedback"), verdict))
        score = by_verifier[0] if by_verifier else None  # the one that picks
        candidates[draw] = dict(candidate, score=score, scores=by_verifier, tokens=tokens)
    return candidates


def draw_all(draws, sample_states):
    """Draws → (draw, [messages, completion, tokens]) of each, as batches finish."""
    for temperature in sorted({draw.temperature for draw in draws}):
        # States as in stage 01. Candidates of equal ones differ by their noise alone.
        batch = [draw for draw in draws if draw.temperature == temperature]
        states = []
        for draw in batch:
            key = dict(task_id=draw.task_id, trajectory=draw.candidate, turn=draw.turn)
            states.append(dict(key, messages=json.loads(draw.chat)))
        for i, completion, tokens in sample_states(states, temperature):
            yield batch[i], [states[i]["messages"], completion, tokens]


# ── Measures, for one problem: lib/report.py asks for them ───────────────────────────────────────


def carry_forward(picks, turns):
    """Is the last pick correct after turn 1 … T? An episode that stopped keeps its last.

    picks: [(public_passed, correct), …], one per turn. nan for a problem without any.
    """
    if not picks:
        return [np.nan] * turns
    # Turn t counts from 0 here. Of a short episode the last pick stands for all later turns.
    return [float(picks[min(turn, len(picks) - 1)][1]) for turn in range(turns)]


def pass_at(k, correct, total):
    """The chance that k of `total` samples, drawn without return, hold a correct one.

    The unbiased estimate of pass@k by Chen et al. (2021).
    """
    # One minus the chance that all k are wrong.
    return 1 - comb(total - correct, k) / comb(total, k)


def best_of(candidates, rule, n, which=0):
    """Does a rule pick a correct program among the first n candidates? By verifier `which`.

    Random is the average, and the oracle pass@n: both over all choices of n.
    """
    correct = [execute.reward(candidate) for candidate in candidates]  # R of each
    if rule == "Random":
        return sum(correct) / len(correct)
    if rule == "oracle":
        return pass_at(n, sum(correct), len(correct))

    # The other rules see the first n, as a search with N = n would have.
    first = candidates[:n]
    if "LV" in rule:
        first = [dict(candidate, score=candidate["scores"][which]) for candidate in first]
    return float(correct[pick(rule, first, coin=0.0)])  # the coin: PT's if none passes


def by_chance(candidates):
    """PT+LV's matched control, any one of the candidates that pass: is it correct? The mean.

    Whichever of them is picked ends the episode, so R_φ's choice is all that differs. Where none
    passes, PT+LV goes on with a program that is wrong: 0.0.
    """
    passing = [execute.reward(candidate) for candidate in candidates if candidate["public_passed"]]
    return sum(passing) / len(passing) if passing else 0.0


def pairwise(candidates, which=0):
    """Pairwise accuracy of verifier `which`; nan unless some are correct and some wrong."""
    # By code: a program that was sampled twice is one program, or a favourite would count double.
    programs = {c["code"]: (c["scores"][which], execute.reward(c)) for c in candidates}
    accuracy = verifier.pairwise_accuracy(*zip(*programs.values()))
    return np.nan if accuracy is None else accuracy


def recovery(picks, fresh, turn):
    """Rec(t), one-step recoverability: (correct at turn t + 1?, mean reward of fresh samples).

    picks: [(public_passed, correct), …] of turns 1, 2, … of an episode with N = 1. If it was over
    after turn t: (nan, nan). fresh: the rewards of all samples of turn 1. With the first of them
    the episode began, so it does not count. The mean is nan if there is no other.

    >>> recovery([(False, False), (True, True)], [False, True, False], 1)
    (1.0, 0.5)
    """
    # BEGIN SOLUTION
    if len(picks) <= turn:
        return np.nan, np.nan
    _, repaired = picks[turn]  # of turn t + 1, since the list counts from 0
    others = fresh[1:]
    return float(repaired), sum(others) / len(others) if others else np.nan
    # END SOLUTION


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def make_arms(args):
    """Greedy, N = 1 with real feedback and each control, then every rule for every N above 1."""
    arms = [Arm("Random", 1, 0.0, "real")]
    for variant in ("real", *args.controls):
        arms.append(Arm("Random", 1, args.temperature, variant))
    for n in args.n:
        for rule in RULES:  # with one candidate all rules are Random
            if n > 1 and (args.verifier or "LV" not in rule):
                arms.append(Arm(rule, n, args.temperature, "real"))
    return arms


def main_search(args):
    # π, the problems, and R_φ.
    problems = execute.read_problems(args.problems, args.require_sandbox)
    sample_states, _ = rollout.make_sampler(problems.values(), args)
    verifiers = [verifier.load_verifier(path) for path in args.verifier]

    # What an earlier call of this work had finished before it was cut off. `learn` adds to it.
    neutral = ("out", "main", "batch_size", "concurrency", "workers")
    work = work_of(args, inputs=("problems", "policy", "verifier"), neutral=neutral)
    known, learn = open_memory(args.out, work, ("drawn", "judged", "scored"))

    def sample(draws):
        new = [draw for draw in draws if draw not in known["drawn"]]
        for draw, answer in draw_all(new, sample_states):
            learn("drawn", [(draw, answer)])  # on disk before the next batch begins
        return {draw: known["drawn"][draw] for draw in draws}

    # For the control "lying", all problems again, with tests that lie.
    liars = make_liars(problems, args.problems) if "lying" in args.controls else {}

    def judge(programs):
        new = [program for program in programs if program not in known["judged"]]
        strict = args.require_sandbox
        verdicts = execute.execute(problems | liars, new, args.timeout, args.workers, strict=strict)
        learn("judged", verdicts.items())
        return known["judged"]

    def score(programs):
        new = [program for program in programs if program not in known["scored"]]
        where = (problems, args.problems, args.batch_size)
        columns = [verifier.score_programs(*loaded, new, *where) for loaded in verifiers]
        # A row for each program, with its score by each verifier.
        learn("scored", [(new[i], [column[i] for column in columns]) for i in range(len(new))])
        return known["scored"]

    # Algorithm 2. The group of a problem is what intervals resample.
    arms = make_arms(args)
    rows = []
    for row in search(problems, arms, args.turns, sample, judge, score, args.seed):
        group = problems[row["task_id"]].get("group", row["task_id"])
        rows.append(dict(row, policy=args.name, verifiers=args.verifier, group=group))
    write_jsonl(args.out, rows)  # whole or not at all
    print_search(rows, arms, problems, args)


def print_search(rows, arms, problems, args):
    """One line of result, and the longest episode of PT: what the model saw, and its program."""
    # Rows come by turn, so an episode's last row is what it ended with.
    last = {(arm_of(row), row["task_id"]): row["candidates"][row["picked"]] for row in rows}
    # The controls, and N = 1 at a temperature, are for the report.
    shares = []
    for arm in arms:
        if arm.variant == "real" and (arm.n > 1 or arm.temperature == 0):
            share = sum(execute.reward(last[arm, task]) for task in problems) / len(problems)
            shares.append(f"{label(arm)} {share:.1%}")
    programs = {(row["task_id"], c["code"]) for row in rows for c in row["candidates"]}
    print(
        f"06 search: {args.name} on {len(problems)} problems, {len(programs)} distinct programs; "
        f"correct after turn {args.turns}: {', '.join(shares)} → {args.out}"
    )

    row = max(rows, key=lambda row: (row["rule"] == "PT", row["turn"]))
    answer = row["candidates"][row["picked"]]["code"]
    chat = [*(message["content"] for message in row["messages"]), answer]
    print(f"  for example {row['task_id']}, {label(arm_of(row))}, turn {row['turn']}:")
    print(indent("\n→ ".join(indent(text, by=2).lstrip() for text in chat)))


def arm_of(row):
    """The arm that a row of eval.jsonl belongs to."""
    return Arm(*(row[name] for name in Arm._fields))


def main_report(args):
    # Nothing to collect among millions of rows, and looking takes a third of the time.
    gc.disable()
    write_report(args.run, args.out, measures=sys.modules[__name__])
    print(f"06 report: {', '.join(args.run)} → {args.out}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    modes = parser.add_subparsers(required=True)
    mode = modes.add_parser("search", help="multi-turn best-of-N → rows")
    mode.set_defaults(main=main_search)
    add = mode.add_argument
    add("--problems", required=True, help="problems.jsonl")
    add("--policy", required=True, help="checkpoint folder or hub name of π")
    add("--verifier", nargs="+", default=[], help="R_φ, which picks; others only score")
    add("--out", required=True, help="eval.jsonl to write")
    add("--name", default="base", help="what the rows call this policy [%(default)s]")
    add("--turns", type=int, default=3, help="T [%(default)s]")
    add("--n", type=int, nargs="+", default=[5], help="N, one or several [%(default)s]")
    add("--temperature", type=float, default=0.7, help="but for greedy [%(default)s]")
    controls = ["fresh", "swapped"]
    add("--controls", nargs="*", default=controls, choices=CONTROLS, help="[%(default)s]")
    add("--max-new-tokens", type=int, default=1000, help="per completion [%(default)s]")
    add("--batch-size", type=int, default=256, help="sampled or scored together [%(default)s]")
    add("--server", help="URL (…/v1) of an OpenAI-compatible API that samples instead")
    add("--concurrency", type=int, default=64, help="requests to --server at once [%(default)s]")
    add("--timeout", type=float, default=5.0, help="CPU seconds, as in stage 02 [%(default)s]")
    add("--workers", type=int, default=os.cpu_count(), help="programs at a time [%(default)s]")
    add("--require-sandbox", action="store_true", help="stop without seccomp or Landlock")
    add("--seed", type=int, default=0, help="[%(default)s]")

    mode = modes.add_parser("report", help="rows → report.md")
    mode.set_defaults(main=main_report)
    add = mode.add_argument
    add("--run", required=True, nargs="+", help="folder of a run; several are pooled")
    add("--out", required=True, help="report.md to write")
    args = parser.parse_args()
    check_flags(args)
    return args


def main():
    args = parse_args()
    args.main(args)


if __name__ == "__main__":
    main()
