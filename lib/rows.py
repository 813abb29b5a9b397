"""Rows on disk: JSON Lines in and out, and the one line that every bad input gets.

A row is one JSON object on one line of a UTF-8 file. Every stage reads rows, checks the fields that
it relies on, and writes rows with fields added. Fields that it does not know pass through.
"""

import contextlib
import json
import math
import os

from lib.ends import stop

# What makes a step (s_t, y_t, o_t, r_t) unique among all rows of a run.
STEP_KEY = ("policy", "task_id", "trajectory", "turn")


def read_jsonl(path, fields, key=()):
    """The rows of a JSON Lines file, as a list of dictionaries.

    Every row must have `fields` = {name: type}, and no two rows may share the values of the fields
    in `key`. Anything else stops the stage with a line that names the file, the row and the field.
    """
    rows = []
    seen = set()
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                check_fields(path, number, row, fields)
                identity = tuple(row.get(name) for name in key)
                if key and identity in seen:
                    names = ", ".join(key)
                    stop(f"{path}, row {number}: {names} = {identity} duplicates an earlier row")
                seen.add(identity)
                rows.append(row)
    except OSError as error:
        stop(f"{path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        stop(f"{path}, row {len(rows) + 1}: not a line of JSON in UTF-8 ({reason})")
    if not rows:
        stop(f"{path}: no rows; the stage that writes this file had nothing to write")
    return rows


def check_fields(path, number, row, fields):
    """Stop unless `row`, the row `number` of `path`, is an object with these fields and types."""
    if not isinstance(row, dict):
        stop(f"{path}, row {number}: not a JSON object; one per line is expected")
    for name, kind in fields.items():
        if name not in row:
            stop(f"{path}, row {number}: field '{name}' is missing")
        value = row[name]
        # In Python True is an int; in a row it is not.
        is_stray_bool = isinstance(value, bool) and kind is not bool
        if not isinstance(value, kind) or is_stray_bool:
            shown = json.dumps(value)[:40]
            expected = getattr(kind, "__name__", "number")
            stop(f"{path}, row {number}: field '{name}' is {shown}, expected type: {expected}")
        # Nothing is larger than nan, and nothing smaller.
        if isinstance(value, float) and not math.isfinite(value):
            stop(f"{path}, row {number}: field '{name}' is {value}, expected a finite number")


def check_task_ids(path, rows, problems, problems_path):
    """Stop if a row is about a problem whose task_id is not among `problems`."""
    for number, row in enumerate(rows, 1):
        if row["task_id"] not in problems:
            stop(f"{path}, row {number}: task_id '{row['task_id']}' is not in {problems_path}")


def write_jsonl(path, rows):
    """Write rows so that a file under its own name is always whole."""
    write_text(path, (json.dumps(row) + "\n" for row in rows))


def write_text(path, parts):
    """Write strings to NAME.part, then rename it to NAME. Makes the folder if need be."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            file.writelines(parts)
        os.replace(path + ".part", path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(path + ".part")
        stop(f"{path}: cannot be written ({error.strerror})")


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
