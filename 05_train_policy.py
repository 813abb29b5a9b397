"""Stage 05 · train the policy: imitate the examples, one turn at a time.

What it does in μCode (Algorithm 1, line 8). Multi-turn reinforcement learning has become supervised learning: each
example is a state s_t and the program that should have been written there. The loss is the cross-entropy of the
completion's tokens, its end token included, and of nothing else: the prompt, with the model's own failed programs
in it, is read and not imitated.

    L(π) = − Σ log π(y*_k | s_t, y*_<k) / (number of completion tokens in the step)

Every iteration starts from the BASE model, not from the last policy (Appendix C): D grows, the start stays.
The same stage gives the embedded world its schooling (--base model, --examples demonstrations.jsonl).

READS   examples.jsonl   prompt (a chat), completion (one assistant message)
WRITES  DIR/             an ordinary checkpoint (AutoModelForCausalLM, tokenizer, generation_config)
        DIR/metrics.jsonl  one row: {"examples": 9120, "steps": 400, "tokens": 131072, "loss_first": 0.61, "loss_last": 0.12}
RUN     python 05_train_policy.py --base base/policy --examples mucode-1/examples.jsonl --out mucode-1/policy --steps 400
COSTS   the embedded world: 20,000 tokens a second on two CPU cores.

Differs from the paper: --steps lets methods with unequal numbers of examples take equal numbers of optimiser steps.
The paper's settings are the defaults: learning rate 5e-7, 2 epochs, 32 examples a step.
"""
import argparse, importlib, json, os, random, shutil, sys

rollout = importlib.import_module("01_rollout")


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


# ── Examples as tokens ───────────────────────────────────────────────────────────────────────────────────────────

def encode_example(tokenizer, prompt, completion, stops):
    """(chat, [assistant message]) → (ids, n): the n last ids are the completion with its end token and carry the loss.

    What a template writes behind the end token (Qwen: a newline) is cut off: sampling stops before it. A template
    that writes no end token gets one. None if the prompt's tokens do not begin the whole chat's.
    """
    before = rollout.render(tokenizer, prompt)
    whole = rollout.render(tokenizer, prompt + completion, reply=False)
    if whole[:len(before)] != before: return None
    answer = whole[len(before):]
    ends = [k for k, token in enumerate(answer) if token in stops]
    answer = answer[:ends[-1] + 1] if ends else answer + [tokenizer.eos_token_id]
    return before + answer, len(answer)


def make_batches(lengths, batch_size, steps, seed):
    """`steps` lists of example indices. Each epoch is shuffled, sorted by length within every 16 batches, and shuffled again."""
    rng, batches = random.Random(seed), []
    while len(batches) < steps:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        epoch = []
        for start in range(0, len(order), 16 * batch_size):
            pool = sorted(order[start:start + 16 * batch_size], key=lambda i: lengths[i])
            epoch += [pool[k:k + batch_size] for k in range(0, len(pool), batch_size)]
        rng.shuffle(epoch)
        batches += epoch
    return batches[:steps]


def split_batch(batch, lengths, most):
    """Gradient accumulation: cut one step's batch into parts of at most `most` padded tokens (or a single example)."""
    parts = [[]]
    for i in sorted(batch, key=lambda i: lengths[i]):
        if parts[-1] and lengths[i] * (len(parts[-1]) + 1) > most: parts.append([])
        parts[-1].append(i)
    return parts


def collate(examples, pad):
    """[(ids, n)] → input ids, attention mask and targets, each (B, T); a target of −100 carries no loss."""
    import torch
    width = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in examples])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in examples])
    targets = torch.tensor([[-100] * (len(ids) - n) + ids[-n:] + [-100] * (width - len(ids)) for ids, n in examples])
    return ids, mask, targets


# ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────

def completion_loss(logits, targets):
    """Σ −log π(token) over the completion's tokens. logits (B, T, V), targets (B, T). Position k predicts token k + 1."""
    import torch
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def learning_rate(step, steps, peak, warmup=0.1):
    """Linear warm-up over the first tenth of the steps, then linear decay to zero."""
    ramp = max(1, int(warmup * steps))
    return peak * min((step + 1) / ramp, (steps - step) / max(1, steps - ramp))


def train(model, examples, batches, peak, most_tokens, pad):
    """Fine-tune in place → loss by step. Weights and AdamW's state stay float32: at a rate of 5e-7, bfloat16 weights stand still."""
    import torch
    from tqdm import tqdm
    device, losses = model.device, []
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    lengths = [len(ids) for ids, _ in examples]
    for step, batch in enumerate(tqdm(batches, desc="  training", unit="step", disable=None, leave=False)):
        for group in optimizer.param_groups: group["lr"] = learning_rate(step, len(batches), peak)
        count, total = sum(examples[i][1] for i in batch), 0.0           # completion tokens in the whole step
        for part in split_batch(batch, lengths, most_tokens):
            ids, mask, targets = (x.to(device) for x in collate([examples[i] for i in part], pad))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits      # (B, T, V)
            loss = completion_loss(logits, targets) / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    return losses


def save_checkpoint(model, tokenizer, metrics, path):
    """Write PATH.part, then rename: a checkpoint under its own name is whole."""
    shutil.rmtree(path + ".part", ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path + ".part")
    tokenizer.save_pretrained(path + ".part")
    write_jsonl(os.path.join(path + ".part", "metrics.jsonl"), metrics)
    os.rename(path + ".part", path)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="The docstring at the top of the file says the rest.")
    ap.add_argument("--base", required=True, help="checkpoint folder or hub name to start from")
    ap.add_argument("--examples", required=True, nargs="+", help="examples.jsonl")
    ap.add_argument("--out", required=True, help="checkpoint folder to write")
    ap.add_argument("--steps", type=int, help="optimiser steps (default: as many as --epochs need)")
    ap.add_argument("--epochs", type=float, default=2, help="passes over the examples, where --steps is absent")
    ap.add_argument("--lr", type=float, default=5e-7, help="peak learning rate")
    ap.add_argument("--batch-size", type=int, default=32, help="examples an optimiser step")
    ap.add_argument("--tokens-per-pass", type=int, default=16384, help="padded tokens in one forward pass; lower it if memory runs out")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()

    rows = [(path, n, row) for path in args.examples for n, row in enumerate(read_jsonl(path, dict(prompt=list, completion=list)), 1)]
    for path, n, row in rows:
        for field in ("prompt", "completion"):
            if not rollout.is_chat(row[field]): stop(f"{path}, row {n}: field '{field}' is not a chat of role and content")
    import torch
    torch.manual_seed(args.seed)
    model, tokenizer = rollout.load_policy(args.base)
    model = model.float().train()
    stops, room, examples = rollout.stop_ids(model, tokenizer), rollout.context_length(model), []
    for path, n, row in rows:
        example = encode_example(tokenizer, row["prompt"], row["completion"], stops)
        if example is None: stop(f"{path}, row {n}: the template of {args.base} does not begin prompt + completion with the tokens of 'prompt'; the loss cannot be masked")
        if len(example[0]) > room: stop(f"{path}, row {n}: prompt and completion have {len(example[0])} tokens, the context of {args.base} {room}")
        examples.append(example)

    steps = args.steps or max(1, round(args.epochs * len(examples) / args.batch_size))
    batches = make_batches([len(ids) for ids, _ in examples], args.batch_size, steps, args.seed)
    losses = train(model, examples, batches, args.lr, args.tokens_per_pass, tokenizer.pad_token_id)
    tenth = max(1, len(losses) // 10)
    metrics = dict(examples=len(examples), steps=steps, tokens=sum(examples[i][1] for b in batches for i in b),
                   loss_first=sum(losses[:tenth]) / tenth, loss_last=sum(losses[-tenth:]) / tenth)
    save_checkpoint(model, tokenizer, [metrics], args.out)

    ids, n = examples[0]
    print(f"05 train: {len(examples)} examples, {steps} steps, loss {metrics['loss_first']:.3f} → {metrics['loss_last']:.3f} → {args.out}")
    print("  for example, loss on what stands between » and «:\n    "
          + (tokenizer.decode(ids[:-n]) + "»" + tokenizer.decode(ids[-n:]) + "«").replace("\n", "\n    "))


if __name__ == "__main__":
    main()
