"""The student's side of the grader: a process that loads one stage and calls its functions.

tests/grading.py starts it and asks. No test, no expected value and no other version of the stage is
ever here, and what the code does to this process it does to itself. Orders and replies are JSON, a
line each.
"""

import ast
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
        items = [pack(item) for item in value]
        return (
            {"named": [type(value).__name__, items]}
            if hasattr(value, "_fields")
            else {"tuple": items}
        )
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
    words = str(error)[:2000]
    if isinstance(error, SyntaxError):
        words = error.msg
        lines = [f"line {error.lineno}: {(error.text or '').strip()[:200]}"]
    return {"error": [type(error).__name__, words, "; ".join(lines[-3:])]}


# ── The process ──────────────────────────────────────────────────────────────────────────────────


def import_what_it_imports(root, stage):
    """Import the packages, lib and other stages that a stage imports, but not the stage itself.

    They come from beside the tests, so that a fault in one stage costs no points in another. And of
    the stage itself no other version is ever in this process.
    """
    with open(os.path.join(root, f"{stage}.py"), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        if is_import or "import_module(" in ast.unparse(node).split("\n")[0]:
            with suppress(Exception):
                exec(compile(ast.Module([node], []), SOURCE, "exec"), {"importlib": importlib})


def lock_up():
    """The cage of stage 02's programs: no file to write, no process to start or kill, no network.

    Returns what the system lacks for it.
    """
    from lib import zygote

    zygote.lower_limit(zygote.resource.RLIMIT_CORE, 0)
    zygote.lower_limit(zygote.resource.RLIMIT_AS, 8 << 30)
    if sys.platform != "linux":
        return ["Landlock", "seccomp"]
    filters = zygote.seccomp_filters(os.uname().machine)
    zygote.prctl(zygote.PR_SET_PDEATHSIG, signal.SIGKILL)
    zygote.prctl(zygote.PR_SET_NO_NEW_PRIVS, 1)
    packages = [path for path in sys.path if "-packages" in path]
    missing = [] if zygote.landlock(zygote.LIBC.syscall, packages) else ["Landlock"]
    if not all([zygote.install(instructions) for instructions in filters]):
        missing.append("seccomp")
    return missing


def main():
    root, stage, descriptor = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))

    # What the stage imports is there before the door closes.
    sys.path[0] = root
    import_what_it_imports(root, stage)
    if "torch" in sys.modules:
        sys.modules["torch"].ones(2, 2).softmax(-1)  # it looks at the processor now, and not later
    missing = lock_up()
    channel.sendall(json.dumps(missing).encode() + b"\n")

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
