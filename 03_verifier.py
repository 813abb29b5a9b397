r"""Stage 03 · verifier: learn from the outcomes what a correct program looks like.

WHAT IT DOES IN μCODE (Section 4.1)
  The verifier R_φ(x, y) scores a problem x and ONE program y, never the history: a program is
  correct or wrong whatever was tried before. It is the language model itself with a new scalar
  head on its last token, trained on the outcomes r = R(x, y) of the programs in D, of those
  problems that have both correct programs y⁺ and wrong programs y⁻. Two losses:

      BT    − E log σ(R_φ(x, y⁺) − R_φ(x, y⁻))                pairs of one problem, the default
      BCE   − E [r log σ(R_φ) + (1 − r) log(1 − σ(R_φ))]      single programs (Eq. 2)

  BT, after Bradley and Terry, is averaged over the pairs of a problem, then over problems. It only
  sees differences, so 10⁻³ · mean R_φ² is added to pin the level. The verifier earns its place
  twice: the expert takes its favourite among correct programs (stage 04), and at test time it picks
  among programs that the public tests cannot tell apart (stage 06).

READS   problems.jsonl, *.steps.jsonl of all iterations so far
WRITES  train: DIR/ (AutoModelForSequenceClassification) and DIR/metrics.jsonl, a row per epoch:
        {"epoch": 1, "loss": 0.59, "pairwise": 0.86, "top1": 0.77, "problems": 31, "kept": false},
        which says how well it ranks the programs of so many held-out problems
        score: scored.jsonl, the same steps, each with "score", the raw logit R_φ
        pairs: prompt, chosen, rejected (chats) for another trainer of rewards, such as TRL's
RUN     in the folder of a run, such as runs/toy (the defaults are for pretrained models):
        python ../../03_verifier.py train --problems problems/train.jsonl \
            --steps base/turn*.steps.jsonl --base base/policy \
            --lr 1e-3 --batch-size 8 --epochs 3 --out try-verifier
        python ../../03_verifier.py score --problems problems/train.jsonl \
            --steps base/turn*.steps.jsonl --verifier try-verifier --out try.scored.jsonl
COSTS   the café: 20 to 35 s to train, 7 to 10 s to score on a CPU core

DIFFERS FROM THE PAPER: Eq. 2 as printed lacks the σ. FROM ITS CODE: there, 32 pairs a problem are
drawn with replacement and unseeded, and evaluation is on the training split. Here a step draws at
most 8 correct and 8 wrong programs of a problem, whose pairs share one forward pass. A tenth of the
groups (variants of one problem) is held out, and the epoch that ranks their programs best is kept.
"""

import argparse
import hashlib
import importlib
import itertools
import random

from lib import models
from lib.resume import training_steps, work_of
from lib.rows import STEP_KEY, check_flags, check_task_ids, indent, read_jsonl, stop, write_jsonl

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from tqdm import tqdm

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")

# ── Programs and their labels ────────────────────────────────────────────────────────────────────


def distinct_programs(steps):
    """What R_φ learns from: {task_id: {code: is it correct?}}, in the order of the steps.

    A program is (task_id, code). Two calls of stage 02 can judge it differently, near the time
    limit. Then it counts as correct.
    """
    # R depends on the problem and the program alone, so all visits of a program are one example.
    programs = {}
    for step in steps:
        codes = programs.setdefault(step["task_id"], {})
        codes[step["code"]] = codes.get(step["code"], False) or execute.reward(step)
    return programs


def is_held_out(group):
    """A tenth of the groups, by hash: no variant of a held-out problem is ever trained on."""
    # The first byte of a hash is a fair number below 256, and the same in every iteration.
    return hashlib.sha256(group.encode()).digest()[0] < 26


def split(problems, task_ids):
    """Task ids → (those to train on, those held out). If that would leave none to train on: all."""
    held_out = [task for task in task_ids if is_held_out(problems[task].get("group", task))]
    training = [task for task in task_ids if task not in held_out]
    return (training, held_out) if training else (held_out, [])


def as_chat(prompt, code):
    """What R_φ reads: the problem and the program as a chat of one turn."""
    # The code is fenced anew: how the model wrapped it in this completion must not matter.
    question = dict(role="user", content=prompt)
    return [question, dict(role="assistant", content=f"```python\n{code}\n```")]


def encode_program(tokenizer, problem, code, room, path):
    """The same as token ids. Stops if they are more than `room`. path: the problem's file."""
    ids = rollout.render(tokenizer, as_chat(problem["prompt"], code), reply=False)
    if len(ids) > room:
        where = f"{path}, task_id '{problem['task_id']}': field 'prompt' and a program"
        stop(f"{where} have {len(ids)} tokens, R_φ reads {room}; leave it out")
    return ids


def draw(programs, most, rng):
    """(program, is it correct?) of one problem → [correct, wrong], at most `most` // 2 of each."""
    # A problem with 200 wrong programs must not fill the batch. What counts is the number of
    # pairs, and half and half makes the most of them.
    kinds = [[program for program, label in programs if label == kind] for kind in (1, 0)]
    return [rng.sample(kind, min(len(kind), most // 2)) for kind in kinds]


# ── Losses and measures ──────────────────────────────────────────────────────────────────────────


def bt_loss(scores, labels, owners):
    """Bradley–Terry: − log σ(R_φ(y⁺) − R_φ(y⁻)), the mean over pairs, then over problems.

    scores (B,), labels (B,) of 0/1, owners (B,): the problem of each program → scalar. Both
    programs of a pair are of one problem. A problem whose programs are all of one kind has no pair
    and is left out of the mean (at least one has). 10⁻³ · mean R_φ² over all B programs is added.

    >>> bt_loss(torch.tensor([2.0, 0.0]), torch.tensor([1, 0]), torch.tensor([7, 7]))
    tensor(0.1289)
    """
    # BEGIN SOLUTION
    losses = []
    for owner in owners.unique():
        own_scores = scores[owners == owner]
        is_correct = labels[owners == owner].bool()
        if is_correct.all() or not is_correct.any():
            continue  # no pair (`train` draws both kinds)
        # Every correct program against every wrong one: R_φ(y⁺) − R_φ(y⁻), (correct, wrong).
        gap = own_scores[is_correct][:, None] - own_scores[~is_correct][None, :]
        # softplus(−d) = − log σ(d). The mean, so that many pairs weigh no more than few.
        losses.append(softplus(-gap).mean())

    # The mean over problems, and the pull of the authors' code towards 0.
    return torch.stack(losses).mean() + 1e-3 * scores.square().mean()
    # END SOLUTION


def bce_loss(scores, labels, owners=None):
    """Binary cross-entropy (Eq. 2). scores (B,), labels (B,) of 0/1 → scalar. owners: ignored."""
    return binary_cross_entropy_with_logits(scores, labels.float())


LOSSES = dict(bt=bt_loss, bce=bce_loss)


def pairwise_accuracy(scores, labels):
    """Share of ONE problem's correct/wrong pairs in which the correct program scores higher.

    scores and labels (0/1) are lists. A tie is half a success. None if there is no such pair.

    >>> pairwise_accuracy([0.9, 0.1, 0.1], [1, 0, 1])
    0.75
    """
    # BEGIN SOLUTION
    correct = [score for score, label in zip(scores, labels) if label]
    wrong = [score for score, label in zip(scores, labels) if not label]
    if not correct or not wrong:
        return None

    # Every pair, for no gradient is needed.
    wins = 0.0
    for right_score in correct:
        for wrong_score in wrong:
            wins += (right_score > wrong_score) + 0.5 * (right_score == wrong_score)
    return wins / (len(correct) * len(wrong))
    # END SOLUTION


def top1(scores, labels):
    """Is the best-scored program of one problem correct? Ties go to the first."""
    return bool(labels[scores.index(max(scores))])


# ── The model ────────────────────────────────────────────────────────────────────────────────────


def make_verifier(path, seed):
    """R_φ from a language model: its body, and a new scalar head → (model, tokenizer)."""
    tokenizer = models.load_tokenizer(path)
    torch.manual_seed(seed)  # of the new head
    model, has_head = models.load_classifier(path)
    # From a language model's file the head comes out random.
    if has_head:
        stop(f"{path}: a verifier already; give a language model")
    model.float()  # for training alone

    # The authors' initialisation. With the library's std of 0.02 the first epoch is spent on
    # finding the scale of the scores.
    config = model.config.get_text_config()
    torch.nn.init.normal_(model.score.weight, std=(config.hidden_size + 1) ** -0.5)
    models.set_padding(model, tokenizer)
    return model.to(models.pick_device()).eval(), tokenizer


def load_verifier(path):
    """R_φ from a checkpoint of this stage → (model, tokenizer)."""
    tokenizer = models.load_tokenizer(path)
    model, has_head = models.load_classifier(path)
    if not has_head:
        stop(f"{path}: no verifier, for it has no scalar head; stage 03 train makes one")
    return model.to(models.pick_device()).eval(), tokenizer


def forward(model, sequences):
    """R_φ of a batch of token sequences → (B,), float32."""
    # Padded on the right to the longest of them. Attention is causal: no token sees the padding.
    width = max(map(len, sequences))
    pad = model.config.pad_token_id
    padded = [ids + [pad] * (width - len(ids)) for ids in sequences]
    ids = torch.tensor(padded, device=model.device)  # (B, W)

    # The head reads the hidden state of the last token that is not padding.
    with models.mixed_precision(model):
        logits = model(input_ids=ids, use_cache=False).logits  # (B, 1)
    return logits[:, 0].float()


def score_sequences(model, sequences, batch_size, label="scoring"):
    """R_φ of many sequences → list of floats in the order given."""
    # Longest first: little padding, and memory runs out at once or never.
    scores = [0.0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    starts = range(0, len(order), batch_size)
    purpose = "programs in a pass; lower --score-batch (in stage 06: --batch-size)"
    with torch.inference_mode():
        for start in tqdm(starts, desc=f"  {label}", unit="batch", disable=None, leave=False):
            batch = order[start : start + batch_size]
            with models.enough_memory(f"{len(batch)} {purpose}"):
                batch_scores = forward(model, [sequences[i] for i in batch]).tolist()
            # Back to the places they came from.
            for i, score in zip(batch, batch_scores):
                scores[i] = score
    return scores


def score_programs(model, tokenizer, programs, problems, path, batch_size):
    """R_φ of distinct programs (task_id, code) → floats in order. path: the file of `problems`."""
    room = models.context_length(model)
    sequences = [
        encode_program(tokenizer, problems[task_id], code, room, path) for task_id, code in programs
    ]
    return score_sequences(model, sequences, batch_size)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────
# A problem is (sequences, labels) here: the token ids of its programs, and which are correct.


def draw_programs(problems, most, rng):
    """A batch for one optimiser step → sequences, labels, owners (one entry per program)."""
    batch = []
    labels = []
    owners = []
    for owner, (sequences, correct) in enumerate(problems):
        right, wrong = draw(list(zip(sequences, correct)), most, rng)
        batch += right + wrong
        labels += [1] * len(right) + [0] * len(wrong)
        owners += [owner] * len(right + wrong)
    return batch, labels, owners


def measure(model, problems, batch_size):
    """Mean pairwise and top-1 accuracy over problems with both kinds. (None, None) for none."""
    if not problems:
        return None, None

    # All programs are scored in one go, in batches that cross problems.
    everything = [ids for sequences, _ in problems for ids in sequences]
    scores = iter(score_sequences(model, everything, batch_size, "measuring"))

    # A mean over problems: one with many programs weighs no more than one with few.
    pairwise = []
    first = []
    for sequences, labels in problems:
        problem_scores = [next(scores) for _ in sequences]
        pairwise.append(pairwise_accuracy(problem_scores, labels))
        first.append(top1(problem_scores, labels))
    return sum(pairwise) / len(pairwise), sum(first) / len(first)


def plan_steps(problems, args):
    """What the optimiser steps of all epochs draw. An epoch has all problems, in a new order."""
    rng = random.Random(args.seed)
    steps = []
    for _ in range(args.epochs):
        order = rng.sample(problems, len(problems))
        for start in range(0, len(order), args.batch_size):
            steps.append(draw_programs(order[start : start + args.batch_size], args.programs, rng))
    return steps


def train_step(model, batch, labels, owners, optimizer, schedule, loss_of):
    """One optimiser step → its loss."""
    model.train()  # `measure` has left it in the other mode
    labels = torch.tensor(labels, device=model.device)
    owners = torch.tensor(owners, device=model.device)
    with models.room_for_step("--programs"):
        # The pairs of a problem share this pass: each program is encoded once.
        scores = forward(model, batch)  # (B,)
        loss = loss_of(scores, labels, owners)
        loss.backward()
        models.take_step(model, optimizer, schedule)
    return loss.item()


def train(model, training, validation, args, out=None, work=None):
    """Train in place and keep the best epoch → metrics, a row each. out, work: as in stage 05."""
    # The schedule ends with the last step of the last epoch, so all steps are known ahead.
    steps = plan_steps(training, args)
    per_epoch = len(steps) // args.epochs
    optimizer, schedule = models.make_optimizer(model, args.lr, len(steps))
    parts = dict(model=model, optimizer=optimizer, schedule=schedule)

    # One row per epoch, the best pairwise accuracy so far, and the weights it was measured with.
    # All this, and the parts, outlive a kill.
    log = dict(losses=[], rows=[], best=None, weights={})
    for step in training_steps(len(steps), parts, log, out, work):
        loss = train_step(model, *steps[step], optimizer, schedule, LOSSES[args.loss])
        log["losses"].append(loss)
        if (step + 1) % per_epoch:
            continue

        # The end of an epoch.
        pairwise, top = measure(model, validation, args.score_batch)
        loss = sum(log["losses"][-per_epoch:]) / per_epoch
        row = dict(epoch=(step + 1) // per_epoch, loss=loss, pairwise=pairwise, top1=top)
        log["rows"].append(dict(row, problems=len(validation), kept=False))

        # A small set of programs is soon known by heart, so the last epoch need not be the best.
        # (Where nothing is held out, the last is kept.)
        if log["best"] is None or pairwise is None or pairwise > log["best"]:
            log.update(best=pairwise, kept=row["epoch"], weights=models.copy_weights(model))

    # R_φ is the model of the best epoch.
    model.load_state_dict(log["weights"])
    model.eval()
    log["rows"][log["kept"] - 1]["kept"] = True
    return log["rows"]


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def read_steps(problems_path, step_paths, fields):
    """({task_id: problem}, the steps of all files), checked."""
    problems = read_jsonl(problems_path, "task_id group? prompt", ["task_id"])
    problems = {problem["task_id"]: problem for problem in problems}

    # D: the steps of all iterations so far, each of a known problem, and none in two files.
    fields = f"policy task_id trajectory turn code {fields}"
    steps = []
    seen = set()
    for path in step_paths:
        rows = read_jsonl(path, fields, STEP_KEY, seen)
        check_task_ids(path, rows, problems, problems_path)
        steps += rows
    return problems, steps


def read_programs(args):
    """D as ({task_id: problem}, {task_id: {code: is it correct?}}), of problems with pairs."""
    problems, steps = read_steps(args.problems, args.steps, "public_passed hidden_passed")
    programs = distinct_programs(steps)
    # Only correct programs, or only wrong ones, teach nothing.
    both = {task_id: codes for task_id, codes in programs.items() if len(set(codes.values())) == 2}
    if not both:
        reason = "no problem has both a correct and a wrong program by 'public_passed' and"
        stop(f"{args.steps[0]}: {reason} 'hidden_passed'; sample more trajectories or problems")
    return problems, both


def main_train(args):
    # D as distinct programs, and R_φ before training.
    models.check_target(args.out, args.base)
    problems, programs = read_programs(args)
    model, tokenizer = make_verifier(args.base, args.seed)
    if args.gradient_checkpointing:
        models.checkpoint_activations(model)

    # As token ids, in two parts: what is trained on, and what tells which epoch is best.
    room = models.context_length(model)
    examples = {}  # task_id → (the token ids of its programs, which of them are correct)
    for task_id, codes in programs.items():
        problem = problems[task_id]
        sequences = [
            encode_program(tokenizer, problem, code, room, args.problems) for code in codes
        ]
        examples[task_id] = sequences, list(codes.values())
    training_ids, held_out = split(problems, programs)
    training = [examples[task_id] for task_id in training_ids]
    validation = [examples[task_id] for task_id in held_out]

    # Fit R_φ.
    work = work_of(args, inputs=("problems", "steps", "base"), neutral=("out", "main"))
    metrics = train(model, training, validation, args, args.out, work)
    models.save_checkpoint(model, tokenizer, args.out, metrics)
    print_training(training, validation, metrics, tokenizer, args)


def print_training(training, validation, metrics, tokenizer, args):
    """One line of result, and one program as R_φ reads it."""
    # What the kept epoch is worth. The best of several on the same problems, so it flatters a bit.
    kept = next(row for row in metrics if row["kept"])
    verdict = "no group was held out"
    if validation:
        verdict = f"on {len(validation)} held-out problems a correct program beats a wrong one in "
        verdict += f"{kept['pairwise']:.1%} of pairs, is ranked first in {kept['top1']:.1%}"
    count = sum(len(sequences) for sequences, _ in training)
    print(
        f"03 verifier: {args.loss.upper()} on {len(training)} problems with correct and wrong "
        f"programs, {count} distinct ones; {verdict} (epoch {kept['epoch']}) → {args.out}"
    )

    sequences, labels = training[0]
    print("  for example, it reads:\n" + indent(tokenizer.decode(sequences[0])))
    print(f"  and is told: {'correct' if labels[0] else 'wrong'}")


def main_pairs(args):
    # The pairs that `train` could draw, for somebody else's trainer.
    problems, programs = read_programs(args)
    rng = random.Random(args.seed)
    rows = []
    training, _ = split(problems, programs)  # what `train` holds out stays unseen
    for task_id in training:
        # Every correct program of a draw against every wrong one, as in `bt_loss`.
        right_and_wrong = draw(programs[task_id].items(), args.programs, rng)
        for right, wrong in itertools.product(*right_and_wrong):
            question, chosen = as_chat(problems[task_id]["prompt"], right)
            _, rejected = as_chat(problems[task_id]["prompt"], wrong)
            rows.append(dict(prompt=[question], chosen=[chosen], rejected=[rejected]))
    write_jsonl(args.out, rows)
    print(f"03 verifier: {len(rows)} pairs of programs → {args.out}")


def main_score(args):
    problems, steps = read_steps(args.problems, args.steps, "")
    model, tokenizer = load_verifier(args.verifier)
    # Each distinct program gets one score, whatever states it was written in.
    programs = list(dict.fromkeys((step["task_id"], step["code"]) for step in steps))
    values = score_programs(model, tokenizer, programs, problems, args.problems, args.score_batch)
    scores = dict(zip(programs, values))

    # A verifier whose training diverged must not choose what is imitated.
    if any(score != score for score in scores.values()):  # NaN
        stop(f"{args.verifier}: its scores are not numbers; train it with a lower --lr")

    # Every step of D, with its score.
    scored = [dict(step, score=scores[step["task_id"], step["code"]]) for step in steps]
    write_jsonl(args.out, scored)

    print(f"03 verifier: scored {len(programs)} programs of {len(steps)} steps → {args.out}")
    task_id, code = max(programs, key=scores.get)
    highest = f"R_φ = {scores[task_id, code]:.2f}: {problems[task_id]['prompt'][:120]}"
    print(f"  for example, the highest, {highest}\n{indent(code)}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    modes = parser.add_subparsers(required=True)
    train_mode = modes.add_parser("train", help="fit R_φ to the steps")
    score_mode = modes.add_parser("score", help="R_φ of every step")
    pairs_mode = modes.add_parser("pairs", help="pairs for another trainer, such as TRL's")
    mains = {train_mode: main_train, score_mode: main_score, pairs_mode: main_pairs}
    for mode, main_of_mode in mains.items():
        mode.set_defaults(main=main_of_mode)
        add = mode.add_argument
        add("--problems", required=True, help="problems.jsonl")
        add("--steps", required=True, nargs="+", help="steps.jsonl of all iterations so far")
        add("--out", required=True, help="checkpoint folder (train), rows (score, pairs)")
    for mode in (train_mode, score_mode):
        add = mode.add_argument
        add("--score-batch", type=int, default=256, help="programs scored at once [%(default)s]")
    for mode in (train_mode, pairs_mode):
        add = mode.add_argument
        add("--programs", type=int, default=16, help="of a problem, at most [%(default)s]")
        add("--seed", type=int, default=0, help="[%(default)s]")
    score_mode.add_argument("--verifier", required=True, help="checkpoint folder of R_φ")

    add = train_mode.add_argument
    add("--base", required=True, help="language model to make the verifier of")
    add("--loss", choices=LOSSES, default="bt", help="[%(default)s]")
    add("--epochs", type=int, default=2, help="[%(default)s]")
    add("--lr", type=float, default=1e-6, help="peak learning rate [%(default)s]")
    add("--batch-size", type=int, default=4, help="problems per optimiser step [%(default)s]")
    add("--gradient-checkpointing", action="store_true", help="a third slower, far less memory")
    args = parser.parse_args()
    check_flags(args)
    if args.main is not main_score and args.programs < 2:
        stop(f"--programs is {args.programs}: too small")
    return args


def main():
    args = parse_args()
    args.main(args)


if __name__ == "__main__":
    main()
