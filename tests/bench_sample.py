"""How fast does stage 01 sample? Beside what transformers offers, on the same prompts and policy.

    python tests/bench_sample.py --policy runs/toy/base/policy \
        --problems runs/toy/problems/train.jsonl [--count 1024] [--trajectories 8]

The first turn of --trajectories of each problem (1: no two prompts are alike), at temperature 0.7,
in batches of --batch-size. `generate` gets the prompts in the order of the file, as a plain loop
would hand them over, and sorted by length; then with a static cache, and by continuous batching
(`generate_batch`). Tokens are those up to the end token. The texts differ, because the noise does;
their number of tokens hardly does.
"""

import argparse
import importlib
import os
import sys
import time

import torch
from transformers import GenerationConfig

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib.models import load_policy, stop_ids
from lib.rows import read_jsonl

rollout = importlib.import_module("01_rollout")


def sample_by_stage(model, tokenizer, prompts, args):
    """Stage 01 → tokens sampled."""
    answers = rollout.sample(
        model,
        tokenizer,
        prompts,
        keys=[("bench", i, 1) for i in range(len(prompts))],
        temperature=0.7,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        seed=0,
    )
    return sum(tokens for _, _, tokens in answers)


def generate(model, prompts, config, batch_size, **more):
    """transformers' generate, batch by batch → tokens sampled."""
    ends = torch.tensor(config.eos_token_id, device=model.device)
    pad = config.pad_token_id
    total = 0
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        width = max(map(len, batch))
        padded = [[pad] * (width - len(prompt)) + prompt for prompt in batch]
        real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch]
        ids = torch.tensor(padded, device=model.device)
        mask = torch.tensor(real, device=model.device)
        output = model.generate(ids, attention_mask=mask, generation_config=config, **more)

        # The end token counts, what follows does not.
        ended = torch.isin(output[:, width:], ends).int().cumsum(-1)
        is_sampled = (ended == 0) | (ended.cumsum(-1) == 1)
        total += int(is_sampled.sum())
    return total


def generate_continuously(model, prompts, config):
    """transformers' continuous batching → tokens sampled."""
    answers = model.generate_batch(prompts, generation_config=config, progress_bar=False)
    return sum(len(answer.generated_tokens) for answer in answers.values())


def measure(sample, device):
    """Call `sample` → (tokens per second, tokens)."""
    if device.type == "cuda":
        sample()  # warm
    began = time.monotonic()
    tokens = sample()
    return tokens / (time.monotonic() - began), tokens


def compare(samplers, device):
    """Print the speed of each; the first is stage 01."""
    ours = None
    for name, sample in samplers.items():
        try:
            rate, tokens = measure(sample, device)
        except Exception as error:
            # Not every sampler runs on every device.
            reason = str(error).strip().split("\n")[0][:120]
            print(f"{name:28s} does not run here: {type(error).__name__}: {reason}", flush=True)
            continue
        ours = ours or rate
        ratio = f"01 is {ours / rate:.2f} times as fast"
        print(f"{name:28s} {rate:8.0f} tokens/s, {tokens} tokens; {ratio}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--policy", required=True)
    add("--problems", required=True)
    add("--count", type=int, default=1024, help="rows to sample [%(default)s]")
    add("--trajectories", type=int, default=8, help="rows that share a prompt [%(default)s]")
    add("--max-new-tokens", type=int, default=48)
    add("--batch-size", type=int, default=256)
    args = parser.parse_args()

    # The policy and the prompts.
    model, tokenizer = load_policy(args.policy)
    problems = read_jsonl(args.problems, dict(prompt=str))
    prompts = []
    for i in range(args.count):
        problem = problems[i // args.trajectories % len(problems)]
        prompts.append(rollout.render(tokenizer, rollout.first_messages(problem)))
    by_length = sorted(prompts, key=len)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(
        f"{millions:.1f} M parameters, {len(prompts)} prompts of {len(by_length[0])} to "
        f"{len(by_length[-1])} tokens, on {model.device}; torch {torch.__version__}"
    )

    # The samplers.
    stops = stop_ids(model, tokenizer)
    config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=0,
        top_p=1.0,
        max_new_tokens=args.max_new_tokens,
        eos_token_id=stops,
        pad_token_id=stops[0],
    )
    size = args.batch_size
    samplers = {
        "01_rollout.py": lambda: sample_by_stage(model, tokenizer, prompts, args),
        "generate": lambda: generate(model, prompts, config, size),
        "generate, sorted by length": lambda: generate(model, by_length, config, size),
        "generate, static cache": lambda: generate(
            model, prompts, config, size, cache_implementation="static"
        ),
        "generate_batch, continuous": lambda: generate_continuously(model, prompts, config),
    }
    compare(samplers, model.device)


if __name__ == "__main__":
    main()
