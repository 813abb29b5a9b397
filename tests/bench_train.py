"""How fast do stages 05 and 03 train? Beside TRL's SFTTrainer and RewardTrainer, on the same model and examples.

    pip install trl                                # 1.16 here; in an environment of its own, it is no dependency
    python tests/bench_train.py [--model DIR] [--examples runs/toy/mucode-1/examples.jsonl] [--steps 40]

Float32 on a CPU, bfloat16 arithmetic on a GPU, the same number of examples a step, no packing. Tokens are those of the
examples, padding not counted. TRL runs as it comes (random batches) and with its batches grouped by length. Without
--model a random Llama of 4 layers, width 256 and 8,000 tokens; without --examples, chats about the programs of MBPP's form.
Then one batch by both: the loss of 05 is SFTTrainer's, the scores of 03 are those that RewardTrainer trains on.
"""
import argparse, importlib, json, os, random, sys, tempfile, time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."), os.path.dirname(os.path.abspath(__file__))]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
rollout, verifier, policy = (importlib.import_module(name) for name in ("01_rollout", "03_verifier", "05_train_policy"))


def made_up(count, rng):
    """Chats of one to three turns, of unequal length."""
    word = lambda: rng.choice("alpha beta gamma delta sum list item value index total count first last even odd".split())
    code = lambda: "```python\ndef f(xs):\n" + "".join(f"    {word()} = {word()} + {rng.randrange(99)}\n" for _ in range(rng.randrange(2, 12))) + f"    return {word()}\n```"
    said = lambda who, text: dict(role=who, content=text)
    rows = []
    for _ in range(count):
        prompt = [said("user", "Write f(xs): " + " ".join(word() for _ in range(rng.randrange(5, 60))))]
        for _ in range(rng.randrange(3)): prompt += [said("assistant", code()), said("user", f"`f([{rng.randrange(99)}])` gave {rng.randrange(99)}, expected {rng.randrange(99)}")]
        rows.append(dict(prompt=prompt, completion=[said("assistant", code())]))
    return rows


def report(what, tokens, seconds):
    print(f"{what:52s} {tokens / seconds:8.0f} tokens/s", flush=True)
    return tokens / seconds


def settings(kind, folder, steps, batch, **more):
    """TRL's configuration; what it does beside training (saving, logging, evaluating) is off."""
    import torch
    gpu = torch.cuda.is_available()
    return kind(output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=1e-5, lr_scheduler_type="linear", warmup_steps=steps // 10,
                max_grad_norm=1.0, adam_beta2=0.95, weight_decay=0.0, bf16=gpu, fp16=False, gradient_checkpointing=False, save_strategy="no",
                logging_strategy="no", report_to="none", disable_tqdm=True, seed=0, dataloader_pin_memory=gpu, max_length=None, **more)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--model")
    ap.add_argument("--examples")
    ap.add_argument("--steps", type=int, default=40)
    ap.add_argument("--batch-size", type=int, default=32)
    args = ap.parse_args()
    import torch, trl
    from conftest import make_model
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    rng, folder = random.Random(0), tempfile.mkdtemp()
    rows = [{k: r[k] for k in ("prompt", "completion")} for r in map(json.loads, open(args.examples))] if args.examples else made_up(2000, rng)
    rows = rng.sample(rows, min(len(rows), args.steps * args.batch_size))
    if not args.model:
        args.model = os.path.join(folder, "model")
        make_model(args.model, "llama", [m["content"] for r in rows for m in r["prompt"] + r["completion"]], vocabulary=8000, context=2048,
                   hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=64)
    model, tokenizer = rollout.load_policy(args.model, torch.float32)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token                # TRL wants one
    stops = rollout.stop_ids(model, tokenizer)
    examples = [policy.encode_example(tokenizer, r["prompt"], r["completion"], stops) for r in rows]
    lengths = [len(ids) for ids, _ in examples]
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(rows)} examples of {min(lengths)} to {max(lengths)} tokens, "
          f"{args.steps} steps of {args.batch_size}; torch {torch.__version__}, {torch.get_num_threads()} threads, trl {trl.__version__}")

    batches = policy.make_batches(lengths, args.batch_size, args.steps, 0)
    policy.train(rollout.load_policy(args.model, torch.float32)[0].train(), examples, batches[:3], 1e-5, 16384)       # warm
    began = time.monotonic()
    policy.train(model.train(), examples, batches, 1e-5, 16384)
    ours = report("05_train_policy.py", sum(lengths[i] for b in batches for i in b), time.monotonic() - began)
    for order in ("random", "group_by_length"):
        theirs, _ = rollout.load_policy(args.model, torch.float32)
        trainer = trl.SFTTrainer(theirs, settings(trl.SFTConfig, folder, args.steps, args.batch_size, train_sampling_strategy=order),
                                 train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        began = time.monotonic()
        trainer.train()
        rate = report(f"TRL SFTTrainer, {order}", sum(lengths), time.monotonic() - began)
        print(f"    05 is {ours / rate:.2f} times as fast")

    # The same batch: 05's mean over completion tokens, and what SFTTrainer makes of it.
    fresh, _ = rollout.load_policy(args.model, torch.float32)
    trainer = trl.SFTTrainer(fresh, settings(trl.SFTConfig, folder, 1, 8), train_dataset=Dataset.from_list(rows[:8]), processing_class=tokenizer)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    with torch.inference_mode():
        given = {k: v.to(fresh.device) for k, v in batch.items()}
        theirs = trainer.compute_loss(fresh, given).item()
        ids, targets = policy.collate(examples[:8])
        mine = policy.completion_loss(fresh(input_ids=ids.to(fresh.device)).logits, targets.to(fresh.device)).item() / sum(n for _, n in examples[:8])
    print(f"loss of one batch: 05 {mine:.6f}, SFTTrainer {theirs:.6f}")

    # The verifier: pairs of programs for one prompt. 03 encodes each program once, whatever pairs it is in.
    said = lambda text: [dict(role="user", content="Write f(xs)."), dict(role="assistant", content=text)]
    problems = [[said(r["completion"][0]["content"]) for r in rows[k:k + 8]] for k in range(0, len(rows) - 7, 8)][:args.steps]
    pairs = [dict(chosen=chats[k], rejected=chats[k + 4]) for chats in problems for k in range(4)]
    judge, reader = verifier.load_verifier(args.model, new_head=True)
    fit = [([rollout.render(reader, chat, reply=False) for chat in chats], [1] * 4 + [0] * 4) for chats in problems]
    cost = sum(len(s) for sequences, _ in fit for s in sequences)
    judge.save_pretrained(f"{folder}/judge"); reader.pad_token = reader.pad_token or reader.eos_token; reader.save_pretrained(f"{folder}/judge")
    how = argparse.Namespace(lr=1e-5, loss="bt", seed=0, epochs=1, batch_size=4, programs=16, score_batch=64)
    began = time.monotonic()
    verifier.train(judge, fit, [], how)
    ours = report("03_verifier.py, 4 × 4 pairs a problem", cost, time.monotonic() - began)
    theirs = AutoModelForSequenceClassification.from_pretrained(f"{folder}/judge", dtype=torch.float32)
    trainer = trl.RewardTrainer(theirs, settings(trl.RewardConfig, folder, -(-len(pairs) // 16), 16, num_train_epochs=1),
                                train_dataset=Dataset.from_list(pairs), processing_class=reader)
    began = time.monotonic()
    trainer.train()
    rate = report("TRL RewardTrainer, one pair each", cost, time.monotonic() - began)
    print(f"    03 is {ours / rate:.2f} times as fast, and sees four times the pairs")
    fresh = AutoModelForSequenceClassification.from_pretrained(f"{folder}/judge", dtype=torch.float32).to(model.device).eval()
    sequences = fit[0][0]
    with torch.inference_mode():
        alone = torch.stack([fresh(input_ids=torch.tensor([s], device=model.device)).logits[0, 0] for s in sequences])
        print(f"scores of one problem: 03 and the library one by one differ by at most {(verifier.forward(fresh, sequences) - alone).abs().max():.1e}")


if __name__ == "__main__":
    main()
