"""The judge's side of the sandbox: how it asks a program that a model wrote, and runs many.

    stage ── judge (a process: tests, verdicts) ── zygote (a fresh Python, caged) ── fork: a program

The stage hands programs to judges. A judge runs tests in a process of its own, with limits like a
program's: whatever a program answers, the stage and its other programs notice nothing. It asks the
program over a socket: "load this code", "call this function with these arguments". What crosses is
plain data (lib/values.py). Anything else stays in the program, and here a Remote stands for it. The
other end of the socket and the cage are lib/zygote.py.
"""

import builtins
import functools
import importlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace

from lib import zygote as program_side
from lib.rows import stop
from lib.values import COMMON, Crossing, fill, from_line, to_line

# ── What stays in the program ────────────────────────────────────────────────────────────────────


class ProgramFailed(BaseException):
    """How the program failed to answer, in the words of the feedback.

    A BaseException, so that an `except Exception` in a test lets it pass.
    """


# How the words begin where a test passes what cannot be sent, such as a function of its own.
CANNOT = "cannot be asked"


class Remote:
    """A thing that stays in the program: a function, a class, an object.

    It can have an attribute read or set, be passed back, and be called if Python could call it. It
    is true, and equal to itself only, as Python has it. Where its class says otherwise, it refuses
    (`is_special`): no answer of a program decides what a test finds true.
    """

    # One place for what we know of it, which no attribute of the program's can be taken for.
    __slots__ = ("own",)

    def __init__(self, program, number, is_special=False):
        # Feedback uses the name.
        known = SimpleNamespace(program=program, number=number, is_special=is_special)
        known.name = program.topic
        OWN.__set__(self, known)

    def __getattribute__(self, name):
        # isinstance asks for it.
        if name == "__class__":
            return type(self)
        return OWN.__get__(self).program.ask("getattr", self, name)

    def __setattr__(self, name, value):
        OWN.__get__(self).program.ask("setattr", self, name, value)

    def __bool__(self):
        if OWN.__get__(self).is_special:
            raise ProgramFailed("gave an object, which is not asked whether it is true")
        return True

    def __eq__(self, other):
        if self is not other and OWN.__get__(self).is_special:
            raise ProgramFailed("gave an object, which is not asked what it is equal to")
        # Python asks the other side, and if that knows no better, they are not equal.
        return self is other or NotImplemented

    __hash__ = object.__hash__

    def __repr__(self):
        return "an object"


OWN = vars(Remote)["own"]


class RemoteFunction(Remote):
    """A function or a class of the program's, or an object that can be called."""

    __slots__ = ()

    def __call__(self, /, *args, **kwargs):
        return OWN.__get__(self).program.ask("call", self, list(args), kwargs)


class RemoteIterator(Remote):
    """An iterator of the program's, as lazy as it is there."""

    __slots__ = ()

    def __init__(self, *args):
        Remote.__init__(self, *args)
        vars(OWN.__get__(self)).update(items=[], count=0)

    def __iter__(self):
        return self

    def __next__(self):
        known = OWN.__get__(self)
        if not known.items:
            # Each of the first thousand when it is asked for. Later a few are fetched at once.
            known.items = known.program.ask("next", self, 1 + known.count // 1000)[::-1]
            known.count += len(known.items)
        return known.items.pop()


def pack(value):
    """What crosses for a value of a test's that is in no table of lib/values.py."""
    if isinstance(value, Remote):
        return "object", [OWN.__get__(value).number]
    # An iterator as its items.
    if hasattr(type(value), "__next__"):
        items = list(islice(value, 1_000_001))
        if len(items) <= 1_000_000:
            return "iter", items
    raise ProgramFailed(f"{CANNOT}: a {type(value).__name__} cannot be sent to a program")


# ── One program ──────────────────────────────────────────────────────────────────────────────────

# Seconds between two looks at the clock of a program that says nothing.
SILENCE = 0.05


class Program:
    """One program in its process, seen from the judge.

    last    of the last call: the name, the question, and the reply if it gave a value
    gone    how the process ended, in the words of the feedback. None while it lives
    """

    def __init__(self, zygote, limits, code, stdin=None):
        self.code = code
        self.timeout = limits["timeout"]
        # Of a reply, in bytes: room for some million numbers at the default.
        self.most = limits["memory"] << 16
        self.last = None
        self.gone = None
        # One Remote per thing, or `f is f` would not hold. The topic names the next.
        self.remotes = {}
        self.topic = "it"
        self.threads = {}
        # A script reads a real file, since programs also open(0), and prints into a socket.
        if stdin is None:
            self.sock, self.pid = zygote.fork()
        else:
            self.stdout, theirs = socket.socketpair()
            with theirs, tempfile.TemporaryFile() as file:
                file.write(stdin.encode("utf-8", "replace"))
                file.seek(0)
                self.sock, self.pid = zygote.fork(file.fileno(), theirs.fileno())
            self.stdout.settimeout(SILENCE)
        self.sock.settimeout(SILENCE)
        self.start_clock()

    def ask(self, action, /, *args):
        """Ask the program one question → its answer. Raises what it raised, or ProgramFailed.

        load, code, name  execute the code, each time anew → [what it calls by that name], or []
        name, name        → [what the program calls so], or []
        call, f, args, kwargs · next, iterator, count · getattr, object, name · setattr, …, value
        """
        # Nobody answers any more.
        if self.gone:
            raise ProgramFailed(self.gone)
        is_call = action == "call"
        self.topic = args[-1] if action in ("load", "name", "getattr") else "it"
        self.began = time.monotonic()
        self.check_clock()
        crossing = Crossing(pack, self.unpack)
        question = to_line([action, *crossing.encode_all(args)])
        # Remembered, so that feedback can tell the last call of a test as it was sent.
        if is_call:
            self.last = (OWN.__get__(args[0]).name, question, None)
        self.send(question)
        reply, value, error = self.read_reply(crossing)
        self.asked += time.monotonic() - self.began
        if error:
            raise error
        if is_call:
            self.last = (*self.last[:2], reply)
        return value

    def read_reply(self, crossing):
        """The program's reply → (the line, the value, None or the exception)."""
        reply = self.read_line()
        # It may be forged: whatever it breaks here is "not plain data".
        try:
            return reply, *self.open_reply(crossing, reply)
        except MemoryError:
            raise  # the judge's own
        except Exception:
            self.end("gave something that is not plain data")

    def open_reply(self, crossing, reply):
        """A reply → (the value, None or the exception). Changes arguments in place."""
        value, changes, error = from_line(reply)
        value = crossing.decode(value)
        for number, *parts in changes:
            fill(crossing.containers[number], crossing.decode_all(parts))
        if error:
            names, args, *rest = error
            error = self.revive(names, crossing.decode_all(args), *rest)
        return value, error

    def open_call(self, question, reply):
        """A call as it was, whatever the test did since → (args, kwargs, [what it gave] or [])."""
        crossings = [Crossing(pack, self.unpack) for _ in range(2)]
        (_, args, kwargs), _ = (
            crossing.decode_all(from_line(question)[1:]) for crossing in crossings
        )
        # Twice, so that the arguments stay as they were sent.
        return args, kwargs, [self.open_reply(crossings[1], reply)[0]] if reply else []

    def unpack(self, tag, *parts):
        """What stands here for a thing that stays in the program. A common module is our own."""
        if tag == "iter":
            return iter(parts)
        number, *is_special = parts
        if tag == "module":
            return importlib.import_module({name: name for name in COMMON.split()}[number])
        kind = {"function": RemoteFunction, "iterator": RemoteIterator, "object": Remote}[tag]
        return self.remotes.setdefault(number, kind(self, number, *is_special))

    def run_script(self, most):
        """Execute the code as a script → what it prints, if that is not more than `most` bytes."""
        self.send(to_line(["script", self.code]))
        # Its stdout until that is closed. Then what it says of its end: nothing, if Python itself
        # has ended, by os._exit or by a crash.
        printed = bytearray()
        with self.stdout:
            while part := self.receive(self.stdout):
                printed += part
                self.check_clock()
                if len(printed) > most:
                    self.end("printed too much")
        error = None
        try:
            _, _, error = self.read_reply(Crossing(pack, self.unpack))
        except ProgramFailed:
            if not printed or self.gone != "crashed":
                raise
        if error:
            raise error
        return printed.decode("utf-8", "replace")

    def send(self, question):
        """Send a question, in parts, since a program may not read them."""
        rest = memoryview(question)
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except TimeoutError:
                self.check_clock()
            except OSError:
                self.end("crashed")

    def read_line(self):
        """The program's next line. It may come in parts, and without an end."""
        line = bytearray()
        while not line.endswith(b"\n"):
            part = self.receive(self.sock)
            line += part
            if not part:
                self.end("crashed")
            # It may come without an end, and never pause.
            if not part.endswith(b"\n"):
                self.check_clock()
            if len(line) > self.most:
                self.end(f"gave more than {self.most >> 20} MB")
        return line

    def receive(self, sock):
        """The next bytes from the program; none at its end."""
        # What has come counts, however late it is read.
        while True:
            try:
                return sock.recv(1 << 20)
            except TimeoutError:
                self.check_clock()
            except OSError:
                return b""

    def end(self, words):
        """The program will answer nothing more."""
        self.gone = words
        raise ProgramFailed(words)

    def revive(self, names, args, text, line):
        """The program's exception as one of ours, so that a test may expect it.

        Its attribute `report` tells what was raised and where, in the words of the feedback.
        names: of its class and its bases. The nearest that Python has becomes the class of ours.
        """
        if not names:
            self.gone = text or "crashed"
            return ProgramFailed(self.gone)
        if names[0] == "MemoryError":
            return ProgramFailed("ran out of memory")

        # What it was, and the line of the program where it happened. No addresses, no paths.
        lines = re.split(r"\r\n?|\n", self.code)
        text = re.sub(r" at 0x[0-9a-f]+|/[^\s']*/(?=[^\s/']+\.(py|so)\b)", "", text[:1000])
        report = f"{names[0][:100]}: {text}".rstrip(": ")
        if 0 < line <= len(lines):
            report += f", line {line}: {lines[line - 1].strip()}"

        # The end of a program is no exception that a test could expect.
        kinds = (getattr(builtins, name, None) for name in names)
        kind = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseException))
        if not issubclass(kind, Exception):
            return ProgramFailed(f"raised {report}")
        # Some want other arguments than they show, and some show what stays in the program.
        error = Exception(text)
        for make in (lambda: kind(*args), lambda: kind.__new__(kind)):
            with suppress(Exception):
                error = make()
                break
        error.report = report
        return error

    def start_clock(self):
        """From now on the program has `timeout` seconds."""
        self.cpu_start = self.cpu_seconds()
        self.asked = 0.0  # seconds that its answers have taken
        self.began = time.monotonic()  # when the last question was asked

    def check_clock(self):
        """End it when its time is up: so many seconds of a CPU, or three times as many asleep.

        That it waits for a CPU counts as neither, so that a busy machine changes no verdict.
        """
        # A cheap look first: one CPU gives no more CPU seconds than seconds.
        asked = self.asked + time.monotonic() - self.began
        if asked < self.timeout:
            return
        # (What it waited for a CPU before is in its favour, too: to know it costs a look at /proc.)
        asleep = asked - (self.awake_seconds() - self.cpu_start)
        cpu = self.cpu_seconds() - self.cpu_start
        if cpu >= self.timeout or asleep >= 3 * self.timeout:
            self.end("ran out of time")

    def awake_seconds(self):
        """How long its threads had a CPU or waited for one, if Linux tells. Else: had one."""
        # Of each thread the last that was seen, since those that have ended are not told any more.
        with suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/schedstat") as file:
                    running, waiting, _ = map(int, file.read().split())
                self.threads[thread] = (running + waiting) / 1e9
        return sum(self.threads.values()) or self.cpu_seconds()

    def cpu_seconds(self):
        """CPU time of the process. Linux has a clock for each, with a number made from its pid."""
        # Where there is none, the process has ended, or this is macOS.
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:
            return 0.0

    def close(self):
        """Hang up, and kill the process."""
        self.sock.close()
        self.remotes.clear()
        program_side.kill(self.pid)


# ── A judge: the process that asks programs, one after the other ─────────────────────────────────


def start(flags, module, *arguments, **options):
    """Start a Python that runs main() of a module of lib/ → (process, our end of its socket)."""
    ours, theirs = socket.socketpair()
    code = f"from lib import {module}; {module}.main()"
    command = [sys.executable, *flags, "-c", code, str(theirs.fileno()), *map(str, arguments)]
    options["cwd"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    options |= dict.fromkeys(("stdin", "stdout"), subprocess.DEVNULL)
    with theirs:
        return subprocess.Popen(command, pass_fds=[theirs.fileno()], **options), ours


class Zygote:
    """The process that forks the processes of programs, seen from its judge.

    Where it has died, for want of memory, say, the judge dies with an EOFError or an OSError.
    """

    def __init__(self, memory):
        # Nothing of ours but one end of a socket. -S: programs have the standard library only.
        env = {"PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8:replace"}
        options = {"env": env, "stderr": subprocess.DEVNULL}
        self.process, self.control = start(["-s", "-S"], "zygote", memory << 20, **options)

    def read(self, sock):
        """A short line of JSON: from `control` what the cage lacks on this system."""
        line = sock.recv(1 << 12)
        if not line:
            raise EOFError
        return json.loads(line)

    def fork(self, *standard):
        """A process for one program → (our end of its socket, its number).

        The one before must have been killed. standard: a script's stdin and stdout, as descriptors.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"\n"], [theirs.fileno(), *standard])
        return ours, self.read(ours)


# If a judge dies on an item, another one tries it, up to three in all. The last is asked for the
# first result only, so that the public verdict is kept where the hidden tests are what kills.
ATTEMPTS = (None, None, 1)


def main():
    """The judge. It reads one line, the work and the items, and writes one for each item."""
    connection = socket.socket(fileno=int(sys.argv[1])).makefile("rw")

    def say(message):
        connection.write(json.dumps(message) + "\n")
        connection.flush()

    # It ends with the stage, and with its zygote.
    program_side.prctl(program_side.PR_SET_PDEATHSIG, signal.SIGKILL)
    number, folder, module, function, shared, limits, items = json.loads(connection.readline())
    # One CPU for this process and its programs, which take turns: to wake a process on another CPU
    # takes longer than most of what it is asked.
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cpus[number % len(cpus)]])
    with suppress(OSError, EOFError, MemoryError):
        zygote = Zygote(limits["memory"])
        sys.path.insert(0, folder)
        work = getattr(importlib.import_module(module), function)
        missing = zygote.read(zygote.control)
        say(missing)
        if missing:
            program_side.prctl(program_side.PR_SET_DUMPABLE, 0)

        # What a program gives may take as much memory here as there.
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        memory = pages * resource.getpagesize() + (limits["memory"] << 20)
        program_side.lower_limit(resource.RLIMIT_AS, memory)
        for attempt, item in items:
            # And as much time, for two kinds of tests. Then this process is killed.
            signal.setitimer(signal.ITIMER_PROF, min(1 + 2 * limits["timeout"], 1e6))
            results = list(islice(work(zygote, shared, limits, *item), ATTEMPTS[attempt]))
            if zygote.process.poll() is not None:
                break
            say(results)
        zygote.control.shutdown(socket.SHUT_RDWR)
        zygote.process.wait()


# ── Many programs ────────────────────────────────────────────────────────────────────────────────


def run_all(work, items, shared, limits, workers=None, strict=False):
    """Yield (item, results) for every item, in order, by so many judges at a time.

    work     a function of a module: work(zygote, shared, limits, *item) yields results, as JSON
    items    lists, as JSON
    shared   what every call of work gets, as JSON
    limits   {"timeout": seconds, "memory": MB of address space} of each program
    strict   stop where the cage is not complete, instead of a warning on stderr

    The results are cut short where an item takes too much of its judge.
    """
    folder, file = os.path.split(os.path.abspath(work.__code__.co_filename))
    order = [folder, file.removesuffix(".py"), work.__name__, shared, limits]
    # Each judge has its share, and the thread that waits for it a queue.
    count = min(workers or os.cpu_count(), len(items))
    queues = [SimpleQueue() for _ in range(count)]
    threads = []
    for k, queue in enumerate(queues):
        share = [[0, item] for item in items[k::count]]
        thread = Thread(target=run_share, args=(queue, [k, *order], share), daemon=True)
        thread.start()
        threads.append(thread)
    for queue in queues:
        missing = queue.get()
        if missing is None:
            stop(f"no Python starts under a limit of {limits['memory']} MB; raise --memory")
        say_missing(tuple(missing), strict)
    for k, item in enumerate(items):
        results = queues[k % count].get()
        if results is None:
            stop("a process for more programs cannot be started")
        yield item, results
    # The judges end, too.
    for thread in threads:
        thread.join()


def run_share(queue, order, share):
    """Run judges on a share of the items, and put what they say into the queue; None at the end."""
    with suppress(OSError):
        run_judges(queue, order, share)
    queue.put(None)


def run_judges(queue, order, share):
    """Run one judge after the other, until each item has results."""
    is_first = True
    while share:
        # Sets must have the same order on every run.
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        process, sock = start(["-W", "ignore"], "sandbox", env=env)
        # What it cannot say any more breaks off here.
        with suppress(OSError, ValueError), sock, sock.makefile("rw") as connection:
            connection.write(json.dumps([*order, share]) + "\n")
            connection.flush()
            missing = json.loads(connection.readline() or "null")
            if is_first:
                queue.put(missing)
            is_first = False
            for line in connection:
                queue.put(json.loads(line))
                share.pop(0)

        # It has died on an item. If it took too much time, it would again.
        killed_by = -process.wait()
        if share:
            attempt = share[0][0] + 1
            if killed_by == signal.SIGPROF:
                attempt = max(attempt, len(ATTEMPTS) - 1)
            share[0][0] = attempt
            if attempt == len(ATTEMPTS):
                queue.put([])
                share.pop(0)


# Cached, so that a process that runs many programs many times says it once.
@functools.cache
def say_missing(missing, strict):
    """Warn of what the cage lacks on this system, or stop if `strict`."""
    if not missing:
        return
    # What a program can do without the one or the other.
    consequences = {
        "Landlock": "programs can read your files, the tests among them",
        "seccomp": "programs can change your files, reach the network and leave processes behind",
    }
    message = "; ".join(f"no {name} on this system: {consequences[name]}" for name in missing)
    if strict:
        stop(f"{message}. --require-sandbox refuses to run them")
    stage = os.path.basename(sys.argv[0])
    print(f"{stage}: {message}", file=sys.stderr)
    # At least our own memory, which holds the tests, cannot be read in /proc/PID/mem: a judge's
    # neither.
    program_side.prctl(program_side.PR_SET_DUMPABLE, 0)
