r"""Stage 05 · train the policy: imitate the examples, one turn at a time.

WHAT IT DOES IN μCODE (Algorithm 1: π ← fine-tuned on D*)
  Multi-turn reinforcement learning has become supervised learning: each example is a state s_t and
  the program y* that should have been written there. The loss is the cross-entropy of the
  completion's tokens, its end token included, and of nothing else. The prompt, with the model's own
  failed programs in it, is read and not imitated. For the examples of one optimiser step:

      L(π) = − Σ_(s_t, y*) Σ_k log π(y*_k | s_t, y*_<k)  /  number of tokens of all y*

  Every iteration starts from the BASE model, not from the last policy (Appendix C): D grows, the
  start stays. The same stage gives the café's model its schooling, on demonstrations.jsonl.

READS   examples.jsonl     prompt (a chat), completion (one assistant message)
WRITES  DIR/               an ordinary checkpoint: AutoModelForCausalLM and its tokenizer
        DIR/metrics.jsonl  one row, for example {"examples": 12611, "steps": 600,
                           "tokens": 243363, "loss_first": 0.12, "loss_last": 0.08}
RUN     in the folder of a run, such as runs/toy (the defaults are for pretrained models):
        python ../../05_train_policy.py --base base/policy --examples mucode-1/examples.jsonl \
            --lr 1e-3 --steps 600 --out try-policy
COSTS   the café: 75 to 105 s for 600 steps on a CPU core

DIFFERS FROM THE PAPER: --steps gives methods with unequal numbers of examples equal numbers of
optimiser steps. Without it, as in the paper: 2 epochs of 32 examples a step at a rate of 5e-7.

On a CPU the same command gives the same bytes. On a GPU the backward passes of attention and of the
embedding add up in no fixed order, so weights can differ in their last bits.
"""

import argparse
import importlib
import json
import random

from lib import models
from lib.resume import training_steps, work_of
from lib.rows import EXAMPLE, check_flags, indent, read_jsonl, stop

import torch
from torch.nn.functional import cross_entropy

rollout = importlib.import_module("01_rollout")

# What cross_entropy ignores: the target of a token that carries no loss.
NO_LOSS = -100


# ── Examples as tokens ───────────────────────────────────────────────────────────────────────────
# For training an example is (ids, n): the last n token ids are the completion and carry the loss.


def encode_example(tokenizer, prompt, completion, end_id):
    """(chat, text) → (ids, n), as sampling would have produced them.

    First what sampling starts from, then the text's own tokens, then the end token. The template is
    not asked to render the whole chat: it may strip an answer, or merge its first token with the
    token before.
    """
    state = rollout.render(tokenizer, prompt)
    answer = tokenizer.encode(completion, add_special_tokens=False) + [end_id]
    return state + answer, len(answer)


def make_batches(lengths, batch_size, steps, seed):
    """The example indices of each optimiser step.

    Every epoch holds every example once, in a new order.
    """
    rng = random.Random(seed)
    batches = []
    while len(batches) < steps:
        order = list(range(len(lengths)))
        rng.shuffle(order)

        # Sorted by length within every 16 batches: little padding, and still a random mix.
        epoch = []
        for start in range(0, len(order), 16 * batch_size):
            pool = order[start : start + 16 * batch_size]
            pool.sort(key=lambda i: lengths[i])
            epoch += [pool[k : k + batch_size] for k in range(0, len(pool), batch_size)]
        rng.shuffle(epoch)
        batches += epoch
    return batches[:steps]


def split_batch(batch, lengths, most):
    """Gradient accumulation: one step's batch in parts of at most `most` padded tokens.

    A single example may have more.
    """
    parts = [[]]
    for i in sorted(batch, key=lambda i: lengths[i]):
        # In ascending order the newest example sets the width of its part.
        if parts[-1] and lengths[i] * (len(parts[-1]) + 1) > most:
            parts.append([])
        parts[-1].append(i)
    return parts


def collate(examples):
    """[(ids, n), …] → ids (B, W), targets (B, W), padded on the right.

    Of an example, the last n ids are the completion. They are targets, all else is NO_LOSS. The
    ids are padded with 0.

    >>> collate([([5, 6, 7], 1), ([8, 9], 1)])[1]
    tensor([[-100, -100,    7],
            [-100,    9, -100]])
    """
    # BEGIN SOLUTION
    # Padding needs no mask: attention is causal, so nothing on the right is seen by what counts.
    width = max(len(ids) for ids, _ in examples)
    padded = []
    targets = []
    for ids, n in examples:
        # … prompt … | completion | padding: only the middle part is imitated.
        padding = width - len(ids)
        padded.append(ids + [0] * padding)
        targets.append([NO_LOSS] * (len(ids) - n) + ids[-n:] + [NO_LOSS] * padding)
    return torch.tensor(padded), torch.tensor(targets)
    # END SOLUTION


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


def completion_loss(logits, targets):
    """Σ − log π(target) over the targets that carry loss.

    logits (B, K, V) and targets (B, K) are aligned: logits[:, k] predicts targets[:, k] → scalar.
    A sum over all rows and tokens. Targets that are NO_LOSS do not count.

    >>> completion_loss(torch.tensor([[[0.2, 0.8], [0.5, 0.5]]]).log(), torch.tensor([[1, -100]]))
    tensor(0.2231)
    """
    # BEGIN SOLUTION
    # A sum, not a mean: the caller divides by the tokens of the whole step.
    return cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=NO_LOSS, reduction="sum"
    )
    # END SOLUTION


def loss_of_part(model, examples):
    """Σ − log π over the completions of some examples, in one forward pass → scalar."""
    ids, targets = collate(examples)
    ids = ids.to(model.device)  # (B, W)
    targets = targets.to(model.device)  # (B, W)

    # Position k predicts token k + 1. The first completion token of all stands at `first`, so the
    # logits from first − 1 on are enough. With a large vocabulary they are what fills a GPU.
    first = min(len(ids_of_example) - n for ids_of_example, n in examples)
    keep = ids.shape[1] - first + 1
    with models.mixed_precision(model):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits  # (B, keep, V)

    # The last logit predicts what comes after the last token: it has no target.
    return completion_loss(logits[:, :-1], targets[:, first:])


def train(model, examples, batches, peak, most_tokens, out=None, work=None):
    """Fine-tune in place → the loss of each step.

    out, work: where a training that is cut off leaves its state, and what it depends on.
    """
    # Weights and AdamW's moments are float32. At a rate of 5e-7 a step is smaller than the spacing
    # of bfloat16 numbers, and such weights would stand still. Only the arithmetic is bfloat16.
    optimizer, schedule = models.make_optimizer(model, peak, len(batches))
    lengths = [len(ids) for ids, _ in examples]

    # The steps that are left. After a kill, parts and log are as they were (lib/resume.py).
    parts = dict(model=model, optimizer=optimizer, schedule=schedule)
    log = dict(losses=[])
    for step in training_steps(len(batches), parts, log, out, work):
        batch = batches[step]
        tokens = sum(examples[i][1] for i in batch)  # that carry loss in this step
        total = 0.0
        with models.room_for_step("--tokens-per-pass"):
            # Each part divides by the tokens of the step, so the parts add up to its mean.
            for part in split_batch(batch, lengths, most_tokens):
                loss = loss_of_part(model, [examples[i] for i in part]) / tokens
                loss.backward()
                total += loss.item()
            models.take_step(model, optimizer, schedule)  # after the last part
        log["losses"].append(total)
    return log["losses"]


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def read_examples(paths):
    """[("file, row n", row), …] of all files: each row is a chat and its answer."""
    located = []
    for path in paths:
        for number, row in enumerate(read_jsonl(path, EXAMPLE), 1):
            located.append((f"{path}, row {number}", row))
    return located


def encode_examples(located, model, tokenizer, base):
    """The rows as (ids, n), checked against the context of the model."""
    # One end token for all, as the template writes it.
    end_id = models.end_token(tokenizer, models.stop_ids(model, tokenizer))
    room = models.context_length(model)
    encoded = {}
    examples = []
    for where, row in located:
        # Many states share their label and their beginning, and many visits are of one state.
        text = json.dumps([row["prompt"], row["completion"]])
        if text not in encoded:
            answer = row["completion"][0]["content"]
            encoded[text] = encode_example(tokenizer, row["prompt"], answer, end_id)
        example = encoded[text]

        # Without room there is nothing to train on.
        ids, _ = example
        if len(ids) > room:
            excess = f"have {len(ids)} tokens, the context of {base} has {room}"
            stop(f"{where}: fields 'prompt' and 'completion' {excess}; leave the example out")
        examples.append(example)
    return examples


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--base", required=True, help="checkpoint folder or hub name to start from")
    add("--examples", required=True, nargs="+", help="examples.jsonl")
    add("--out", required=True, help="checkpoint folder to write")
    add("--steps", type=int, help="optimiser steps (absent: as many as --epochs need)")
    add("--epochs", type=float, default=2, help="passes over the examples [%(default)s]")
    add("--lr", type=float, default=5e-7, help="peak learning rate [%(default)s]")
    add("--batch-size", type=int, default=32, help="examples per optimiser step [%(default)s]")
    add("--tokens-per-pass", type=int, default=16384, help="less saves memory [%(default)s]")
    add("--gradient-checkpointing", action="store_true", help="a third slower, far less memory")
    add("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()
    check_flags(args)
    return args


def main():
    # The base model, and the examples as it reads them.
    args = parse_args()
    models.check_target(args.out, args.base)
    located = read_examples(args.examples)
    model, tokenizer = models.load_policy(args.base)
    model.float()  # for training alone
    examples = encode_examples(located, model, tokenizer, args.base)

    # For models with dropout. The order of the examples is drawn apart.
    torch.manual_seed(args.seed)
    model.train()
    if args.gradient_checkpointing:
        models.checkpoint_activations(model)

    steps = args.steps or max(1, round(args.epochs * len(examples) / args.batch_size))
    batches = make_batches([len(ids) for ids, _ in examples], args.batch_size, steps, args.seed)
    work = work_of(args, inputs=("base", "examples"), neutral=("out",))
    losses = train(model, examples, batches, args.lr, args.tokens_per_pass, args.out, work)

    tenth = max(1, steps // 10)  # of the steps, at the beginning and at the end
    metrics = dict(
        examples=len(examples),
        steps=steps,
        tokens=sum(examples[i][1] for batch in batches for i in batch),
        loss_first=sum(losses[:tenth]) / tenth,
        loss_last=sum(losses[-tenth:]) / tenth,
    )
    models.save_checkpoint(model, tokenizer, args.out, [metrics])

    # A broken mask is seen here at once.
    print(
        f"05 train: {len(examples)} examples, {steps} optimiser steps, "
        f"loss {metrics['loss_first']:.3f} → {metrics['loss_last']:.3f} → {args.out}"
    )
    ids, n = examples[0]
    prompt = tokenizer.decode(ids[:-n])  # read, not imitated
    completion = tokenizer.decode(ids[-n:])
    print("  for example, loss on what stands between » and «:")
    print(indent(f"{prompt}»{completion}«"))


if __name__ == "__main__":
    main()
