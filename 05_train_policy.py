r"""Stage 05 · train the policy: imitate the examples, one turn at a time.

What it does in μCode (Algorithm 1, line 8). Multi-turn reinforcement learning has become supervised
learning: each example is a state s_t and the program that should have been written there. The loss is
the cross-entropy of the completion's tokens, its end token included, and of nothing else: the prompt,
with the model's own failed programs in it, is read and not imitated.

    L(π) = − Σ_(s_t, y*) Σ_k log π(y*_k | s_t, y*_<k)  /  Σ_(s_t, y*) tokens of y*          over the examples of an optimiser step

Every iteration starts from the BASE model, not from the last policy (Appendix C): D grows, the start
stays. The same stage gives the café's model its schooling (--base model --examples demonstrations.jsonl).

READS   examples.jsonl     prompt (a chat), completion (one assistant message)
WRITES  DIR/               an ordinary checkpoint: AutoModelForCausalLM, tokenizer, generation_config
        DIR/metrics.jsonl  one row, for example {"examples": 12611, "steps": 600, "tokens": 243363,
                           "loss_first": 0.12, "loss_last": 0.08}
RUN     in the folder of a run, such as runs/toy:
        python ../../05_train_policy.py --base base/policy --examples mucode-1/examples.jsonl \
            --lr 1e-3 --steps 600 --out try-policy            # the defaults are the paper's, for pretrained models
COSTS   the café: 70 to 90 s for 600 steps on a CPU core

Differs from the paper: --steps gives methods with unequal numbers of examples equal numbers of optimiser
steps. The other defaults are the paper's: learning rate 5e-7, 2 epochs, 32 examples a step.

On a CPU the same command gives the same bytes. On a GPU the backward passes of attention and embedding add up in
no fixed order, so weights can differ in their last bits.
"""
import argparse, importlib, json, os, random, sys

rollout = importlib.import_module("01_rollout")
verifier = importlib.import_module("03_verifier")

NO_ROOM = "the step; lower --tokens-per-pass, add --gradient-checkpointing, or take a smaller model (data/README.md says what fits)"


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


# ── Examples as tokens ───────────────────────────────────────────────────────────────────────────

def encode_example(tokenizer, prompt, completion, stops):
    """(chat, [assistant message]) → (ids, n): the last n ids are the completion and carry the loss.

    None if the prompt's tokens do not begin the whole chat's: then no mask could be right.
    """
    before = rollout.render(tokenizer, prompt)
    whole = rollout.render(tokenizer, prompt + completion, reply=False)
    if whole[:len(before)] != before: return None
    answer = whole[len(before):]
    # What a template writes behind the end token (Qwen: a newline) is cut off, because sampling stops
    # before it. A template that writes no end token gets one, or the model would never learn to stop.
    ends = [k for k, token in enumerate(answer) if token in stops]
    answer = answer[:ends[-1] + 1] if ends else answer + [tokenizer.eos_token_id]
    return before + answer, len(answer)


def make_batches(lengths, batch_size, steps, seed):
    """Example indices of each optimiser step. Every epoch holds every example once, in a new order."""
    rng, batches = random.Random(seed), []
    while len(batches) < steps:
        order, epoch = list(range(len(lengths))), []
        rng.shuffle(order)
        # Sorted by length within every 16 batches: little padding, and still a random mix.
        for start in range(0, len(order), 16 * batch_size):
            pool = sorted(order[start:start + 16 * batch_size], key=lambda i: lengths[i])
            epoch += [pool[k:k + batch_size] for k in range(0, len(pool), batch_size)]
        rng.shuffle(epoch)
        batches += epoch
    return batches[:steps]


def split_batch(batch, lengths, most):
    """Gradient accumulation: one step's batch in parts of at most `most` padded tokens (or one example)."""
    parts = [[]]
    for i in sorted(batch, key=lambda i: lengths[i]):           # ascending: i sets the width of its part
        if parts[-1] and lengths[i] * (len(parts[-1]) + 1) > most: parts.append([])
        parts[-1].append(i)
    return parts


def collate(examples):
    """[(ids, n)] → ids, targets, each (B, T), padded on the right. A target of −100 carries no loss.

    Padding needs no mask: attention is causal, so what stands on the right is seen by nothing that carries loss.
    """
    import torch
    width = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in examples])
    targets = torch.tensor([[-100] * (len(ids) - n) + ids[-n:] + [-100] * (width - len(ids)) for ids, n in examples])
    return ids, targets


# ── Training ─────────────────────────────────────────────────────────────────────────────────────

def completion_loss(logits, targets):
    """Σ −log π(token) over the completion's tokens. logits (B, K, V) of the last K positions, targets (B, T) → scalar."""
    import torch
    # Position k predicts token k + 1, so the last logit and the first target have no partner.
    targets = targets[:, targets.shape[1] - logits.shape[1] + 1:]
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(),
                                             ignore_index=-100, reduction="sum")


def train(model, examples, batches, peak, most_tokens):
    """Fine-tune in place → the loss of each step."""
    import torch
    from tqdm import tqdm
    # Weights and AdamW's moments are float32. At a rate of 5e-7 a step is smaller than the spacing of
    # bfloat16 numbers: such weights would stand still. Only the arithmetic is bfloat16, on a GPU.
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    device, losses, lengths = model.device, [], [len(ids) for ids, _ in examples]
    for step, batch in enumerate(tqdm(batches, desc="  training", unit="step", disable=None, leave=False)):
        for group in optimizer.param_groups: group["lr"] = verifier.learning_rate(step, len(batches), peak)
        count, total = sum(examples[i][1] for i in batch), 0.0  # completion tokens of the whole step
        with rollout.in_memory(NO_ROOM):
            for part in split_batch(batch, lengths, most_tokens):
                ids, targets = (x.to(device) for x in collate([examples[i] for i in part]))
                # Logits are made from the last prompt token on only: with a large vocabulary they are what fills a GPU.
                keep = ids.shape[1] + 1 - min(len(examples[i][0]) - examples[i][1] for i in part)
                # Not cached: bfloat16 copies of all weights would take two bytes a parameter more.
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
                    logits = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits   # (B, keep, V)
                loss = completion_loss(logits, targets) / count  # parts add up to the mean over the step
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    return losses


def read_examples(paths):
    """[(file, row number, row)] of all files, each checked to be a chat and its answer."""
    rows = [(path, n, row) for path in paths
            for n, row in enumerate(read_jsonl(path, dict(prompt=list, completion=list)), 1)]
    for path, n, row in rows:
        for field in ("prompt", "completion"):
            if not rollout.is_chat(row[field]):
                stop(f"{path}, row {n}: field '{field}' is not a chat of role and content")
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--base", required=True, help="checkpoint folder or hub name to start from")
    ap.add_argument("--examples", required=True, nargs="+", help="examples.jsonl")
    ap.add_argument("--out", required=True, help="checkpoint folder to write")
    ap.add_argument("--steps", type=int, help="optimiser steps (default: as many as --epochs need)")
    ap.add_argument("--epochs", type=float, default=2, help="passes over the examples, without --steps [%(default)s]")
    ap.add_argument("--lr", type=float, default=5e-7, help="peak learning rate [%(default)s]")
    ap.add_argument("--batch-size", type=int, default=32, help="examples an optimiser step [%(default)s]")
    ap.add_argument("--tokens-per-pass", type=int, default=16384,
                    help="padded tokens in one forward pass; lower it if memory runs out [%(default)s]")
    ap.add_argument("--gradient-checkpointing", action="store_true",
                    help="keep one activation a layer and compute the rest again: a third slower, far less memory")
    ap.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        if type(value) in (int, float) and (value < 0 or value == 0 and flag not in ("seed",)):
            stop(f"--{flag.replace('_', '-')} is {value}: too small")

    verifier.check_target(args.out)
    rows = read_examples(args.examples)
    model, tokenizer = rollout.load_policy(args.base, "float32")
    import torch
    torch.manual_seed(args.seed)
    if args.gradient_checkpointing: model.activation_checkpointing_enable()
    model.train()
    stops, room, examples, encoded = rollout.stop_ids(model, tokenizer), rollout.context_length(model), [], {}
    for path, n, row in rows:
        text = json.dumps([row["prompt"], row["completion"]])                       # many examples are alike
        if text not in encoded: encoded[text] = encode_example(tokenizer, row["prompt"], row["completion"], stops)
        example = encoded[text]
        if example is None:
            stop(f"{path}, row {n}: field 'prompt' is not a prefix of prompt + completion under the template of "
                 f"{args.base}, so the loss cannot be masked; use another template")
        if len(example[0]) > room:
            stop(f"{path}, row {n}: fields 'prompt' and 'completion' have {len(example[0])} tokens, "
                 f"the context of {args.base} has {room}; leave the example out")
        examples.append(example)

    steps = args.steps or max(1, round(args.epochs * len(examples) / args.batch_size))
    batches = make_batches([len(ids) for ids, _ in examples], args.batch_size, steps, args.seed)
    losses = train(model, examples, batches, args.lr, args.tokens_per_pass)
    tenth = max(1, steps // 10)
    metrics = dict(examples=len(examples), steps=steps, tokens=sum(examples[i][1] for b in batches for i in b),
                   loss_first=sum(losses[:tenth]) / tenth, loss_last=sum(losses[-tenth:]) / tenth)
    verifier.save_checkpoint(model, tokenizer, [metrics], args.out)

    ids, n = examples[0]
    print(f"05 train: {len(examples)} examples, {steps} optimiser steps, "
          f"loss {metrics['loss_first']:.3f} → {metrics['loss_last']:.3f} → {args.out}")
    print("  for example, loss on what stands between » and «:\n    "
          + (tokenizer.decode(ids[:-n]) + "»" + tokenizer.decode(ids[-n:]) + "«").replace("\n", "\n    "))


if __name__ == "__main__":
    main()
