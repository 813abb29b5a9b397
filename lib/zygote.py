"""The program's side of the sandbox: a process that is forked for each program, and its cage.

A zygote is a fresh Python that is kept ready to be forked. A program takes 5 ms of CPU then, its
judge included, where a new Python for each takes 11. lib/sandbox.py starts it with none of the
judge's memory, files and environment. All that it imports costs a little in every copy: hence
nothing of ours but lib/values.py.

A copy executes the program and answers the judge's questions about it, one line of JSON each. The
cage keeps it off everything else: files (Landlock), processes and the network (seccomp), memory
and disk (rlimits).
"""

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib
import json
import operator
import os
import random
import resource
import signal
import socket
import struct
import sys
from types import ModuleType

from lib.values import COMMON, Crossing, content, from_line, to_line

# The file name of the program in tracebacks.
SOURCE = "<program>"


# ── The zygote ───────────────────────────────────────────────────────────────────────────────────


def main():
    """The zygote: lock up, then fork a process for each program."""
    descriptor, memory = map(int, sys.argv[1:])
    control = socket.socket(fileno=descriptor)
    # First, so that it ends here where Python itself does not fit. No core dump, few descriptors.
    lower_limit(resource.RLIMIT_AS, memory)
    lower_limit(resource.RLIMIT_FSIZE, 0)
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_NOFILE, 64)
    os.chdir("/")

    missing, instructions = cage()
    prepare()
    # The judge waits for this line.
    control.sendall(json.dumps(missing).encode() + b"\n")

    # Each order is the program's end of a socket, and a script's stdin and stdout.
    zygote = os.getpid()
    pid = None
    while descriptors := socket.recv_fds(control, 1, 3)[1]:
        # The judge has killed the last one. It is waited for only now: its number must not be
        # another process's while the judge may still kill it.
        if pid:
            os.waitpid(pid, 0)
        pid = os.fork()
        # In the copy: whatever happens, it must not go on as a second zygote.
        if pid == 0:
            try:
                control.close()
                os.setsid()  # a group of its own, to be killed as a whole
                close_door(zygote, instructions)
                run_program(*descriptors)
            finally:
                os._exit(0)
        os.write(descriptors[0], b"%d\n" % pid)
        for descriptor in descriptors:
            os.close(descriptor)
    # The judge is gone.
    if pid:
        kill(pid)
        os.waitpid(pid, 0)


def kill(pid):
    """End a program's process, and whatever is in its group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        # It has no group of its own yet.
        os.kill(pid, signal.SIGKILL)


def prepare():
    """Let a program find what a script of its own would find, and find it warm."""
    # What every program may want. Scripts use exit and quit, and -S leaves them out.
    for name in COMMON.split():
        importlib.import_module(name)
    builtins.exit = builtins.quit = sys.exit

    # No file of the project can be imported, and none seems to have been.
    sys.argv = ["program.py"]
    sys.path.pop(0)
    for name in [name for name in sys.modules if name.split(".")[0] == "lib"]:
        del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")

    # What Python specialises in our functions now, it need not in each copy.
    for _ in range(50):
        host = Host()
        host.answer(b'["load", "def f(xs): return xs[0]", "f"]')
        host.answer(b'["call", {"object": [0]}, [[1, 2]], {"dict": []}]')
    # A collection in a copy would touch our objects, and so duplicate their pages.
    gc.collect()
    gc.freeze()


# ── The process of one program ───────────────────────────────────────────────────────────────────


def run_program(channel, *standard):
    """The process of one untrusted program: answer the judge's questions until it hangs up."""
    # A script has its own stdin and stdout. The streams of Python still think of the zygote's.
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
        name, mode = ("stdin", "r") if number == 0 else ("stdout", "w")
        stream = os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)

    host = Host()
    question = b""
    while part := os.read(channel, 1 << 20):
        question += part
        # A whole question gets its reply, however many parts that takes.
        if part.endswith(b"\n"):
            reply = host.answer(question)
            question = b""
            while reply:
                reply = reply[os.write(channel, reply) :]
            # The end of a script closes its stdout.
            if standard:
                return


class Host:
    """Holds the program in its process, and the things in it that the judge knows by a number."""

    def __init__(self):
        self.names = {}
        self.things = []
        self.numbers = {}
        self.raised = {}
        self.actions = {
            "load": self.load,
            "script": self.script,
            "name": self.name,
            "call": lambda function, args, kwargs: function(*args, **kwargs),
            "next": self.take,
            "getattr": getattr,
            "setattr": setattr,
        }

    def answer(self, question):
        """A line of the judge's → the line of the reply: [value, changes in place, error]."""
        crossing = Crossing(self.pack, self.unpack)
        action, *args = from_line(question)
        args = crossing.decode_all(args)
        before = [content(type(held), held) for held in crossing.containers.values()]
        value = error = None
        # SystemExit too: a result like any other.
        try:
            value = self.actions[action](*args)
        except BaseException as raised:
            error = describe(raised)
        # What cannot cross is one, too.
        try:
            reply = [crossing.encode(value), find_changes(crossing, before), error]
            if error:
                error[1] = crossing.encode_all(error[1])
            return to_line(reply)
        except RecursionError:
            error = [[], [], "gave something that is nested too deep", 0]
        except BaseException as raised:
            error = describe(raised)
            error[1] = [error[2]]
        return to_line([None, [], error])

    def pack(self, thing):
        """What crosses for a thing that stays here: the number by which the judge knows it.

        And whether its class has truth or equality of its own, which the judge will not ask for.
        """
        # An id is good while the thing lives, and here it does.
        if id(thing) not in self.numbers:
            self.numbers[id(thing)] = len(self.things)
            self.things.append(thing)
        defined = set().union(*(vars(base) for base in type(thing).__mro__[:-1]))
        is_special = not defined.isdisjoint(("__eq__", "__bool__", "__len__"))
        tag = "iterator" if "__next__" in defined else "function" if callable(thing) else "object"
        return tag, [self.numbers[id(thing)], is_special]

    def unpack(self, tag, *parts):
        """The thing that has this number. An iterator of the judge's comes as its items."""
        return self.things[parts[0]] if tag == "object" else iter(parts)

    def load(self, code, entry_point):
        """Execute the code as a module → [what it calls `entry_point`], or []."""
        # The same choices on every run.
        if "random" in code:
            random.seed(0)
        # That it exits after its definitions is no failure.
        with contextlib.suppress(SystemExit):
            self.execute(code, "solution")
        return self.name(entry_point)

    def name(self, name):
        """[What the program calls `name`], or []."""
        return [self.names[name]] if name in self.names else []

    def take(self, iterator, count):
        """The next items of an iterator. What it raises comes after those that it has given."""
        if id(iterator) in self.raised:
            raise self.raised.pop(id(iterator))
        items = []
        try:
            while len(items) < count:
                items.append(next(iterator))
        except BaseException as error:
            if not items:
                raise
            self.raised[id(iterator)] = error
        return items

    def script(self, code):
        """Execute the code as a script. What it prints goes to its stdout."""
        random.seed(0)
        try:
            self.execute(code, "__main__")
        except SystemExit as end:
            # As for a shell: any other status is a failure.
            if end.code not in (None, 0):
                raise
        finally:
            # As at Python's own end: threads, exit functions, files that are still open.
            if "threading" in sys.modules:
                sys.modules["threading"]._shutdown()
            for step in (atexit._run_exitfuncs, flush, self.names.clear, gc.collect, flush):
                step()

    def execute(self, code, name):
        """Execute the code as the module `name`."""
        module = ModuleType(name)
        sys.modules[name] = module
        self.names = vars(module)
        exec(compile(code, SOURCE, "exec", dont_inherit=True), self.names)


def flush():
    """Write out what a script has printed, whatever it has made of its streams."""
    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(Exception):
            stream.flush()


def find_changes(crossing, before):
    """What a question's containers hold now, of those that were changed: [number, *parts]."""
    changes = []
    for number, old in enumerate(before):
        container = crossing.containers[number]
        new = content(type(container), container)
        if len(new) != len(old) or not all(map(operator.is_, new, old)):
            changes.append([number, *crossing.encode_all(new)])
    return changes


def describe(error):
    """An exception as data: the names of its class and its bases, its arguments, text and line."""
    names = [kind.__name__ for kind in type(error).__mro__]
    # The program's own __str__ may fail, too.
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)[:1000]
    except BaseException:
        text = ""

    # The innermost line of the program that the exception went through.
    line = 0
    if isinstance(error, SyntaxError) and error.filename == SOURCE:
        line = error.lineno or 0
    traceback = error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == SOURCE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return [names, list(error.args), text, line]


# ── The cage: each mechanism stops what the one before it lets through ───────────────────────────

# Numbers of prctl, from linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

LIBC = ctypes.CDLL(None)


def prctl(*args):
    """A call of Linux's prctl, which has five arguments."""
    padded = args + (0,) * (5 - len(args))
    return LIBC.prctl(*map(ctypes.c_ulong, padded)) if sys.platform == "linux" else -1


def lower_limit(kind, limit):
    """Set a limit of this process, or leave one that is lower already."""
    # Asking for more than the hard limit would fail, and macOS does not limit address space.
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, limit))


def cage():
    """Lock up this zygote → (what the system lacks for it, the filter of its programs).

    The filter is what close_door wants: b"" if the system has none.
    """
    # Elsewhere there are rlimits only.
    if sys.platform != "linux":
        return ["Landlock", "seccomp"], b""

    # Made now: in a moment no file of the project can be read.
    own_filter, program_filter = seccomp_filters(os.uname().machine)

    # A killed judge leaves no process, and sudo and its like gain nothing.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    missing = [] if landlock(LIBC.syscall) else ["Landlock"]
    if not install(own_filter):
        missing.append("seccomp")
        program_filter = b""
    return missing, program_filter


def close_door(parent, instructions):
    """Lock up the process of a program: it ends with its zygote, and obeys the filter."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Had the parent died before that line, nobody would have told us.
    if os.getppid() != parent:
        os._exit(0)
    if instructions and not install(instructions):
        os._exit(1)


def install(instructions):
    """Put a filter in force for this process and its children. Returns whether the kernel agreed.

    It obeys those that are in force already, too.
    """
    # struct sock_fprog: the number of instructions, and where they are.
    buffer = ctypes.create_string_buffer(instructions)
    header = struct.pack("HP", len(instructions) // 8, ctypes.addressof(buffer))
    program = ctypes.create_string_buffer(header)
    return prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program)) == 0


def landlock(syscall, more=()):
    """From here on this process and its children can open Python's library only, to read.

    more: other folders that it can read. Returns whether the kernel agreed.
    """
    # Its three system calls, create_ruleset, add_rule and restrict_self, are 444 to 446 everywhere.
    version = syscall(444, None, 0, 1)
    if version < 1:
        return False

    # Refuse every right that this version of the kernel knows …
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    ruleset = syscall(444, struct.pack("Q", (1 << rights) - 1), 8, 0)

    # … but to read files, and folders where the path is one, below these.
    readable = {
        *(f"{sys.base_prefix}/lib", f"{sys.base_prefix}/{sys.platlibdir}"),
        *(os.path.dirname(os.__file__), "/lib", "/lib64", "/usr/lib", "/usr/lib64"),
        *("/usr/share/zoneinfo", "/etc/ld.so.cache"),
        *more,
    }
    for path in filter(os.path.exists, readable):
        allowed = 1 << 2 | os.path.isdir(path) << 3
        descriptor = os.open(path, os.O_PATH)
        syscall(445, ruleset, 1, struct.pack("=Qi", allowed, descriptor), 0)
        os.close(descriptor)

    agreed = syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return agreed


# Operations of the packet filter (linux/bpf_common.h): "if equal, skip lines", "give a verdict" …
LOAD = 0x20
EQUAL = 0x15
MASK = 0x54
GIVE = 0x06

# … and its verdicts (linux/seccomp.h), with the error that a refused call gets: EPERM or ENOSYS.
ALLOW = 0x7FFF0000
REFUSE = 0x50001
UNKNOWN = 0x50026
KILL = 0x80000000


def read_syscalls():
    """The table of system calls that a program may make, as lists of words."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "syscalls.txt")) as file:
        return [line.split() for line in file if line.strip() and not line.startswith("#")]


def answer(number, verdict):
    """Instructions: if this is the system call, give the verdict."""
    return [(EQUAL, 0, 1, number), (GIVE, 0, 0, verdict)]


def allow_if(number, argument, bits, value):
    """Instructions: if this is the system call, load an argument, mask and compare it."""
    load = [(EQUAL, 0, 5, number), (LOAD, 0, 0, 16 + 8 * argument), (MASK, 0, 0, bits)]
    return [*load, (EQUAL, 0, 1, value), (GIVE, 0, 0, ALLOW), (GIVE, 0, 0, REFUSE)]


def seccomp_filters(machine):
    """The table as two programs for the kernel's packet filter (arrays of struct sock_filter).

    The first is the zygote's. It allows what is in the table. In the process of a program the
    second comes on top, and refuses what only a zygote may call: it is short, since the kernel
    works through it once more for each program.
    An instruction is (operation, lines to skip if equal, lines to skip if not, operand).
    Both are b"" for a machine whose system calls have other numbers.
    """
    columns = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
    if machine not in columns:
        return b"", b""
    column, architecture = columns[machine]

    # A call of another architecture means another thing: kill. Then load the number of the call.
    first = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (GIVE, 0, 0, KILL), (LOAD, 0, 0, 0)]
    second = [(LOAD, 0, 0, 0)]
    # clone3 (435) points to its flags, which a filter cannot follow. Refused, glibc falls back.
    first += answer(435, UNKNOWN)
    for call in read_syscalls():
        if call[column] == "-":
            continue
        number = int(call[column])
        is_zygotes = call[-1] == "zygote"
        condition = [int(word, 0) for word in call[3:6] if word != "zygote"]
        if is_zygotes:
            first += answer(number, ALLOW)
            second += allow_if(number, *condition) if condition else answer(number, REFUSE)
        else:
            first += allow_if(number, *condition) if condition else answer(number, ALLOW)
    first.append((GIVE, 0, 0, REFUSE))
    second.append((GIVE, 0, 0, ALLOW))
    return [b"".join(struct.pack("HBBI", *line) for line in code) for code in (first, second)]
