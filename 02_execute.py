"""Stage 02 · execute: run every program on its tests, and say in one line what went wrong.

What it does in μCode (Section 3). The environment of the MDP is a Python interpreter. An action y_t is a whole
program; running it on the PUBLIC tests gives the observation o_t that the next turn may read; running it on the
public and the HIDDEN tests gives the oracle reward R(x, y) = 1 iff all of them pass. R depends on the problem and
the program only, never on the history, so each distinct (problem, program) runs once however often it was sampled.

Who judges. A program that shares a process with its tests can cheat: exit with status 0 before the first assert,
return an object whose == always says True, look for the expected values in memory. So the tests stay HERE, in the
judge. The program runs in a process of its own; when a test calls f(3), the judge sends the plain data 3 to that
process and gets plain data back, and the comparison with the expected value happens in the judge. There is
nothing to forge: a forged reply is just an answer, and it is right or wrong like any other.

READS   problems.jsonl   task_id, entry_point, setup, public_tests, hidden_tests
        *.samples.jsonl  completion y_t (stage 01)
WRITES  *.steps.jsonl    the sample + code, public_passed, hidden_passed, feedback o_t, for example
        {"task_id": "train-17", "trajectory": 0, "turn": 1, …, "code": "def f(xs): …", "public_passed": false,
         "hidden_passed": false, "feedback": "`f([])` gave 3, expected 7"}
RUN     python 02_execute.py --problems problems.jsonl --samples turn1.samples.jsonl --out turn1.steps.jsonl
COSTS   about 2 ms a distinct program and core; no GPU, standard library only.

Differs from the paper's code: there, tests and program share a process and the verdict is what that process prints;
feedback is a raw traceback of any length with random paths. Here it is one bounded line, the same on every run.
"""
import argparse, ast, builtins, io, json, os, re, signal, socket, struct, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

FEEDBACK_LIMIT = 300        # characters of o_t: it becomes part of every later prompt
REPLY_LIMIT = 1 << 20       # bytes of one answer of the program; more counts as a failure
MEMORY_LIMIT = 1 << 30      # bytes of address space of the program
COMMON = ("bisect collections copy datetime decimal fractions functools heapq itertools math operator random re "
          "statistics string sys typing").split()     # imported once, before the fork: 7 times faster than in each program


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_jsonl(path, fields, key=()):
    """All rows of a JSON Lines file. `fields` = {name: type} must be in every row, and no two rows may share their `key` fields."""
    rows, seen = [], set()
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for n, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    stop(f"{path}, row {n}: not a JSON object; one object a line is expected")
                for name, kind in fields.items():
                    if name not in row:
                        stop(f"{path}, row {n}: field '{name}' is missing")
                    if not isinstance(row[name], kind) or (isinstance(row[name], bool) and kind is not bool):
                        stop(f"{path}, row {n}: field '{name}' is {json.dumps(row[name])[:40]}, a {getattr(kind, '__name__', 'number')} is expected")
                mine = tuple(row.get(name) for name in key)
                if key and mine in seen:
                    stop(f"{path}, row {n}: fields {', '.join(key)} = {mine} stand in an earlier row too; keep one of them")
                seen.add(mine)
                rows.append(row)
    except OSError as e:
        stop(f"{path}: {e.strerror}")
    except ValueError as e:
        stop(f"{path}, row {len(rows) + 1}: not JSON in UTF-8 ({e})")
    return rows or stop(f"{path}: no rows; the stage that writes this file did not finish or had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    os.replace(path + ".part", path)


# ── From a completion to a program ───────────────────────────────────────────────────────────────────────────────

FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.S | re.M)


def extract_code(completion):
    """The program in a completion: the first ```python block, else the first block, else the bare text.

    A block that the token limit cut off before its closing fence counts too. An answer without code gives "".
    """
    blocks = FENCE.findall(completion)
    python = [code for lang, code in blocks if lang.lower() in ("python", "python3", "py")]
    code = (python or [code for _, code in blocks] or [completion])[0]
    return code.lstrip("\ufeff\r\n").rstrip()


# ── Values that cross between judge and program: plain data only, as tagged JSON ─────────────────────────────────

def encode(value, handles=None):
    """Plain data → JSON. Objects that are not plain become handles: a number that later calls can pass back.

    Subclasses are reduced with the base type's own methods, so that an `__eq__` or `__iter__` of theirs never runs.
    """
    again = lambda items: [encode(v, handles) for v in items]
    if value is None or value is True or value is False: return value
    if isinstance(value, Remote): return {"handle": value._number}
    if isinstance(value, int):
        value = int.__add__(value, 0)
        return value if abs(value) < 1 << 63 else {"int": hex(value)}      # decimal is quadratic and capped by Python
    if isinstance(value, float): return float.__float__(value)
    if isinstance(value, str): return str.__str__(value)
    if isinstance(value, list): return again(list.__iter__(value))
    if isinstance(value, tuple): return {"tuple": again(tuple.__iter__(value))}
    if isinstance(value, set): return {"set": again(set.__iter__(value))}
    if isinstance(value, frozenset): return {"frozenset": again(frozenset.__iter__(value))}
    if isinstance(value, dict): return {"dict": [again(pair) for pair in dict.items(value)]}
    if isinstance(value, (bytes, bytearray)): return {"bytes": bytes(value).hex()}
    if isinstance(value, complex): return {"complex": [value.real, value.imag]}
    if isinstance(value, range): return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value: return {"type": value.__name__}
    if isinstance(value, type(sys)): return {"module": value.__name__}
    if handles is None: raise TypeError(f"cannot pass a {type(value).__name__} to the program")
    if hasattr(type(value), "__next__"):                                   # generators, map, zip: at most 10,000 items
        return {"iter": again(item for item, _ in zip(value, range(10_000)))}
    handles.append(value)
    return {"handle": len(handles) - 1}


def decode(data, handle):
    """JSON → plain data; `handle(number)` says what a handle means on this side."""
    if isinstance(data, list): return [decode(v, handle) for v in data]
    if not isinstance(data, dict): return data
    (tag, body), = data.items()
    if tag == "int": return int(body, 16)
    if tag == "dict": return {decode(k, handle): decode(v, handle) for k, v in body}
    if tag in ("tuple", "set", "frozenset", "iter"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset, "iter": iter}[tag]([decode(v, handle) for v in body])
    if tag == "bytes": return bytes.fromhex(body)
    if tag == "complex": return complex(*body)
    if tag == "range": return range(*body)
    if tag == "type": return getattr(builtins, body)
    if tag == "module": return sys.modules[body] if body in COMMON else None    # the judge's own, never the program's
    return handle(body)


def send(sock, message):
    data = json.dumps(message).encode()
    sock.sendall(struct.pack("!I", len(data)) + data)


def receive(sock, deadline=None, limit=REPLY_LIMIT):
    """One message. Raises TimeoutError at `deadline` (time.monotonic), EOFError when the other side is gone."""
    def exactly(n):
        parts = []
        while n:
            if deadline is not None: sock.settimeout(max(0.001, deadline - time.monotonic()))
            parts.append(sock.recv(min(n, 1 << 16)))
            if not parts[-1]: raise EOFError
            n -= len(parts[-1])
        return b"".join(parts)
    size, = struct.unpack("!I", exactly(4))
    if size > limit: raise ValueError("gave more than 1 MB")
    return json.loads(exactly(size))


# ── The program's side. A "zygote" is a fresh Python that knows no tests; it forks once for each program ──────────

def zygote(control):
    """Wait for a socket to a new program, fork the process that will be the program, report its end; repeat."""
    import importlib
    for name in COMMON: importlib.import_module(name)
    while True:
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not fds: os._exit(0)                              # the judge is gone
        pid = os.fork()
        if pid == 0:
            control.close()
            try: program(socket.socket(fileno=fds[0]))
            finally: os._exit(0)
        os.close(fds[0])
        control.sendall(struct.pack("!I", pid))
        os.waitpid(pid, 0)
        control.sendall(b"x")


def program(sock):
    """The process of one untrusted program: lock the door, then load it and answer calls until the judge hangs up."""
    import resource
    os.setsid()                                              # a process group of its own, killed as a whole
    for what, most in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
                       (resource.RLIMIT_NOFILE, 64)):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)     # never above the hard limit
        resource.setrlimit(what, (most, most))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2): os.dup2(null, fd)
    request = receive(sock, limit=1 << 30)
    code, names, handles = request["code"], {"__name__": "solution"}, []
    sys.setrecursionlimit(10_000)

    def answer(request):
        target, args, kwargs = decode(request[1:], handles.__getitem__)
        if request[0] == "stdin":                            # text in, text out
            sys.stdin, sys.stdout = io.StringIO(target), io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
            try: exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
            except SystemExit: pass
            sys.stdout.flush()
            return {"ok": sys.stdout.buffer.getvalue().decode()}
        before = encode(args, handles)
        if request[0] == "load": exec(compile(code, "<program>", "exec"), names); value = sorted(map(str, names))
        elif request[0] == "name": value = names[target]
        elif request[0] == "get": value = getattr(target, args[0])
        elif request[0] == "set": value = setattr(target, *args)
        else: value = target(*args, **kwargs)
        reply = {"ok": encode(value, handles)}
        after = encode(args, handles)
        return reply if after == before else dict(reply, args=after)      # arguments changed in place travel back

    while True:
        try: reply = answer(request["ask"])
        except BaseException as e:                           # SystemExit and KeyboardInterrupt too: they are results here
            line, tb = 0, e.__traceback__
            while tb:
                if tb.tb_frame.f_code.co_filename == "<program>": line = tb.tb_lineno
                tb = tb.tb_next
            if isinstance(e, SyntaxError) and e.filename == "<program>": line = e.lineno or 0
            text = str(e.msg if isinstance(e, SyntaxError) else e)
            reply = {"error": [type(e).__name__, text[:FEEDBACK_LIMIT], line]}
        send(sock, reply)
        request = receive(sock, limit=1 << 30)


# ── The judge's side ─────────────────────────────────────────────────────────────────────────────────────────────

class ProgramFailed(Exception):
    """What the program did instead of answering, in the words of the feedback."""


class Remote:
    """Something that lives in the program's process: a function, a class, an object. Equal to nothing but itself."""
    def __init__(self, ask, number, name="it"): self.__dict__.update(_ask=ask, _number=number, _name=name)
    def __call__(self, *args, **kwargs): return self._ask("call", self, args, kwargs)
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return self._ask("get", self, (name,))
    def __setattr__(self, name, value): self._ask("set", self, (name, value))


class Names(dict):
    """Globals of the test code: what a test does not define itself, and Python does not, is asked of the program."""
    def __init__(self, session): super().__init__(); self.session = session
    def __missing__(self, name):
        if name in self.session.defined and (name == self.session.entry_point or not hasattr(builtins, name)):
            self[name] = self.session.ask("name", name)
            return self[name]
        raise KeyError(name)


class Session:
    """One program in its process, seen from the judge."""

    def __init__(self, worker, code, entry_point, timeout):
        self.entry_point, self.code, self.calls, self.defined, self.timeout = entry_point, code, [], (), timeout
        self.deadline = time.monotonic() + timeout
        self.sock, theirs = socket.socketpair()
        if worker.get("process") is None or worker["process"].poll() is not None: start_zygote(worker)
        self.worker = worker
        socket.send_fds(worker["control"], [b"x"], [theirs.fileno()]); theirs.close()
        self.pid, = struct.unpack("!I", worker["control"].recv(4, socket.MSG_WAITALL))
        self.first = {"code": code}

    def ask(self, what, target=None, args=(), kwargs=None):
        """One question to the program. Raises what the program raised (built-in exceptions) or ProgramFailed."""
        if what == "call": self.calls.append((target._name, args, kwargs or {}))
        message = dict(self.first, ask=[what, encode(target), encode(list(args)), encode(kwargs or {})]); self.first = {}
        try:
            self.sock.settimeout(self.timeout); send(self.sock, message)
            reply = receive(self.sock, self.deadline)
            if "error" in reply: raise revive(self.code, *reply["error"])
            value = decode(reply["ok"], lambda n: Remote(self.ask, n, target if what == "name" else "it"))
            for mine, changed in zip(args, decode(reply.get("args", []), lambda n: None)):
                if isinstance(mine, list): mine[:] = changed
                elif isinstance(mine, (dict, set)): mine.clear(); mine.update(changed)
            return value
        except TimeoutError: raise ProgramFailed("ran out of time") from None
        except (EOFError, OSError): raise ProgramFailed("crashed") from None
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as e:
            if hasattr(e, "_line"): raise                    # raised by the program itself
            raise ProgramFailed("gave something that is not plain data") from None

    def close(self):
        self.sock.close()
        try: os.killpg(self.pid, signal.SIGKILL)
        except OSError:                                      # it has ended, or has not yet become its own group
            try: os.kill(self.pid, signal.SIGKILL)
            except OSError: pass
        if not self.worker["control"].recv(1): self.worker["process"].wait()


def start_zygote(worker):
    """A fresh interpreter without our memory, environment or files; `-S`: no site-packages, so programs see the standard library."""
    mine, theirs = socket.socketpair()
    worker["process"] = subprocess.Popen(
        [sys.executable, "-s", "-S", os.path.abspath(__file__), "--zygote", str(theirs.fileno())], pass_fds=[theirs.fileno()],
        env={"PYTHONHASHSEED": "0"}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker["control"] = mine
    theirs.close()


def revive(code, name, text, line):
    """The program's exception as one of ours, so that a test may expect it; `_line` says where it was raised."""
    kind = getattr(builtins, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)): kind = RuntimeError
    try: error = kind(text)
    except TypeError: error = RuntimeError(text)
    source = code.splitlines()[line - 1].strip() if 0 < line <= len(code.splitlines()) else ""
    error._line = f"{name}: {text}".rstrip(": ") + (f", line {line}: {source}" if source else "")
    return error


def show(value):
    """repr, with sets sorted (their order differs from run to run) and objects without their address."""
    if isinstance(value, Remote): return "an object"
    if isinstance(value, (set, frozenset)) and value:
        return ("{%s}" if isinstance(value, set) else "frozenset({%s})") % ", ".join(sorted(map(show, value)))
    if isinstance(value, list): return "[%s]" % ", ".join(map(show, value))
    if isinstance(value, tuple): return "(%s)" % (", ".join(map(show, value)) + ("," if len(value) == 1 else ""))
    if isinstance(value, dict): return "{%s}" % ", ".join(f"{show(k)}: {show(v)}" for k, v in value.items())
    try: text = repr(value)
    except ValueError: return "a huge number"
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def short(text, most=120):
    return text if len(text) <= most else text[:most - 1] + "…"


@lru_cache(maxsize=None)
def compile_test(test):
    """A test's source → (source of the call, code of its left side, of its right side), or (source, code, None).

    `assert f([1, 2]) == 3` is split at the ==, so that feedback can say both what came back and what was expected.
    """
    tree = ast.parse(test)
    last = tree.body[-1] if tree.body else None
    if (len(tree.body) == 1 and isinstance(last, ast.Assert) and isinstance(last.test, ast.Compare)
            and len(last.test.ops) == 1 and isinstance(last.test.ops[0], ast.Eq)):
        left, right = (compile(ast.fix_missing_locations(ast.Expression(side)), "<test>", "eval")
                       for side in (last.test.left, last.test.comparators[0]))
        return ast.unparse(last.test.left), left, right
    return (ast.unparse(last) if isinstance(last, ast.Assert) else ""), compile(tree, "<test>", "exec"), None


def run_test(session, names, test):
    """None if the test passes, else one line: the call, what came back or was raised, what was expected."""
    session.calls.clear()
    source, expected, gave = "", "", ""
    try:
        if isinstance(test, dict):
            source, expected = f"input {show(short(test['input'], 80))}", f", expected {show(short(test['output'].strip(), 80))}"
            out = session.ask("stdin", test["input"])
            same = [line.rstrip() for line in out.rstrip().split("\n")] == [line.rstrip() for line in test["output"].rstrip().split("\n")]
            return None if same else f"{source} gave {show(short(out.strip(), 80))}{expected}"
        source, left, right = compile_test(test)
        if right is None:
            expected = f"; the test is: {short(source)}" if source else ""
            exec(left, names)
            return None
        wanted = eval(right, names)
        expected = f", expected {short(show(wanted), 80)}"
        value = eval(left, names)
        if value == wanted: return None
        gave = f" gave {short(show(value))}"
    except ProgramFailed as e: gave = f" {e}"
    except Exception as e:                                   # raised by the program, by a failed assert, or by the test on a wrong value
        gave = f" raised {e._line}" if hasattr(e, "_line") else " gave a wrong answer"
    if source.startswith("assert ") or not source:           # a test of many steps: name its last call of the program
        name, args, kwargs = session.calls[-1] if session.calls else (session.entry_point, ("…",), {})
        source = f"{name}({', '.join([short(show(a), 60) for a in args] + [f'{k}={short(show(v), 60)}' for k, v in kwargs.items()])})"
    return (source if isinstance(test, dict) else f"`{short(source)}`") + gave + expected


def judge(worker, problem, code, timeout):
    """Run one program → (public_passed, hidden_passed, feedback). Feedback speaks of the first failing PUBLIC test only.

    Each kind of test has `timeout` seconds; a program that dies on a public test gets a new process for the hidden ones.
    """
    verdicts, feedback = [], ""
    if not code: return False, False, "There is no program in this answer."
    session = None
    for kind in ("public_tests", "hidden_tests"):
        failure = None
        if session is None:
            session = Session(worker, code, problem["entry_point"], timeout)
            names = Names(session)
            try:
                if not any(isinstance(test, dict) for test in problem["public_tests"] + problem["hidden_tests"]):
                    session.defined = session.ask("load")
                    if problem["entry_point"] not in session.defined: failure = f"The program does not define `{problem['entry_point']}`."
                    exec(problem["setup"], names)            # after the program: MBPP's set-up code uses its classes
            except ProgramFailed as e: failure = f"The program {e} while it was loaded."
            except Exception as e: failure = f"The program does not load: {getattr(e, '_line', 'the set-up code fails on it')}"
        session.deadline = time.monotonic() + timeout
        for test in problem[kind]:
            failure = failure or run_test(session, names, test)
        verdicts.append(failure is None)
        feedback = feedback or (short(failure or "", FEEDBACK_LIMIT) if kind == "public_tests" else "")
        if failure and ("ran out of time" in failure or "crashed" in failure): session.close(); session = None
    if session: session.close()
    return verdicts[0], verdicts[1], feedback


def execute(problems, programs, timeout=5.0, workers=None, progress=True):
    """Judge distinct programs. problems: {task_id: problem}; programs: (task_id, code) pairs → {pair: verdict of judge()}."""
    programs, local, zygotes = list(dict.fromkeys(programs)), threading.local(), []

    def work(pair):
        if not hasattr(local, "worker"):                     # one zygote a thread
            local.worker = {}; zygotes.append(local.worker)
        return judge(local.worker, problems[pair[0]], pair[1], timeout)

    verdicts = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for n, (pair, verdict) in enumerate(zip(programs, pool.map(work, programs)), 1):
            verdicts[pair] = verdict
            if progress and sys.stderr.isatty() and (n % 100 == 0 or n == len(programs)):
                print(f"\r  executing {n}/{len(programs)} programs", end="\n" if n == len(programs) else "", file=sys.stderr, flush=True)
    for worker in filter(None, zygotes):
        worker["control"].close(); worker["process"].kill(); worker["process"].wait()
    return verdicts


STEP_KEY = ("policy", "task_id", "trajectory", "turn")
PROBLEM = dict(task_id=str, prompt=str, entry_point=str, setup=str, public_tests=list, hidden_tests=list)


def read_problems(path):
    """problems.jsonl → {task_id: problem}, each test checked for its form."""
    problems = {}
    for n, p in enumerate(read_jsonl(path, PROBLEM, ["task_id"]), 1):
        for kind in ("public_tests", "hidden_tests"):
            for test in p[kind]:
                if isinstance(test, dict) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str): continue
                try: compile_test(test)
                except (TypeError, SyntaxError): stop(f"{path}, row {n}: field '{kind}' holds {str(test)[:60]!r}, neither Python nor {{input, output}}")
        problems[p["task_id"]] = p
    return problems


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="The docstring at the top of the file says the rest.")
    ap.add_argument("--problems", required=True, help="problems.jsonl")
    ap.add_argument("--samples", required=True, help="what stage 01 wrote")
    ap.add_argument("--out", required=True, help="steps.jsonl to write")
    ap.add_argument("--timeout", type=float, default=5.0, help="seconds for the public tests of a program, and again for the hidden ones")
    ap.add_argument("--workers", type=int, default=os.cpu_count(), help="programs that run at the same time")
    args = ap.parse_args()

    problems = read_problems(args.problems)
    samples = read_jsonl(args.samples, dict(task_id=str, trajectory=int, turn=int, messages=list, completion=str), STEP_KEY)
    for n, row in enumerate(samples, 1):
        if row["task_id"] not in problems: stop(f"{args.samples}, row {n}: task_id '{row['task_id']}' is not in {args.problems}")

    pairs = [(row["task_id"], extract_code(row["completion"])) for row in samples]
    verdicts = execute(problems, pairs, args.timeout, args.workers)
    steps = []
    for row, pair in zip(samples, pairs):
        public, hidden, feedback = verdicts[pair]
        steps.append(dict(row, code=pair[1], public_passed=public, hidden_passed=hidden, feedback=feedback))
    write_jsonl(args.out, steps)

    right = sum(s["public_passed"] and s["hidden_passed"] for s in steps)
    print(f"02 execute: {len(steps)} steps, {len(verdicts)} distinct programs; public tests passed by "
          f"{sum(s['public_passed'] for s in steps) / len(steps):.1%}, right {right / len(steps):.1%} → {args.out}")
    example = next((s for s in steps if s["feedback"]), steps[0])
    text = f"  for example {example['task_id']}:\n    " + example["code"].replace("\n", "\n    ") + f"\n  feedback: {example['feedback'] or '(passes)'}"
    print(text.encode("utf-8", "replace").decode())            # a program may hold half a surrogate pair, which no terminal takes


if __name__ == "__main__":
    if sys.argv[1:2] == ["--zygote"]:
        sys.path.pop(0)                                      # programs must not import the project's own files
        zygote(socket.socket(fileno=int(sys.argv[2])))
    else:
        main()
