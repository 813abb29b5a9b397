"""lib/sandbox.py and lib/zygote.py: judges and zygotes that die, limits, the filter of calls."""

import errno
import importlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from lib import sandbox, zygote

import pytest
from conftest import ROOT, problem, stage

ex = stage(2)
LIMITS = {"timeout": 0.1, "memory": 256}
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Judges import the work that they are given by its file. This is one, without the imports of the
# tests. `shared` is the path of a file where some of them leave a line for each try.
WORKS = '''
import ctypes
import os
import signal
import sys
import time
from contextlib import closing

from lib.sandbox import Program, ProgramFailed


def count_cpus(zygote, shared, limits):
    yield len(os.sched_getaffinity(0)), len(os.sched_getaffinity(zygote.process.pid))


def define(zygote, limits, code):
    """A program in its process, and what it calls f."""
    program = Program(zygote, limits, code)
    (f,) = program.ask("load", code, "f")
    return program, f


def note(path):
    """Leave a line → how many there are now."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    with open(path) as file:
        return len(file.readlines())


def double(zygote, shared, limits, number):
    yield number * 2


def count_up(zygote, shared, limits, number):
    yield from range(number)


def slow_first(zygote, shared, limits, number):
    time.sleep(0.3 if number == 0 else 0)
    yield number


def echo(zygote, shared, limits, text):
    print("This must not reach the stdout of the stage.")
    sys.stdin.read()
    yield [shared, text]


def die_once(zygote, shared, limits, number):
    yield number
    if number == 3 and note(shared) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    yield number * 2


def die_always(zygote, shared, limits, number):
    yield number
    if number == 3 and note(shared):
        os.kill(os.getpid(), signal.SIGKILL)
    yield number * 2


def die_in_a_line(zygote, shared, limits, number):
    if number == 3 and note(shared) == 1:
        # The judge's own socket.
        os.write(int(sys.argv[1]), b'[1, [2, "')
        os.kill(os.getpid(), signal.SIGKILL)
    yield number


def die_for_all(zygote, shared, limits, number):
    """This judge dies, and the next ones do so when they import this file."""
    with open(__file__, "a") as file:
        file.write("os._exit(1)\\n")
    os._exit(1)
    yield


def crash(zygote, shared, limits, number):
    yield number
    if number == 3 and note(shared):
        ctypes.string_at(0)
    yield number * 2


def burn(zygote, shared, limits, number):
    """0 burns from its beginning on, 1 after its first result."""
    while number == 0:
        pass
    yield number
    if number == 1:
        # One instruction of Python's, which no handler of ours could interrupt.
        sum(range(10**13))
    yield number * 2


def eat(zygote, shared, limits, number):
    yield number
    if number == 1:
        note(shared)
        yield len(bytearray(1 << 30))
    # What a program may have, its judge has too.
    yield len(bytearray(100 << 20)) >> 20


def kill_zygote(zygote, shared, limits, number):
    """Number 1 loses its zygote while it runs, the first time; number 3 after its last question."""
    program, f = define(zygote, limits, f"def f(): return {number}")
    with closing(program):
        if number in (1, 3) and note(shared) in (1, 3):
            zygote.process.kill()
            zygote.process.wait()
        try:
            yield f() if number != 3 else number
        except ProgramFailed as failure:
            yield str(failure)


def order_of_sets(zygote, shared, limits, words):
    yield list(set(words))
    program, f = define(zygote, limits, "def f(words): return list(set(words))")
    with closing(program):
        yield f(words)


def processes(zygote, shared, limits, code):
    """Write down who is there, then let the program work for as long as it likes."""
    program, f = define(zygote, limits, code)
    with open(shared + ".part", "w") as file:
        print(os.getpid(), zygote.process.pid, program.pid, file=file)
    os.rename(shared + ".part", shared)
    yield f()


def children(zygote, shared, limits, number):
    """Run many programs → how many processes the zygote has at most."""
    counts = []
    for _ in range(number):
        program, _ = define(zygote, limits, "def f(): pass")
        with closing(program):
            with open(f"/proc/{zygote.process.pid}/task/{zygote.process.pid}/children") as file:
                counts.append(len(file.read().split()))
    yield max(counts)
'''


@pytest.fixture
def works(tmp_path, monkeypatch):
    """The module of WORKS. `works.notes` is the path of a file that none has written to yet."""
    (tmp_path / "works.py").write_text(WORKS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("works", None)
    module = importlib.import_module("works")
    module.notes = str(tmp_path / "notes")
    return module


def run_numbers(work, shared=None, count=5, workers=2):
    """The results of a work on the numbers from 0 on."""
    items = [(number,) for number in range(count)]
    found = in_time(lambda: list(sandbox.run_all(work, items, shared, LIMITS, workers)))
    assert [item for item, _ in found] == items
    return [results for _, results in found]


def in_time(call, seconds=20):
    """What a call returns or raises. A failure where it waits without end."""
    outcome = []

    def run():
        try:
            outcome.extend([call(), None])
        except BaseException as error:
            outcome.extend([None, error])

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, "It waits without end."
    value, error = outcome
    if error:
        raise error
    return value


# ── Judges ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("workers", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_items(works, workers):
    assert run_numbers(works.double, workers=workers) == [[0], [2], [4], [6], [8]]


def test_results_come_in_order_when_the_first_is_the_last_to_end(works):
    assert run_numbers(works.slow_first) == [[0], [1], [2], [3], [4]]


def test_a_work_may_yield_any_number_of_results(works):
    assert run_numbers(works.count_up) == [[], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_no_items_start_no_judge(works, monkeypatch):
    monkeypatch.setattr(sandbox, "start", None)
    assert run_numbers(works.double, count=0) == []


def test_items_and_results_of_any_size(works, capfd):
    """More than a socket holds, in letters of any kind. And what a work prints goes nowhere."""
    texts = ["", "é\n\0\u2028", "x" * 3_000_000, "\ud800", '"\\']
    found = list(sandbox.run_all(works.echo, [[text] for text in texts], {"a": [1]}, LIMITS, 2))
    assert found == [([text], [[{"a": [1]}, text]]) for text in texts]
    assert capfd.readouterr() == ("", "")


def tries(works):
    """The pids of the judges that have left a line."""
    with open(works.notes) as file:
        return file.read().split()


def test_a_judge_that_is_killed_is_replaced_and_its_item_judged_again(works):
    found = run_numbers(works.die_once, works.notes)
    assert found == [[0, 0], [1, 2], [2, 4], [3, 6], [4, 8]]
    # By another process.
    assert len(set(tries(works))) == len(tries(works)) == 2


@pytest.mark.parametrize("name", ["die_always", "crash"])
def test_an_item_that_kills_every_judge_has_its_first_result_at_most(works, name):
    """It is tried twice, and then a third time no further than to its first result."""
    for workers in (1, 2):
        found = run_numbers(getattr(works, name), works.notes, workers=workers)
        assert found == [[0, 0], [1, 2], [2, 4], [3], [4, 8]]
    assert len(tries(works)) == 4


def test_a_judge_may_die_in_the_middle_of_a_line(works):
    """Killed for want of memory, say, while it tells its results."""
    assert run_numbers(works.die_in_a_line, works.notes) == [[0], [1], [2], [3], [4]]
    assert len(tries(works)) == 2


def test_a_judge_that_does_not_start_again_is_not_waited_for(works, monkeypatch):
    """The system has no room for another process, say. Then the stage ends, in whatever way."""
    start = sandbox.start
    starts = []

    def start_once(*args, **options):
        starts.append(args)
        if len(starts) > 1:
            raise BlockingIOError(11, "no more processes")
        return start(*args, **options)

    monkeypatch.setattr(sandbox, "start", start_once)
    with suppress(OSError, SystemExit):
        run_numbers(works.die_once, works.notes, workers=1)
    assert len(starts) > 1


def test_a_judge_that_dies_when_it_starts_again_is_not_waited_for(works):
    with suppress(OSError, SystemExit):
        run_numbers(works.die_for_all, workers=1)


def test_a_work_that_burns_cpu_is_cut_off(works):
    """What it yields first is kept, and the next items are right."""
    started = time.monotonic()
    assert run_numbers(works.burn) == [[], [1], [2, 4], [3, 6], [4, 8]]
    # Two items, each of them twice, with 1.2 s of a CPU.
    assert time.monotonic() - started < 15


@linux
def test_a_work_that_eats_memory_is_cut_off(works):
    found = run_numbers(works.eat, works.notes)
    # Whether the 1 GB cost the first result is left open: it may as well count as a killed judge.
    assert found[1] in ([], [1])
    assert found[:1] + found[2:] == [[0, 100], [2, 100], [3, 100], [4, 100]]


def test_a_judge_whose_zygote_is_killed_is_replaced(works):
    """In the middle of an item, and behind its last question: no verdict rests on a dead zygote."""
    assert run_numbers(works.kill_zygote, works.notes, workers=1) == [[0], [1], [2], [3], [4]]
    assert len(tries(works)) == 4


def test_sets_have_the_same_order_on_every_run(works, monkeypatch):
    """In the judge and in the program, whatever the environment of the stage says."""
    words = [f"word {k}" for k in range(50)]
    orders = []
    for seed in ("0", "1", "random", None):
        if seed:
            monkeypatch.setenv("PYTHONHASHSEED", seed)
        else:
            monkeypatch.delenv("PYTHONHASHSEED")
        ((_, both),) = sandbox.run_all(works.order_of_sets, [[words]], None, LIMITS, 1)
        orders += both
    assert len(orders) == 8
    assert all(order == orders[0] for order in orders)
    assert sorted(orders[0]) == sorted(words)


@linux
def test_nothing_outlives_a_killed_stage(works):
    """Judge, zygote and program end with the stage, also a program that burns and ignores all."""
    stage_code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import works; from lib import sandbox\n"
        "limits = {'timeout': 60, 'memory': 256}\n"
        "list(sandbox.run_all(works.processes, [sys.argv[3:4]], sys.argv[4], limits, 1))\n"
    )
    code = "import signal\ndef f():\n    signal.signal(15, signal.SIG_IGN)\n    while True: pass"
    folder = os.path.dirname(works.__file__)
    command = [sys.executable, "-c", stage_code, ROOT, folder, code, works.notes]
    with subprocess.Popen(command) as killed:
        wait_until(lambda: os.path.exists(works.notes))
        with open(works.notes) as file:
            pids = file.read().split()
        assert len(pids) == 3
        assert all(map(is_alive, pids))
        killed.kill()
    wait_until(lambda: not any(map(is_alive, pids)))


def is_alive(pid):
    """Is there such a process, and not as a zombie?"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=10):
    """Wait, and fail where it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@linux
def test_a_zygote_keeps_few_processes(works):
    ((_, (most,)),) = sandbox.run_all(works.children, [[60]], None, LIMITS, 1)
    # The one that works, the next one, and those that are not collected yet.
    assert most <= 4


@linux
def test_nothing_is_left_of_a_call_that_is_broken_off(works):
    before = child_processes()
    for _, results in sandbox.run_all(works.double, [(k,) for k in range(20)], None, LIMITS, 2):
        assert results == [0]
        break
    wait_until(lambda: not any(map(is_alive, child_processes() - before)))


def child_processes():
    """The pids of this process's children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


def test_too_little_memory_for_python_is_one_line(works, refused):
    refused(
        lambda: list(sandbox.run_all(works.double, [[1]], None, LIMITS | {"memory": 5})), "5 MB"
    )


def test_what_is_missing_is_said_once_or_refused(capsys, refused):
    sandbox.say_missing.cache_clear()
    for _ in range(2):
        sandbox.say_missing(("Landlock",), False)
    assert capsys.readouterr().err.count("no Landlock") == 1
    refused(lambda: sandbox.say_missing(("seccomp",), True), "no seccomp", "--require-sandbox")
    refused(lambda: sandbox.say_missing(("Landlock", "seccomp"), True), "no Landlock", "no seccomp")
    sandbox.say_missing((), True)
    assert capsys.readouterr().err == ""


# ── What a zygote is made of ─────────────────────────────────────────────────────────────────────


def test_a_zygote_needs_two_files_only():
    """Every module that it imports costs a little in each program: the standard library's only."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from lib import zygote\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] == 'lib'))\n"
        "print(*{'torch', 'numpy', 'tqdm'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code, ROOT]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "lib lib.values lib.zygote\n\n"


def test_arguments_may_have_any_name():
    p = problem(public=["assert f(action=1, function=2, self=3) == 6"], hidden=[])
    code = "def f(action, function, self): return action + function + self"
    assert ex.execute({"p": p}, [("p", code)])["p", code][0]


@pytest.mark.parametrize(
    "test",
    [
        "assert f(iter([])) == 3",
        "assert f(iter([1, 2])) == 3",
        "assert f(x for x in 'ab') > 3",
        "it = iter([1])\nf(it)\nassert f(it) == 3",
        "assert f([iter('')], k={1: iter([])}) is None",
    ],
)
def test_a_wrong_answer_to_an_iterator_is_wrong_and_no_more(test):
    """The hidden test passes, and feedback says what the function gave."""
    p = problem(public=[test], hidden=["assert f(5) == 0"])
    code = "def f(x, k=0): return 0"
    public, hidden, feedback = ex.execute({"p": p}, [("p", code)])["p", code]
    assert (public, hidden) == (False, True)
    assert "gave 0" in feedback


# ── The filter of system calls ───────────────────────────────────────────────────────────────────

VERDICTS = {0x7FFF0000: "allow", 0x50001: "EPERM", 0x50026: "ENOSYS", 0x80000000: "kill"}


def verdict_of(instructions, architecture, number, *args):
    """The kernel's packet filter, by hand: what it gives to a system call."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("HBBI", instructions))
    line = 0
    value = 0
    while True:
        operation, if_equal, if_not, operand = code[line]
        line += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:
            value &= operand
        elif operation == 0x15:
            line += if_equal if value == operand else if_not
        elif operation == 0x06:
            return VERDICTS[operand]


# Numbers from the kernel's own tables (asm/unistd.h), so that no column can be that of the other
# machine.
NAMES = """
    read exit_group openat clone fork execve kill socket unlink ptrace clone3
"""
X86_64 = dict(zip(NAMES.split(), (0, 231, 257, 56, 57, 59, 62, 41, 87, 101, 435)))
AARCH64 = dict(zip(NAMES.split(), (63, 94, 56, 220, None, 221, 129, 198, 35, 117, 435)))


@pytest.mark.parametrize(
    "machine, architecture, calls",
    [("x86_64", 0xC000003E, X86_64), ("aarch64", 0xC00000B7, AARCH64)],
)
def test_the_filter_of_each_machine(machine, architecture, calls):
    of_zygote, of_program = zygote.seccomp_filters(machine)
    order = ["kill", "EPERM", "ENOSYS", "allow"]  # the kernel heeds the first that a filter gives

    def verdict(name, *args):
        """Of both filters together, as a program has them."""
        question = (architecture, calls[name], *args)
        return min((verdict_of(f, *question) for f in (of_zygote, of_program)), key=order.index)

    # A zygote may fork, and kill what it has forked.
    assert verdict_of(of_zygote, architecture, calls["clone"], 17) == "allow"
    assert verdict_of(of_zygote, architecture, calls["kill"]) == "allow"
    assert verdict_of(of_zygote, architecture, calls["execve"]) == "EPERM"

    assert verdict("read") == verdict("exit_group") == "allow"
    refused = ("fork", "execve", "kill", "socket", "unlink", "ptrace")
    assert {verdict(name) for name in refused if calls[name]} == {"EPERM"}
    assert verdict("clone3") == "ENOSYS"

    # A thread, a process.
    assert verdict("clone", 0x50F00 | 0x10000) == "allow"
    assert verdict("clone", 17) == "EPERM"

    # O_RDONLY, with O_CLOEXEC, and five ways to write.
    assert verdict("openat", 0, 0, 0) == verdict("openat", 0, 0, 0o2000000) == "allow"
    writing = (1, 2, 0o100, 0o1000, 0o20000000)
    assert {verdict("openat", 0, 0, flags) for flags in writing} == {"EPERM"}

    # A call of i386.
    assert verdict_of(of_zygote, 0x40000003, 0) == "kill"


@linux
def test_the_filter_is_in_force_in_the_process_of_each_program():
    """What the kernel says of it, not what the cage believes to have done."""
    caged = sandbox.Zygote(256)
    missing = caged.read(caged.control)
    for _ in range(3):
        program = sandbox.Program(caged, LIMITS, "")
        program.ask("load", "", "f")
        with open(f"/proc/{program.pid}/status") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines())
        program.close()
        # 2 is a filter. Without the other, the kernel takes none.
        assert status["Seccomp"] == ("0" if "seccomp" in missing else "2")
        assert status["NoNewPrivs"] == "1"
        # The zygote's and, on top of it, the program's own.
        assert status.get("Seccomp_filters", "2") == ("0" if "seccomp" in missing else "2")
    caged.control.close()
    caged.process.kill()
    caged.process.wait()


def test_other_machines_have_no_filter():
    assert zygote.seccomp_filters("riscv64") == (b"", b"")


class OpenZygote(sandbox.Zygote):
    """A zygote on a system that has neither Landlock nor seccomp."""

    def __init__(self, memory):
        code = "from lib import zygote\nzygote.cage = lambda: ([], b'')\nzygote.main()\n"
        self.control, theirs = socket.socketpair()
        command = [sys.executable, "-S", "-c", code, str(theirs.fileno()), str(memory << 20)]
        with theirs:
            self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        assert self.read(self.control) == []


@linux
def test_the_limits_hold_without_any_other_part_of_the_cage(tmp_path):
    """No file is written, no memory had beyond the limit, and no more than 64 files are open."""
    code = (
        "def f(path):\n"
        "    try:\n"
        "        open(path, 'wb', buffering=0).write(b'x')\n"
        "    except OSError as error:\n"
        "        yield 'file', error.errno\n"
        "    try:\n"
        "        bytearray(256 << 20)\n"
        "    except MemoryError:\n"
        "        yield 'memory'\n"
        "    files = []\n"
        "    try:\n"
        "        while True: files.append(open('/dev/null'))\n"
        "    except OSError as error:\n"
        "        yield 'files', error.errno, len(files) > 30\n"
    )
    open_zygote = OpenZygote(256)
    program = sandbox.Program(open_zygote, LIMITS, code)
    (f,) = program.ask("load", code, "f")
    found = [("file", errno.EFBIG), "memory", ("files", errno.EMFILE, True)]
    assert list(f(str(tmp_path / "file"))) == found
    assert (tmp_path / "file").read_bytes() == b""

    # It ends when its judge hangs up.
    program.close()
    open_zygote.control.shutdown(socket.SHUT_RDWR)
    assert open_zygote.process.wait(10) == 0


@pytest.fixture
def ask():
    """ask(code, name): what a program calls so, in a process of its own."""
    caged = sandbox.Zygote(256)
    caged.read(caged.control)
    program = sandbox.Program(caged, LIMITS, "")
    yield lambda code, name: program.ask("load", code, name)
    program.close()
    caged.control.close()
    caged.process.wait()


OWN_NAMES = """
class Person:
    def __init__(self, name):
        self._name, self._number, self._program, self._is_special, self.own = name, 7, "p", 1, "o"
def f(x):
    return Person(x)
class Steps:
    def __init__(self): self._items, self._count, self.items = [1], 5, [2]
    def __iter__(self): return self
    def __next__(self): return 3
def steps(): return Steps()
"""


def test_attributes_are_the_programs_whatever_they_are_called(ask):
    """None is taken for what the judge knows of the object."""
    (f,) = ask(OWN_NAMES, "f")
    person = f("Bob")
    assert (person._name, person._number, person._program) == ("Bob", 7, "p")
    assert (person._is_special, person.own) == (1, "o")
    person._number = 8
    assert person._number == 8
    assert person.__dict__["_name"] == "Bob"
    assert not isinstance(person, (int, str, type(f)))
    assert f.__doc__ is None
    assert not hasattr(person, "name")


def test_attributes_of_an_iterator_are_the_programs(ask):
    (steps,) = ask(OWN_NAMES, "steps")
    them = steps()
    assert (them._items, them._count, them.items, next(them)) == ([1], 5, [2], 3)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ExceptionGroup is newer")
def test_an_exception_that_cannot_be_made_again_is_told_all_the_same(ask):
    (f,) = ask("def f(): raise ExceptionGroup('all', [ValueError(1)])", "f")
    with pytest.raises(Exception) as raised:
        f()
    assert raised.value.report.startswith("ExceptionGroup: all (1 sub-exception), line 1")


@linux
def test_a_judge_and_its_programs_share_one_cpu(works):
    ((_, (cpus,)),) = sandbox.run_all(works.count_cpus, [[]], None, LIMITS)
    assert cpus == [1, 1]


def judges_of_this_process():
    """Their process numbers."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and "sandbox" in (path / "cmdline").read_text():
                found.add(path.name)
    return found


@linux
def test_a_call_returns_when_its_judges_have_ended(works):
    """Not a moment later, so that what follows has the machine to itself."""
    # A call that another test has broken off may still have judges.
    for thread in threading.enumerate():
        if "run_share" in thread.name:
            thread.join(30)
    list(sandbox.run_all(works.count_cpus, [[]] * 4, None, LIMITS, workers=2))
    assert judges_of_this_process() == set()
