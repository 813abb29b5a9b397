r"""Stage 03 · verifier: learn from the outcomes what a right program looks like.

What it does in μCode (Section 4.1). The verifier R_φ(x, y) scores a problem x and ONE program y, never
the history: a program is right or wrong whatever was tried before. It is the language model itself with
a new scalar head on its last token, trained on the outcomes r = R(x, y) of the programs in D, of those
problems that have right and wrong ones.

    BT    − E log σ(R_φ(x, y⁺) − R_φ(x, y⁻))   right/wrong pairs of the same problem   (the default)
    BCE   − E [r log σ(R_φ) + (1 − r) log(1 − σ(R_φ))]   single programs   (Eq. 2, with the σ it lacks)

BT (after Bradley and Terry) is averaged over the pairs of a problem, then over problems, plus 10⁻³ · mean R_φ², which pins the
level that differences leave free. All pairs of a problem share one forward pass: each program is
encoded once. The verifier earns its place twice: it breaks the expert's ties (stage 04), and at test
time it picks among programs that the public tests cannot tell apart (stage 06).

train   READS problems.jsonl (prompt, group), *.steps.jsonl
        WRITES DIR/ (AutoModelForSequenceClassification) and DIR/metrics.jsonl, a row an epoch: {"epoch": 1,
        "loss": 0.59, "pairwise": 0.86, "top1": 0.77, "problems": 31, "kept": false}: what it is worth on so many held-out problems
score   READS problems.jsonl (prompt), *.steps.jsonl of all iterations
        WRITES scored.jsonl: the same steps, each with "score": the raw logit R_φ
RUN     in the folder of a run, such as runs/toy:
        python ../../03_verifier.py train --problems problems/train.jsonl --steps base/turn*.steps.jsonl \
            --base base/policy --lr 1e-3 --batch-size 8 --epochs 3 --out try-verifier     # the defaults are the paper's
        python ../../03_verifier.py score --problems problems/train.jsonl --steps base/turn*.steps.jsonl \
            --verifier try-verifier --out try.scored.jsonl
COSTS   the café: 20 to 30 s to train, 6 to 8 s to score on a CPU core

Differs from the paper's code: there 32 pairs a problem are drawn with replacement and unseeded, and the
evaluation split is the training split. Here a tenth of the groups is held out, the same in every
iteration, and the epoch that ranks their programs best is kept (the last one, where nothing could be held out).
"""
import argparse, hashlib, importlib, json, os, random, shutil, sys

rollout = importlib.import_module("01_rollout")

NO_ROOM = "the step; lower --programs, add --gradient-checkpointing, or take a smaller model (data/README.md says what fits)"


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


# ── Data ─────────────────────────────────────────────────────────────────────────────────────────

def distinct_programs(steps):
    """{task_id: {code: right}}. A program is (task_id, code). Two calls of stage 02 may judge it differently, where it
    is near the time limit: then it counts as right."""
    programs = {}
    for s in steps:
        mine = programs.setdefault(s["task_id"], {})
        mine[s["code"]] = mine.get(s["code"], False) or (s["public_passed"] and s["hidden_passed"])
    return programs


def held_out(group):
    """A tenth of the groups, by hash: no variant of a held-out problem is trained on in any iteration."""
    return hashlib.sha256(group.encode()).digest()[0] < 26


def encode_program(tokenizer, prompt, code):
    """What R_φ reads, as token ids: the problem and the program as a chat of one turn."""
    return rollout.render(tokenizer, [dict(role="user", content=prompt),
                                      dict(role="assistant", content=f"```python\n{code}\n```")], reply=False)


# ── Losses and metrics ───────────────────────────────────────────────────────────────────────────

def bt_loss(scores, labels, owners):
    """Bradley–Terry. scores (B,), labels (B,) of 0/1, owners (B,): the problem of each program → scalar.

    Mean of −log σ(R⁺ − R⁻) over the right × wrong pairs of a problem, then over problems that have both
    kinds, + 10⁻³ · mean R².
    """
    import torch
    losses = []
    for owner in owners.unique():
        r, y = scores[owners == owner], labels[owners == owner].bool()
        if y.any() and not y.all():
            # Means, not sums: a problem with many pairs weighs no more than one with few.
            gap = r[y][:, None] - r[~y][None, :]                               # (right, wrong): R⁺ − R⁻
            losses.append(torch.nn.functional.softplus(-gap).mean())           # softplus(−d) = −log σ(d)
    return torch.stack(losses).mean() + 1e-3 * scores.square().mean()


def bce_loss(scores, labels, owners=None):
    """Binary cross-entropy, Eq. 2. scores (B,), labels (B,) of 0/1 → scalar. Which program is whose plays no part."""
    import torch
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, labels.float())


def pairwise_accuracy(scores, labels):
    """Share of ONE problem's right × wrong pairs that are ranked right; a tie is half. None without both kinds."""
    pairs = [(p > n) + 0.5 * (p == n) for p, y in zip(scores, labels) if y for n, z in zip(scores, labels) if not z]
    return sum(pairs) / len(pairs) if pairs else None


def top1(scores, labels):
    """Is the best-scored program of one problem right? Ties go to the first."""
    return bool(labels[max(range(len(scores)), key=lambda i: (scores[i], -i))])


# ── Model ────────────────────────────────────────────────────────────────────────────────────────

@rollout.uncollected()
def load_verifier(path, new_head=False, seed=0):
    """A checkpoint → (R_φ, tokenizer). `new_head`: make R_φ of the language model at `path`."""
    import torch
    from transformers import AutoModelForSequenceClassification
    tokenizer = rollout.load_tokenizer(path)
    torch.manual_seed(seed)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32,
                                                                           output_loading_info=True)
    except (OSError, ValueError) as e: stop(f"{path}: no model loads from here ({rollout.why(path, e)})")
    if loaded["missing_keys"] and not new_head: stop(f"{path}: no verifier, for it has no scalar head; stage 03 train makes one")
    if new_head:
        config = model.config.get_text_config()
        # With the library's std of 0.02 the first epoch only finds the scale of the scores.
        torch.nn.init.normal_(model.score.weight, std=(config.hidden_size + 1) ** -0.5)
        # The score is read at the last token that is not padding, so padding must not be the end token
        # (many models ship with pad = eos). Otherwise it does not matter: it is masked out.
        pad = tokenizer.pad_token_id
        if pad in (None, tokenizer.eos_token_id) or pad >= config.vocab_size:
            pad = int(tokenizer.eos_token_id == 0)
        model.config.pad_token_id = config.pad_token_id = pad
    return model.to(rollout.pick_device()).eval(), tokenizer


def forward(model, sequences):
    """R_φ of a batch of token sequences → (B,), float32."""
    import torch
    width, pad = max(map(len, sequences)), model.config.pad_token_id
    ids = torch.tensor([s + [pad] * (width - len(s)) for s in sequences], device=model.device)             # (B, T)
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences], device=model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda", cache_enabled=False):
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].float()


def score_sequences(model, sequences, batch_size, label="scoring"):
    """R_φ of many sequences, longest first → list of floats in the order given."""
    import torch
    from tqdm import tqdm
    scores, order = [0.0] * len(sequences), sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    starts = tqdm(range(0, len(order), batch_size), desc=f"  {label}", unit="batch", disable=None, leave=False)
    with torch.inference_mode():
        for start in starts:
            part = order[start:start + batch_size]
            with rollout.in_memory(f"{len(part)} programs in a pass; lower --score-batch (in stage 06: --batch-size)"):
                got = forward(model, [sequences[i] for i in part]).tolist()
            for i, score in zip(part, got): scores[i] = score
    return scores


def measure(model, problems, batch_size):
    """Mean pairwise and top-1 accuracy over problems [(sequences, labels)], each with both kinds; None for none."""
    flat = score_sequences(model, [s for sequences, _ in problems for s in sequences], batch_size, "measuring")
    pairwise, best = [], []
    for sequences, labels in problems:
        scores, flat = flat[:len(sequences)], flat[len(sequences):]
        pairwise.append(pairwise_accuracy(scores, labels))
        best.append(top1(scores, labels))
    return (sum(pairwise) / len(pairwise), sum(best) / len(best)) if problems else (None, None)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────
# The learning rate and the checkpoint are stage 05's too.

def learning_rate(step, steps, peak, warmup=0.1):
    """Linear warm-up over the first tenth of the steps, then linear decay to zero."""
    ramp = max(1, int(warmup * steps))
    return peak * min((step + 1) / ramp, (steps - step) / max(1, steps - ramp))


def check_target(path):
    """A checkpoint may replace a checkpoint, and nothing else."""
    if os.path.exists(path) and not os.path.exists(os.path.join(path, "config.json")) and (os.path.isfile(path) or os.listdir(path)):
        stop(f"{path}: --out is there and is no checkpoint, so it is not replaced; name another folder")


def save_checkpoint(model, tokenizer, metrics, path):
    """Write PATH.part, then rename: a checkpoint under its own name is whole."""
    shutil.rmtree(path + ".part", ignore_errors=True)
    model.save_pretrained(path + ".part")
    tokenizer.save_pretrained(path + ".part")
    write_jsonl(os.path.join(path + ".part", "metrics.jsonl"), metrics)
    shutil.rmtree(path, ignore_errors=True)
    os.rename(path + ".part", path)


def draw_programs(problems, most, rng):
    """One step's batch of problems [(sequences, labels)] → sequences, labels, owners.

    At most `most` programs a problem, half of that room for the right ones and half for the wrong ones.
    """
    # A problem with 200 wrong programs must not fill the batch: what counts is the pairs, and half and half makes most of them.
    batch, labels, owners = [], [], []
    for owner, (sequences, right) in enumerate(problems):
        for kind in (1, 0):
            mine = [s for s, y in zip(sequences, right) if y == kind]
            mine = rng.sample(mine, min(len(mine), most // 2))
            batch += mine; labels += [kind] * len(mine); owners += [owner] * len(mine)
    return batch, labels, owners


def train(model, taught, held, args):
    """Train in place on `taught`, keep the epoch with the best pairwise accuracy on `held` → metrics, a row an epoch."""
    import torch
    from tqdm import tqdm
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    loss_of, rng = bt_loss if args.loss == "bt" else bce_loss, random.Random(args.seed)
    per_epoch, rows, best, weights = -(-len(taught) // args.batch_size), [], -1.0, None
    bar = tqdm(total=args.epochs * per_epoch, desc="  training", unit="step", disable=None, leave=False)
    for epoch in range(1, args.epochs + 1):
        order, total = rng.sample(taught, len(taught)), 0.0           # the problems in a new order
        model.train()
        for step in range(per_epoch):
            here = order[step * args.batch_size:(step + 1) * args.batch_size]
            batch, labels, owners = draw_programs(here, args.programs, rng)
            rate = learning_rate((epoch - 1) * per_epoch + step, args.epochs * per_epoch, args.lr)
            for group in optimizer.param_groups: group["lr"] = rate
            with rollout.in_memory(NO_ROOM):
                scores = forward(model, batch)                                                              # (B,)
                loss = loss_of(scores, torch.tensor(labels, device=model.device), torch.tensor(owners, device=model.device))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item()
            bar.update(1)
        model.eval()
        pairwise, first = measure(model, held, args.score_batch)
        rows.append(dict(epoch=epoch, loss=total / per_epoch, pairwise=pairwise, top1=first,
                         problems=len(held), kept=False))
        # A small set of programs is soon known by heart: the last epoch need not be the best one.
        if pairwise is None or pairwise > best:
            best, kept, weights = pairwise, epoch, {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    rows[kept - 1]["kept"] = True
    bar.close()
    return rows


def read_steps(problems_path, paths, fields):
    """({task_id: problem}, the steps of all files); a step of an unknown problem stops the stage."""
    problems = {p["task_id"]: p for p in read_jsonl(problems_path, dict(task_id=str, prompt=str), ["task_id"])}
    if len(set(paths)) < len(paths): stop(f"--steps names a file twice: {' '.join(paths)}")
    steps = []
    for path in paths:
        for n, s in enumerate(read_jsonl(path, fields, ("policy", "task_id", "trajectory", "turn")), 1):
            if s["task_id"] not in problems:
                stop(f"{path}, row {n}: task_id '{s['task_id']}' is not in {problems_path}")
            steps.append(s)
    return problems, steps


def main_train(args):
    check_target(args.out)
    problems, steps = read_steps(args.problems, args.steps, dict(
        policy=str, task_id=str, trajectory=int, turn=int, code=str, public_passed=bool, hidden_passed=bool))
    programs = distinct_programs(steps)
    both = {task: mine for task, mine in programs.items() if len(set(mine.values())) == 2}
    if not both:
        kinds = {right for mine in programs.values() for right in mine.values()}
        what = f"no program is {'wrong' if True in kinds else 'right'}"
        if len(kinds) == 2: what = "no problem has both a right and a wrong program"
        stop(f"{args.steps[0]}: {what} by fields 'public_passed' and 'hidden_passed', so there is nothing "
             "to tell apart; sample more trajectories or other problems")
    model, tokenizer = load_verifier(args.base, new_head=True, seed=args.seed)
    if args.gradient_checkpointing: model.activation_checkpointing_enable()
    taught, held = [], []
    for task, mine in both.items():
        sequences = [encode_program(tokenizer, problems[task]["prompt"], code) for code in mine]
        if max(map(len, sequences)) > (room := rollout.context_length(model)):
            stop(f"{args.problems}, task_id '{task}': field 'prompt' and a program have more than the {room} "
                 f"tokens that {args.base} can read; leave the problem out or use another model")
        (held if held_out(problems[task].get("group", task)) else taught).append((sequences, list(mine.values())))
    if not taught: taught, held = held, []                      # a handful of problems: nothing to hold out
    rows = train(model, taught, held, args)
    save_checkpoint(model, tokenizer, rows, args.out)

    kept = next(r for r in rows if r["kept"])
    verdict = "no group was held out"
    if held: verdict = (f"on {len(held)} held-out problems a right program beats a wrong one in "
                        f"{kept['pairwise']:.1%} of pairs, is ranked first in {kept['top1']:.1%}")
    print(f"03 verifier: {args.loss.upper()} on {len(taught)} problems with right and wrong programs, {sum(len(s) for s, _ in taught)} distinct ones; "
          f"{verdict} (epoch {kept['epoch']}) → {args.out}")
    print("  for example, it reads:\n    " + tokenizer.decode(taught[0][0][0]).replace("\n", "\n    ")
          + f"\n  and is told: {'right' if taught[0][1][0] else 'wrong'}")


def main_score(args):
    problems, steps = read_steps(args.problems, args.steps, dict(policy=str, task_id=str, trajectory=int, turn=int, code=str))
    model, tokenizer = load_verifier(args.verifier)
    pairs = list(dict.fromkeys((s["task_id"], s["code"]) for s in steps))      # each program once
    sequences = [encode_program(tokenizer, problems[task]["prompt"], code) for task, code in pairs]
    scores = dict(zip(pairs, score_sequences(model, sequences, args.score_batch)))
    if any(score != score for score in scores.values()):
        stop(f"{args.verifier}: its scores are not numbers, for its training went astray; train it with a lower --lr")
    write_jsonl(args.out, [dict(s, score=scores[s["task_id"], s["code"]]) for s in steps])
    task, code = max(pairs, key=scores.get)
    print(f"03 verifier: scored {len(pairs)} distinct programs of {len(steps)} steps → {args.out}")
    print(f"  for example, the highest, R_φ = {scores[task, code]:.2f}: {problems[task]['prompt'][:120]}\n    "
          + code.replace("\n", "\n    "))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = ap.add_subparsers(required=True)
    for name, run, what in (("train", main_train, "fit R_φ to the steps"), ("score", main_score, "R_φ of every step")):
        p = sub.add_parser(name, help=what)
        p.set_defaults(run=run)
        p.add_argument("--problems", required=True, help="problems.jsonl")
        p.add_argument("--steps", required=True, nargs="+", help="steps.jsonl of all iterations so far")
        p.add_argument("--out", required=True, help="checkpoint folder (train), scored.jsonl (score)")
        p.add_argument("--score-batch", type=int, default=256, help="programs in one pass without gradients [%(default)s]")
        if name == "score": p.add_argument("--verifier", required=True, help="checkpoint folder of R_φ"); continue
        p.add_argument("--base", required=True, help="language model to make the verifier of")
        p.add_argument("--loss", choices=("bt", "bce"), default="bt", help="[%(default)s]")
        p.add_argument("--epochs", type=int, default=2, help="[%(default)s]")
        p.add_argument("--lr", type=float, default=1e-6, help="peak learning rate [%(default)s]")
        p.add_argument("--batch-size", type=int, default=4, help="problems an optimiser step [%(default)s]")
        p.add_argument("--programs", type=int, default=16, help="programs of a problem in one step, at most [%(default)s]")
        p.add_argument("--gradient-checkpointing", action="store_true",
                       help="keep one activation a layer and compute the rest again: a third slower, far less memory")
        p.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        if type(value) in (int, float) and (value < 0 or value == 0 and flag != "seed" or flag == "programs" and value < 2):
            stop(f"--{flag.replace('_', '-')} is {value}: too small")
    args.run(args)


if __name__ == "__main__":
    main()
