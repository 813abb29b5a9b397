"""Stage 02 · execute: run every program on its tests, and say in one line what went wrong.

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

READS   problems.jsonl   task_id, entry_point, setup, public_tests, hidden_tests
        *.samples.jsonl  completion y_t (stage 01)
WRITES  *.steps.jsonl    the sample + code, public_passed, hidden_passed, feedback o_t, for example
        {"task_id": "train-17", "trajectory": 0, "turn": 1, …, "code": "def f(xs): …",
         "public_passed": false, "hidden_passed": false, "feedback": "`f([])` gave 3, expected 1"}
RUN     python 02_execute.py --problems problems.jsonl --samples turn1.samples.jsonl --out turn1.steps.jsonl
COSTS   about 3 ms a distinct program on two cores; no GPU, standard library only

Differs from the paper's code: there, tests and program share a process, and the verdict is what that
process prints; feedback is a raw traceback of any length with random paths in it.
"""
import argparse, ast, builtins, io, json, os, re, signal, socket, struct, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

FEEDBACK_LIMIT = 300        # characters of o_t: it becomes part of every later prompt
REPLY_LIMIT = 1 << 20       # bytes of one answer of a program; more counts as a failure
MEMORY_LIMIT = 1 << 30      # bytes of address space of a program
# Modules that programs often want, imported once before the fork: importing them in each costs 10 ms.
COMMON = ("bisect collections copy datetime decimal fractions functools heapq itertools math operator random "
          "re statistics string sys typing").split()


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────
# The same lines in every stage, so that each file can be read alone (skip them after the first).

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
    except ValueError as e: stop(f"{path}, row {len(rows) + 1}: not JSON in UTF-8 ({e})")
    return rows or stop(f"{path}: no rows; the stage that writes this file had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as file:
        for row in rows: file.write(json.dumps(row) + "\n")
    os.replace(path + ".part", path)


STEP_KEY = ("policy", "task_id", "trajectory", "turn")
PROBLEM = dict(task_id=str, prompt=str, entry_point=str, setup=str, public_tests=list, hidden_tests=list)


def read_problems(path):
    """problems.jsonl → {task_id: problem}, each test checked for its form."""
    problems = {}
    for n, p in enumerate(read_jsonl(path, PROBLEM, ["task_id"]), 1):
        for kind in ("public_tests", "hidden_tests"):
            for test in p[kind]:
                try: is_io(test) or compile_test(test)
                except (KeyError, TypeError, SyntaxError, ValueError):
                    stop(f"{path}, row {n}: field '{kind}' holds {str(test)[:60]!r}, neither Python nor input/output")
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


# At first reading, go on at "Tests and feedback": what lies between is how a call crosses to the program.

# ── Values that cross between judge and program: plain data only, as tagged JSON ─────────────────

def encode(value, handles=None):
    """Plain data → JSON. What is not plain becomes a handle: a number that later calls can pass back."""
    again = lambda items: [encode(v, handles) for v in items]
    # Subclasses are reduced with the base type's own methods: an __iter__ or __eq__ of theirs never runs.
    if value is None or value is True or value is False: return value
    if isinstance(value, Remote): return {"handle": value._number}
    if isinstance(value, int):
        value = int.__add__(value, 0)
        return value if abs(value) < 1 << 63 else {"int": hex(value)}     # decimal takes quadratic time
    if isinstance(value, float): return float.__float__(value)
    if isinstance(value, str): return str.__str__(value)
    if isinstance(value, list): return again(list.__iter__(value))
    if isinstance(value, dict): return {"dict": [again(pair) for pair in dict.items(value)]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind): return {kind.__name__: again(kind.__iter__(value))}
    if isinstance(value, (bytes, bytearray)): return {"bytes": bytes(value).hex()}
    if isinstance(value, complex): return {"complex": [value.real, value.imag]}
    if isinstance(value, range): return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, type(sys)): return {"module": value.__name__}
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value: return {"type": value.__name__}
    if handles is None: raise TypeError(f"cannot pass a {type(value).__name__} to the program")
    if hasattr(type(value), "__next__"):                        # generators, map, zip: at most 10,000 items
        return {"iter": again(item for item, _ in zip(value, range(10_000)))}
    handles.append(value)
    return {"handle": len(handles) - 1}


def decode(data, handle):
    """JSON → plain data; `handle(number)` says what a handle stands for on this side."""
    if isinstance(data, list): return [decode(v, handle) for v in data]
    if not isinstance(data, dict): return data
    (tag, body), = data.items()
    if tag in ("tuple", "set", "frozenset", "iter"):
        make = {"tuple": tuple, "set": set, "frozenset": frozenset, "iter": iter}[tag]
        return make([decode(v, handle) for v in body])
    if tag == "dict": return {decode(k, handle): decode(v, handle) for k, v in body}
    if tag == "int": return int(body, 16)
    if tag == "bytes": return bytes.fromhex(body)
    if tag == "complex": return complex(*body)
    if tag == "range": return range(*body)
    if tag == "type": return getattr(builtins, body)
    if tag == "module": return sys.modules.get(body) if body in COMMON else None   # ours, never the program's
    return handle(body)


def send(sock, message):
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("!I", len(data)) + data)


def receive(sock, deadline=None, limit=REPLY_LIMIT):
    """One message. TimeoutError at `deadline` (time.monotonic), EOFError when the other side is gone."""
    def exactly(n):
        parts = []
        while n:
            if deadline is not None: sock.settimeout(max(0.001, deadline - time.monotonic()))
            parts.append(sock.recv(min(n, 1 << 16)))
            if not parts[-1]: raise EOFError
            n -= len(parts[-1])
        return b"".join(parts)
    size, = struct.unpack("!I", exactly(4))
    if size > limit: raise ValueError("more than 1 MB")
    return json.loads(exactly(size))


# ── The program's side. A "zygote" is a fresh Python that knows no tests; it forks once a program ─

def zygote(control):
    """Wait for a socket to a new program, fork the process that will be the program, report its end."""
    for name in COMMON: __import__(name)
    while True:
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not fds: os._exit(0)                                 # the judge is gone
        pid = os.fork()
        if pid == 0:
            control.close()                                     # a program must not speak for the zygote
            try: program(socket.socket(fileno=fds[0]))
            finally: os._exit(0)
        os.close(fds[0])
        control.sendall(struct.pack("!I", pid))
        os.waitpid(pid, 0)
        control.sendall(b"x")


def lock_door():
    """Limits on this process: memory, no files written, no core dumps, few descriptors, no terminal."""
    import resource
    os.setsid()                                                 # a process group of its own, killed as a whole
    for what, most in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_FSIZE, 0),
                       (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
        hard = resource.getrlimit(what)[1]                      # asking for more than this would fail
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2): os.dup2(null, fd)


def program(sock):
    """The process of one untrusted program: load it, then answer the judge's calls until it hangs up."""
    lock_door()
    request = receive(sock, limit=1 << 30)
    code, names, handles = request["code"], {"__name__": "solution"}, []
    sys.setrecursionlimit(10_000)

    def answer(what, *data):
        target, args, kwargs = decode(list(data), handles.__getitem__)
        if what == "stdin":                                     # text in, text out, as a script
            sys.stdin = io.StringIO(target)
            sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
            try: exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
            except SystemExit: pass
            sys.stdout.flush()
            return {"ok": sys.stdout.buffer.getvalue().decode()}
        before = encode(args, handles)
        if what == "load": exec(compile(code, "<program>", "exec"), names); value = sorted(map(str, names))
        elif what == "name": value = names[target]
        elif what == "get": value = getattr(target, args[0])
        elif what == "set": value = setattr(target, *args)
        else: value = target(*args, **kwargs)
        reply, after = {"ok": encode(value, handles)}, encode(args, handles)
        return reply if after == before else dict(reply, args=after)      # changed in place: they travel back

    while True:
        try: reply = answer(*request["ask"])
        except BaseException as e:                              # SystemExit too: here it is a result like any other
            line, tb = 0, e.__traceback__
            while tb:                                           # the innermost line of the program itself
                if tb.tb_frame.f_code.co_filename == "<program>": line = tb.tb_lineno
                tb = tb.tb_next
            if isinstance(e, SyntaxError) and e.filename == "<program>": line = e.lineno or 0
            text = str(e.msg if isinstance(e, SyntaxError) else e)
            reply = {"error": [type(e).__name__, text[:FEEDBACK_LIMIT], line]}
        send(sock, reply)
        request = receive(sock, limit=1 << 30)


# ── The judge's side ─────────────────────────────────────────────────────────────────────────────

class ProgramFailed(Exception):
    """What the program did instead of answering, in the words of the feedback."""


class Remote:
    """Something in the program's process: a function, a class, an object. Equal to nothing but itself."""
    def __init__(self, ask, number, name): self.__dict__.update(_ask=ask, _number=number, _name=name)
    def __call__(self, *args, **kwargs): return self._ask("call", self, args, kwargs)
    def __setattr__(self, name, value): self._ask("set", self, (name, value))
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return self._ask("get", self, (name,))


class Names(dict):
    """Globals of the test code. A name that neither the test nor Python defines is asked of the program."""
    def __init__(self, session): self.session = session
    def __missing__(self, name):
        # Built-ins stay ours, or a program's own `sorted` would decide its tests. Only the entry point may
        # be called like a built-in (MBPP/126 defines `sum`).
        if name not in self.session.defined or hasattr(builtins, name) and name != self.session.entry_point:
            raise KeyError(name)
        self[name] = self.session.ask("name", name)
        return self[name]


class Session:
    """One program in its process, seen from the judge. `worker` holds one thread's zygote."""

    def __init__(self, worker, code, entry_point, timeout):
        self.worker, self.code, self.entry_point, self.timeout = worker, code, entry_point, timeout
        self.calls, self.defined, self.first = [], (), {"code": code}
        if "process" not in worker or worker["process"].poll() is not None: start_zygote(worker)
        self.sock, theirs = socket.socketpair()
        socket.send_fds(worker["control"], [b"x"], [theirs.fileno()])
        theirs.close()
        self.pid, = struct.unpack("!I", worker["control"].recv(4, socket.MSG_WAITALL))
        self.deadline = time.monotonic() + timeout

    def ask(self, what, target=None, args=(), kwargs=None):
        """One question to the program. Raises what the program raised, or ProgramFailed."""
        if what == "call": self.calls.append((target._name, args, kwargs or {}))
        ask, self.first = dict(self.first, ask=[what, encode(target), encode(list(args)), encode(kwargs or {})]), {}
        try:
            self.sock.settimeout(self.timeout)
            send(self.sock, ask)
            reply = receive(self.sock, self.deadline)
            value = decode(reply.get("ok"), lambda n: Remote(self.ask, n, target if what == "name" else "it"))
            changed = decode(reply.get("args", []), lambda n: None)
        except TimeoutError: raise ProgramFailed("ran out of time") from None
        except (EOFError, ConnectionError): raise ProgramFailed("crashed") from None
        except Exception: raise ProgramFailed("gave something that is not plain data") from None
        if "error" in reply: raise revive(self.code, *reply["error"])
        for mine, new in zip(args, changed):
            if isinstance(mine, list): mine[:] = new
            elif isinstance(mine, (dict, set)): mine.clear(); mine.update(new)
        return value

    def close(self):
        self.sock.close()
        for kill in (os.killpg, os.kill):                       # the second, if it has no group of its own yet
            try: kill(self.pid, signal.SIGKILL); break
            except OSError: pass
        if not self.worker["control"].recv(1): self.worker["process"].wait()     # the zygote has seen its end


def start_zygote(worker):
    """A fresh interpreter: none of our memory, environment or files. -S: programs see the standard library only."""
    mine, theirs = socket.socketpair()
    worker["process"] = subprocess.Popen(
        [sys.executable, "-s", "-S", os.path.abspath(__file__), "--zygote", str(theirs.fileno())], cwd="/",
        pass_fds=[theirs.fileno()], env={"PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker["control"] = mine
    theirs.close()


def revive(code, name, text, line):
    """The program's exception as one of ours, so that a test may expect it; `_line` says where it was raised."""
    kind = getattr(builtins, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)): kind = RuntimeError
    try: error = kind(text)
    except TypeError: error = RuntimeError(text)                # UnicodeDecodeError wants five arguments
    lines = code.splitlines()
    where = f", line {line}: {lines[line - 1].strip()}" if 0 < line <= len(lines) else ""
    error._line = f"{name}: {text}".rstrip(": ") + where
    return error


# ── Tests and feedback ───────────────────────────────────────────────────────────────────────────

def show(value):
    """repr, the same on every run: sets sorted, no addresses."""
    if isinstance(value, Remote): return "an object"
    if isinstance(value, list): return "[%s]" % ", ".join(map(show, value))
    if isinstance(value, tuple): return "(%s)" % (", ".join(map(show, value)) + ("," if len(value) == 1 else ""))
    if isinstance(value, dict): return "{%s}" % ", ".join(f"{show(k)}: {show(v)}" for k, v in value.items())
    if isinstance(value, set) and value: return "{%s}" % ", ".join(sorted(map(show, value)))
    if isinstance(value, frozenset): return "frozenset({%s})" % ", ".join(sorted(map(show, value)))
    try: return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    except ValueError: return "a huge number"                   # Python refuses to write more than 4,300 digits


def short(text, most=120):
    return text if len(text) <= most else text[:most - 1] + "…"


def is_io(test):
    """A test for a program that reads stdin and prints."""
    return isinstance(test, dict) and isinstance(test["input"], str) and isinstance(test["output"], str)


@lru_cache(maxsize=None)
def compile_test(test):
    """A test → (source of the call, code of its left side, of its right side), or (source, code, None).

    `assert f([1, 2]) == 3` is split at the ==, so that feedback can say what came back and what was expected.
    """
    tree = ast.parse(test)
    last = tree.body[-1] if tree.body else None
    if (len(tree.body) == 1 and isinstance(last, ast.Assert) and isinstance(last.test, ast.Compare)
            and [type(op) for op in last.test.ops] == [ast.Eq]):
        left, right = (compile(ast.Expression(side), "<test>", "eval")
                       for side in (last.test.left, last.test.comparators[0]))
        return ast.unparse(last.test.left), left, right
    return ast.unparse(last) if isinstance(last, ast.Assert) else "", compile(tree, "<test>", "exec"), None


def run_io(session, test):
    """None if the program prints the expected lines, else the feedback."""
    said, expected = (show(short(test[field].strip(), 80)) for field in ("input", "output"))
    lines = lambda text: [line.rstrip() for line in text.rstrip().split("\n")]
    try: out = session.ask("stdin", test["input"])
    except ProgramFailed as e: return f"input {said} {e}, expected {expected}"
    except Exception as e: return f"input {said} raised {e._line}, expected {expected}"
    if lines(out) == lines(test["output"]): return None
    return f"input {said} gave {show(short(out.strip(), 80))}, expected {expected}"


def run_test(session, names, test):
    """None if the test passes, else one line: the call, what came back or was raised, what was expected."""
    source, left, right = compile_test(test)
    session.calls.clear()
    expected = f"; the test is: {short(source)}" if source and right is None else ""
    try:
        if right is None:                                       # a test of many steps: it passes if nothing is raised
            exec(left, names)
            return None
        wanted = eval(right, names)
        expected = f", expected {short(show(wanted), 80)}"
        value = eval(left, names)
        if value == wanted: return None                         # OUR ==: `value` is plain data by now
        gave = f"gave {short(show(value))}"
    except ProgramFailed as e: gave = str(e)
    except Exception as e: gave = f"raised {e._line}" if hasattr(e, "_line") else "gave a wrong answer"
    if right is None:                                           # name the last call of the program instead
        name, args, kwargs = session.calls[-1] if session.calls else (session.entry_point, (), {})
        said = [short(show(a), 60) for a in args] + [f"{k}={short(show(v), 60)}" for k, v in kwargs.items()]
        source = f"{name}({', '.join(said)})"
    return f"`{short(source)}` {gave}{expected}"


def load(session, problem):
    """Load the program, then the problem's set-up code. None, or why it does not load."""
    tests = problem["public_tests"] + problem["hidden_tests"]
    if any(isinstance(test, dict) for test in tests): return Names(session), None      # a script: it runs once a test
    names, entry_point = Names(session), problem["entry_point"]
    try:
        session.defined = session.ask("load")
        if entry_point not in session.defined: return names, f"The program does not define `{entry_point}`."
        exec(problem["setup"], names)                           # after the program: MBPP's set-up uses its classes
    except ProgramFailed as e: return names, f"The program {e} while it was loaded."
    except Exception as e: return names, f"The program does not load: {getattr(e, '_line', 'the set-up code fails')}"
    return names, None


def judge(worker, problem, code, timeout):
    """Run one program → (public_passed, hidden_passed, feedback o_t).

    Each kind of test has `timeout` seconds. Feedback speaks of the first failing PUBLIC test only.
    """
    if not code: return False, False, "There is no program in this answer."
    verdicts, feedback, session = [], "", None
    for kind in ("public_tests", "hidden_tests"):
        if session is None:
            session = Session(worker, code, problem["entry_point"], timeout)
            names, broken = load(session, problem)
        failure, session.deadline = broken, time.monotonic() + timeout
        for test in problem[kind]:
            failure = failure or (run_io(session, test) if isinstance(test, dict) else run_test(session, names, test))
        verdicts.append(failure is None)
        if kind == "public_tests" and failure: feedback = short(failure, FEEDBACK_LIMIT)
        if failure and re.search("ran out of time|crashed", failure):
            session.close()                                     # the hidden tests get a process of their own
            session = None
    if session: session.close()
    return verdicts[0], verdicts[1], feedback


def execute(problems, programs, timeout=5.0, workers=None, progress=True):
    """Judge each distinct program once: {task_id: problem}, (task_id, code) pairs → {pair: verdict of judge}."""
    programs, local, started, verdicts = list(dict.fromkeys(programs)), threading.local(), [], {}

    def work(pair):                                             # threads: a judge mostly waits for its program
        if not hasattr(local, "worker"):
            local.worker = {}
            started.append(local.worker)
        return judge(local.worker, problems[pair[0]], pair[1], timeout)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for n, (pair, verdict) in enumerate(zip(programs, pool.map(work, programs)), 1):
            verdicts[pair] = verdict
            if progress and sys.stderr.isatty() and (n % 100 == 0 or n == len(programs)):
                print(f"\r  executing {n}/{len(programs)}", end="\n" if n == len(programs) else "", file=sys.stderr)
    for worker in filter(None, started):
        worker["control"].close()
        worker["process"].kill()
        worker["process"].wait()
    return verdicts


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--problems", required=True, help="problems.jsonl")
    ap.add_argument("--samples", required=True, help="what stage 01 wrote")
    ap.add_argument("--out", required=True, help="steps.jsonl to write")
    ap.add_argument("--timeout", type=float, default=5.0,
                    help="seconds for a program's public tests, and again for its hidden ones")
    ap.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time")
    args = ap.parse_args()

    problems = read_problems(args.problems)
    fields = dict(task_id=str, trajectory=int, turn=int, messages=list, completion=str)
    samples = read_jsonl(args.samples, fields, STEP_KEY)
    for n, row in enumerate(samples, 1):
        if row["task_id"] not in problems:
            stop(f"{args.samples}, row {n}: task_id '{row['task_id']}' is not in {args.problems}")
    pairs = [(row["task_id"], extract_code(row["completion"])) for row in samples]
    verdicts = execute(problems, pairs, args.timeout, args.workers)
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
        zygote(socket.socket(fileno=int(sys.argv[2])))
    else:
        main()
