"""Going on after a kill: what a stage had finished, as long as it is the same work.

Rows that take long are logged in NAME.part as they come, and a training saves itself now and then
in NAME.training. Both hold what their work depends on: flags, inputs by content, code, versions.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import sys
import time
import zlib
from importlib.metadata import version

from lib.rows import hash_file, stop, write_text

import torch
from tqdm import tqdm

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")

# ── The same work? ───────────────────────────────────────────────────────────────────────────────


def hash_files(paths):
    """SHA-256 of files, names and contents."""
    lines = [f"{hash_file(path)}  {os.path.basename(path)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def content_of(value):
    """What a flag's value stands for: the content of a file or checkpoint, else itself."""
    if isinstance(value, list):
        return [content_of(item) for item in value]
    if value and os.path.isdir(value):
        return hash_files(sorted(filter(os.path.isfile, glob.glob(f"{glob.escape(value)}/*"))))
    return hash_file(value) if value and os.path.isfile(value) else value


def work_of(args, inputs, neutral):
    """What the result of a call depends on, as a dictionary.

    inputs: the flags that name files or checkpoints. neutral: those that change no result.
    """
    work = {flag: value for flag, value in sorted(vars(args).items()) if flag not in neutral}
    for flag in inputs:
        work[flag] = content_of(work[flag])
    work["code"] = hash_files(sorted(glob.glob(f"{ROOT}/0*.py") + glob.glob(f"{ROOT}/lib/*.py")))
    work["packages"] = [version(name) for name in ("torch", "transformers", "numpy")]
    return work


def is_same(work, found, path):
    """Was this file left by the same work? If not, say what differs, and lay it aside."""
    if found == work:
        return True
    differing = [name for name in work if name not in found or found[name] != work[name]]
    reason = ", ".join(differing) or "flags"
    print(f"  {path} is of other work ({reason}); it is now {path}.other", file=sys.stderr)
    lay_aside(path)
    return False


def lay_aside(path):
    """What is of other work may have taken hours: somebody may want to go back to it."""
    with contextlib.suppress(OSError):
        os.replace(path, f"{path}.other")


def damaged(path):
    """Stop over a file that was left by a cut-off call and does not read as it was written."""
    stop(f"{path}: damaged; delete it, and what it stands for is made again")


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def seal(value):
    """A value as a line, with a checksum before it."""
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def unseal(line, path):
    """The value of a line that `seal` wrote."""
    checksum, _, text = line.rstrip("\n").partition(" ")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        damaged(path)
    return json.loads(text)


def open_log(path, work):
    """What a cut-off call of the same work left in NAME.part, and keep(row), which adds to it.

    A row is anything that JSON holds. When the file NAME is written, its log goes.
    """
    part = path + ".part"
    rows, end = read_log(part, work)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        file = open(part, "r+b" if end else "wb")  # noqa: SIM115, open as long as the stage runs
        # A line that was cut off in the middle is written over.
        file.truncate(end)
        file.seek(end)
    except OSError as error:
        stop(f"{path}: cannot be written ({error.strerror})")

    def keep(row):
        try:
            file.write(seal(row).encode())
            file.flush()  # what waits in a buffer is lost if the stage is killed
        except OSError as error:
            stop(f"{path}: cannot be written ({error.strerror})")

    if not end:
        keep(work)
    return rows, keep


def read_log(part, work):
    """([row, …], the bytes that they and the line of the work take), ([], 0) of other work."""
    if not os.path.exists(part):
        return [], 0
    try:
        with open(part, "rb") as file:
            lines = [line for line in file if line.endswith(b"\n")]
        values = [unseal(line.decode(), part) for line in lines]
    except (OSError, ValueError):
        damaged(part)
    if len(values) < 2 or not is_same(work, values[0], part):
        return [], 0  # nothing was finished, or nothing of this work
    return values[1:], sum(map(len, lines))


def open_memory(path, work, kinds):
    """The same as dictionaries: {kind: {key: value}}, and learn(kind, [(key, value), …]).

    Keys are tuples. What is learned at once is kept as a whole or not at all.
    """
    rows, keep = open_log(path, work)
    known = {kind: {} for kind in kinds}
    for kind, items in rows:
        known[kind].update((tuple(key), value) for key, value in items)

    def learn(kind, items):
        items = list(items)
        known[kind].update(items)
        keep([kind, items])

    return known, learn


# ── Training ─────────────────────────────────────────────────────────────────────────────────────

# Training between two saves: so many seconds, and so many times as long as a save takes.
SAVE_EVERY = 20
SAVE_COST = 20


def training_steps(total, parts, log, path, work):
    """The numbers of the optimiser steps that are left, 0 … total − 1, with a progress bar.

    Between two steps it saves, now and then, where the training stands: what is in `parts` (model,
    optimizer, schedule: whatever has a state_dict), random state, and `log`, a dictionary that the
    caller fills. What a call of the same work has saved is put back first.

    path: of the checkpoint to come. The state lies in PATH.training. None: nothing is saved.
    """
    done = restore(parts, log, path, work) if path else 0
    if done:
        print(f"  going on after step {done} of {total}, from {path}.training")
    saved = time.monotonic()
    pause = SAVE_EVERY
    bar = tqdm(total=total, initial=done, desc="  training", unit="step", disable=None, leave=False)
    with bar:
        for step in range(done, total):
            yield step
            bar.update()
            if path and time.monotonic() - saved > pause and step + 1 < total:
                began = time.monotonic()
                save(step + 1, parts, log, path, work)
                saved = time.monotonic()
                pause = max(SAVE_EVERY, SAVE_COST * (saved - began))


def random_state():
    """Of torch, on the processor and on all GPUs: what dropout draws from."""
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), of_gpus


def has_room(model, path):
    """Is there disk for the state of a training, and as much again for what else is written?"""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    # The weights, AdamW's two moments, and in stage 03 the weights of the best epoch.
    return shutil.disk_usage(os.path.dirname(path) or ".").free > 8 * weights


def save(done, parts, log, path, work):
    """Write the state to PATH.training-DONE, then the line that says so to PATH.training.

    Where there is no room for it, the training goes on without.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if not has_room(parts["model"], path):
        return
    state = dict(log=log, random=random_state())
    state["parts"] = {name: part.state_dict() for name, part in parts.items()}
    file = f"{path}.training-{done}"
    try:
        torch.save(state, file)
        line = seal(dict(work=work, done=done, sha256=hash_files([file])))
        write_text(f"{path}.training", [line])
    # torch has an error of its own where the disk is full.
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            os.remove(file)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        stop(f"{file}: cannot be written ({reason})")
    forget_training(path, but=done)


def forget_training(path, but=None):
    """Delete the states of a training, or all but one."""
    for file in glob.glob(f"{glob.escape(path)}.training-*[0-9]"):  # none that was laid aside
        if file != f"{path}.training-{but}":
            os.remove(file)
    if but is None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{path}.training")


def restore(parts, log, path, work):
    """Put back what was saved last, if it is of the same work → how many steps are done."""
    note = f"{path}.training"
    if not os.path.exists(note):
        return 0
    try:
        with open(note, encoding="utf-8") as text:
            saved = unseal(text.read(), note)
    except (OSError, ValueError):
        damaged(note)
    file = f"{note}-{saved['done']}"
    if not is_same(work, saved["work"], note):
        lay_aside(file)  # what the note speaks of
        return 0
    if not os.path.exists(file) or hash_files([file]) != saved["sha256"]:
        damaged(note)
    state = torch.load(file, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    log.update(state["log"])
    of_cpu, of_gpus = state["random"]
    torch.set_rng_state(of_cpu)
    if of_gpus:
        torch.cuda.set_rng_state_all(of_gpus)
    return saved["done"]
