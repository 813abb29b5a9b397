"""Stage 02 against programs that mean harm.

Nothing is forged, read, changed, left behind or slowed down.
"""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT, problem, read, stage, step, write

from lib import sandbox

ex = stage(2)
ADD = problem(
    "add",
    public=["assert add(1, 2) == 3"],
    hidden=["assert add(-1, 1) == 0", "assert add(10, 5) == 15"],
    entry_point="add",
)
GOOD = "def add(a, b): return a + b"


def judge(p, code, timeout=3.0):
    """The verdict on one program."""
    program = (p["task_id"], code)
    return ex.execute({p["task_id"]: p}, [program], timeout, 1)[program]


# ── A wrong program cannot be taken for a right one ──────────────────────────────────────────────

# say(line) writes a reply of one's own to the judge.
SAY = (
    "import json, os, sys\n"
    "def say(line):\n"
    "    for fd in range(3, 9):\n"
    "        try: os.write(fd, line.encode() + b'\\n')\n"
    "        except OSError: pass\n"
)
FORGED = {
    "exit() at import": "exit()",
    "exit in the call": "def add(a, b): exit(0)",
    "raises SystemExit(0)": "def add(a, b): raise SystemExit(0)",
    "os._exit in the call": "import os\ndef add(a, b): os._exit(0)",
    "raises AssertionError": "def add(a, b): raise AssertionError",
    "object equal to everything": (
        "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()"
    ),
    "float equal to everything": (
        "class Any(float):\n"
        "    def __eq__(self, other): return True\n"
        "    __hash__ = None\n"
        "def add(a, b): return Any(0.5)"
    ),
    "string equal to everything": (
        "class Any(str):\n"
        "    def __eq__(self, other): return True\n"
        "    __hash__ = str.__hash__\n"
        "def add(a, b): return Any('3')"
    ),
    "not unequal to anything": (
        "class Any:\n"
        "    def __ne__(self, other): return False\n"
        "    def __bool__(self): return True\n"
        "def add(a, b): return Any()"
    ),
    "lies about its class": (
        "class Any:\n"
        "    __class__ = int\n"
        "    def __eq__(self, other): return True\n"
        "def add(a, b): return Any()"
    ),
    "the class itself, equal by metaclass": (
        "class M(type):\n"
        "    def __eq__(self, other): return True\n"
        "    __hash__ = type.__hash__\n"
        "class Any(metaclass=M): pass\n"
        "def add(a, b): return Any"
    ),
    "patches builtins": (
        "import builtins\n"
        "for name in ('abs', 'len', 'sorted', 'isinstance', 'eval', 'exec'):\n"
        "    setattr(builtins, name, lambda *a: True)\n"
        "def add(a, b): return 0"
    ),
    "patches the executor's own functions": (
        "import sys\n"
        "m = sys.modules['__main__']\n"
        "m.encode = m.decode = lambda *a, **k: [3, [], None]\n"
        "def add(a, b): return 0"
    ),
    "patches json": (
        "import json\njson.dumps = lambda *a, **k: '[true, [], null]'\ndef add(a, b): return 0"
    ),
    "traces and skips": (
        "import sys\n"
        "sys.settrace(lambda *a: None)\n"
        "sys.setprofile(lambda *a: None)\n"
        "def add(a, b): return None"
    ),
    "replies by itself, twice": SAY
    + "def add(a, b):\n    say('[true, [], null]'); say('[true, [], null]')",
    "reply names a built-in function": SAY
    + 'def add(a, b): say(\'[{"type": ["eval"]}, [], null]\')',
    "reply names a stranger's handle": SAY
    + "def add(a, b): say('[{\"handle\": [99999]}, [], null]')",
    "reply of an unknown type": SAY + 'def add(a, b): say(\'[{"os.system": ["true"]}, [], null]\')',
    "reply is an endless range": SAY
    + "def add(a, b): say('[{\"range\": [0, 1000000000000000000, 1]}, [], null]')",
    "reply nested 100,000 deep": SAY + "def add(a, b): say('[' * 100000)",
    "reply nested 900 deep": SAY
    + "def add(a, b): say('[' + '[' * 900 + ']' * 900 + ', [], null]')",
    "reply is not JSON": SAY + "def add(a, b): say('\\x00\\xff')",
    "reply is an object": SAY + "def add(a, b): say('{}')",
    "reply has the error None of nobody": SAY
    + "def add(a, b): say('[null, [], [null, null, null]]')",
    "reply raises KeyboardInterrupt": SAY
    + 'def add(a, b): say(\'[null, [], ["KeyboardInterrupt", "", 0]]\')',
    "reply raises StopIteration": SAY
    + 'def add(a, b): say(\'[null, [], ["StopIteration", "", 0]]\')',
    "changes the arguments into the answer": SAY + "def add(a, b): say('[0, [3, 3], null]')",
    "reads the tests in its memory": (
        "import gc\n"
        "def add(a, b):\n"
        "    for o in gc.get_objects():\n"
        "        if isinstance(o, dict) and 'hidden_tests' in o: return a + b\n"
        "    return None"
    ),
    "reads the tests in the frames above": (
        "import sys\n"
        "def add(a, b):\n"
        "    f = sys._getframe()\n"
        "    while f:\n"
        "        if 'add(-1' + ', 1)' in repr(f.f_locals): return a + b\n"
        "        f = f.f_back"
    ),
    "reads the tests in a module": (
        "import sys\n"
        "def add(a, b):\n"
        "    for m in list(sys.modules.values()):\n"
        "        for v in list(vars(m).values()):\n"
        "            if isinstance(v, (dict, list)):\n"
        "                if 'add(-1' + ', 1)' in repr(v)[:100000]: return a + b"
    ),
}


@pytest.mark.parametrize("code", FORGED.values(), ids=FORGED)
def test_nothing_is_forged(code):
    public, hidden, feedback = judge(ADD, code)
    assert not public and not hidden
    assert 0 < len(feedback) <= 300


SLEEPS = "import time\ndef f(x): time.sleep(60)"


@pytest.mark.parametrize(
    "clause, code",
    [
        ("except Exception", SLEEPS),
        ("except Exception", "def f(x): return [0] * 10 ** 9"),
        ("except Exception", "def f(x): exit()"),
        ("except Exception", SAY + "def f(x): say('junk')"),
        # A bare `except` takes anything that is raised, in Python too: but not the end.
        ("except", SLEEPS),
    ],
)
def test_an_expected_exception_is_not_any_end(clause, code):
    raises = problem(public=[f"try:\n    f(-1)\n    assert False\n{clause}:\n    pass"], hidden=[])
    assert judge(raises, code, timeout=0.3)[0] is False


# ── What a program tries is refused: each returns "held" if it was ───────────────────────────────

ATTEMPTS = {
    "read a secret": "open(SECRET).read()",
    "read the tests": "open(TESTS).read()",
    "list a folder": "os.listdir(FOLDER)",
    "read the judge's memory": "open(f'/proc/{JUDGE}/mem', 'rb').read(1)",
    "read the judge's command line": "open(f'/proc/{JUDGE}/cmdline').read()",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "overwrite a file": "open(CANARY, 'w')",
    "append to a file": "open(CANARY, 'a')",
    "make a file": "open(FOLDER + '/new', 'x')",
    "make a nameless file": "os.open(FOLDER, os.O_TMPFILE | os.O_WRONLY)",
    "delete a file": "os.unlink(CANARY)",
    "rename a file": "os.rename(CANARY, CANARY + '2')",
    "chmod a file": "os.chmod(CANARY, 0)",
    "truncate a file": "os.truncate(CANARY, 0)",
    "change a file's time": "os.utime(CANARY, (0, 0))",
    "link to a file": "os.link(CANARY, CANARY + '2')",
    "make a symbolic link": "os.symlink(CANARY, CANARY + '2')",
    "make a folder": "os.mkdir(FOLDER + '/new')",
    "make a pipe with a name": "os.mkfifo(FOLDER + '/new')",
    "change the root": "os.chroot('/')",
    "fork": "os.fork()",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "run a shell": "subprocess.run('true', shell=True)",
    "exec": "os.execv('/bin/true', ['true'])",
    "vfork by hand": "system(58)",
    "clone by hand": "system(56, 17)",
    "kill a process": "os.kill(SLEEPER, 0)",
    "kill the judge": "os.kill(JUDGE, 0)",
    "kill the zygote": "os.kill(os.getppid(), 9)",
    "signal by fcntl": "fcntl.fcntl(0, 8, JUDGE)",
    "trace the judge": "system(101, 16, JUDGE)",
    "read its memory by system call": "system(310, JUDGE, 0, 0, 0, 0, 0)",
    "limit the judge": "resource.prlimit(JUDGE, resource.RLIMIT_CPU, (1, 1))",
    "raise its own limits": "resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))",
    "slow others down": "os.setpriority(os.PRIO_PROCESS, JUDGE, 19)",
    "become another user": "os.setuid(1)",
    "TCP": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "a socket of the system": "socket.socket(socket.AF_UNIX).connect('/dev/log')",
    "a message to a socket by name": (
        "socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', '/dev/log')"
    ),
    "shared memory": "system(29, 12345, 4096, 0o1666)",
    "a message queue": "system(240, b'/x', 66, 0o666, 0)",
    "a memory file": "os.memfd_create('x')",
    "a namespace": "system(272, 0x10000000)",
    "io_uring": "system(425, 8, 0)",
    "bpf": "system(321, 0, 0, 0)",
    "keys": "system(250, 0, -3, 1)",
    "a call of 32-bit numbers": "system(0x40000000 | 57)",
}
TRY = """import ctypes, errno, fcntl, os, resource, socket, subprocess
def system(*args):
    if ctypes.CDLL(None, use_errno=True).syscall(*args) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def f():
    try: {}
    except OSError as e: return "held" if e.errno in (errno.EPERM, errno.EACCES) else repr(e)
    except ValueError as e: return "held" if "not allowed" in str(e) else repr(e)
    return "escaped"
"""


@pytest.fixture(scope="module")
def missing():
    """The mechanisms that the cage lacks on this system."""
    zygote = sandbox.Zygote(dict(memory=1024))
    names = zygote.wait_until_ready()
    zygote.stop()
    return names


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_what_a_program_tries_is_refused(tmp_path, missing, attempt):
    if missing:
        pytest.skip(f"no {' and '.join(missing)} here")
    if "system(" in attempt and os.uname().machine != "x86_64":
        pytest.skip("numbers of x86-64")
    for name in ("secret", "canary", "tests"):
        (tmp_path / name).write_text("alive")
    sleeper = subprocess.Popen(["sleep", "60"])
    server = socket.create_server(("127.0.0.1", 0))
    values = dict(
        SECRET=f"{tmp_path}/secret",
        TESTS=os.path.abspath(__file__),
        CANARY=f"{tmp_path}/canary",
        FOLDER=str(tmp_path),
        JUDGE=os.getpid(),
        SLEEPER=sleeper.pid,
        PORT=server.getsockname()[1],
    )
    for name, value in values.items():
        attempt = attempt.replace(name, str(value) if name == "JUDGE" else repr(value))
    try:
        verdict = judge(problem(public=["assert f() == 'held'"], hidden=[]), TRY.format(attempt))
        assert verdict == (True, True, "")
        assert sorted(os.listdir(tmp_path)) == ["canary", "secret", "tests"]
        assert (tmp_path / "canary").read_text() == "alive"
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
        server.close()


# ── One program's end is its own ─────────────────────────────────────────────────────────────────

LOUD = {
    "loops": "def add(a, b):\n    while True: pass",
    "sleeps": "import time\ndef add(a, b): time.sleep(100)",
    "sleeps at import": "import time\ntime.sleep(100)",
    "waits for input": "input()",
    "stops itself": ("import os, signal\ndef add(a, b): os.kill(os.getpid(), signal.SIGSTOP)"),
    "ignores every signal": (
        "import signal\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "def add(a, b):\n"
        "    while True: pass"
    ),
    "catches everything and goes on": (
        "def add(a, b):\n"
        "    while True:\n"
        "        try:\n"
        "            while True: pass\n"
        "        except BaseException: pass"
    ),
    "a long call in C": "import re\ndef add(a, b): return re.match('(a+)+$', 'a' * 40 + 'b')",
    "an exception that never finishes": (
        "class E(Exception):\n"
        "    def __str__(self):\n"
        "        while True: pass\n"
        "def add(a, b): raise E"
    ),
    "an iterator without end": "import itertools\ndef add(a, b): return itertools.count()",
    "an answer without end": SAY
    + ("def add(a, b):\n    while True: os.write(4, b'1' * 1000); os.write(3, b'1' * 1000)"),
    "threads without end": (
        "import threading\n"
        "def add(a, b):\n"
        "    for _ in range(50): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()"
    ),
    "eats memory": ("def add(a, b):\n    x = []\n    while True: x.append(bytearray(1 << 24))"),
    "a power too far": "def add(a, b): return 9 ** 9 ** 9",
    "an enormous number": "def add(a, b): return 1 << 3_000_000",
    "a constant that explodes": "def add(a, b): return ((((1 << 99999) ** 99) ** 99) ** 99)",
    "writes and writes": (
        "import sys\n"
        "def add(a, b):\n"
        "    while True: print('x' * 10000); print('x' * 10000, file=sys.stderr)"
    ),
    "recursion": "def add(a, b): return add(b, a)",
    "recursion in C": (
        "def add(a, b):\n"
        "    import sys; sys.setrecursionlimit(10 ** 8)\n"
        "    class R:\n"
        "        def __repr__(self): return repr(self)\n"
        "    return repr(R())"
    ),
    "address 0": "import ctypes\ndef add(a, b): return ctypes.string_at(0)",
    "abort": "import os\ndef add(a, b): os.abort()",
    "closes everything": "import os\ndef add(a, b): os.closerange(0, 100)",
    "10,000 brackets": "x = " + "(" * 10000,
    "a null byte": "x = '\0'",
    "half a surrogate pair": "def add(a, b): return '\ud800'",
    "hashes that all collide": "def add(a, b): return {k * ((1 << 61) - 1) for k in range(9000)}",
}


@pytest.mark.parametrize("code", LOUD.values(), ids=LOUD)
def test_the_neighbours_do_not_notice(code):
    started = time.monotonic()
    programs = [
        ("add", code),
        ("add", GOOD),
        ("add", "def add(a, b): return a - b"),
        ("add", GOOD + " # again"),
    ]
    verdicts = list(ex.execute({"add": ADD}, programs, 0.3, 1).values())
    assert verdicts[0][:2] == (False, False)
    assert len(verdicts[0][2]) <= 300
    assert verdicts[1] == verdicts[3] == (True, True, "")
    assert verdicts[2][:2] == (False, False)
    assert time.monotonic() - started < 8


# ── Odd, but right ───────────────────────────────────────────────────────────────────────────────

ODD = {
    "a thread with a deep stack": (
        "import sys, threading\n"
        "sys.setrecursionlimit(10 ** 6)\n"
        "threading.stack_size(1 << 27)\n"
        "def deep(n): return n and deep(n - 1)\n"
        "def add(a, b):\n"
        "    t = threading.Thread(target=deep, args=(20000,)); t.start(); t.join()\n"
        "    return a + b"
    ),
    "asyncio": (
        "import asyncio\n"
        "async def work(a, b):\n"
        "    await asyncio.sleep(0)\n"
        "    return a + b\n"
        "def add(a, b): return asyncio.run(work(a, b))"
    ),
    "its own random numbers": (
        "import random\n"
        "def add(a, b):\n"
        "    random.seed(1)\n"
        "    return a + b + 0 * random.randint(1, 2)"
    ),
    "imports at call time": (
        "def add(a, b):\n"
        "    import decimal, fractions, json, sqlite3, statistics, unittest\n"
        "    return a + b"
    ),
    "prints half a surrogate pair": "def add(a, b):\n    print('\\ud800 é')\n    return a + b",
    "an alarm of its own": (
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *a: None)\n"
        "def add(a, b):\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "    signal.pause() if False else None\n"
        "    return a + b"
    ),
    "non-ASCII names": "def add(α, β): return α + β",
    "a generator's sum": "def add(a, b): return sum(x for x in (a, b))",
    "an int of its own class": (
        "class N(int):\n"
        "    def __add__(self, other): return N(int(self) + int(other))\n"
        "def add(a, b): return N(a) + N(b)"
    ),
    "a dataclass inside": (
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class P:\n"
        "    a: int\n"
        "    b: int\n"
        "def add(a, b):\n"
        "    p = P(a, b)\n"
        "    return p.a + p.b"
    ),
    "asks where it is": (
        "import os, sys, platform\n"
        "def add(a, b):\n"
        "    os.getcwd(), os.getpid(), sys.argv, os.environ.get('HOME')\n"
        "    os.cpu_count(), platform.system()\n"
        "    return a + b"
    ),
}


@pytest.mark.parametrize("code", ODD.values(), ids=ODD)
def test_odd_but_right(code):
    assert judge(ADD, code) == (True, True, "")


# ── Ends ─────────────────────────────────────────────────────────────────────────────────────────


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return " Z " not in file.read()
    except FileNotFoundError:
        return False


def wait_for_programs(pid):
    """Wait until programs run under both zygotes of a stage → the numbers of all its processes."""
    for _ in range(100):
        time.sleep(0.05)
        zygotes = children_of(pid)
        tree = zygotes + [child for zygote in zygotes for child in children_of(zygote)]
        if len(tree) >= 4:
            return tree
    raise AssertionError(tree)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_killed_it_leaves_nothing(tmp_path):
    """SIGKILL in the middle: no process stays, and no file but NAME.part. Then it runs again."""
    loop = "def f(x):\n    while x < {} * 10 ** 9: x += 1\n    return x + 1"
    samples = [step(trajectory=k, code=loop.format(k)) for k in (0, 1, 2, 3)]
    write(tmp_path / "p", [problem(public=["assert f(1) == 2"], hidden=[])])
    write(tmp_path / "s", samples)
    command = [sys.executable, f"{ROOT}/02_execute.py", "--problems", "p", "--samples", "s"]
    command += ["--out", "steps", "--workers", "2", "--timeout"]

    stage_process = subprocess.Popen([*command, "20"], cwd=tmp_path, start_new_session=True)
    tree = wait_for_programs(stage_process.pid)
    stage_process.send_signal(signal.SIGKILL)
    stage_process.wait()
    time.sleep(0.5)
    assert [pid for pid in tree if is_alive(pid)] == []
    assert set(os.listdir(tmp_path)) <= {"p", "s", "steps.part"}

    # The next run gives what this one would have given.
    subprocess.run([*command, "0.3"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert [s["public_passed"] for s in read(tmp_path / "steps")] == [True, False, False, False]
