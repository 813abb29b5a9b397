r"""Stage 02 · execute: run every program on its tests, and say in one line what went wrong.

What it does in μCode (Section 3). The environment of the MDP is a Python interpreter. An action y_t is
a whole program; running it on the PUBLIC tests gives the observation o_t that the next turn may read;
running it on the public and the HIDDEN tests gives the oracle reward R(x, y) = 1 iff all of them pass.
R depends on the problem and the program only, never on the history: so each distinct (problem,
program) runs once, however often it was sampled.

Who judges. A program that shares a process with its tests can cheat: exit with status 0 before the
first assert, return an object whose == always says True, look for the expected values in memory. So
the tests stay HERE, in the judge. The program runs in a process of its own; when a test calls f(3),
the judge sends the plain data 3 over a socket and gets plain data back, and the comparison happens in
the judge. There is nothing to forge: a forged reply is just an answer, right or wrong like any other.

    judge (this process: tests, verdicts) ── zygote (a fresh Python, locked up) ── fork: one program

(A zygote is a process kept ready to be forked: 4 ms of CPU a program, where a new Python takes 9.) The cage
keeps the program off everything else: files (Landlock), processes and the network (seccomp), memory and
disk (rlimits). The file is in this order: rows, tests and feedback, the verdict (`judge`, `execute`); then,
to be skipped at first, how values cross to the program, both ends of the socket, the cage; last `main`.

READS   problems.jsonl   task_id, prompt, entry_point, setup, public_tests, hidden_tests
        *.samples.jsonl  completion y_t (stage 01)
WRITES  *.steps.jsonl    the sample + code, public_passed, hidden_passed, feedback o_t, for example
        {"task_id": "train-67", "trajectory": 0, "turn": 1, …, "code": "def f(xs): …",
         "public_passed": false, "hidden_passed": false, "feedback": "`f([])` gave 2, expected 1"}
RUN     in the folder of a run, such as runs/toy:
        python ../../02_execute.py --problems problems/train.jsonl --samples base/turn1.samples.jsonl --out try1.steps.jsonl
COSTS   about 2 ms a distinct program on two cores; no GPU, standard library only

Differs from the paper's code: there, tests and program share a process, and the verdict is what that
process prints; feedback is a raw traceback of any length with random paths in it.
"""
import builtins, gc, io, json, os, re, resource, signal, socket, struct, sys, time
from functools import lru_cache
from itertools import islice
from types import SimpleNamespace
# What only the judge needs is imported where it needs it: every program starts as a copy of this file's process.

REPLY_LIMIT = 1 << 18       # bytes of one answer of a program; more counts as a failure
# Modules that programs often want, imported once before the fork: importing them in each costs 10 ms.
COMMON = ("bisect collections copy datetime decimal fractions functools heapq itertools math operator random "
          "re statistics string sys typing").split()


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────
# The same lines in every stage: skip them after the first.

def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_jsonl(path, fields, key=()):
    """The rows of a JSON Lines file. Every row has `fields` = {name: type}; no two share their `key` fields."""
    rows, seen = [], set()
    try:
        for n, line in enumerate(open(path, encoding="utf-8", newline="\n"), 1):
            row = json.loads(line)
            if not isinstance(row, dict): stop(f"{path}, row {n}: not a JSON object; one a line is expected")
            for name, kind in fields.items():
                if name not in row: stop(f"{path}, row {n}: field '{name}' is missing")
                if not isinstance(row[name], kind) or isinstance(row[name], bool) and kind is not bool:
                    stop(f"{path}, row {n}: field '{name}' is {json.dumps(row[name])[:40]}, "
                         f"a {getattr(kind, '__name__', 'number')} is expected")
            mine = tuple(row.get(name) for name in key)
            if mine and mine in seen: stop(f"{path}, row {n}: {', '.join(key)} = {mine} stands in an earlier row too")
            seen.add(mine)
            rows.append(row)
    except OSError as e: stop(f"{path}: {e.strerror}")
    except ValueError as e: stop(f"{path}, row {len(rows) + 1}: not a line of JSON in UTF-8 ({getattr(e, 'msg', e)})")
    return rows or stop(f"{path}: no rows; the stage that writes this file had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            for row in rows: file.write(json.dumps(row) + "\n")
        os.replace(path + ".part", path)
    except OSError as e: stop(f"{path}: cannot be written ({e.strerror})")


STEP_KEY = ("policy", "task_id", "trajectory", "turn")
PROBLEM = dict(task_id=str, prompt=str, entry_point=str, setup=str, public_tests=list, hidden_tests=list)


def read_problems(path):
    """problems.jsonl → {task_id: problem}, each test checked for its form."""
    problems = {}
    for n, p in enumerate(read_jsonl(path, PROBLEM, ["task_id"]), 1):
        for kind in ("public_tests", "hidden_tests"):
            for test in p[kind]:
                try: (test["input"] + "", test["output"] + "") if isinstance(test, dict) else compile_test(test)
                except (KeyError, TypeError, SyntaxError, ValueError):
                    stop(f"{path}, row {n}: field '{kind}' holds {str(test)[:60]!r}, neither Python nor input/output")
        called = [p["setup"], *(test for test in p["public_tests"] + p["hidden_tests"] if isinstance(test, str))]
        if called[1:] and p["entry_point"] not in set().union(*(compile_test(test)[3] for test in called)):
            stop(f"{path}, row {n}: field 'entry_point' is '{p['entry_point']}', which no test calls")
        problems[p["task_id"]] = p
    return problems


# ── From a completion to a program ───────────────────────────────────────────────────────────────

FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.S | re.M)


def extract_code(completion):
    """The program in a completion: the first ```python block, else the first block, else the bare text.

    A block that the token limit cut off before its closing fence counts. No code gives "".
    """
    blocks = FENCE.findall(completion)
    python = [code for lang, code in blocks if lang.lower() in ("python", "python3", "py")]
    code = (python or [code for _, code in blocks] or [completion])[0]
    return code.lstrip("\ufeff\r\n").rstrip()


# ── Tests and feedback ───────────────────────────────────────────────────────────────────────────

def show(value):
    """repr, the same on every run: sets sorted, no addresses."""
    if isinstance(value, Remote): return "an object"
    if isinstance(value, list): return "[%s]" % ", ".join(map(show, value))
    if isinstance(value, tuple): return "(%s)" % (", ".join(map(show, value)) + "," * (len(value) == 1))
    if isinstance(value, dict): return "{%s}" % ", ".join(f"{show(k)}: {show(v)}" for k, v in value.items())
    if isinstance(value, set) and value: return "{%s}" % ", ".join(sorted(map(show, value)))
    if isinstance(value, frozenset): return "frozenset({%s})" % ", ".join(sorted(map(show, value)))
    try: return re.sub(" at 0x[0-9a-f]+", "", repr(value))
    except ValueError: return "a huge number"                   # repr stops at 4,300 digits


def short(text, most=120):
    return text if len(text) <= most else text[:most - 1] + "…"


@lru_cache(maxsize=None)
def compile_test(test):
    """The source of a test → (its call as a syntax tree, code, expected, names it mentions).

    `assert f([1, 2]) == 3` is split at the ==, into the code of f([1, 2]) and of the expected 3, so that feedback
    can name both. For a test of any other form, code is all of it and expected is None.
    """
    import ast
    tree = ast.parse(test)
    shown = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Assert) else None
    if shown and len(tree.body) == 1 and isinstance(shown.test, ast.Compare) and [*map(type, shown.test.ops)] == [ast.Eq]:
        shown, value = shown.test.left, shown.test.comparators[0]
        code, expected = (compile(ast.Expression(side), "<test>", "eval") for side in (shown, value))
        if not mentioned(code): shown, code, expected = value, expected, code       # `assert 3 == f([1, 2])`
        return shown, code, expected, mentioned(code) | mentioned(expected)
    code = compile(tree, "<test>", "exec")
    return shown, code, None, mentioned(code)


def mentioned(code):
    """The names that compiled code looks up, inner functions included."""
    return set(code.co_names).union(*(mentioned(c) for c in code.co_consts if hasattr(c, "co_names")))


def run_assert(program, names, test):
    """None if the test passes, else one line: the call, what came back or was raised, what was expected."""
    shown, code, expected, _ = compile_test(test)
    wanted = []
    program.calls.clear()
    try:
        if expected is None:
            exec(code, names)                                   # many steps: passes if nothing is raised
            if not program.gone: return None                    # (a bare `except:` in the test may hide the end)
            gave = program.gone
        else:
            wanted.append(eval(expected, names))
            value = eval(code, names)
            if value == wanted[0]: return None                  # OUR ==: `value` is plain data by now
            gave = f"gave {short(show(value))}"
    except ProgramFailed as e: gave = str(e)
    except Exception as e: gave = f"raised {e.said}" if hasattr(e, "said") else "gave a wrong answer"
    import ast
    source = ast.unparse(shown) if shown else ""
    should = f", expected {short(show(wanted[0]), 80)}" if wanted else f"; the test is: {short(source)}" if source else ""
    if expected is None and program.calls:                      # name the program's last call instead
        name, args, kwargs = program.calls[-1]
        said = [short(show(a), 60) for a in args] + [f"{k}={short(show(v), 60)}" for k, v in kwargs.items()]
        source = f"{name}({', '.join(said)})"
    return f"`{short(source or 'the test')}` {gave}{should}"


def run_script(zygote, limits, code, test):
    """A program that reads stdin and prints: None if it prints the expected lines, else the feedback."""
    import tempfile
    lines = lambda text: [line.rstrip() for line in text.rstrip().split("\n")]
    program = Program(zygote, limits, code)
    with tempfile.TemporaryFile() as stdin:                     # a real file: programs also open(0)
        stdin.write(test["input"].encode("utf-8", "replace"))
        stdin.seek(0)
        try: socket.send_fds(program.sock, [b"\n"], [stdin.fileno()])
        except OSError: pass                                    # it is gone already: the question will tell
    program.most += 8 * len(test["output"])                     # bytes: escaped, a character may take so many
    try:
        printed = program.ask("script", code)
        if lines(printed) == lines(test["output"]): return None
        gave = f"gave {show(short(printed.strip(), 80))}"
    except ProgramFailed as e: gave = str(e)
    except Exception as e: gave = f"raised {e.said}"
    finally: program.close()
    given, expected = (show(short(test[field].strip(), 80)) for field in ("input", "output"))
    return f"input {given} {gave}, expected {expected}"


def load(program, problem):
    """Load the program, then the problem's set-up code → (globals of the test code, None or what failed)."""
    entry_point, names = problem["entry_point"], {}
    # Tests see what the program defines, but built-ins stay ours, or a program's own `sorted` would decide
    # its tests. Only the entry point may be called like one (MBPP/126 defines `sum`).
    tests = [problem["setup"], *problem["public_tests"], *problem["hidden_tests"]]
    wanted = set().union(*(compile_test(test)[3] for test in tests)) - set(dir(builtins)) | {entry_point}
    try:
        names = program.ask("load", program.code, sorted(wanted))
        if entry_point not in names: return names, f"The program does not define `{entry_point}`."
        for name, value in names.items():
            if isinstance(value, Remote): vars(value)["_name"] = name
        names.update((name, __import__(name)) for name in wanted & set(COMMON) - {entry_point})
        exec(problem["setup"], names)                           # after the program: MBPP's uses its classes
    except ProgramFailed as e: return names, f"The program {e} while it was loaded."
    except Exception as e: return names, f"The program does not load: {getattr(e, 'said', 'the set-up code fails')}"
    return names, None


def judge(zygote, limits, problem, code):
    """Run one program → (public_passed, hidden_passed, feedback o_t); feedback is of the first failing PUBLIC test.

    Loading, the public and the hidden tests have limits["timeout"] seconds each; with stdin, each test has.
    """
    if not code: return False, False, "There is no program in this answer."
    verdicts, feedback, program, broken = [], "", None, None
    scripts = any(isinstance(test, dict) for test in problem["public_tests"] + problem["hidden_tests"])
    for kind in ("public_tests", "hidden_tests"):
        if not scripts and (program is None or program.gone and not broken):
            if program: program.close()                         # it died on a public test: another for the hidden ones
            program = Program(zygote, limits, code)
            names, broken = load(program, problem)
        if program: program.start_clock()
        failure = broken
        for test in problem[kind]:
            if failure: break
            failure = run_script(zygote, limits, code, test) if scripts else run_assert(program, names, test)
        verdicts.append(failure is None)
        if kind == "public_tests" and failure: feedback = short(failure, limits["feedback"])
    if program: program.close()
    return *verdicts, feedback


def execute(problems, programs, timeout=5.0, workers=None, memory=1024, feedback=300, strict=False, progress=True):
    """Judge each distinct program once: {task_id: problem}, (task_id, code) pairs → {pair: verdict of judge}."""
    from concurrent.futures import ThreadPoolExecutor
    from queue import SimpleQueue
    programs, verdicts, idle = list(dict.fromkeys(programs)), {}, SimpleQueue()
    limits = dict(timeout=timeout, memory=memory, feedback=feedback)
    zygotes = [start_zygote(limits) for _ in range(min(workers or os.cpu_count(), len(programs)))]
    for z in zygotes:
        started = z.reader.readline() or stop(f"no Python starts under a limit of {memory} MB; raise --memory")
        say_missing(tuple(json.loads(started)), strict)
        idle.put(z)

    def work(pair):                                             # in a thread: a judge mostly waits for its program
        z = idle.get()
        try:
            z.lost = False
            verdict = judge(z, limits, problems[pair[0]], pair[1])
            return judge(z, limits, problems[pair[0]], pair[1]) if z.lost else verdict
        finally: idle.put(z)

    with ThreadPoolExecutor(max(1, len(zygotes))) as pool:
        for n, (pair, verdict) in enumerate(zip(programs, pool.map(work, programs)), 1):
            verdicts[pair] = verdict
            if progress and sys.stderr.isatty() and (n % 100 == 0 or n == len(programs)):
                print(f"\r  executing {n}/{len(programs)}", end="\n" if n == len(programs) else "", file=sys.stderr)
    for z in zygotes:                                           # nobody speaks to them: they end
        if z.ahead: z.ahead.close()
        z.control.shutdown(socket.SHUT_RDWR)
        z.process.wait()
    return verdicts


# The rest is how a call crosses to the program, and the cage around it. At first reading, skip to main().

# ── Values that cross: plain data only, as tagged JSON ───────────────────────────────────────────

TYPES = {t.__name__: t for t in (bool, int, float, complex, str, list, tuple, dict, set, frozenset)}
MAKE = dict(tuple=tuple, set=set, frozenset=frozenset, dict=dict, bytes=bytes, iter=iter,
            complex=lambda parts: complex(*parts), int=lambda parts: int(parts[0], 16), type=lambda parts: TYPES[parts[0]])


def encode(value, handle):
    """Plain data → JSON, {type: parts} where JSON has no such type. `handle(value)` → a number for anything else."""
    each = lambda items: [encode(v, handle) for v in items]
    if value is None or isinstance(value, (str, float)): return value
    if isinstance(value, int): return value if abs(value) < 1 << 63 else {"int": [hex(value)]}  # decimal: quadratic time
    if isinstance(value, list): return each(value)
    if isinstance(value, dict): return {"dict": each(value.items())}
    if isinstance(value, (bytes, bytearray)): return {"bytes": list(value)}
    if isinstance(value, complex): return {"complex": [value.real, value.imag]}
    if isinstance(value, range): return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, type) and value.__name__ in TYPES: return {"type": [value.__name__]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind): return {kind.__name__: each(value)}
    if hasattr(type(value), "__next__"): return {"iter": each(islice(value, 10_000))}       # generators, map, zip
    return {"handle": [handle(value)]}


def decode(data, thing, depth=200):
    """JSON → plain data; `thing(number)` is what a handle stands for on this side. ValueError if nested deeper."""
    if depth == 0: raise ValueError("nested too deep")          # our own recursion must not end the judge
    if not isinstance(data, (list, dict)): return data
    tag, parts = ("list", data) if isinstance(data, list) else next(iter(data.items()))
    parts = [decode(part, thing, depth - 1) for part in parts]
    if tag == "handle": return thing(parts[0])
    if tag == "range" and len(range(*parts)) <= REPLY_LIMIT: return range(*parts)           # list() of it must fit
    return parts if tag == "list" else MAKE[tag](parts)


# ── The judge's side ─────────────────────────────────────────────────────────────────────────────

class ProgramFailed(BaseException):
    """What the program did instead of answering, in the words of the feedback. `except Exception` lets it pass."""


class Remote:
    """Something that stays in the program: a function, a class, an object. Equal to nothing but itself."""
    def __init__(self, program, number): vars(self).update(_program=program, _number=number, _name="it")
    def __setattr__(self, name, value): self._program.ask("setattr", self, name, value)
    def __getattr__(self, name): return self._program.ask("getattr", self, name)
    def __call__(self, *args, **kwargs):
        self._program.calls.append((self._name, args, kwargs))
        return self._program.ask("call", self, *args, **kwargs)


for _name in "abs add bool contains float ge getitem gt int iter le len lt mul neg repr setitem str sub".split():
    setattr(Remote, f"__{_name}__", lambda self, *args, what=_name: self._program.ask(what, self, *args))


class Program:
    """One program in its process, seen from the judge."""

    def __init__(self, zygote, limits, code):
        self.zygote, self.limits, self.code = zygote, limits, code
        self.calls, self.remotes, self.gone, self.most = [], {}, None, REPLY_LIMIT
        self.sock, self.pid = fork_program(zygote, limits)
        for what, seconds in ((socket.SO_RCVTIMEO, 0.05), (socket.SO_SNDTIMEO, 3 * limits["timeout"])):
            self.sock.setsockopt(socket.SOL_SOCKET, what, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))
        self.start_clock()

    def start_clock(self):
        self.began = self.cpu(), time.monotonic()

    def cpu(self):
        try: return time.clock_gettime(~self.pid << 3 | 2)      # Linux: the CPU clock of another process
        except OSError: return 0.0                              # it has ended, or this is macOS

    def late(self):
        """Is its time up? CPU time counts, so that a busy machine changes no verdict; or a third of the time on
        the clock where that is more, so that a program that sleeps ends too."""
        wall, most = time.monotonic() - self.began[1], self.limits["timeout"]
        return wall >= most and max(self.cpu() - self.began[0], wall / 3) >= most

    def answer(self):
        """The program's next line. TimeoutError when its time is up, EOFError when it has gone, ValueError."""
        data = b""
        while not data.endswith(b"\n"):
            if self.late(): raise TimeoutError
            try: part = self.sock.recv(1 << 16)
            except BlockingIOError: continue                    # nothing for 50 ms
            if not part: raise EOFError
            data += part
            if len(data) > self.most: raise ValueError("too long")
        return json.loads(data)

    def ask(self, what, *args, **kwargs):
        """One question to the program → its answer. Raises what the program raised, or ProgramFailed."""
        def number(value):
            if isinstance(value, Remote): return value._number
            raise TypeError(f"cannot pass a {type(value).__name__} to the program")
        remote = lambda number: self.remotes.setdefault(int(number), Remote(self, int(number)))
        question = json.dumps(encode([what, args, kwargs], number)) + "\n"
        try:
            if self.gone: raise ProgramFailed(self.gone)
            self.sock.sendall(question.encode())
            value, after, error = decode(self.answer(), remote)
            if error: error, text, line = str(error[0]), str(error[1]), int(error[2])
            for mine, new in zip(args, after):                  # what the program has changed in place
                if isinstance(mine, list): mine[:] = new
                elif isinstance(mine, (dict, set)): mine.clear(); mine.update(new)
        except TimeoutError: self.gone = "ran out of time"
        except (EOFError, OSError): self.gone = "crashed"
        except Exception: raise ProgramFailed("gave something that is not plain data") from None
        if self.gone: raise ProgramFailed(self.gone)
        if error: raise self.revive(error, text, line)
        return value

    def revive(self, name, text, line):
        """The program's exception as one of ours, so that a test may expect it; `said` tells where it was raised."""
        if name == "MemoryError": return ProgramFailed("ran out of memory")
        lines = self.code.splitlines()
        where = f", line {line}: {lines[line - 1].strip()}" if 0 < line <= len(lines) else ""
        said = re.sub(" at 0x[0-9a-f]+", "", f"{name}: {text}").rstrip(": ") + where
        kind = getattr(builtins, name, None)
        if kind in (SystemExit, KeyboardInterrupt): return ProgramFailed(f"raised {said}")
        try: error = kind(text) if issubclass(kind, Exception) else RuntimeError(text)
        except TypeError: error = RuntimeError(text)            # no exception of Python's, or one with more arguments
        error.said = said
        return error

    def close(self):
        self.sock.close()
        try: self.zygote.control.sendall(b"-" + struct.pack("i", self.pid))       # the zygote kills it
        except OSError: self.zygote.lost = True                 # it was killed, and the program with it: no verdict


def start_zygote(limits):
    """A fresh interpreter with none of our memory, environment or files. -S: the standard library only."""
    import subprocess
    control, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-s", "-S", os.path.abspath(__file__), "--zygote", str(theirs.fileno()),
             str(limits["memory"] << 20)], pass_fds=[theirs.fileno()], cwd="/",
            env=dict(PYTHONHASHSEED="0", PYTHONIOENCODING="utf-8:replace"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return SimpleNamespace(process=process, control=control, reader=control.makefile("rb"), ahead=None)


def order_process(zygote):
    """Have a process forked for a program → our end of its socket; its number will come as a line of `reader`."""
    ours, theirs = socket.socketpair()
    with theirs: socket.send_fds(zygote.control, [b"+"], [theirs.fileno()])
    return ours


def fork_program(zygote, limits):
    """A process for one program → (our end of its socket, its number). The next one is forked while this one works.

    A zygote that has been killed (for want of memory, say) is replaced.
    """
    while True:
        try:
            ours = zygote.ahead or order_process(zygote)
            pid = json.loads(zygote.reader.readline())
            zygote.ahead = order_process(zygote)
            return ours, pid
        except (OSError, ValueError):
            zygote.process.wait()
            vars(zygote).update(vars(start_zygote(limits)))
            zygote.reader.readline()


# ── The program's side ───────────────────────────────────────────────────────────────────────────

def run_zygote(control, memory):
    """Import the common modules, lock up, then fork a process for each program and end it when told to."""
    for name in COMMON: __import__(name)
    builtins.exit = builtins.quit = sys.exit                    # scripts use them, and -S leaves them out
    for what, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0),            # bombs, disks filled
                       (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
        hard = resource.getrlimit(what)[1]                      # to ask for more than this would fail
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try: resource.setrlimit(what, (most, most))
        except (OSError, ValueError): pass                      # macOS does not limit address space
    missing, close_door = cage()
    control.sendall(json.dumps(missing).encode() + b"\n")
    for _ in range(50):                                         # a rehearsal: what Python now specialises in our
        answer = new_program()                                  # functions, it need not in a copy for each program
        for question in (["load", ("def f(x): return x[0]", ["f"]), {}], ["call", (answer, [1]), {}]):
            answer(json.dumps(encode(question, lambda f: 0)))
    gc.collect()
    gc.freeze()                                                 # nor need a collection there touch, and so copy, our pages
    me, alive = os.getpid(), []

    def end(pid):
        for kill in (os.killpg, os.kill):                       # the second if it has no group of its own yet
            try: kill(pid, signal.SIGKILL); break
            except OSError: pass
        os.waitpid(pid, 0)                                      # not earlier, or its number could be another's by now

    while True:
        order, fds, _, _ = socket.recv_fds(control, 1, 1)
        if order == b"+":
            pid = os.fork()
            if pid == 0:
                try: control.close(); run_program(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[0]), close_door, me)
                finally: os._exit(0)
            os.close(fds[0])
            alive.append(pid)
            control.sendall(b"%d\n" % pid)
        elif order == b"-":
            pid = struct.unpack("i", control.recv(4, socket.MSG_WAITALL))[0]
            alive.remove(pid)
            end(pid)
        else:                                                   # the judge is gone
            for pid in alive: end(pid)
            os._exit(0)


def run_program(judge, close_door, zygote):
    """The process of one untrusted program: answer the judge's questions until it hangs up."""
    os.setsid()                                                 # a group of its own, to be killed as a whole
    close_door(zygote)
    answer, (question, stdin, _, _) = new_program(), socket.recv_fds(judge, 1 << 16, 1)
    if stdin:                                                   # a script's: it came first, with an empty line
        os.dup2(stdin[0], 0)
        question = question.lstrip()
    while True:
        if question.endswith(b"\n"):
            reply, question = answer(question), b""
            while reply: reply = reply[os.write(judge.fileno(), reply):]
        part = os.read(judge.fileno(), 1 << 16)
        if not part: return
        question += part


def new_program():
    """Nothing loaded yet. → answer: a question of the judge's → the reply, both lines of JSON."""
    names, things, numbers = {"__name__": "solution"}, [], {}   # things that stay here, and their handles

    def handle(thing):
        if id(thing) not in numbers: numbers[id(thing)] = len(things); things.append(thing)
        return numbers[id(thing)]

    def load(code, wanted):
        if "random" in code: sys.modules["random"].seed(0)      # the same choices and verdict on every run
        exec(compile(code, "<program>", "exec"), names)
        return {name: names[name] for name in wanted if name in names}

    def script(code):
        sys.modules["random"].seed(0)
        sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8", "replace")
        try: exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
        except SystemExit: pass
        if "threading" in sys.modules: sys.modules["threading"]._shutdown()       # wait: some do their work in one
        sys.stdout.flush()
        return sys.stdout.buffer.getvalue().decode()

    def answer(question):
        what, args, kwargs = decode(json.loads(question), things.__getitem__)
        try:
            act = acts.get(what) or getattr(builtins, what, None) or getattr(sys.modules["operator"], what)
            reply = encode([act(*args, **kwargs), args, None], handle)
        except BaseException as e:                              # SystemExit too: a result like any other
            line, tb = 0, e.__traceback__
            while tb:                                           # the innermost line of the program itself
                if tb.tb_frame.f_code.co_filename == "<program>": line = tb.tb_lineno
                tb = tb.tb_next
            if isinstance(e, SyntaxError) and e.filename == "<program>": line = e.lineno or 0
            reply = [None, [], [type(e).__name__, str(e.msg if isinstance(e, SyntaxError) else e)[:1000], line]]
        return json.dumps(reply).encode() + b"\n"

    acts = dict(load=load, script=script, call=lambda f, *args, **kwargs: f(*args, **kwargs))
    return answer


# ── The cage. Each mechanism stops what the one before it lets through ───────────────────────────

# What a program may ask of the kernel (seccomp): its name, its number on x86-64 and on aarch64. Not here, and
# so refused: fork, exec, kill, ptrace, socket, connect, sendmsg, mkdir, unlink, rename, chmod, truncate,
# prlimit, prctl, shmget, mount, bpf, and everything that nobody has thought of.
SYSCALLS = """
    read 0 63            write 1 64           close 3 57           fstat 5 80           lseek 8 62
    mmap 9 222           mprotect 10 226      munmap 11 215        brk 12 214           mremap 25 216
    madvise 28 233       rt_sigaction 13 134  rt_sigprocmask 14 135  rt_sigreturn 15 139  sigaltstack 131 132
    pread64 17 67        readv 19 65          writev 20 66         dup 32 23            dup2 33 -
    dup3 292 24          getcwd 79 17         recvmsg 47 212       socketpair 53 199    recvfrom 45 207
    stat 4 -             lstat 6 -            newfstatat 262 79    statx 332 291        access 21 -
    faccessat 269 48     faccessat2 439 439   readlink 89 -        readlinkat 267 78    getdents64 217 61
    poll 7 -             ppoll 271 73         select 23 -          pselect6 270 72      epoll_create1 291 20
    epoll_ctl 233 21     epoll_wait 232 -     epoll_pwait 281 22
    nanosleep 35 101     clock_nanosleep 230 115  clock_gettime 228 113  clock_getres 229 114  gettimeofday 96 169
    setitimer 38 103     alarm 37 -           times 100 153        getrusage 98 165     sysinfo 99 179
    uname 63 160         getpid 39 172        getppid 110 173      gettid 186 178       getuid 102 174
    geteuid 107 175      getgid 104 176       getegid 108 177      getrandom 318 278    sched_yield 24 124
    sched_getaffinity 204 123  futex 202 98   set_robust_list 273 99  rseq 334 293      membarrier 324 283
    exit 60 93           exit_group 231 94
"""
# These depend on an argument: name, numbers, argument, mask, the value that the masked argument must have.
WRITING = 0o20001103                                            # WRONLY, RDWR, CREAT, TRUNC, TMPFILE
DEPENDING = (("open", 2, 0, 1, WRITING, 0), ("openat", 257, 56, 2, WRITING, 0),
             ("clone", 56, 220, 0, 0x10000, 0x10000),           # a thread, not a process
             ("ioctl", 16, 29, 1, 0xFFFFFFFF, 0x5421),          # FIONBIO, for asyncio
             ("sendto", 44, 206, 5, 0xFFFFFFFF, 0))             # to nobody by name


def seccomp_filter(machine):
    """The allow-list as a program for the kernel's packet filter (struct sock_filter); b"" for another machine."""
    column, audit = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}.get(machine, (0, 0))
    if not column: return b""
    load, equal, mask, give = 0x20, 0x15, 0x54, 0x06
    allow, refuse, unknown, kill = 0x7FFF0000, 0x50001, 0x50026, 0x80000000    # EPERM is 1, ENOSYS 38
    code = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, kill),         # calls of another architecture
            (load, 0, 0, 0)]                                                   # the number of the call
    for row in DEPENDING:
        number, (argument, bits, value) = row[column], row[3:]
        if number: code += [(equal, 0, 5, number), (load, 0, 0, 16 + 8 * argument), (mask, 0, 0, bits),
                            (equal, 0, 1, value), (give, 0, 0, allow), (give, 0, 0, refuse)]
    code += [(equal, 0, 1, 435), (give, 0, 0, unknown)]                        # clone3: glibc then tries clone
    numbers = [int(number) for number in SYSCALLS.split()[column::3] if number != "-"]
    code += [(equal, len(numbers) - k, 0, number) for k, number in enumerate(numbers)]      # jump to the last line
    code += [(give, 0, 0, refuse), (give, 0, 0, allow)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def landlock(syscall):                                          # 444 to 446: landlock_create_ruleset, _add_rule, _restrict_self
    """From here on this process and its children can open Python's own library, read only. → did the kernel agree?"""
    version = syscall(444, None, 0, 1)
    if version < 1: return False
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1           # all that this kernel can refuse
    rules = syscall(444, struct.pack("Q", every), 8, 0)
    for path in {f"{sys.base_prefix}/lib", f"{sys.base_prefix}/{sys.platlibdir}", os.path.dirname(os.__file__), "/lib",
                 "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache"}:
        if os.path.exists(path):
            fd = os.open(path, os.O_PATH)
            read = 1 << 2 | os.path.isdir(path) << 3                           # files, and folders where it is one
            syscall(445, rules, 1, struct.pack("=Qi", read, fd), 0)
            os.close(fd)
    done = syscall(446, rules, 0) == 0
    os.close(rules)
    return done


def cage():
    """Lock up this zygote. → (what the system lacks for it, the last door: a function for the child to call)."""
    if sys.platform != "linux": return ["Landlock", "seccomp"], lambda parent: None
    import ctypes
    libc = ctypes.CDLL(None)
    prctl = lambda *args: libc.prctl(*map(ctypes.c_ulong, args + (0,) * (5 - len(args))))
    prctl(1, signal.SIGKILL)                                    # PDEATHSIG: a killed judge leaves no process
    prctl(38, 1)                                                # NO_NEW_PRIVS: sudo and its like gain nothing
    missing = [] if landlock(libc.syscall) else ["Landlock"]
    rules = seccomp_filter(os.uname().machine)
    buffer = ctypes.create_string_buffer(rules)
    program = ctypes.create_string_buffer(struct.pack("HP", len(rules) // 8, ctypes.addressof(buffer)))

    def close_door(parent):
        prctl(1, signal.SIGKILL)                                # and with the zygote dies the program
        if os.getppid() != parent: os._exit(0)                  # it died before that line
        return prctl(22, 2, ctypes.addressof(program)) if buffer else -1       # SECCOMP, for good

    me, trial = os.getpid(), os.fork()
    if trial == 0: os._exit(close_door(me) != 0)
    if os.waitpid(trial, 0)[1]: missing.append("seccomp")
    return missing, close_door


@lru_cache(maxsize=None)
def say_missing(missing, strict):
    """Say once what the cage lacks here; and where it lacks something, make at least our own memory unreadable."""
    if not missing: return
    lost = {"Landlock": "programs can read your files, the tests among them", "seccomp": "programs can change your files, reach the network and leave processes behind"}
    said = "; ".join(f"no {what} on this system: {lost[what]}" for what in missing)
    if strict: stop(f"{said}. --require-sandbox refuses to run them")
    print(f"{os.path.basename(sys.argv[0])}: {said}. Verdicts cannot be forged all the same", file=sys.stderr)
    if sys.platform == "linux":
        import ctypes
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)                  # DUMPABLE: not as /proc/PID/mem


def main():
    import argparse
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--problems", required=True, help="problems.jsonl")
    ap.add_argument("--samples", required=True, help="what stage 01 wrote")
    ap.add_argument("--out", required=True, help="steps.jsonl to write")
    ap.add_argument("--timeout", type=float, default=5.0, help="CPU seconds for loading a program, for its public "
                    "and for its hidden tests, each (with stdin, for every test); three times as many on the clock [%(default)s]")
    ap.add_argument("--memory", type=int, default=1024, help="MB of address space for a program [%(default)s]")
    ap.add_argument("--feedback", type=int, default=300, help="characters of feedback at most [%(default)s]")
    ap.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time [%(default)s]")
    ap.add_argument("--require-sandbox", action="store_true", help="stop where seccomp or Landlock is missing")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        if type(value) in (int, float) and value <= 0:
            stop(f"--{flag.replace('_', '-')} is {value}: too small")

    problems = read_problems(args.problems)
    fields = dict(task_id=str, trajectory=int, turn=int, messages=list, completion=str)
    samples = read_jsonl(args.samples, fields, STEP_KEY)
    for n, row in enumerate(samples, 1):
        if row["task_id"] not in problems:
            stop(f"{args.samples}, row {n}: task_id '{row['task_id']}' is not in {args.problems}")
    pairs = [(row["task_id"], extract_code(row["completion"])) for row in samples]
    verdicts = execute(problems, pairs, args.timeout, args.workers, args.memory, args.feedback, args.require_sandbox)
    steps = [dict(row, code=pair[1], public_passed=public, hidden_passed=hidden, feedback=feedback)
             for row, pair in zip(samples, pairs) for public, hidden, feedback in [verdicts[pair]]]
    write_jsonl(args.out, steps)

    public = sum(s["public_passed"] for s in steps) / len(steps)
    right = sum(s["public_passed"] and s["hidden_passed"] for s in steps) / len(steps)
    print(f"02 execute: {len(steps)} steps, {len(verdicts)} distinct programs; "
          f"public tests passed by {public:.1%}, right {right:.1%} → {args.out}")
    example = next((s for s in steps if s["feedback"]), steps[0])
    text = (f"  for example {example['task_id']}:\n    " + example["code"].replace("\n", "\n    ")
            + f"\n  feedback: {example['feedback'] or '(passes)'}")
    print(text.encode("utf-8", "replace").decode())             # half a surrogate pair cannot be printed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--zygote"]:
        sys.path.pop(0)                                         # programs must not import the project's own files
        run_zygote(socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
    else:
        main()
