"""How much of a GPU do stages 01, 03 and 05 use? A model of Llama-3.2-1B's shape, random weights.

    python tests/bench_gpu.py

Under eight minutes. Prints the table of data/README.md: tokens a second, and the share of what the
card itself was measured to do, in matrix products (training) or in reading memory (sampling).
"""

import functools
import gc
import importlib
import os
import random
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import models

rollout = importlib.import_module("01_rollout")
verifier = importlib.import_module("03_verifier")
policy = importlib.import_module("05_train_policy")

SHAPE = dict(
    vocab_size=128_256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=4096,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=1,
    pad_token_id=0,
)
# Tokens: of a state, of a program, and of the two together as the verifier reads them.
PROMPT = 600
PROGRAM = 200
NEW = 128


def config():
    """The shape as a configuration whose file would be in bfloat16."""
    made = transformers.AutoConfig.for_model("llama", **SHAPE)
    made.dtype = torch.bfloat16
    return made


def make(kind, dtype):
    """A random model on the GPU."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device("cuda"):
        model = kind.from_config(config())
    torch.set_default_dtype(before)
    return model.to(dtype)


def free():
    """Give back what the last model took."""
    gc.collect()
    torch.cuda.empty_cache()


def seconds(work, repeat):
    """How long a call takes, after one to warm up."""
    work()
    torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(repeat):
        work()
    torch.cuda.synchronize()
    return (time.monotonic() - began) / repeat


# ── What the card can do ─────────────────────────────────────────────────────────────────────────


def matrix_rate():
    """Floating-point operations a second, in products of large bfloat16 matrices."""
    size = 8192
    left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    right = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    return 2 * size**3 / seconds(lambda: left @ right, 30)


def bandwidth():
    """Bytes a second, read and written by a copy."""
    source = torch.empty(1 << 32, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), 10)


# ── The stages ───────────────────────────────────────────────────────────────────────────────────


def random_ids(count, rng):
    return [rng.randrange(2, SHAPE["vocab_size"]) for _ in range(count)]


def body_parameters():
    """Weights of the layers: the embedding is looked up, not multiplied."""
    width = SHAPE["hidden_size"]
    shared = SHAPE["num_key_value_heads"] * SHAPE["head_dim"]
    layer = 2 * width * width + 2 * width * shared + 3 * width * SHAPE["intermediate_size"]
    return layer * SHAPE["num_hidden_layers"]


def operations(tokens, length, answers):
    """Of a training pass: 2 for each weight and token, forward, and twice that backward.

    length: of a sequence, for attention. answers: tokens whose logits are computed.
    """
    width = SHAPE["hidden_size"]
    attention = 2 * length * width * SHAPE["num_hidden_layers"] * tokens
    head = 2 * width * SHAPE["vocab_size"] * answers
    return 3 * (2 * body_parameters() * tokens + attention + head)


def bench_policy(rate, is_checkpointing, most_tokens):
    """Stage 05: 32 examples a step, of 500 to 800 tokens."""
    model = make(transformers.AutoModelForCausalLM, torch.float32).train()
    if is_checkpointing:
        models.checkpoint_activations(model)
    rng = random.Random(0)
    examples = []
    for _ in range(32):
        prompt = random_ids(rng.randrange(PROMPT - 300, PROMPT), rng)
        examples.append((prompt + random_ids(PROGRAM, rng), PROGRAM))
    tokens = sum(len(ids) for ids, _ in examples)
    steps = 4
    # Two steps to warm up, the optimiser's moments included.
    policy.train(model, examples, [list(range(32))] * 2, 1e-6, most_tokens)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    policy.train(model, examples, [list(range(32))] * steps, 1e-6, most_tokens)
    torch.cuda.synchronize()
    took = (time.monotonic() - began) / steps
    share = operations(tokens, tokens / 32, 32 * PROGRAM) / took / rate
    report(f"05 train, {most_tokens} tokens a pass", is_checkpointing, tokens / took, share)


def bench_verifier(rate, is_checkpointing):
    """Stage 03: 4 problems a step, 16 programs of each."""
    model = make(transformers.AutoModelForSequenceClassification, torch.float32)
    model.config.pad_token_id = 0
    if is_checkpointing:
        models.checkpoint_activations(model)
    rng = random.Random(0)
    problems = []
    for _ in range(16):
        prompt = random_ids(PROMPT // 3, rng)
        programs = [prompt + random_ids(rng.randrange(100, PROGRAM), rng) for _ in range(16)]
        problems.append((programs, [1, 0] * 8))
    args = SimpleNamespace(batch_size=4, programs=16, epochs=1, seed=0)
    optimizer, schedule = models.make_optimizer(model, 1e-6, 99)
    lengths = [len(ids) for programs, _ in problems for ids in programs]

    def epoch():
        for step in verifier.plan_steps(problems, args):
            verifier.train_step(model, *step, optimizer, schedule, verifier.bt_loss)

    took = seconds(epoch, 2)
    tokens = sum(lengths)
    share = operations(tokens, tokens / len(lengths), 0) / took / rate
    report("03 verifier, 64 programs a step", is_checkpointing, tokens / took, share)


def sample(model, prompts, noises):
    """Stage 01's way."""
    with torch.inference_mode():
        rollout.sample_batch(model, prompts, noises, 0.7, NEW, [])


def generate(model, prompts, noises):
    """The library's. Its noise is its own."""
    ids = torch.tensor(prompts, device="cuda")
    settings = dict(do_sample=True, temperature=0.7, top_k=0, top_p=1.0)
    settings.update(min_new_tokens=NEW, max_new_tokens=NEW)
    with torch.inference_mode():
        model.generate(ids, attention_mask=torch.ones_like(ids), **settings)


def bench_sampling(reading):
    """Stage 01 and transformers' generate: 1, 64 and 256 rows, 300 tokens read, 128 new."""
    model = make(transformers.AutoModelForCausalLM, torch.bfloat16).eval()
    weights = sum(p.nbytes for p in model.parameters())
    cached = 4 * SHAPE["num_hidden_layers"] * SHAPE["num_key_value_heads"] * SHAPE["head_dim"]
    rng = random.Random(0)
    for rows in (1, 64, 256):
        prompts = [random_ids(PROMPT // 2, rng) for _ in range(rows)]
        noises = np.random.default_rng(0).random((rows, NEW), np.float32)

        # A step reads all weights, and the keys and values of every row.
        step = weights + cached * rows * (PROMPT // 2 + NEW / 2)
        for name, work in (("01 rollout", sample), ("generate", generate)):
            took = seconds(functools.partial(work, model, prompts, noises), 2)
            report(f"{name}, {rows} rows", None, rows * NEW / took, NEW * step / took / reading)


def report(name, is_checkpointing, tokens, share):
    """A line of the table."""
    checkpointing = {True: "yes", False: "no", None: ""}[is_checkpointing]
    peak = torch.cuda.max_memory_allocated() / 1e9
    print(f"| {name} | {checkpointing} | {tokens:,.0f} | {share:.0%} | {peak:.0f} GB |", flush=True)
    torch.cuda.reset_peak_memory_stats()


def attempt(work, *args):
    """A line of the table, or what went wrong."""
    try:
        work(*args)
    except torch.OutOfMemoryError as error:
        print(f"| {work.__name__} {args[1:]} | | {error.__class__.__name__} | | |", flush=True)
    except SystemExit:
        print(f"| {work.__name__} {args[1:]} | | out of memory | | |", flush=True)
    free()


def main():
    if not torch.cuda.is_available():
        print("no GPU here: the table of data/README.md stays as it is")
        return
    rate = matrix_rate()
    reading = bandwidth()
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}: ", end="")
    print(f"{rate / 1e12:.0f} TFLOP/s in bfloat16, {reading / 1e12:.2f} TB/s\n")
    print("| stage | gradient checkpointing | tokens/s | share of the card | memory |")
    print("|---|---|---|---|---|")
    free()
    attempt(bench_sampling, reading)
    for is_checkpointing, most_tokens in ((False, 8192), (False, 16384), (True, 16384)):
        attempt(bench_policy, rate, is_checkpointing, most_tokens)
    for is_checkpointing in (False, True):
        attempt(bench_verifier, rate, is_checkpointing)


if __name__ == "__main__":
    main()
