r"""Stage 04 · relabel: ask the local-search expert what should have been written at every state.

WHAT IT DOES IN μCODE (Section 4.2)
  Code generation is one-step recoverable: from any state, whatever failed before, a correct program
  can be written in one turn. So the expert needs no search tree and no value function. Its search
  is local: it looks through the programs that were sampled for x, in all iterations so far:

      y*(x) = argmax over y of   β_O · R(x, y) + β_L · R_φ(x, y)         (Eq. 4, β_O = 1, β_L = 0.1)

  R is the oracle (public and hidden tests pass), R_φ the verifier, which chooses among correct
  programs. (R_φ is a raw logit: a gap of more than 10 outvotes R. This stage counts how often.)
  EVERY state visited for x gets y*(x):

      D* = {(x, s_t, y*(x))}                                                                 (Eq. 5)

  A method is a row of METHODS below. The baseline RFT (rejection fine-tuning) imitates what
  successful trajectories did as it was generated, their failed first tries included.

READS   scored.jsonl     all steps of D with their score R_φ (stage 03)
WRITES  examples.jsonl   one example per step, for example
        {"task_id": "train-67", "prompt": [s_t …], "completion": [{"role": …, "content": "…"}]}
        examples.metrics.jsonl   one row of counts, for the report
RUN     in the folder of a run, such as runs/toy:
        python ../../04_relabel.py --scored base/scored.jsonl --method mucode --out try.jsonl
COSTS   seconds, and nothing but the standard library

DIFFERS FROM THE PAPER: nothing in Eqs. 4 and 5. Where no correct program was ever sampled for x,
Eq. 4 imitates a wrong one. --drop-uncovered leaves such problems out.
"""

import argparse
import importlib
import random

from lib.rows import STEP_KEY, check_flags, indent, read_jsonl, stop, write_jsonl

execute = importlib.import_module("02_execute")

# ── The expert ───────────────────────────────────────────────────────────────────────────────────


def with_rewards(steps):
    """The steps, each with its "reward" R: what everything below goes by."""
    # A program that was judged both ways, near the time limit, counts as correct.
    correct = {(step["task_id"], step["code"]) for step in steps if execute.reward(step)}
    return [dict(step, reward=(step["task_id"], step["code"]) in correct) for step in steps]


def by_problem(steps):
    """{task_id: its steps}, in the order of the file."""
    problems = {}
    for step in steps:
        problems.setdefault(step["task_id"], []).append(step)
    return problems


def best_step(steps, beta_oracle, beta_learned):
    """Eq. 4 over one problem's steps → the step that carries y*(x).

    It reads these fields of a step: reward (R, put there by `with_rewards`), score (R_φ), turn,
    policy and trajectory. Ties go to the lowest turn, then to the policy that comes first in the
    alphabet, then to the lowest trajectory.

    >>> step = {"reward": False, "score": 2.0, "turn": 1, "policy": "base", "trajectory": 0}
    >>> best_step([step, dict(step, reward=True, score=0.5)], 1.0, 0.1)["score"]
    0.5
    """
    # BEGIN SOLUTION

    def rank(step):
        # Among correct programs R_φ decides. Where none is correct, it decides alone.
        value = beta_oracle * step["reward"] + beta_learned * step["score"]  # Eq. 4
        return -value, step["turn"], step["policy"], step["trajectory"]

    return min(steps, key=rank)
    # END SOLUTION


def make_example(step, completion):
    """(s_t → y) as a conversational prompt-completion row, the form that other trainers read."""
    answer = dict(role="assistant", content=completion)
    # The prompt is s_t with all its failed programs: π learns to write y* after them.
    return dict(task_id=step["task_id"], prompt=step["messages"], completion=[answer])


def label_states(steps, labels, key):
    """One example per step whose `key` has a label, in the order of the steps."""
    return [make_example(step, labels[key(step)]) for step in steps if key(step) in labels]


def relabel(steps, beta_oracle=1.0, beta_learned=0.1, drop_uncovered=False):
    """μCode, Eq. 5: one example per visited state. All examples of a problem have the same y*(x).

    y*(x) is the completion of `best_step` over all steps of the problem. The examples come in the
    order of the steps, which may mix problems, each as `make_example` makes it. drop_uncovered: no
    examples for a problem without a correct program.

    >>> step = dict(policy="base", task_id="p", turn=1, score=0.0, messages=[], reward=False)
    >>> wrong = dict(step, trajectory=0, completion="y")
    >>> right = dict(step, trajectory=1, completion="y*", reward=True)
    >>> [example["completion"][0]["content"] for example in relabel([wrong, right])]
    ['y*', 'y*']
    """
    # BEGIN SOLUTION
    labels = {}
    for task_id, problem_steps in by_problem(steps).items():
        if drop_uncovered and not any(step["reward"] for step in problem_steps):
            continue
        labels[task_id] = best_step(problem_steps, beta_oracle, beta_learned)["completion"]

    # It does not depend on s_t. That is one-step recoverability.
    return label_states(steps, labels, key=lambda step: step["task_id"])
    # END SOLUTION


# ── Baselines and variants ───────────────────────────────────────────────────────────────────────


def relabel_at_random(steps, **settings):
    """μCode, but y*(x) is any of the correct programs: in the place of their R_φ stands a coin."""
    tossed = []
    for step in steps:
        coin = random.Random(step["task_id"] + step["code"]).random()  # one for each program
        tossed.append(dict(step, score=coin) if step["reward"] else step)
    return relabel(tossed, **settings)


def trajectory_of(step):
    """What identifies a trajectory: (policy, task_id, trajectory)."""
    return step["policy"], step["task_id"], step["trajectory"]


def last_steps(steps):
    """{trajectory: the step of its highest turn}, what each trajectory ended with."""
    by_turn = sorted(steps, key=lambda step: step["turn"])
    return {trajectory_of(step): step for step in by_turn}


def imitate(steps, trajectories):
    """The (s_t, y_t) of these trajectories, as generated."""
    imitated = [step for step in steps if trajectory_of(step) in trajectories]
    return [make_example(step, step["completion"]) for step in imitated]


def imitate_successful(steps):
    """RFT: every (s_t, y_t) of the trajectories that ended with a correct program, as generated."""
    # Only the end counts: a failed first try, if the trajectory repaired it, is imitated too.
    last = last_steps(steps)
    return imitate(steps, {key for key, step in last.items() if step["reward"]})


def imitate_best(steps, most):
    """RFT_LV: the same for R_φ's `most` favourites of each problem, by their last programs."""
    chosen = set()
    for problem_steps in by_problem(steps).values():
        last = last_steps(problem_steps)
        favourites = sorted(last, key=lambda key: -last[key]["score"])  # best first
        chosen.update(favourites[:most])
    return imitate(steps, chosen)


def imitate_correct(steps, last_turn=float("inf")):
    """RFT without failed tries: every (s_t, y_t), t up to last_turn, with a correct y_t."""
    correct = [step for step in steps if step["reward"] and step["turn"] <= last_turn]
    return [make_example(step, step["completion"]) for step in correct]


def relabel_as_code(steps, beta_oracle, beta_learned, most):
    """What the authors' program does where the paper says Eqs. 4 and 5.

    Only last programs are candidates for y*. The states of a problem's `most` best-scored failed
    trajectories get y* (`most` is 0 in their RFT), those of a successful one its own last program.
    """
    labels = {}
    for problem_steps in by_problem(steps).values():
        last = last_steps(problem_steps)
        best = best_step(list(last.values()), beta_oracle, beta_learned)["completion"]

        # Failed trajectories, R_φ's favourites first.
        failed = [key for key in last if not last[key]["reward"]]
        failed.sort(key=lambda key: -last[key]["score"])
        labels.update((key, best) for key in failed[:most])

        # Successful trajectories: the code copies the end of each to all its states.
        labels.update((key, step["completion"]) for key, step in last.items() if step["reward"])
    return label_states(steps, labels, key=trajectory_of)


# What a method makes of D, and with which settings. β_O and β_L are those of Eq. 4.
PAPER = dict(beta_oracle=1.0, beta_learned=0.1, drop_uncovered=False)
CODE = dict(beta_oracle=100.0, beta_learned=1.0)
METHODS = {
    "mucode": (relabel, PAPER),
    "mucode_ov": (relabel, dict(PAPER, beta_learned=0.0)),  # the oracle verifier alone
    "mucode_lv": (relabel, dict(PAPER, beta_oracle=0.0)),  # the learned verifier alone
    "mucode_any": (relabel_at_random, PAPER),  # any correct program, not R_φ's favourite
    "mucode_drop": (relabel, dict(PAPER, drop_uncovered=True)),  # no wrong y*
    "mucode_code": (relabel_as_code, dict(CODE, most=3)),  # as the authors' program does it
    "rft": (imitate_successful, {}),  # the baseline
    "rft_correct": (imitate_correct, {}),  # … without the failed tries
    "rft_first": (imitate_correct, dict(last_turn=1)),  # … and without later turns
    "rft_lv": (imitate_best, dict(most=3)),  # the baseline with R_φ in place of the oracle
    "rft_code": (relabel_as_code, dict(CODE, most=0)),  # the authors' RFT relabels too
}

# ── The command line ─────────────────────────────────────────────────────────────────────────────


def replace_settings(settings, args):
    """The settings of a method, with those that the command line replaces."""
    replaced = {name: getattr(args, name) for name in PAPER if getattr(args, name) is not None}
    for name in replaced.keys() - settings.keys():  # RFT has no betas
        stop(f"--{name.replace('_', '-')}: method '{args.method}' has no such setting")
    return dict(settings, **replaced)


def label_of(example):
    """(task_id, the program as text): what an example teaches."""
    return example["task_id"], example["completion"][0]["content"]


def summarise(steps, examples, correct, settings):
    """One row of counts for the report. correct: the labels that are correct programs."""
    # Coverage is the expert's limit: y* can only be as good as the best program that was sampled.
    problems = {step["task_id"] for step in steps}
    covered = {step["task_id"] for step in steps if step["reward"]}
    programs = {(step["task_id"], step["code"]) for step in steps}
    counts = dict(steps=len(steps), tokens=sum(step.get("tokens", 0) for step in steps))
    counts.update(programs=len(programs), problems=len(problems), uncovered=len(problems - covered))

    # A wrong label for a covered problem: in Eq. 4, and only there, R_φ can outvote the oracle.
    wrong = [label_of(example) for example in examples if label_of(example) not in correct]
    if "beta_learned" in settings:
        counts["overruled"] = len(covered & {task_id for task_id, _ in wrong})
    return dict(counts, examples=len(examples), wrong=len(wrong))


def print_counts(counts, args):
    """One line of result."""
    overruled = ""
    if "overruled" in counts:
        overruled = f", R_φ outvoted the oracle for {counts['overruled']} of the others"
    print(
        f"04 relabel: {args.method}: {counts['examples']} examples from {counts['steps']} steps, "
        f"{counts['wrong']} of them wrong programs; no correct program was sampled for "
        f"{counts['uncovered']} of {counts['problems']} problems{overruled} → {args.out}"
    )


def print_example(examples, correct):
    """One example in full: a correct label after a program that failed, if there is one."""
    example = max(examples, key=lambda e: (len(e["prompt"]) > 1, label_of(e) in correct))
    task_id, label = label_of(example)
    x, *turns = [message["content"] for message in example["prompt"]]  # s_t
    verdict = "correct" if label_of(example) in correct else "wrong"
    print(f"  for example {task_id}, the problem, the end of a state and its label:")
    for symbol, text in [("x", x), *zip("yo", turns[-2:]), (f"label, {verdict}", label)]:
        print(f"    {symbol}: {indent(text, by=7).lstrip()}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--scored", required=True, help="all steps so far, with their score")
    add("--out", required=True, help="examples.jsonl to write")
    add("--method", choices=METHODS, default="mucode", help="a row of METHODS [%(default)s]")
    add("--beta-oracle", type=float, help="β_O of Eq. 4 (absent: the method's)")
    add("--beta-learned", type=float, help="β_L of Eq. 4 (absent: the method's)")
    add("--drop-uncovered", action="store_true", default=None, help="no label without a correct y")
    args = parser.parse_args()
    check_flags(args, may_be_zero=("beta_oracle", "beta_learned"))
    return args


def main():
    # D: the steps of all iterations so far.
    args = parse_args()
    fields = "policy task_id trajectory turn messages completion code"
    fields += " tokens? public_passed hidden_passed score"
    steps = with_rewards(read_jsonl(args.scored, fields, STEP_KEY))

    # D* (Eq. 5), as the method makes it.
    make_examples, settings = METHODS[args.method]  # a function of this file
    settings = replace_settings(settings, args)
    examples = make_examples(steps, **settings)
    if not examples:
        advice = "has any step both 'public_passed' and 'hidden_passed'? Sample more trajectories"
        stop(f"{args.scored}: no example for method '{args.method}': {advice}")

    # The counts are written first: where the examples are, their counts are too.
    correct = {(step["task_id"], step["completion"]) for step in steps if step["reward"]}
    counts = summarise(steps, examples, correct, settings)
    write_jsonl(args.out.removesuffix(".jsonl") + ".metrics.jsonl", [counts])
    write_jsonl(args.out, examples)
    print_counts(counts, args)
    print_example(examples, correct)


if __name__ == "__main__":
    main()
