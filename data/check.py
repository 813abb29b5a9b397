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

import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import models
from lib.rows import check_numbers, stop

rollout = importlib.import_module("01_rollout")
execute = importlib.import_module("02_execute")
verifier = importlib.import_module("03_verifier")
policy = importlib.import_module("05_train_policy")
evaluation = importlib.import_module("06_eval")

# For training: float32 weights, their gradients, and AdamW's two moments. Activations come on top.
BYTES_PER_PARAMETER = 16


def check_flags(name, flags, stage, needed):
    """Does a stage take the flags that a setting of run_all.sh gives it? needed: its others."""
    own = sys.argv
    sys.argv = [os.path.basename(stage.__file__), *needed.split(), *flags.split()]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            stage.parse_args()
    except SystemExit:
        # The last line of argparse names the stage and the flag. From here on it is us who speak.
        _, _, reason = complaint.getvalue().strip().rpartition("\n")
        sys.argv = own
        stop(f"{name}={flags}: {reason}")
    sys.argv = own


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


def check_room(model, checkpoints, path):
    """Is there memory for training, and disk for all checkpoints? → both in words."""
    needed = model.num_parameters() * BYTES_PER_PARAMETER / 1e9
    memory = device_memory(model.device.type) / 1e9
    if needed > memory:
        stop(
            f"{path}: training takes more than {needed:.0f} GB of memory ({BYTES_PER_PARAMETER} "
            f"bytes a parameter), there are {memory:.0f}; take a smaller model or a larger machine"
        )

    # One more, for a checkpoint is whole before it gets its name.
    size = (checkpoints + 1) * model.num_parameters() * model.dtype.itemsize / 1e9
    disk = shutil.disk_usage(".").free / 1e9
    if size > disk:
        stop(
            f"{path}: {checkpoints} checkpoints take {size:.0f} GB of disk, and {disk:.0f} are "
            "free here; take another RUN, fewer METHODS, or fewer ITERATIONS"
        )
    return f"{needed:.0f} of {memory:.0f} GB of memory, {size:.0f} of {disk:.0f} GB of disk"


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
    check_numbers(args)
    return args


def main():
    # The flags of the stages.
    args = parse_args()
    rows = "--problems p --out o"
    check_flags("SAMPLE_FLAGS", args.sample_flags, rollout, f"{rows} --policy p")
    check_flags("SAMPLE_FLAGS", args.sample_flags, evaluation, f"search {rows} --policy p")
    check_flags("VERIFIER_FLAGS", args.verifier_flags, verifier, f"train {rows} --steps s --base b")
    check_flags("POLICY_FLAGS", args.policy_flags, policy, "--base b --examples e --out o")

    # The problems by themselves: their form, and their references.
    files = {path: execute.read_problems(path).values() for path in args.problems}

    # The model: what stages 01, 03 and 05 will ask of it.
    model, tokenizer = models.load_policy(args.policy)
    end_ids = models.stop_ids(model, tokenizer)
    check_chats(tokenizer, end_ids, args.policy)
    check_head(model.config, args.policy)
    check_sampling(model, tokenizer, args.policy)
    room = check_room(model, args.checkpoints, args.policy)

    # Both together: a prompt and an answer in one context.
    context = models.context_length(model) - args.max_new_tokens
    for path, problems in files.items():
        args.problems = path
        rollout.check_prompts(tokenizer, problems, context, args)

    millions = model.num_parameters() / 1e6
    end = tokenizer.convert_ids_to_tokens(models.end_token(tokenizer, end_ids))
    kind = str(model.dtype).removeprefix("torch.")
    print(f"check: {args.policy}, {millions:.1f} M parameters in {kind}, ends with {end}; {room}")


if __name__ == "__main__":
    main()
