"""Checkpoints, devices and memory: what every stage with a model needs and no lecture is about."""

import contextlib
import datetime
import gc
import glob
import os
import re
import shutil

from lib.resume import forget_training
from lib.rows import hash_file, stop, write_jsonl, write_text

os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # one line of ours, not twenty of its retries
import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


# ── Loading ──────────────────────────────────────────────────────────────────────────────────────


def pick_device():
    """The accelerator, if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def from_pretrained(kind, path, what, **options):
    """kind.from_pretrained(path), or one line that says why nothing loads.

    transformers imports what a model needs when it is asked for it, and those modules stay. The
    garbage collector would look through them in vain, for half a second.
    """
    # What can be no hub name is not asked for at the hub, nor what would lie in a folder here.
    can_be_hub_name = re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", path)
    is_in_folder = "/" in path and os.path.isdir(os.path.dirname(path))
    if not os.path.isdir(path) and (is_in_folder or not can_be_hub_name):
        stop(f"{path}: no {what} loads from here (no such folder)")
    gc.disable()
    try:
        return kind.from_pretrained(path, **options)
    except (OSError, ValueError) as error:
        reason = "no such folder, and no hub was reached that has a model of that name"
        if os.path.isdir(path) or "gated" in str(error):
            reason = str(error).strip().splitlines()[0]
        stop(f"{path}: no {what} loads from here ({reason})")
    finally:
        gc.freeze()
        gc.enable()


def load_tokenizer(path):
    """The tokenizer of a checkpoint folder or hub name. It must have a chat template.

    What is loaded first of every checkpoint: so here its files are held against their sums.
    """
    check_sums(path)
    tokenizer = from_pretrained(transformers.AutoTokenizer, path, "tokenizer")
    if not tokenizer.chat_template:
        stop(f"{path}: the tokenizer has no chat template; use an instruction-tuned model")
    return tokenizer


# Some templates write today's date: without a fixed one, another day, other bytes.
TODAY = datetime.date(2024, 7, 26)


def apply_template(tokenizer, messages, reply):
    """Chat → token ids. `reply`: end with the opening of the model's answer."""
    template = re.sub(
        r"strftime_now\(\s*([\"'])(.*?)\1\s*\)",
        lambda call: repr(TODAY.strftime(call[2])),
        tokenizer.get_chat_template(),
    )
    date = TODAY.strftime("%d %b %Y")
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=reply,
            return_dict=False,
            date_string=date,
        )
    # What a template raises, or what it is made to raise.
    except Exception as error:
        roles = ", ".join(message["role"] for message in messages)
        last = messages[-1]["content"][:60]
        where = f"{tokenizer.name_or_path}: its chat template refuses a chat of {roles}"
        stop(f"{where}, the last of which says {last!r} ({error})")


def end_token(tokenizer, end_ids):
    """The id behind an answer at which sampling stops, as the template has it."""
    # What two chats with different answers have in common at their end.
    question = dict(role="user", content="?")
    chats = ([question, dict(role="assistant", content=answer)] for answer in ("0", "x"))
    endings = [apply_template(tokenizer, chat, False)[::-1] for chat in chats]
    behind = os.path.commonprefix(endings)[::-1]
    # A template that writes no end token gets one, or the model would never learn to stop.
    return next((token for token in behind if token in end_ids), tokenizer.eos_token_id)


def load_policy(path):
    """π from a checkpoint folder or hub name, in the type of its weights → (model, tokenizer)."""
    tokenizer = load_tokenizer(path)
    model = from_pretrained(transformers.AutoModelForCausalLM, path, "model", dtype="auto")
    if "ForSequenceClassification" in str(model.config.architectures):
        stop(f"{path}: a verifier, which writes no programs; give a policy")
    with enough_memory(f"the weights of {path}; take a smaller model"):
        return model.to(pick_device()).eval(), tokenizer


def load_classifier(path):
    """A model with one scalar output per sequence → (model, were its head's weights in the file?).

    From a language model's checkpoint the head comes out random.
    """
    kind = transformers.AutoModelForSequenceClassification
    options = dict(num_labels=1, dtype="auto", output_loading_info=True)
    model, report = from_pretrained(kind, path, "model", **options)
    return model, not report["missing_keys"]


def set_padding(model, tokenizer):
    """Give a classifier a padding token that is no end token.

    It reads the last token that is not padding, and many models ship with pad = eos.
    """
    # Any other token will do, for it is masked out: token 0, or 1 if 0 is the end token.
    config = model.config.get_text_config()
    pad = tokenizer.pad_token_id
    if pad in (None, tokenizer.eos_token_id) or pad >= config.vocab_size:
        pad = int(tokenizer.eos_token_id == 0)
    config.pad_token_id = pad
    model.config.pad_token_id = pad


def stop_ids(model, tokenizer):
    """The token ids that end an answer, sorted."""
    # Llama has three and Gemma's is not the tokenizer's eos, so the generation config counts too.
    configured = model.generation_config.eos_token_id
    if not isinstance(configured, list):
        configured = [configured]
    return sorted({*configured, tokenizer.eos_token_id} - {None})


def context_length(model):
    """How many tokens a model can read; a very large number if its configuration is silent."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", 1 << 30)


# ── Memory and arithmetic ────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def enough_memory(purpose):
    """A GPU that is too small ends the stage with one line that says which dial to turn."""
    try:
        yield
    except torch.OutOfMemoryError:
        stop(f"out of memory: no room for {purpose}")


def room_for_step(dial):
    """The same for a step of training. dial: the flag that makes it smaller."""
    advice = f"lower {dial}, add --gradient-checkpointing, or take a smaller model"
    return enough_memory(f"the step; {advice} (data/README.md says what fits)")


def checkpoint_activations(model):
    """Compute activations anew in the backward pass: a third slower, far less memory."""
    # Earlier versions of transformers name it after the gradients.
    older = getattr(model, "gradient_checkpointing_enable", None)
    getattr(model, "activation_checkpointing_enable", older)()


def own_type(model):
    """The type of the weights in the file that a model was loaded from."""
    # A configuration has it as torch's type, or as its name; none, if the model was just made.
    dtype = model.config.dtype or model.dtype
    return getattr(torch, str(dtype).removeprefix("torch."))


def mixed_precision(model):
    """bfloat16 arithmetic for float32 weights: on a GPU, or if their file was in bfloat16."""
    # Not cached: bfloat16 copies of all weights would take two more bytes a parameter.
    device = model.device.type
    enabled = device == "cuda" or own_type(model) == torch.bfloat16
    return torch.autocast(device, torch.bfloat16, enabled=enabled, cache_enabled=False)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


def make_optimizer(model, peak, steps):
    """AdamW and its learning rate schedule for `steps` optimiser steps → (optimizer, schedule)."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up(step, steps))
    return optimizer, schedule


def warm_up(step, steps):
    """The share of the peak rate at a step: up over the first tenth, then linearly to zero.

    Neither the first nor the last step is at rate 0, so no step is lost.
    """
    ramp = max(1, int(0.1 * steps))
    rising = (step + 1) / ramp
    falling = (steps - step) / max(1, steps - ramp)
    return min(rising, falling)


def take_step(model, optimizer, schedule):
    """One step along the gradients that have been added up, clipped to a norm of 1."""
    # As in the authors' code, a batch of odd examples cannot throw the weights far.
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if not norm.isfinite():
        stop("the gradient of a step is not a number; train with a lower --lr")
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=True)


def copy_weights(model):
    """The weights as they are now, in main memory."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────


def check_target(path, base):
    """A checkpoint may replace a checkpoint alone, and needs as much disk as its base."""
    is_checkpoint = os.path.exists(os.path.join(path, "config.json"))
    is_occupied = os.path.isfile(path) or (os.path.isdir(path) and os.listdir(path))
    if is_occupied and not is_checkpoint:
        stop(f"{path}: --out exists and is no checkpoint, so it is not replaced; name another")
    # Of a model from the hub that is not known before it is loaded.
    size = sum(os.path.getsize(file) for file in glob.glob(f"{glob.escape(base)}/*"))
    free = shutil.disk_usage(os.path.dirname(path) or ".").free
    if size > free:
        room = f"{size / 1e6:.0f} MB of disk, and {free / 1e6:.0f} are free"
        stop(f"{path}: a checkpoint takes {room}; make room, or write it elsewhere")


SUMS = "SHA256SUMS"  # in a checkpoint: for `sha256sum -c`, and for whoever loads it


def write_sums(folder):
    """Note what the files of a new checkpoint hold."""
    names = sorted(os.listdir(folder))
    lines = [f"{hash_file(os.path.join(folder, name))}  {name}\n" for name in names]
    write_text(os.path.join(folder, SUMS), lines)


def check_sums(folder):
    """Stop if a checkpoint is not as it was written. One from elsewhere has no sums."""
    sums = os.path.join(folder, SUMS)
    if not os.path.isfile(sums):
        return
    with open(sums, encoding="utf-8", errors="replace") as file:
        for line in file.read().splitlines():
            expected, _, name = line.partition("  ")
            path = os.path.join(folder, name)
            if not os.path.isfile(path) or hash_file(path) != expected:
                advice = f"delete the folder and make it anew, or, if the change is yours, {sums}"
                stop(f"{folder}: {name} is damaged or was changed; {advice}")


def save_checkpoint(model, tokenizer, path, metrics=None):
    """Write PATH.part, then rename: a checkpoint under its own name is whole.

    The weights get the type that they had when they were loaded: in bfloat16, half the disk.
    metrics: rows for PATH/metrics.jsonl, what the report later tells about the training.
    """
    part = path + ".part"
    shutil.rmtree(part, ignore_errors=True)
    model.to(own_type(model))
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        write_sums(part)
        if metrics:
            write_jsonl(os.path.join(part, "metrics.jsonl"), metrics)
        shutil.rmtree(path, ignore_errors=True)
        os.rename(part, path)
    # safetensors and tokenizers have errors of their own where the disk is full.
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        stop(f"{path}: cannot be written ({reason})")
    forget_training(path)
