"""The grader's side: call the functions of a stage, in whatever folder, and say what is wrong.

A submission is executed in a process of its own (grading_worker.py), which gets arguments and gives
results. The tests stay here, and so do points and results: what a submission prints, patches, exits
or hangs on is its own affair. Nothing here imports torch: a test gives and gets lists.
"""

import contextlib
import fcntl
import functools
import json
import math
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import termios
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
STAGES = [
    "01_rollout",
    "02_execute",
    "03_verifier",
    "04_relabel",
    "05_train_policy",
    "06_eval",
]

START = 90.0  # seconds that a process may take for its imports
LOAD = 10.0  # … and for executing the file under test
LIMIT = 10.0  # … and a call
SHORT_LIMIT = 2.0  # … in a stage that has used up its time twice
BUDGET = 60.0  # … and all calls of a stage together
MOST = 16 << 20  # bytes of a reply
PRINTED = 2000  # characters of what the code has printed, the last ones

points = pytest.mark.points


# ── What a test says ─────────────────────────────────────────────────────────────────────────────


def fail(reason):
    """End a test: the reason alone, without the lines of the test."""
    pytest.fail(reason, pytrace=False)


def same(value, other):
    """Are they equal? Lists and tuples are alike, and floats are equal to about 5 digits.

    Where a tensor or a whole number is expected (`other`), nothing else will do: callers index.
    """
    if isinstance(value, Tensor) != isinstance(other, Tensor):
        return False
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[k], other[k]) for k in value)
    if isinstance(value, float) and isinstance(other, int):
        return False
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        both_nan = value != value and other != other
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            return both_nan or math.isclose(value, other, rel_tol=1e-5, abs_tol=1e-6)
        return False
    return type(value) is type(other) and value == other


def expect(value, expected, *mistakes):
    """Fail unless the value is the expected one.

    mistakes: (what a known mistake would give, the mistake in words). The first that gives this
    value becomes the hint.
    """
    if same(value, expected):
        return
    hints = [words for wrong, words in mistakes if same(value, wrong)]
    if isinstance(expected, Tensor) and isinstance(value, list) and same(Tensor(value), expected):
        hints = ["the numbers are right, but a tensor is asked for, not a list"]
    where, value, expected = first_difference(value, expected)
    place = f"at:       {where}\n" if where else ""
    hint = f"\nhint:     {hints[0]}" if hints else ""
    fail(f"{place}expected: {short(expected)}\ngot:      {short(value)}{hint}")


def first_difference(value, expected, where=""):
    """Where two values first differ, as an index such as [0]['content'], and what stands there."""
    keys = ()
    if isinstance(value, (list, tuple)) and isinstance(expected, (list, tuple)):
        keys = range(len(value)) if len(value) == len(expected) else ()
    elif isinstance(value, dict) and isinstance(expected, dict):
        keys = value if value.keys() == expected.keys() else ()
    for key in keys:
        if not same(value[key], expected[key]):
            return first_difference(value[key], expected[key], f"{where}[{key!r}]")
    return where, value, expected


def short(value, most=400):
    """A value as Python writes it, if that is not too long."""
    text = f"tensor({value!r})" if isinstance(value, Tensor) else repr(value)
    if len(text) <= most:
        return text
    size = f"{len(value)} items, " if isinstance(value, (list, tuple)) else ""
    return f"{size}{text[: most // 2]} …"


class Tensor(list):
    """A list that stands for a torch.tensor of its rows, as an argument and as a result."""


class Named(tuple):
    """A named tuple that a submission has returned: `kind` is its name."""

    kind = ""


def pack(value):
    """A value of a test → what json.dumps takes. The other side's `unpack` undoes it."""
    if isinstance(value, Tensor):
        return {"tensor": value}
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [pack(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    return value


def unpack(value):
    """What the other side packed, as plain data: tensors are lists here."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(map(unpack, content))
    if kind == "named":
        named = Named(map(unpack, content[1]))
        named.kind = str(content[0])
        return named
    if kind == "dict":
        # Other keys could have chosen hashes that take this process for ever.
        if not all(isinstance(key, str) for key, _ in content):
            raise ValueError("a dictionary with other keys than text")
        return {key: unpack(item) for key, item in content}
    return Tensor(content) if isinstance(content, list) else content  # a scalar is a number here


# ── The process of a submission ──────────────────────────────────────────────────────────────────


class Student:
    """A stage of a folder. Its functions are methods: student.best_step(steps, 1.0, 0.1)."""

    def __init__(self, folder, number):
        self.number = number
        self.name = STAGES[number - 1]
        self.path = os.path.join(folder, f"{self.name}.py")
        self.process = None
        self.process_status = ""  # how it has ended
        self.printed = b""
        self.reading = threading.Lock()  # held while a part of that is on its way
        self.received = b""  # of the next reply
        self.is_loaded = False
        self.fault = None  # why the file cannot be loaded
        self.missing = []  # what the system lacks for the cage
        self.hangs = 0
        self.left = BUDGET

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return functools.partial(self.call, name)

    # What a test asks for.

    def call(self, name, *args, gradient=None):
        """Call a function → what it returns (and the gradient for argument number `gradient`)."""
        __tracebackhide__ = True
        reply = self.ask(name, {"args": pack(args), "gradient": gradient})
        value = self.read(name, reply, "value")
        return value if gradient is None else (value, reply.get("gradient"))

    def drive(self, name, args, answers):
        """Run a generator, send it the answers → what it yields, what it returns, has it ended?"""
        __tracebackhide__ = True
        reply = self.ask(name, {"args": pack(args), "answers": pack(answers)})
        fields = ("yielded", "returned", "has_ended")
        return tuple(self.read(name, reply, field) for field in fields)

    def read(self, name, reply, field):
        """A field of a reply, as plain data."""
        __tracebackhide__ = True
        try:
            return unpack(reply[field])
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            self.fail(f"{name} returned none of the values that its docstring speaks of")

    def ask(self, name, order):
        """The reply to an order about one function. Ends the test where there is none."""
        __tracebackhide__ = True
        self.load()
        if self.left <= 0:
            self.fail(
                f"all calls of this stage together have taken {BUDGET:.0f} s: no more are made"
            )
        limit = min(LIMIT if self.hangs < 2 else SHORT_LIMIT, max(self.left, 0.1))
        began = time.monotonic()
        try:
            reply = self.exchange(dict(order, name=name), limit, f"{name} has")
        finally:
            self.left -= time.monotonic() - began
        if "error" in reply:
            kind, words, where = map(str, reply["error"])
            if kind == "NotImplementedError":
                raise NotImplementedError(words)
            self.fail(f"{name} raised {kind}: {words} ({where or 'before its first line'})")
        if reply.get("has_changed"):
            self.fail(f"{name} changed what it was given. Make a new list, and leave the old one")
        return reply

    # The process, and the file that it holds.

    def load(self):
        """Have a process that holds the file, or end the test."""
        if self.fault:
            fail(self.fault)
        if self.process and self.is_loaded:
            return
        source = self.read_source()
        if self.fault:
            fail(self.fault)
        if not self.process:
            self.start()
        try:
            reply = self.exchange({"load": source}, LOAD, f"{self.name}.py, as it is imported, has")
            if "error" in reply:
                kind, words, where = map(str, reply["error"])
                self.fail(f"{self.name}.py cannot be imported. {kind}: {words} ({where})")
        except pytest.fail.Exception as failure:
            # The tests to come need not try it again.
            self.fault = failure.msg
            self.close()
            raise
        self.is_loaded = True

    def read_source(self):
        """The text of the file, which some editors begin with a byte order mark."""
        try:
            with open(self.path, encoding="utf-8-sig") as file:
                return file.read()
        except FileNotFoundError:
            self.fault = f"{self.name}.py was not handed in: there is no {self.path}"
        except (OSError, UnicodeDecodeError) as error:
            self.fault = f"{self.path}: {error}"

    def start(self):
        """Start a process, and wait until it has imported what the stage imports."""
        self.channel, other = socket.socketpair()
        worker = os.path.join(HERE, "grading_worker.py")
        command = [sys.executable, worker, ROOT, self.name, str(other.fileno())]
        self.process = subprocess.Popen(
            command,
            # Nothing of ours: no setting of the grader, no path to its results.
            env={"PATH": os.defpath, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[other.fileno()],
            start_new_session=True,
        )
        other.close()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)  # much may be printed
        self.printed = b""
        self.received = b""
        self.reader = threading.Thread(target=self.read_prints, args=[self.process.stdout])
        self.reader.start()
        self.missing = json.loads(self.read_line(time.monotonic() + START, START, "Python has"))
        self.take_printed()  # by the packages

    def read_prints(self, stream):
        """Keep the end of what the code prints, and throw the rest away."""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                selector.select()
                # Whoever else has the lock finds each part either in the pipe or here.
                with self.reading:
                    part = stream.read1(1 << 20)
                    self.printed = (self.printed + part)[-PRINTED:]
                if not part:
                    return  # nobody can print any more

    def exchange(self, order, limit, who):
        """Send an order → the reply."""
        ticket = secrets.token_hex(8)
        line = json.dumps(dict(order, ticket=ticket)).encode() + b"\n"
        with contextlib.suppress(OSError):  # it has ended: reading will tell
            self.channel.settimeout(limit)
            self.channel.sendall(line)
        # What the code itself has written there has no such ticket.
        deadline = time.monotonic() + limit
        while True:
            with contextlib.suppress(ValueError, RecursionError):
                reply = json.loads(self.read_line(deadline, limit, who))
                if isinstance(reply, dict) and reply.get("ticket") == ticket:
                    return reply

    def read_line(self, deadline, limit, who):
        """A line from the process, or the end of the test and of the process."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            while b"\n" not in self.received:
                if len(self.received) > MOST:
                    self.close()
                    self.fail(f"{who} returned more than {MOST >> 20} MB")
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    self.hangs += 1
                    self.close()
                    self.fail(f"{who} not ended after {limit:.0f} s: an endless loop?")
                part = b""
                with contextlib.suppress(OSError):
                    part = self.channel.recv(1 << 20)
                if not part:
                    self.close()
                    self.fail(f"{who} ended the process of Python ({self.process_status})")
                self.received += part
        line, _, self.received = self.received.partition(b"\n")
        return line

    def fail(self, reason):
        """End the test."""
        __tracebackhide__ = True
        fail(f"stage {self.number:02}: {reason}")

    def take_printed(self):
        """What the code has printed since the last call."""
        # It was in the pipe before the reply came. Code that goes on printing is not waited for.
        deadline = time.monotonic() + 1.0
        while True:
            with self.reading:
                if not self.is_in_pipe() or time.monotonic() > deadline:
                    printed, self.printed = self.printed, b""
                    return printed.decode(errors="replace").strip()
            time.sleep(0.001)  # the reader's turn

    def is_in_pipe(self):
        """Is there something printed that the reader has not read yet?"""
        if not self.process:
            return False
        count = bytearray(4)
        fcntl.ioctl(self.process.stdout, termios.FIONREAD, count)
        return any(count)

    def close(self):
        """End the process, and whatever is in its group."""
        process, self.process, self.is_loaded = self.process, None, False
        if not process:
            return
        self.channel.close()
        # One that has ended by itself may have a status of its own.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        self.process_status = f"signal {-status}" if status < 0 else f"exit status {status}"
        # A process that it left behind could hold the other end of the pipe for ever.
        self.reader.join(1.0)
        if not self.reader.is_alive():
            process.stdout.close()


# ── Without pytest: what the tests of the tests use ──────────────────────────────────────────────


def graded_tests(module):
    """{name: (test, points)} of a module of graded tests."""
    tests = {}
    for name, test in vars(module).items():
        if name.startswith("test_"):
            (mark,) = [mark for mark in test.pytestmark if mark.name == "points"]
            tests[name] = test, mark.args[0]
    return tests


def run_test(test, student, rng):
    """Run a graded test on a stage → None, or why it fails."""
    try:
        test(student, rng)
    except (Exception, pytest.fail.Exception) as failure:
        return f"{type(failure).__name__}: {failure}"
    return None
