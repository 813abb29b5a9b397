"""How fast does stage 01 sample? Beside what transformers offers, on the same prompts with the same policy.

    python tests/bench_sample.py --policy runs/toy/base/policy --problems runs/toy/problems/train.jsonl [--count 1024] [--trajectories 8]

The first turn of --trajectories of each problem (1: no two prompts are alike), temperature 0.7, batches of --batch-size. `generate` gets
the prompts in the order of the file, as a plain loop would hand them over, and again sorted by length; then with a static cache, and by continuous batching (`generate_batch`).
Tokens are those up to the end token. The texts differ, because the noise does; their number of tokens hardly does.
"""
import argparse, importlib, json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
rollout = importlib.import_module("01_rollout")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--policy", required=True)
    ap.add_argument("--problems", required=True)
    ap.add_argument("--count", type=int, default=1024, help="rows to sample")
    ap.add_argument("--trajectories", type=int, default=8, help="rows that share a prompt")
    ap.add_argument("--max-new-tokens", type=int, default=48)
    ap.add_argument("--batch-size", type=int, default=256)
    args = ap.parse_args()
    import torch
    from transformers import GenerationConfig
    model, tokenizer = rollout.load_policy(args.policy)
    stops, pad = rollout.stop_ids(model, tokenizer), rollout.stop_ids(model, tokenizer)[0]
    problems = [json.loads(line) for line in open(args.problems)]
    problems = [problems[i // args.trajectories % len(problems)] for i in range(args.count)]
    prompts = [rollout.render(tokenizer, [dict(role="user", content=p["prompt"])]) for p in problems]
    config = GenerationConfig(do_sample=True, temperature=0.7, top_k=0, top_p=1.0, max_new_tokens=args.max_new_tokens, eos_token_id=stops, pad_token_id=pad)

    def stage():
        keys = [(p["task_id"], i, 1) for i, p in enumerate(problems)]
        return sum(tokens for *_, tokens in rollout.sample(model, tokenizer, prompts, keys, 0.7, args.max_new_tokens, args.batch_size, 0))

    def generate(prompts, **more):
        total = 0
        for start in range(0, len(prompts), args.batch_size):
            part = prompts[start:start + args.batch_size]
            width = max(map(len, part))
            ids = torch.tensor([[pad] * (width - len(p)) + p for p in part], device=model.device)
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part], device=model.device)
            out = model.generate(ids, attention_mask=mask, generation_config=config, **more)[:, width:]
            ended = torch.isin(out, torch.tensor(stops, device=model.device)).int().cumsum(-1)
            total += int(((ended == 0) | (ended.cumsum(-1) == 1)).sum())             # the end token counts, what follows does not
        return total

    def continuous():
        return sum(len(done.generated_tokens) for done in model.generate_batch(prompts, generation_config=config, progress_bar=False).values())

    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(prompts)} prompts of {min(map(len, prompts))} to "
          f"{max(map(len, prompts))} tokens, on {model.device}; torch {torch.__version__}")
    rates, ways = {}, {"01_rollout.py": stage, "generate": lambda: generate(prompts), "generate, sorted by length": lambda: generate(sorted(prompts, key=len)),
                       "generate, static cache": lambda: generate(prompts, cache_implementation="static"), "generate_batch, continuous": continuous}
    for name, way in ways.items():
        try:
            if model.device.type == "cuda": way()                                   # warm
            began = time.monotonic()
            tokens = way()
            rates[name] = tokens / (time.monotonic() - began)
            print(f"{name:30s} {rates[name]:8.0f} tokens/s, {tokens} tokens; 01 is {rates['01_rollout.py'] / rates[name]:.2f} times as fast", flush=True)
        except Exception as e: print(f"{name:30s} does not run here: {type(e).__name__}: {str(e).splitlines()[0][:120]}", flush=True)


if __name__ == "__main__":
    main()
