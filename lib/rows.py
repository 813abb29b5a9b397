"""Rows on disk: JSON Lines in and out, and the one line that every bad input gets.

A row is one JSON object on one line of a UTF-8 file. Every stage reads rows, checks the fields that
it relies on, and writes rows with fields added. Fields that it does not know pass through.
"""

import contextlib
import hashlib
import json
import math
import os

from lib.ends import stop

# What makes a step (s_t, y_t, o_t, r_t) unique among all rows of a run.
STEP_KEY = ("policy", "task_id", "trajectory", "turn")


# ── What a field may hold ────────────────────────────────────────────────────────────────────────
# A kind of field is a type, or one of these functions. Its docstring is what messages expect.

MOST_LEVELS = 50  # of lists and objects in each other: the row formats have six


def whole(value):
    """a whole number from 0"""
    return type(value) is int and 0 <= value < 2**63


def count(value):
    """a whole number from 1"""
    return whole(value) and value > 0


def finite(value):
    """a finite number"""
    return type(value) in (int, float) and abs(value) < 1e300  # false for nan


def chat(value):
    """a chat, [{"role": …, "content": …}, …]"""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def state(value):
    """a chat that ends with the user's turn"""
    return chat(value) and value[-1]["role"] == "user"


def answer(value):
    """a chat of one message, the assistant's"""
    return chat(value) and [message["role"] for message in value] == ["assistant"]


def is_message(value):
    return (
        isinstance(value, dict)
        and value.get("role") in ("system", "user", "assistant")
        and isinstance(value.get("content"), str)
    )


# Of all fields that problems and steps have.
FIELDS = dict.fromkeys(("task_id", "group", "prompt", "entry_point", "setup", "retry"), str)
FIELDS |= dict.fromkeys(("policy", "completion", "code", "feedback"), str)
FIELDS |= dict.fromkeys(("public_passed", "hidden_passed"), bool)
FIELDS |= dict.fromkeys(("public_tests", "hidden_tests"), list)
FIELDS |= dict(trajectory=whole, turn=count, tokens=whole, messages=state, score=finite)

# And of an example, which has chats where a problem and a step have texts.
EXAMPLE = dict(prompt=state, completion=answer)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def read_jsonl(path, fields, key=(), seen=None):
    """The rows of a JSON Lines file, as a list of dictionaries.

    Every row must have `fields`, names in a text or {name: kind}, but may lack those with a ?. No
    two rows may share the values of the fields in `key`. Anything else stops the stage with a line
    that names the file, the row and the field. seen: the keys of earlier files, which none repeats.
    """
    rows = list(iterate_jsonl(path, fields, key, seen))
    if not rows:
        stop(f"{path}: no rows; the stage that writes this file had nothing to write")
    return rows


def iterate_jsonl(path, fields, key=(), seen=None):
    """The same, row by row."""
    if isinstance(fields, str):
        fields = {name: FIELDS[name.rstrip("?")] for name in fields.split()}
    seen = set() if seen is None else seen
    total = hashlib.sha256()
    number = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                total.update(line)
                row = json.loads(line.decode("utf-8"), object_pairs_hook=make_object)
                check_fields(path, number, row, fields)
                identity = tuple(row.get(name) for name in key)
                if key and identity in seen:
                    names = ", ".join(key)
                    stop(f"{path}, row {number}: {names} = {identity} duplicates an earlier row")
                seen.add(identity)
                yield row
    except OSError as error:
        stop(f"{path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        stop(f"{path}, row {number}: not a line of JSON in UTF-8 ({reason})")
    check_sum(path, total.hexdigest())


def make_object(pairs):
    """A JSON object. ValueError if it has a name twice: Python alone would take the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has a name twice")
    return made


def check_fields(path, number, row, fields):
    """Stop unless `row`, the row `number` of `path`, is an object with these fields and kinds."""
    if not isinstance(row, dict):
        stop(f"{path}, row {number}: not a JSON object; one per line is expected")
    for field, kind in fields.items():
        name = field.removesuffix("?")
        if name not in row:
            if field == name:
                stop(f"{path}, row {number}: field '{name}' is missing")
            continue
        value = row[name]
        # In Python True is an int; in a row it is not.
        is_type = isinstance(kind, type)
        fits = isinstance(value, kind) if is_type else kind(value)
        if not fits or (isinstance(value, bool) and kind is not bool):
            expected = f"type: {kind.__name__}" if is_type else kind.__doc__
            stop(f"{path}, row {number}: field '{name}' is {shorten(value)}, expected {expected}")
    for name, value in row.items():
        if flaw := find_flaw(value):
            stop(f"{path}, row {number}: field '{name}' {flaw}")


def shorten(value):
    """A value as a message shows it."""
    return json.dumps(value)[:40].replace("NaN", "nan").replace("Infinity", "inf")


def find_flaw(value, levels=1):
    """What no file or tokenizer takes, at any depth of a field: said in words, or None."""
    if isinstance(value, str):
        # Half of a pair of UTF-16, as in "\\ud800".
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a character, which is no text"
        return None
    if isinstance(value, (list, dict)):
        if levels > MOST_LEVELS:
            return f"is nested more than {MOST_LEVELS} deep"
        items = value if isinstance(value, list) else [*value.keys(), *value.values()]
        return next(filter(None, (find_flaw(item, levels + 1) for item in items)), None)
    return None


def check_task_ids(path, rows, problems, problems_path):
    """Stop if a row is about a problem whose task_id is not among `problems`."""
    for number, row in enumerate(rows, 1):
        if row["task_id"] not in problems:
            stop(f"{path}, row {number}: task_id '{row['task_id']}' is not in {problems_path}")


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────


def write_jsonl(path, rows):
    """Write rows so that a file under its own name is always whole.

    A hidden file beside it, .NAME.sha256, has its SHA-256, in the form of sha256sum: a file that
    was cut off later, at the end of a line, reads like a whole one.
    """
    total = hashlib.sha256()

    def lines():
        for row in rows:
            line = json.dumps(row) + "\n"
            total.update(line.encode())
            yield line

    with part_of(path) as part:
        write_part(part, lines())
        sums = sum_file(path)
        line = f"{total.hexdigest()}  {os.path.basename(path)}\n"
        # At any moment the two agree, or one of them is missing.
        if os.path.exists(path):
            with contextlib.suppress(FileNotFoundError):
                os.remove(sums)
            os.replace(part, path)
            write_text(sums, [line])
        else:
            write_text(sums, [line])
            os.replace(part, path)
    with contextlib.suppress(OSError):
        os.remove(path + ".part")  # the log of the work, which is done (lib/resume.py)


def sum_file(path):
    """Where the SHA-256 of a file of rows lies."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.sha256")


def hash_file(path):
    """The SHA-256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def check_sum(path, found):
    """Stop if a file of rows is not as its writer left it. Others' files have no sum."""
    sums = sum_file(path)
    if not os.path.exists(sums):
        return
    try:
        with open(sums, encoding="utf-8", errors="replace") as file:
            expected, _, _ = file.read().partition(" ")
    except OSError as error:
        stop(f"{sums}: {error.strerror}; delete it")
    if found != expected:
        advice = f"delete it and make it anew, or, if the change is yours, delete {sums}"
        stop(f"{path}: not as it was written (rows cut off, lost or changed); {advice}")


def write_text(path, parts):
    """Write strings to NAME.new, then rename it to NAME. Makes the folder if need be."""
    with part_of(path) as part:
        write_part(part, parts)
        os.replace(part, path)


@contextlib.contextmanager
def part_of(path):
    """NAME.new, to be written and renamed. Whatever happens, it is not left behind."""
    part = path + ".new"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        yield part
    except OSError as error:
        stop(f"{path}: cannot be written ({error.strerror})")
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


def write_part(part, parts):
    with open(part, "w", encoding="utf-8") as file:
        file.writelines(parts)


def check_flags(args, may_be_zero=("seed",)):
    """Stop if a number of the command line makes no sense, or if --out cannot be written.

    No number is negative, and none is zero that may not be.
    """
    for flag, value in vars(args).items():
        for number in value if isinstance(value, list) else [value]:
            if type(number) not in (int, float):
                continue
            if not math.isfinite(number):
                stop(f"--{flag.replace('_', '-')} is {number}: a finite number is expected")
            if number < 0 or (number == 0 and flag not in may_be_zero):
                stop(f"--{flag.replace('_', '-')} is {number}: too small")
    if "out" in args:
        check_out(args.out)


def check_out(path):
    """Stop at the start, not after the work, if nothing can be written at `path`."""
    if path.endswith((".jsonl", ".md")) and os.path.isdir(path):
        stop(f"{path}: a folder; a file is to be written there")
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        stop(f"{path}: no ordinary file, and would be replaced by one; name another")
    # Files are first written beside it. A .part that is there already is of a call to go on from.
    part = path + ".part"
    was_there = os.path.exists(part)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if not os.path.isdir(part):
            with open(part, "ab") as file:
                file.write(b"")
        if not was_there:
            os.remove(part)
    except OSError as error:
        stop(f"{path}: cannot be written ({error.strerror})")


def indent(text, by=4):
    """A text of several lines, each moved to the right: how stages print their examples."""
    # A model may write what a terminal obeys, or what no file takes.
    shown = (c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return " " * by + "".join(shown).replace("\n", "\n" + " " * by)
