"""The program's side of the sandbox: a process that is forked for each program, and its cage.

A zygote is a fresh Python that is kept ready to be forked: 4 ms of CPU per program, where starting
a new one takes 9. It is executed as `python lib/zygote.py SOCKET MEMORY` by lib/sandbox.py, so it
has none of the judge's memory, files and environment, and never sees a test. All that it imports
and touches costs a little in every copy: hence only this file, of the standard library only.

A child executes the program and answers the judge's questions about it, one line of JSON each. The
cage keeps it off everything else: files (Landlock), processes and the network (seccomp), memory
and disk (rlimits).
"""

import builtins
import contextlib
import ctypes
import gc
import importlib
import io
import itertools
import json
import operator
import os
import random
import resource
import signal
import socket
import struct
import sys

# Bytes of one reply of a program; more counts as a failure.
REPLY_LIMIT = 1 << 18

# Modules that programs often want. Imported before the fork: in every program it would take 10 ms.
COMMON = """
    bisect collections copy datetime decimal fractions functools heapq itertools math operator
    random re statistics string sys typing
"""


# ── Values that cross: plain data only, as tagged JSON ───────────────────────────────────────────

PLAIN_TYPES = (bool, int, float, complex, str, list, tuple, dict, set, frozenset)
TYPES = {kind.__name__: kind for kind in PLAIN_TYPES}

# How the parts under a tag become a value again.
MAKE = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "bytes": bytes,
    "iter": iter,
    "complex": lambda parts: complex(*parts),
    "int": lambda parts: int(parts[0], 16),
    "type": lambda parts: TYPES[parts[0]],
}


def encode(value, handle):
    """Plain data → JSON, as {tag: parts} where JSON has no such type.

    handle(value) gives the number that stands for anything that is not plain data.
    """
    # What JSON has. Large integers in hexadecimal: decimal digits take quadratic time.
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else {"int": [hex(value)]}
    if isinstance(value, list):
        return encode_all(value, handle)
    # What it has not: {tag: parts}.
    if isinstance(value, dict):
        return {"dict": encode_all(value.items(), handle)}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": list(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    # A test may pass the type `int` itself, as MBPP/533 does.
    if isinstance(value, type) and value.__name__ in TYPES:
        return {"type": [value.__name__]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: encode_all(value, handle)}
    # Generators, map, zip: some have no end.
    if hasattr(type(value), "__next__"):
        return {"iter": encode_all(itertools.islice(value, 10_000), handle)}
    return {"handle": [handle(value)]}


def encode_all(items, handle):
    return [encode(item, handle) for item in items]


def decode(data, thing, depth=200):
    """JSON → plain data. thing(number) is what a handle stands for on this side.

    Raises ValueError where data is nested deeper: the judge must not end in a RecursionError.
    """
    if depth == 0:
        raise ValueError("nested too deep")
    if not isinstance(data, (list, dict)):
        return data
    # A list has no tag; anything else is {tag: parts}.
    tag, parts = ("list", data) if isinstance(data, list) else next(iter(data.items()))
    parts = [decode(part, thing, depth - 1) for part in parts]
    if tag == "list":
        return parts
    if tag == "handle":
        return thing(parts[0])
    # A range is small, list() of it may not be.
    if tag == "range" and len(range(*parts)) <= REPLY_LIMIT:
        return range(*parts)
    return MAKE[tag](parts)


# ── The program's side ───────────────────────────────────────────────────────────────────────────

# The file name of the program in tracebacks.
SOURCE = "<program>"


def run_zygote(control, memory):
    """The zygote: lock up, then fork a process for each program and end it when told to."""
    # First, so that it ends here where Python itself does not fit.
    set_limits(memory)
    # What every program may want. Scripts use exit and quit, and -S leaves them out.
    for name in COMMON.split():
        importlib.import_module(name)
    builtins.exit = builtins.quit = sys.exit

    # Lock up, then tell the judge that it is ready, and what is missing.
    missing, close_door = cage()
    rehearse()
    control.sendall(json.dumps(missing).encode() + b"\n")

    # Orders of the judge: "+" with a socket is to fork, "-" and a number to end that process.
    zygote = os.getpid()
    alive = []
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if order == b"+":
            pid = os.fork()
            # In the child: whatever happens, it must not go on as a second zygote.
            if pid == 0:
                try:
                    control.close()
                    judge = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptors[0])
                    run_program(judge, close_door, zygote)
                finally:
                    os._exit(0)
            os.close(descriptors[0])
            alive.append(pid)
            control.sendall(b"%d\n" % pid)
        elif order == b"-":
            (pid,) = struct.unpack("i", control.recv(4, socket.MSG_WAITALL))
            alive.remove(pid)
            kill(pid)
        # The judge is gone.
        else:
            for pid in alive:
                kill(pid)
            os._exit(0)


def set_limits(memory):
    """Limit address space, and allow no file to be written, no core dump, few descriptors."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for kind, limit in limits.items():
        # Asking for more than the hard limit would fail.
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        # macOS does not limit address space.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (limit, limit))


def rehearse():
    """Spare every program the work of the first calls.

    What Python specialises in our functions now, it need not in each copy. And a collection in a
    copy would touch our pages, and so duplicate them, unless their objects are frozen.
    """
    load_f = ["load", ("def f(x): return x[0]", ["f"]), {}]
    call_f = ["call", (rehearse, [1]), {}]
    for _ in range(50):
        host = ProgramHost()
        for question in (load_f, call_f):
            # The one thing that is not plain data gets the handle that the host gives to f.
            host.answer(json.dumps(encode(question, lambda thing: 0)))
    gc.collect()
    gc.freeze()


def kill(pid):
    """End a program's process, and whatever is in its group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        # It has no group of its own yet.
        os.kill(pid, signal.SIGKILL)
    # Not earlier, or its number could be another's by now.
    os.waitpid(pid, 0)


def run_program(judge, close_door, zygote):
    """The process of one untrusted program: answer the judge's questions until it hangs up."""
    # A group of its own, to be killed as a whole.
    os.setsid()
    close_door(zygote)
    host = ProgramHost()

    # A script's stdin comes first, with an empty line.
    question, descriptors, _, _ = socket.recv_fds(judge, 1 << 16, 1)
    if descriptors:
        os.dup2(descriptors[0], 0)
        question = question.lstrip()

    while True:
        # A whole question gets its reply, however many parts that takes.
        if question.endswith(b"\n"):
            reply = host.answer(question)
            question = b""
            while reply:
                written = os.write(judge.fileno(), reply)
                reply = reply[written:]
        part = os.read(judge.fileno(), 1 << 16)
        if not part:
            return
        question += part


class ProgramHost:
    """Holds the program in its process, and the things in it that the judge knows by a handle."""

    def __init__(self):
        self.names = {"__name__": "solution"}
        self.things = []
        self.handles = {}
        self.actions = {"load": self.load, "script": self.script, "call": call}

    def answer(self, question):
        """A line of the judge's → the line of the reply: [value, arguments, error]."""
        action, args, kwargs = decode(json.loads(question), self.things.__getitem__)
        # An action of our own, or a built-in, or an operator, by its name.
        try:
            function = (
                self.actions.get(action)
                or getattr(builtins, action, None)
                or getattr(operator, action)
            )
            value = function(*args, **kwargs)
            reply = encode([value, args, None], self.handle)
        # SystemExit too: a result like any other.
        except BaseException as error:
            text = error.msg if isinstance(error, SyntaxError) else error
            reply = [None, [], [type(error).__name__, str(text)[:1000], line_of(error)]]
        return json.dumps(reply).encode() + b"\n"

    def handle(self, thing):
        """The number by which the judge knows a thing that stays here."""
        # An id is good while the thing lives, and here it does.
        if id(thing) not in self.handles:
            self.handles[id(thing)] = len(self.things)
            self.things.append(thing)
        return self.handles[id(thing)]

    def load(self, code, wanted):
        """Execute the code as a module → what it defines of the wanted names."""
        # The same choices, and the same verdict, on every run.
        if "random" in code:
            random.seed(0)
        exec(compile(code, SOURCE, "exec"), self.names)
        # Names that it lacks are no error: the judge will see.
        return {name: self.names[name] for name in wanted if name in self.names}

    def script(self, code):
        """Execute the code as a script → what it prints."""
        random.seed(0)
        # Collect what it prints.
        sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8", "replace")
        with contextlib.suppress(SystemExit):
            exec(compile(code, SOURCE, "exec"), {"__name__": "__main__"})
        # Some scripts do their work in a thread: wait for it.
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        sys.stdout.flush()
        return sys.stdout.buffer.getvalue().decode()


def call(function, /, *args, **kwargs):
    return function(*args, **kwargs)


def line_of(error):
    """The innermost line of the program's own that an exception went through, or 0."""
    if isinstance(error, SyntaxError) and error.filename == SOURCE:
        return error.lineno or 0
    # From the outermost frame to the innermost.
    line = 0
    traceback = error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == SOURCE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


# ── The cage: each mechanism stops what the one before it lets through ───────────────────────────

# Numbers of prctl, from linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38


def cage():
    """Lock up this zygote → (what the system lacks for it, close_door).

    close_door(parent) is for the child to call: it ends with its parent, and may ask the kernel
    for no more than syscalls.txt allows. Returns 0 if the kernel agreed.
    """
    # Elsewhere there are rlimits only.
    if sys.platform != "linux":
        return ["Landlock", "seccomp"], lambda parent: None
    libc = ctypes.CDLL(None)

    def prctl(*args):
        padded = args + (0,) * (5 - len(args))
        return libc.prctl(*map(ctypes.c_ulong, padded))

    # Made now: in a moment no file of the project can be read.
    instructions = seccomp_filter(os.uname().machine)

    # A killed judge leaves no process, and sudo and its like gain nothing.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    missing = [] if landlock(libc.syscall) else ["Landlock"]

    # struct sock_fprog: the number of instructions, and where they are.
    buffer = ctypes.create_string_buffer(instructions)
    header = struct.pack("HP", len(instructions) // 8, ctypes.addressof(buffer))
    filter_program = ctypes.create_string_buffer(header)

    def close_door(parent):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # Had the parent died before that line, nobody would have told us.
        if os.getppid() != parent:
            os._exit(0)
        return prctl(PR_SET_SECCOMP, 2, ctypes.addressof(filter_program)) if buffer else -1

    # Does the door close here? Try it in a child.
    zygote = os.getpid()
    trial = os.fork()
    if trial == 0:
        os._exit(close_door(zygote) != 0)
    if os.waitpid(trial, 0)[1]:
        missing.append("seccomp")
    return missing, close_door


def landlock(syscall):
    """From here on this process and its children can open Python's library only, to read.

    Returns whether the kernel agreed.
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


def seccomp_filter(machine):
    """The allow-list as a program for the kernel's packet filter (an array of struct sock_filter).

    An instruction is (operation, lines to skip if equal, lines to skip if not, operand).
    b"" for a machine whose system calls have other numbers.
    """
    columns = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
    if machine not in columns:
        return b""
    column, architecture = columns[machine]
    calls = [call for call in read_syscalls() if call[column] != "-"]

    # A call of another architecture means another thing: kill. Then load the number of the call.
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (GIVE, 0, 0, KILL), (LOAD, 0, 0, 0)]

    # Calls that depend on an argument: if the number is this one, load, mask and compare it.
    for call in calls:
        if len(call) > 3:
            argument, bits, value = (int(word, 0) for word in call[3:])
            code += [(EQUAL, 0, 5, int(call[column])), (LOAD, 0, 0, 16 + 8 * argument)]
            code += [(MASK, 0, 0, bits), (EQUAL, 0, 1, value)]
            code += [(GIVE, 0, 0, ALLOW), (GIVE, 0, 0, REFUSE)]

    # clone3 (435) points to its flags, which a filter cannot follow. Refused, glibc falls back.
    code += [(EQUAL, 0, 1, 435), (GIVE, 0, 0, UNKNOWN)]

    # Every other number of the table jumps to the last line.
    numbers = [int(call[column]) for call in calls if len(call) == 3]
    for index, number in enumerate(numbers):
        code.append((EQUAL, len(numbers) - index, 0, number))
    code += [(GIVE, 0, 0, REFUSE), (GIVE, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


if __name__ == "__main__":
    # Programs must not import the project's own files.
    sys.path.pop(0)
    run_zygote(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
