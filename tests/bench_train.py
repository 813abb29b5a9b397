"""How fast do stages 05 and 03 train? Beside TRL's trainers, on the same model and examples.

    pip install trl          # 1.16 here; in an environment of its own, for it is no dependency
    python tests/bench_train.py [--model DIR] [--steps 40] \
        [--examples runs/toy/mucode-1/examples.jsonl]

Float32 on a CPU, bfloat16 arithmetic on a GPU, equal numbers of examples a step, no packing. Tokens
are those of the examples, without padding. TRL's SFTTrainer runs as it comes (random batches) and
with its batches grouped by length; its RewardTrainer gets pairs of the same programs. Without
--model: a random Llama of 4 layers, width 256 and 8,000 tokens. Without --examples: chats about
programs of MBPP's form.

Then one batch by either: the loss of 05 must be SFTTrainer's, and the scores of 03 those of the
library's own classifier, which RewardTrainer trains on.
"""

import argparse
import importlib
import os
import random
import sys
import tempfile
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lib.models import end_token, load_policy, stop_ids
from lib.rows import read_jsonl

from random_models import make_model

rollout = importlib.import_module("01_rollout")
verifier = importlib.import_module("03_verifier")
policy = importlib.import_module("05_train_policy")

WORDS = ["alpha", "beta", "gamma", "delta", "sum", "list", "item", "value", "index", "total"]
WORDS += ["count", "first", "last", "even", "odd"]


# ── Examples and models ──────────────────────────────────────────────────────────────────────────


def message(role, content):
    return dict(role=role, content=content)


def random_program(rng):
    """Python of 3 to 13 lines."""
    lines = ["def f(xs):"]
    for _ in range(rng.randrange(2, 12)):
        lines.append(f"    {rng.choice(WORDS)} = {rng.choice(WORDS)} + {rng.randrange(99)}")
    lines.append(f"    return {rng.choice(WORDS)}")
    return "```python\n" + "\n".join(lines) + "\n```"


def random_examples(count, rng):
    """Chats of one to three turns, of unequal length."""
    rows = []
    for _ in range(count):
        question = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(5, 60)))
        prompt = [message("user", f"Write f(xs): {question}")]
        for _ in range(rng.randrange(3)):
            call, value, expected = (rng.randrange(99) for _ in range(3))
            feedback = f"`f([{call}])` gave {value}, expected {expected}"
            prompt.append(message("assistant", random_program(rng)))
            prompt.append(message("user", feedback))
        completion = [message("assistant", random_program(rng))]
        rows.append(dict(prompt=prompt, completion=completion))
    return rows


def read_examples(path, rng):
    """The rows of --examples, or random ones."""
    if path is None:
        return random_examples(2000, rng)
    rows = read_jsonl(path, dict(prompt=list, completion=list))
    return [dict(prompt=row["prompt"], completion=row["completion"]) for row in rows]


def make_default_model(folder, rows):
    """A random Llama whose tokenizer knows the examples → its folder."""
    texts = [m["content"] for row in rows for m in row["prompt"] + row["completion"]]
    shape = dict(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
    )
    path = os.path.join(folder, "model")
    make_model(path, "llama", texts, vocabulary=8000, context=2048, **shape)
    return path


def trl_config(config, folder, steps, batch_size, **more):
    """TRL's settings; what it does beside training (saving, logging, evaluating) is off."""
    on_gpu = torch.cuda.is_available()
    return config(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=1e-5,
        lr_scheduler_type="linear",
        warmup_steps=steps // 10,
        max_grad_norm=1.0,
        adam_beta2=0.95,
        weight_decay=0.0,
        bf16=on_gpu,
        fp16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        dataloader_pin_memory=on_gpu,
        max_length=None,
        **more,
    )


def measure(name, train, tokens):
    """Time a training → its tokens per second, which are printed."""
    began = time.monotonic()
    train()
    rate = tokens / (time.monotonic() - began)
    print(f"{name:45s} {rate:8.0f} tokens/s", flush=True)
    return rate


# ── The policy ───────────────────────────────────────────────────────────────────────────────────


def compare_policy(rows, model, tokenizer, folder, args):
    """Stage 05 beside SFTTrainer."""
    end_id = end_token(tokenizer, stop_ids(model, tokenizer))
    examples = [
        policy.encode_example(tokenizer, row["prompt"], row["completion"][0]["content"], end_id)
        for row in rows
    ]
    lengths = [len(ids) for ids, _ in examples]
    batches = policy.make_batches(lengths, args.batch_size, args.steps, seed=0)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(
        f"{size:.1f} M parameters, {len(rows)} examples of {min(lengths)} to {max(lengths)} "
        f"tokens, {args.steps} steps of {args.batch_size}; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, trl {trl.__version__}"
    )

    # Stage 05, after three steps to warm up with another copy.
    def fresh_model():
        return load_policy(args.model)[0].float()

    policy.train(fresh_model().train(), examples, batches[:3], 1e-5, 16384)
    seen = sum(lengths[i] for batch in batches for i in batch)
    ours = measure(
        "05_train_policy.py",
        lambda: policy.train(model.train(), examples, batches, 1e-5, 16384),
        seen,
    )

    # TRL in two orders.
    for order in ("random", "group_by_length"):
        settings = trl_config(
            trl.SFTConfig, folder, args.steps, args.batch_size, train_sampling_strategy=order
        )
        trainer = trl.SFTTrainer(
            fresh_model(),
            settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        rate = measure(f"TRL SFTTrainer, {order}", trainer.train, sum(lengths))
        print(f"    05 is {ours / rate:.2f} times as fast")
    compare_losses(rows[:8], examples[:8], fresh_model(), tokenizer, folder)


def compare_losses(rows, examples, model, tokenizer, folder):
    """The same batch: 05's mean over completion tokens, and what SFTTrainer makes of it."""
    trainer = trl.SFTTrainer(
        model,
        trl_config(trl.SFTConfig, folder, 1, len(rows)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    tokens = sum(n for _, n in examples)
    with torch.inference_mode():
        theirs = trainer.compute_loss(model, inputs).item()
        ours = policy.loss_of_part(model, examples).item() / tokens
    print(f"loss of one batch: 05 {ours:.6f}, SFTTrainer {theirs:.6f}")


# ── The verifier ─────────────────────────────────────────────────────────────────────────────────


def compare_verifier(rows, folder, args):
    """Stage 03 beside RewardTrainer: eight programs a problem, the first four called correct."""
    # 03 encodes each program once, whatever pairs it is in; RewardTrainer gets single pairs.
    question = message("user", "Write f(xs).")
    chats = [[question, row["completion"][0]] for row in rows]
    groups = [chats[k : k + 8] for k in range(0, len(chats) - 7, 8)][: args.steps]
    pairs = [dict(chosen=group[k], rejected=group[k + 4]) for group in groups for k in range(4)]
    model, tokenizer = verifier.make_verifier(args.model, 0)
    problems = []
    for group in groups:
        sequences = [rollout.render(tokenizer, chat, reply=False) for chat in group]
        problems.append((sequences, [1] * 4 + [0] * 4))
    tokens = sum(len(ids) for sequences, _ in problems for ids in sequences)

    # The untrained verifier, for TRL too.
    path = os.path.join(folder, "verifier")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)

    def load_untrained():
        return AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)

    settings = argparse.Namespace(
        lr=1e-5, loss="bt", seed=0, epochs=1, batch_size=4, programs=16, score_batch=64
    )
    ours = measure(
        "03_verifier.py, 4 × 4 pairs a problem",
        lambda: verifier.train(model, problems, [], settings),
        tokens,
    )
    steps = -(-len(pairs) // 16)
    trainer = trl.RewardTrainer(
        load_untrained(),
        trl_config(trl.RewardConfig, folder, steps, 16, num_train_epochs=1),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
    )
    rate = measure("TRL RewardTrainer, 4 pairs a problem", trainer.train, tokens)
    print(f"    03 is {ours / rate:.2f} times as fast, and sees four times the pairs")
    compare_scores(problems[0][0], load_untrained().to(model.device).eval())


def compare_scores(sequences, model):
    """Scores of one problem: 03's batch, and the library's classifier one by one."""
    with torch.inference_mode():
        single = [
            model(input_ids=torch.tensor([ids], device=model.device)).logits[0, 0]
            for ids in sequences
        ]
        gap = (verifier.forward(model, sequences) - torch.stack(single)).abs().max()
    print(f"scores of one problem: 03 and the library one by one differ by at most {gap:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", help="checkpoint folder or hub name (absent: a random one)")
    add("--examples", help="examples.jsonl (absent: random ones)")
    add("--steps", type=int, default=40, help="optimiser steps [%(default)s]")
    add("--batch-size", type=int, default=32, help="examples a step [%(default)s]")
    args = parser.parse_args()

    rng = random.Random(0)
    folder = tempfile.mkdtemp()
    rows = read_examples(args.examples, rng)
    rows = rng.sample(rows, min(len(rows), args.steps * args.batch_size))
    args.model = args.model or make_default_model(folder, rows)
    model, tokenizer = load_policy(args.model)
    model.float()
    # TRL wants a padding token.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    compare_policy(rows, model, tokenizer, folder, args)
    compare_verifier(rows, folder, args)


if __name__ == "__main__":
    main()
