"""Do a model and its problems fit the stages, and this machine? Asked before the first of them.

    python data/check.py --policy MODEL --problems problems/train.jsonl problems/test.jsonl \\
        --max-new-tokens 1000 --checkpoints 9

What would fail after hours fails here within a minute, with a line that says what to take instead.
"""

import argparse
import contextlib
import importlib
import io
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import models
from lib.rows import check_flags, stop

import numpy as np
import torch
import transformers

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
policy = importlib.import_module("05_train_policy")
evaluation = importlib.import_module("06_eval")

# For training: float32 weights, their gradients, and AdamW's two moments.
BYTES_PER_PARAMETER = 16
# Python and torch, which share the memory where there is no GPU.
BYTES_OF_PROCESS = 0.8e9


# ── What the stages are asked for ────────────────────────────────────────────────────────────────


def try_flags(name, flags, stage, needed):
    """Does a stage take the flags that a setting of run_all.sh gives it? → all of its flags.

    needed: those that run_all.sh adds.
    """
    own = sys.argv
    sys.argv = [os.path.basename(stage.__file__), *needed.split(), *flags.split()]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return stage.parse_args()
    except SystemExit:
        # The last line of argparse names the stage and the flag. Then it is us who speak.
        _, _, reason = complaint.getvalue().strip().rpartition("\n")
        sys.argv = own
        stop(f"{name}={flags}: {reason}")
    finally:
        sys.argv = own


# ── The model ────────────────────────────────────────────────────────────────────────────────────


def check_chats(tokenizer, end_ids, path):
    """Can the template render every chat that the stages make, and does an answer end?"""
    chat = rollout.first_messages(dict(prompt="a"))
    for completion in ("b", "", "```python\nc\n```"):
        rollout.render(tokenizer, chat)
        chat = rollout.next_messages(chat, completion, "`f(1)` gave 1, expected 2")
    rollout.render(tokenizer, chat)
    if models.end_token(tokenizer, end_ids) not in end_ids:
        stop(f"{path}: neither its template nor its tokenizer ends an answer; take a chat model")


def check_sampling(model, tokenizer, path):
    """Can rows of unequal length be sampled together, and leave their batch?"""
    short = rollout.render(tokenizer, rollout.first_messages(dict(prompt="a")))
    noises = np.full((3, 4), 0.5, np.float32)
    try:
        with torch.inference_mode():
            # Whatever comes first ends a row, so that the others go on without it.
            ends = rollout.sample_batch(model, [short], noises[:1], 0, 1, [])[0]
            rollout.sample_batch(model, [short, short + short, short], noises, 0.7, 4, ends)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        stop(f"{path}: stage 01 cannot sample from it ({reason}); take another family, or --server")


def check_head(config, path):
    """Is there a class of this family that stage 03 can make a verifier of?"""
    known = transformers.models.auto.modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if type(config) not in known:
        family = config.model_type
        stop(
            f"{path}: transformers has no sequence classification for the family {family}, so "
            "stage 03 can make no verifier of it; take a Llama, Qwen, Gemma, Mistral or Phi"
        )


# ── Memory and disk ──────────────────────────────────────────────────────────────────────────────


def device_memory(device):
    """Bytes of memory: all of a GPU's, or what is free of this machine's."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    if device == "mps":
        return torch.mps.recommended_max_memory()
    # Where the system does not tell what is free, all there is.
    if os.path.exists("/proc/meminfo"):
        with open("/proc/meminfo") as file:
            kilobytes = {line.split(":")[0]: line.split()[1] for line in file}
        return int(kilobytes["MemAvailable"]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def kept_per_token(model, checkpointing):
    """Bytes that the backward pass keeps of one token, its logits aside.

    Of a layer 40 a hidden and 8 an intermediate unit: fitted to an H100's peaks (data/README.md).
    """
    config = model.config.get_text_config()
    width = config.hidden_size
    layers = config.num_hidden_layers
    layer = 40 * width + 8 * (getattr(config, "intermediate_size", None) or 4 * width)
    # With checkpointing, of each layer what goes in, and one layer at a time in full.
    kept = layer + 2 * width * layers if checkpointing else layer * layers
    # That is bfloat16 arithmetic. In float32 everything is twice as large.
    half = model.device.type == "cuda" or model.dtype == torch.bfloat16
    return kept if half else 2 * kept


def bytes_of_sampling(model, prompt, new, batch_size):
    """Stage 01: the weights, and for each row its cache, twice for a moment, and logits."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize  # of one token
    row = 2 * cached * (prompt + new) + 12 * config.vocab_size
    return model.num_parameters() * model.dtype.itemsize + batch_size * row


def bytes_of_policy_step(model, tokens, checkpointing):
    """Stage 05: one pass of so many tokens, a third of which are of programs and have logits."""
    logits = 12 * model.config.get_text_config().vocab_size / 3
    state = BYTES_PER_PARAMETER * model.num_parameters()
    return state + tokens * (kept_per_token(model, checkpointing) + logits)


def bytes_of_verifier_step(model, prompt, rows, checkpointing):
    """Stage 03: one pass over so many programs, each as long as its problem."""
    head = model.get_output_embeddings()
    tied = model.config.get_text_config().tie_word_embeddings
    parameters = model.num_parameters() - (0 if tied or head is None else head.weight.numel())
    state = BYTES_PER_PARAMETER * parameters
    return state + rows * 2 * prompt * kept_per_token(model, checkpointing)


def check_memory(model, prompt, sampling, verifying, training, path):
    """Is there memory for the largest step of each stage? → the largest of them, in words.

    prompt: mean tokens of a problem. The rest: the flags of stages 01, 03 and 05.
    """
    rows = verifying.programs * verifying.batch_size
    new = sampling.max_new_tokens
    of_01 = bytes_of_sampling(model, prompt, new, sampling.batch_size)
    of_03 = bytes_of_verifier_step(model, prompt, rows, verifying.gradient_checkpointing)
    tokens = training.tokens_per_pass
    of_05 = bytes_of_policy_step(model, tokens, training.gradient_checkpointing)
    needed = {
        "stage 01 (--batch-size)": of_01,
        "stage 03 (--programs, --batch-size, --gradient-checkpointing)": of_03,
        "stage 05 (--tokens-per-pass, --gradient-checkpointing)": of_05,
    }
    stage = max(needed, key=needed.get)
    device = model.device.type
    largest = (needed[stage] + BYTES_OF_PROCESS * (device == "cpu")) / 1e9
    memory = device_memory(device) / 1e9
    if largest > memory:
        state = BYTES_PER_PARAMETER * model.num_parameters() / 1e9
        stop(
            f"{path}: {stage} takes some {largest:.0f} GB of memory, and {memory:.0f} are there; "
            f"turn its flags down, or, as training takes {state:.0f} GB before any token "
            f"({BYTES_PER_PARAMETER} bytes a parameter), take a smaller model or a larger machine"
        )
    return f"some {largest:.0f} of {memory:.0f} GB of memory"


def check_disk(model, checkpoints, path):
    """Is there disk for all checkpoints? → in words."""
    # One more, for a checkpoint is whole before it gets its name.
    size = (checkpoints + 1) * model.num_parameters() * model.dtype.itemsize / 1e9
    disk = shutil.disk_usage(".").free / 1e9
    if size > disk:
        stop(
            f"{path}: {checkpoints} checkpoints take {size:.0f} GB of disk, and {disk:.0f} are "
            "free here; take another RUN, fewer METHODS, or fewer ITERATIONS"
        )
    return f"{size:.0f} of {disk:.0f} GB of disk"


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--policy", required=True, help="checkpoint folder or hub name of π_0")
    add("--problems", required=True, nargs="+", help="problems.jsonl")
    add("--max-new-tokens", type=int, required=True, help="per completion")
    add("--checkpoints", type=int, required=True, help="how many the run will write")
    add("--sample-flags", default="", help="for stage 01 and the search")
    add("--verifier-flags", default="", help="for stage 03")
    add("--policy-flags", default="", help="for stage 05")
    args = parser.parse_args()
    check_flags(args)
    return args


def main():
    # The flags of the stages.
    args = parse_args()
    rows = "--problems p --out o"
    sampled = f"{rows} --policy p --max-new-tokens {args.max_new_tokens}"
    sampling = try_flags("SAMPLE_FLAGS", args.sample_flags, rollout, sampled)
    try_flags("SAMPLE_FLAGS", args.sample_flags, evaluation, f"search {sampled}")
    learned = f"train {rows} --steps s --base b"
    verifying = try_flags("VERIFIER_FLAGS", args.verifier_flags, verifier, learned)
    fitted = "--base b --examples e --out o"
    training = try_flags("POLICY_FLAGS", args.policy_flags, policy, fitted)

    # The problems by themselves: their form, and their references.
    files = {path: execute.read_problems(path).values() for path in args.problems}

    # The model: what stages 01, 03 and 05 will ask of it.
    model, tokenizer = models.load_policy(args.policy)
    end_ids = models.stop_ids(model, tokenizer)
    check_chats(tokenizer, end_ids, args.policy)
    check_head(model.config, args.policy)
    check_sampling(model, tokenizer, args.policy)

    # Both together: a prompt and an answer in one context.
    context = models.context_length(model) - args.max_new_tokens
    for path, problems in files.items():
        args.problems = path
        rollout.check_prompts(tokenizer, problems, context, args)
    chats = [rollout.first_messages(p) for problems in files.values() for p in problems]
    prompt = np.mean([len(rollout.render(tokenizer, chat)) for chat in chats])

    # And this machine.
    memory = check_memory(model, prompt, sampling, verifying, training, args.policy)
    disk = check_disk(model, args.checkpoints, args.policy)

    millions = model.num_parameters() / 1e6
    end = tokenizer.convert_ids_to_tokens(models.end_token(tokenizer, end_ids))
    kind = str(model.dtype).removeprefix("torch.")
    print(
        f"check: {args.policy}, {millions:.1f} M parameters in {kind}, ends with {end}; "
        f"{memory}, {disk}"
    )


if __name__ == "__main__":
    main()
