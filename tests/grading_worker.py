"""The student's side of the grader: a process that loads one stage and calls its functions.

tests/grading.py starts it and asks. No test and no expected value is ever here, and what the code
does to this process it does to itself. Orders and replies are JSON, a line each.
"""

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from types import ModuleType

SOURCE = "<the file under test>"


# ── Values: what JSON has, and tuples, tensors and dictionaries with any keys ────────────────────


def pack(value):
    """A value → what json.dumps takes."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [pack(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    # A tensor or an array, and the numbers that come out of them.
    if hasattr(value, "tolist"):
        return {"tensor": value.tolist()}
    raise TypeError(f"a {type(value).__name__} is none of the values that the docstring speaks of")


def unpack(value):
    """What json.loads gave → the value."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(map(unpack, content))
    if kind == "dict":
        return {unpack(key): unpack(item) for key, item in content}
    import torch  # only where there is a tensor: stages 02 and 04 need none

    return torch.tensor(content)


# ── Orders ───────────────────────────────────────────────────────────────────────────────────────


def load(name, source):
    """Execute the text of a stage as a module of that name."""
    module = ModuleType(name)
    module.__file__ = SOURCE
    sys.modules[name] = module
    exec(compile(source, SOURCE, "exec"), module.__dict__)
    return module


def call(function, args, gradient):
    """Call a function → what it returns, and the gradient for argument number `gradient`."""
    before = json.dumps(pack(args))
    if gradient is not None:
        args[gradient].requires_grad_()
    value = function(*args)
    reply = {"value": pack(value), "has_changed": json.dumps(pack(args)) != before}
    if gradient is not None:
        value.backward()
        reply["gradient"] = args[gradient].grad.tolist()
    return reply


def drive(function, args, answers):
    """Run a generator, and send it the answers in turn → what it yields, and what it returns."""
    running = function(*args)
    yielded = []
    packed = []  # the same, as they were when they were yielded
    reply = {"has_changed": False, "returned": None, "has_ended": False}
    try:
        yielded.append(next(running))
        packed.append(pack(yielded[0]))
        for answer in answers:
            yielded.append(running.send(answer))
            packed.append(pack(yielded[-1]))
    except StopIteration as end:
        reply.update(returned=pack(end.value), has_ended=True)
    # What was handed out must stay as it was.
    reply["has_changed"] = packed != [pack(state) for state in yielded]
    return dict(reply, yielded=packed)


def perform(order, stage, module):
    """Carry out one order → (the reply, the module that is loaded)."""
    if "load" in order:
        return {}, load(stage, order["load"])
    function = getattr(module, order["name"])
    args = unpack(order["args"])
    if "answers" in order:
        return drive(function, args, unpack(order["answers"])), module
    return call(function, args, order["gradient"]), module


def explain(error):
    """An exception → its kind, its words, and the lines of the file under test that it is from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"line {frame.lineno}, {frame.name}" for frame in frames if frame.filename == SOURCE]
    if isinstance(error, SyntaxError):
        lines = [f"line {error.lineno}"]
    return {"error": [type(error).__name__, str(error)[:2000], "; ".join(lines[-3:])]}


# ── The process ──────────────────────────────────────────────────────────────────────────────────


def lock_up():
    """The cage of stage 02's programs: no file to write, no process to start or kill, no network.

    Where the system lacks it, the grader runs all the same.
    """
    from lib import zygote

    zygote.lower_limit(zygote.resource.RLIMIT_CORE, 0)
    zygote.lower_limit(zygote.resource.RLIMIT_AS, 8 << 30)
    if sys.platform == "linux":
        filters = zygote.seccomp_filters(os.uname().machine)
        zygote.prctl(zygote.PR_SET_PDEATHSIG, signal.SIGKILL)
        zygote.prctl(zygote.PR_SET_NO_NEW_PRIVS, 1)
        zygote.landlock(zygote.LIBC.syscall, [path for path in sys.path if "-packages" in path])
        for instructions in filters:
            zygote.install(instructions)


def main():
    root, stage, descriptor = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))

    # What the stage imports is there before the door closes: packages, lib, the other stages. These
    # are the ones beside the tests, so that a fault in one stage costs no points in another.
    sys.path[0] = root
    with suppress(Exception):
        importlib.import_module(stage)
    lock_up()
    channel.sendall(b"\n")

    module = None
    for line in channel.makefile("rb"):
        order = json.loads(line)
        try:
            reply, module = perform(order, stage, module)
        except BaseException as error:  # SystemExit, too: it is an answer like any other
            reply = explain(error)
        with suppress(Exception):
            sys.stdout.flush()
        channel.sendall(json.dumps(dict(reply, ticket=order["ticket"])).encode() + b"\n")


if __name__ == "__main__":
    main()
