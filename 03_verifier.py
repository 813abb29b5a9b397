"""Stage 03 · verifier: learn from the outcomes what a right program looks like.

What it does in μCode (Section 4.1). The verifier R_φ(x, y) scores a problem x and ONE program y, never the history: a
program is right or wrong whatever was tried before. It is the language model itself with a new scalar head on its
last token, trained on every program of D with its outcome R(x, y). Two losses:

    BT    − E log σ(R_φ(x, y⁺) − R_φ(x, y⁻))       over right/wrong pairs of the same problem     (Eq. 3, the default)
    BCE   − E [r log σ(R_φ) + (1 − r) log(1 − σ(R_φ))]     over programs                          (Eq. 2)

BT is averaged over the pairs of a problem, then over problems, with + 10⁻³ · mean R_φ² to pin the scale that it leaves free. All
pairs of a problem come from one forward pass that encodes each program once.

The verifier earns its place twice: in training it breaks the expert's ties (stage 04), at test time it picks among
programs that the public tests cannot tell apart (stage 06).

train   READS problems.jsonl (prompt, group), *.steps.jsonl    WRITES DIR/ (AutoModelForSequenceClassification) and
        DIR/metrics.jsonl, a row an epoch: {"epoch": 1, "loss": 0.52, "pairwise": 0.74, "top1": 0.66, "problems": 71, "kept": true}
score   READS *.steps.jsonl of all iterations    WRITES scored.jsonl: the steps, each with "score": the raw logit R_φ
RUN     python 03_verifier.py train --problems problems.jsonl --steps base/turn*.steps.jsonl --base base/policy --out base/verifier
        python 03_verifier.py score --problems problems.jsonl --steps base/turn*.steps.jsonl --verifier base/verifier --out base/scored.jsonl
COSTS   the embedded world: about 20 s to train, 3 s to score, after 5 s of imports.

Differs from the paper's code: there, 32 pairs a problem are drawn with replacement and unseeded, and the evaluation
split is the training split. Here a tenth of the groups is held out, the same in every iteration; the epoch that
ranks their programs best is kept.
"""
import argparse, hashlib, importlib, json, os, random, sys

rollout = importlib.import_module("01_rollout")
training = importlib.import_module("05_train_policy")


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


# ── Data ─────────────────────────────────────────────────────────────────────────────────────────────────────────

def distinct_programs(steps):
    """{task_id: {code: right}}. A program is (task_id, code); judged both ways, it counts once, as right."""
    programs = {}
    for s in steps:
        mine = programs.setdefault(s["task_id"], {})
        mine[s["code"]] = mine.get(s["code"], False) or (s["public_passed"] and s["hidden_passed"])
    return programs


def held_out(group):
    """A tenth of the groups by hash: no variant of a held-out problem is trained on, in any iteration."""
    return hashlib.sha256(group.encode()).digest()[0] < 26


def encode_program(tokenizer, prompt, code):
    """What R_φ reads: the problem and the program as a chat of one turn."""
    return rollout.render(tokenizer, [dict(role="user", content=prompt), dict(role="assistant", content=f"```python\n{code}\n```")], reply=False)


# ── Losses and metrics ───────────────────────────────────────────────────────────────────────────────────────────

def bt_loss(scores, labels, owners):
    """Bradley–Terry (Eq. 3). scores (B,), labels (B,) of 0/1, owners (B,): which problem each program answers.

    Mean of −log σ(R⁺ − R⁻) over all right × wrong pairs of a problem, then over the problems that have both;
    + 10⁻³ · mean of R².
    """
    import torch
    losses = []
    for owner in owners.unique():
        r, y = scores[owners == owner], labels[owners == owner].bool()
        if y.any() and not y.all():
            losses.append(torch.nn.functional.softplus(r[~y][None, :] - r[y][:, None]).mean())      # softplus(−d) = −log σ(d)
    return torch.stack(losses).mean() + 1e-3 * scores.square().mean()


def bce_loss(scores, labels, owners=None):
    """Binary cross-entropy (Eq. 2 with the σ that the printed equation lacks)."""
    import torch
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, labels.float())


def pairwise_accuracy(scores, labels):
    """Share of right × wrong pairs of ONE problem that are ranked right; a tie is half. None without both kinds."""
    pairs = [(p > n) + 0.5 * (p == n) for p, y in zip(scores, labels) if y for n, z in zip(scores, labels) if not z]
    return sum(pairs) / len(pairs) if pairs else None


def top1(scores, labels):
    """Is the best-scored program of one problem right? Ties go to the first."""
    return bool(labels[max(range(len(scores)), key=lambda i: (scores[i], -i))])


# ── Model ────────────────────────────────────────────────────────────────────────────────────────────────────────

def load_verifier(path, new_head=False, seed=0):
    """A classifier with one output. `new_head`: make one of the language model at `path`, with the head's std at 1/√(d+1)."""
    import torch
    from transformers import AutoModelForSequenceClassification
    tokenizer = rollout.load_tokenizer(path)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        # The score is read at the last token that is not padding, so padding must not be the end token. Any
        # other token serves, since what follows the last one is masked out: take the one that is never used.
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
    torch.manual_seed(seed)
    try: model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)
    except (OSError, ValueError) as e: stop(f"{path}: no model can be loaded from here ({str(e).splitlines()[0][:120]})")
    model.config.pad_token_id = tokenizer.pad_token_id
    if new_head: torch.nn.init.normal_(model.score.weight, std=(model.config.get_text_config().hidden_size + 1) ** -0.5)
    return model.to(rollout.pick_device()).eval(), tokenizer


def forward(model, sequences, pad):
    """R_φ of a batch of token sequences → (B,), float32."""
    import torch
    width = max(map(len, sequences))
    ids = torch.tensor([s + [pad] * (width - len(s)) for s in sequences], device=model.device)                      # (B, T)
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences], device=model.device)            # (B, T)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].float()


def score_sequences(model, sequences, pad, batch_size, label="scoring"):
    """R_φ of many sequences, longest first → list of floats in the order given."""
    import torch
    from tqdm import tqdm
    scores, order = [0.0] * len(sequences), sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    with torch.inference_mode():
        for start in tqdm(range(0, len(order), batch_size), desc=f"  {label}", unit="batch", disable=None, leave=False):
            part = order[start:start + batch_size]
            for i, score in zip(part, forward(model, [sequences[i] for i in part], pad).tolist()): scores[i] = score
    return scores


def measure(model, problems, pad, batch_size):
    """Mean pairwise and top-1 accuracy over problems [(sequences, labels)] that have both a right and a wrong program."""
    flat = score_sequences(model, [s for sequences, _ in problems for s in sequences], pad, batch_size, "measuring")
    pairwise, best = [], []
    for sequences, labels in problems:
        scores, flat = flat[:len(sequences)], flat[len(sequences):]
        pairwise.append(pairwise_accuracy(scores, labels))
        best.append(top1(scores, labels))
    return (sum(pairwise) / len(pairwise), sum(best) / len(best)) if pairwise else (None, None)


def train(model, fit, held, pad, loss_name, epochs, peak, batch_size, most_programs, seed, score_batch):
    """Train in place on `fit`, keep the epoch with the best pairwise accuracy on `held` → a row of metrics an epoch."""
    import torch
    from tqdm import tqdm
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    rng, rows, best, step = random.Random(seed), [], None, 0
    steps = epochs * -(-len(fit) // batch_size)
    bar = tqdm(total=steps, desc="  training", unit="step", disable=None, leave=False)
    for epoch in range(1, epochs + 1):
        order, total = list(range(len(fit))), 0.0
        rng.shuffle(order)
        model.train()
        for start in range(0, len(order), batch_size):
            sequences, labels, owners = [], [], []
            for i in order[start:start + batch_size]:
                kinds = [[s for s, y in zip(*fit[i]) if y == kind] for kind in (True, False)]
                for kind, mine in zip((1, 0), kinds):       # at most half of the room for right programs, half for wrong ones
                    chosen = rng.sample(mine, min(len(mine), most_programs // 2))
                    sequences += chosen; labels += [kind] * len(chosen); owners += [i] * len(chosen)
            for group in optimizer.param_groups: group["lr"] = training.learning_rate(step, steps, peak)
            to = dict(device=model.device)
            scores = forward(model, sequences, pad)                                                                  # (B,)
            loss = (bt_loss if loss_name == "bt" else bce_loss)(scores, torch.tensor(labels, **to), torch.tensor(owners, **to))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total, step = total + loss.item() * len(order[start:start + batch_size]), step + 1
            bar.update(1)
        model.eval()
        pairwise, best1 = measure(model, held, pad, score_batch)
        rows.append(dict(epoch=epoch, loss=total / len(fit), pairwise=pairwise, top1=best1, problems=len(held), kept=False))
        if best is None or pairwise is None or pairwise > rows[best[0]]["pairwise"]:
            best = epoch - 1, {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(best[1])
    rows[best[0]]["kept"] = True
    return rows


def read_steps(problems_path, paths, fields):
    """Problems by task_id, and the steps of all files; a step of an unknown problem stops the stage."""
    problems = {p["task_id"]: p for p in read_jsonl(problems_path, dict(task_id=str, prompt=str), ["task_id"])}
    if len(set(paths)) < len(paths): stop(f"--steps names a file twice: {' '.join(paths)}")
    steps = []
    for path in paths:
        for n, s in enumerate(read_jsonl(path, fields, ("policy", "task_id", "trajectory", "turn")), 1):
            if s["task_id"] not in problems: stop(f"{path}, row {n}: task_id '{s['task_id']}' is not in {problems_path}")
            steps.append(s)
    return problems, steps


def main_train(args):
    problems, steps = read_steps(args.problems, args.steps, dict(task_id=str, trajectory=int, turn=int, code=str, public_passed=bool, hidden_passed=bool))
    programs = distinct_programs(steps)
    both = {task: mine for task, mine in programs.items() if len(set(mine.values())) == 2}
    if not both:
        labels = {y for mine in programs.values() for y in mine.values()}
        what = "no problem has both a right and a wrong program" if len(labels) == 2 else f"no program is {'wrong' if True in labels else 'right'}"
        stop(f"{args.steps[0]}: {what}, so there is nothing to tell apart; sample more trajectories (fields 'public_passed', 'hidden_passed')")
    model, tokenizer = load_verifier(args.base, new_head=True, seed=args.seed)
    pad, sides, room = tokenizer.pad_token_id, ([], []), rollout.context_length(model)
    for task, mine in both.items():
        sequences = [encode_program(tokenizer, problems[task]["prompt"], code) for code in mine]
        if max(map(len, sequences)) > room: stop(f"{args.problems}: task_id '{task}', field 'prompt' and a program have more tokens than the {room} of the context of {args.base}")
        sides[held_out(problems[task].get("group", task))].append((sequences, list(mine.values())))
    fit, held = sides if sides[0] else (sides[1], [])
    rows = train(model, fit, held, pad, args.loss, args.epochs, args.lr, args.batch_size, args.programs, args.seed, args.score_batch)
    training.save_checkpoint(model, tokenizer, rows, args.out)
    kept = next(r for r in rows if r["kept"])
    print(f"03 verifier: {args.loss.upper()} on {len(fit)} problems, {sum(len(l) for _, l in fit)} distinct programs; " + (
          f"on {len(held)} held-out problems the right program beats the wrong one in {kept['pairwise']:.1%} of pairs, is ranked first in {kept['top1']:.1%}"
          if held else "no group was held out") + f" (epoch {kept['epoch']}) → {args.out}")
    print("  for example, the verifier reads:\n    " + tokenizer.decode(fit[0][0][0]).replace("\n", "\n    ") + f"\n  and is told: {'right' if fit[0][1][0] else 'wrong'}")


def main_score(args):
    problems, steps = read_steps(args.problems, args.steps, dict(task_id=str, trajectory=int, turn=int, code=str))
    model, tokenizer = load_verifier(args.verifier)
    pairs = list(dict.fromkeys((s["task_id"], s["code"]) for s in steps))
    sequences = [encode_program(tokenizer, problems[task]["prompt"], code) for task, code in pairs]
    scores = dict(zip(pairs, score_sequences(model, sequences, tokenizer.pad_token_id, args.score_batch)))
    write_jsonl(args.out, [dict(s, score=scores[s["task_id"], s["code"]]) for s in steps])
    task, code = max(pairs, key=scores.get)
    print(f"03 verifier: scored {len(pairs)} distinct programs of {len(steps)} steps → {args.out}")
    print(f"  for example, the highest score {scores[task, code]:.2f}: {problems[task]['prompt'].splitlines()[0][:120]}\n    " + code.replace("\n", "\n    "))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="The docstring at the top of the file says the rest.")
    sub = ap.add_subparsers(required=True)
    for name, run in (("train", main_train), ("score", main_score)):
        p = sub.add_parser(name)
        p.set_defaults(run=run)
        p.add_argument("--problems", required=True, help="problems.jsonl")
        p.add_argument("--steps", required=True, nargs="+", help="steps.jsonl of all iterations so far")
        p.add_argument("--out", required=True, help="checkpoint folder (train), scored.jsonl (score)")
        p.add_argument("--score-batch", type=int, default=256, help="programs in one forward pass without gradients")
        if name == "score":
            p.add_argument("--verifier", required=True, help="checkpoint folder of R_φ")
            continue
        p.add_argument("--base", required=True, help="language model to make the verifier of")
        p.add_argument("--loss", choices=("bt", "bce"), default="bt")
        p.add_argument("--epochs", type=int, default=2)
        p.add_argument("--lr", type=float, default=1e-6, help="peak learning rate")
        p.add_argument("--batch-size", type=int, default=4, help="problems an optimiser step")
        p.add_argument("--programs", type=int, default=16, help="programs of a problem in one step, at most")
        p.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
