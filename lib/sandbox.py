"""The judge's side of the sandbox: how it asks a program that a model wrote, and runs many.

    judge (02_execute.py: tests, verdicts) ── zygote (a fresh Python, caged) ── fork: one program

The judge asks a program over a socket: "load this code", "call this function with these arguments".
What crosses is plain data. Anything else stays in the program, and here a Remote stands for it.
The other end of the socket, the form of the data and the cage are lib/zygote.py.
"""

import builtins
import ctypes
import functools
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue

from lib import zygote as program_side
from lib.zygote import REPLY_LIMIT, decode, encode

# ── What stays in the program ────────────────────────────────────────────────────────────────────


class ProgramFailed(BaseException):
    """How the program failed to answer, in the words of the feedback.

    A BaseException, so that an `except Exception` in a test lets it pass.
    """


class Remote:
    """A thing that stays in the program: a function, a class, an object. Equal to itself only."""

    def __init__(self, program, number):
        # Not as self.… = …, since __setattr__ asks the program.
        vars(self).update(_program=program, _number=number, _name="it")

    def _ask(self, action, *args):
        return self._program.ask(action, self, *args)

    def __getattr__(self, name):
        return self._ask("getattr", name)

    def __setattr__(self, name, value):
        self._ask("setattr", name, value)

    def __call__(self, /, *args, **kwargs):
        # Remembered, so that feedback can name the last call of a test.
        self._program.calls.append((self._name, args, kwargs))
        return self._program.ask("call", self, *args, **kwargs)


# Python looks operators up in the class, so each of them needs a method there.
OPERATORS = (
    "abs add bool contains float ge getitem gt int iter le len lt mul neg repr setitem str sub"
)
for name in OPERATORS.split():
    setattr(Remote, f"__{name}__", functools.partialmethod(Remote._ask, name))


def number_of(value):
    """What crosses for a value that is not plain data: the number of a Remote."""
    if isinstance(value, Remote):
        return value._number
    raise TypeError(f"cannot pass a {type(value).__name__} to the program")


# ── One program ──────────────────────────────────────────────────────────────────────────────────


class Program:
    """One program in its process, seen from the judge.

    calls   (name, args, kwargs) of the functions called, in order. The judge may clear it
    gone    how the process ended, in the words of the feedback. None while it lives
    """

    def __init__(self, zygote, limits, code):
        self.zygote = zygote
        self.timeout = limits["timeout"]
        self.code = code
        self.calls = []
        # One Remote per thing, or `f is f` would not hold.
        self.remotes = {}
        self.gone = None
        self.reply_limit = REPLY_LIMIT
        self.sock, self.pid = zygote.fork()

        # Look at the clock every 50 ms; and do not wait for ever for one that does not read.
        set_timeout(self.sock, socket.SO_RCVTIMEO, 0.05)
        set_timeout(self.sock, socket.SO_SNDTIMEO, 3 * self.timeout)
        self.start_clock()

    def load(self, names):
        """Execute the code → {name: value} for those of `names` that it defines."""
        found = self.ask("load", self.code, sorted(names))
        # Feedback calls a function by its name.
        for name, value in found.items():
            if isinstance(value, Remote):
                vars(value)["_name"] = name
        return found

    def run_script(self, stdin, longest):
        """Execute the code with the text `stdin` as standard input → the text that it prints.

        A few characters more than `longest` are fine. Many more count as a failure.
        """
        # Escaped in JSON, a character may take several bytes.
        self.reply_limit += 8 * longest

        # A real file, since programs also open(0). It crosses with an empty line.
        with tempfile.TemporaryFile() as file:
            file.write(stdin.encode("utf-8", "replace"))
            file.seek(0)
            # Where the process is gone already, the question will find out.
            with suppress(OSError):
                socket.send_fds(self.sock, [b"\n"], [file.fileno()])
        return self.ask("script", self.code)

    def ask(self, action, /, *args, **kwargs):
        """Ask the program one question → its answer. Raises what it raised, or ProgramFailed."""
        question = json.dumps(encode([action, args, kwargs], number_of)) + "\n"
        # Nobody answers any more.
        if self.gone:
            raise ProgramFailed(self.gone)

        # The reply may be forged: whatever it breaks here is "not plain data".
        try:
            self.sock.sendall(question.encode())
            value, changed, error = decode(self.read_reply(), self.remote)
            if error:
                error = self.revive(str(error[0]), str(error[1]), int(error[2]))
            write_back(args, changed)
        except TimeoutError:
            self.gone = "ran out of time"
        except (EOFError, OSError):
            self.gone = "crashed"
        except Exception:
            raise ProgramFailed("gave something that is not plain data") from None

        if self.gone:
            raise ProgramFailed(self.gone)
        if error:
            raise error
        return value

    def read_reply(self):
        """The program's next line, as JSON.

        TimeoutError when its time is up, EOFError if it has gone, ValueError if it makes no sense.
        """
        # It may come in parts, and without an end.
        data = b""
        while not data.endswith(b"\n"):
            if self.is_late():
                raise TimeoutError
            # Nothing within 50 ms is a BlockingIOError: look at the clock again.
            try:
                part = self.sock.recv(1 << 16)
            except BlockingIOError:
                continue
            # An empty part is the end of the process.
            if not part:
                raise EOFError
            data += part
            if len(data) > self.reply_limit:
                raise ValueError("too long")
        return json.loads(data)

    def remote(self, number):
        """The one Remote for the thing to which the program gave this number."""
        return self.remotes.setdefault(int(number), Remote(self, int(number)))

    def revive(self, name, text, line):
        """The program's exception as one of ours, so that a test may expect it.

        Its attribute `report` tells what was raised and where, in the words of the feedback.
        """
        if name == "MemoryError":
            return ProgramFailed("ran out of memory")

        # What it was, and the line of the program where it happened.
        lines = self.code.splitlines()
        report = re.sub(" at 0x[0-9a-f]+", "", f"{name}: {text}").rstrip(": ")
        if 0 < line <= len(lines):
            report += f", line {line}: {lines[line - 1].strip()}"

        # The end of a program is no exception that a test could expect.
        kind = getattr(builtins, name, None)
        if kind in (SystemExit, KeyboardInterrupt):
            return ProgramFailed(f"raised {report}")

        # A TypeError means that Python has no such exception, or that it takes more arguments.
        try:
            error = kind(text) if issubclass(kind, Exception) else RuntimeError(text)
        except TypeError:
            error = RuntimeError(text)
        error.report = report
        return error

    def start_clock(self):
        """From now on the program has `timeout` seconds."""
        self.cpu_start = self.cpu_seconds()
        self.wall_start = time.monotonic()

    def cpu_seconds(self):
        """CPU time of the process. Linux has a clock for each, with a number made from its pid."""
        # Where there is none, the process has ended, or this is macOS.
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:
            return 0.0

    def is_late(self):
        """Is its time up? CPU time counts, so that a busy machine changes no verdict.

        Or a third of the time on the clock, where that is more: a program that sleeps ends too.
        """
        # Only a program that has taken so long on the clock can have used so much CPU.
        wall = time.monotonic() - self.wall_start
        if wall < self.timeout:
            return False
        return max(self.cpu_seconds() - self.cpu_start, wall / 3) >= self.timeout

    def close(self):
        """Hang up, and have the process killed."""
        self.sock.close()
        self.zygote.end(self.pid)


def set_timeout(sock, option, seconds):
    """A timeout kept by the kernel: with Python's own, every call would poll first."""
    whole, part = divmod(seconds, 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(whole), int(part * 1e6)))


def write_back(args, changed):
    """Change the judge's arguments as the program changed its copies in place."""
    # In place here too: the test may look at them under another name.
    for argument, new in zip(args, changed):
        if isinstance(argument, list):
            argument[:] = new
        elif isinstance(argument, (dict, set)):
            argument.clear()
            argument.update(new)


# ── Many programs ────────────────────────────────────────────────────────────────────────────────


class NoSandbox(Exception):
    """Why programs cannot be run here, as a line for the user."""


class Zygote:
    """The process that forks the processes of programs, seen from the judge.

    lost   has it died since `run_all` last set this to False? Its program died with it.
    """

    def __init__(self, limits):
        self.memory = limits["memory"]
        self.lost = False
        self.start()

    def start(self):
        """Start a new Python without our memory, environment and files. It takes a moment."""
        self.control, theirs = socket.socketpair()
        # Nothing of ours but one end of a socket. -S: programs have the standard library only.
        command = [sys.executable, "-s", "-S", os.path.abspath(program_side.__file__)]
        command += [str(theirs.fileno()), str(self.memory << 20)]
        with theirs:
            env = {"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:replace"}
            quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], cwd="/", env=env, **quiet
            )
        self.reader = self.control.makefile("rb")
        self.ordered = None

    def wait_until_ready(self):
        """Wait for its first line → the mechanisms that its cage lacks on this system."""
        line = self.reader.readline()
        if not line:
            raise NoSandbox(f"no Python starts under a limit of {self.memory} MB; raise --memory")
        return tuple(json.loads(line))

    def order(self):
        """Order a process → our end of its socket. Its number comes later, as a line."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"+"], [theirs.fileno()])
        return ours

    def fork(self):
        """A process for one program → (our end of its socket, its number)."""
        # Where each dies before its first program, a third would too.
        for _ in range(3):
            try:
                sock = self.ordered or self.order()
                pid = json.loads(self.reader.readline())
                # The next one is forked while this one works.
                self.ordered = self.order()
                return sock, pid
            except (OSError, ValueError):
                # The zygote has been killed, for want of memory, say. Start another.
                self.process.wait()
                self.start()
                self.wait_until_ready()
        raise NoSandbox(f"programs cannot be started under a limit of {self.memory} MB")

    def end(self, pid):
        """Have the process of a program killed."""
        try:
            self.control.sendall(b"-" + struct.pack("i", pid))
        except OSError:
            # The zygote was killed.
            self.lost = True

    def stop(self):
        """Hang up, and so end the zygote."""
        # The process that was forked ahead has nothing to do.
        if self.ordered:
            self.ordered.close()
        self.control.shutdown(socket.SHUT_RDWR)
        self.process.wait()


def run_all(work, items, limits, workers=None, strict=False):
    """Yield (item, work(zygote, item)) for every item, in order, `workers` of them at a time.

    limits   {"timeout": seconds, "memory": MB of address space} of each program
    strict   raise NoSandbox where the cage is not complete, instead of a warning on stderr
    """
    # Start them all, then wait for each.
    zygotes = [Zygote(limits) for _ in range(min(workers or os.cpu_count(), len(items)))]
    idle = SimpleQueue()
    for zygote in zygotes:
        say_missing(zygote.wait_until_ready(), strict)
        idle.put(zygote)

    def use_idle_zygote(item):
        zygote = idle.get()
        try:
            zygote.lost = False
            result = work(zygote, item)
            # A result says nothing about a program that was killed with its zygote: run it again.
            return work(zygote, item) if zygote.lost else result
        finally:
            idle.put(zygote)

    # Threads are enough: a judge mostly waits for its program.
    with ThreadPoolExecutor(max(1, len(zygotes))) as pool:
        yield from zip(items, pool.map(use_idle_zygote, items))
    for zygote in zygotes:
        zygote.stop()


# Cached, so that a process that runs many programs many times says it once.
@functools.cache
def say_missing(missing, strict):
    """Warn of what the cage lacks on this system, or raise NoSandbox if `strict`."""
    if not missing:
        return
    # What a program can do without the one or the other.
    consequences = {
        "Landlock": "programs can read your files, the tests among them",
        "seccomp": "programs can change your files, reach the network and leave processes behind",
    }
    message = "; ".join(f"no {name} on this system: {consequences[name]}" for name in missing)
    if strict:
        raise NoSandbox(f"{message}. --require-sandbox refuses to run them")
    stage = os.path.basename(sys.argv[0])
    print(f"{stage}: {message}", file=sys.stderr)

    # At least our own memory, which holds the tests, cannot be read in /proc/PID/mem.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(program_side.PR_SET_DUMPABLE, 0, 0, 0, 0)
