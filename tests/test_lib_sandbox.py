"""lib/sandbox.py and lib/zygote.py: what crosses, zygotes that die, the filter of each machine."""

import json
import os
import struct
import subprocess
import sys

import pytest
from conftest import ROOT, problem, stage

from lib import sandbox, zygote

ex = stage(2)
ADD = problem("add", public=["assert add(1, 2) == 3"], hidden=[], entry_point="add")
GOOD = "def add(a, b): return a + b"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        1 << 70,
        0.1,
        2 - 1j,
        "é",
        b"\x00\xff",
        [1, [2]],
        (1, (2,), ()),
        {1, 2},
        frozenset({(1, 2)}),
        {(1, 2): [3], "a": {}},
        range(3, 9, 2),
        int,
    ],
)
def test_plain_data_crosses_unchanged(value):
    data = json.loads(json.dumps(zygote.encode(value, None)))
    back = zygote.decode(data, None)
    assert back == value
    assert type(back) is type(value)


def test_what_is_not_plain_crosses_by_its_number():
    things = []

    def handle(thing):
        things.append(thing)
        return len(things) - 1

    data = zygote.encode([1, handle, (handle,)], handle)
    assert zygote.decode(data, lambda number: f"thing {number}") == [1, "thing 0", ("thing 1",)]


def test_deep_data_is_refused():
    deep = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deep"):
        zygote.decode(deep, None)


def test_arguments_may_have_any_name():
    p = problem(public=["assert f(action=1, function=2, self=3) == 6"], hidden=[])
    code = "def f(action, function, self): return action + function + self"
    assert ex.execute({"p": p}, [("p", code)])["p", code][0]


def test_a_zygote_needs_its_own_file_only():
    """It is executed outside the project, without any package: nothing of lib/ can be imported."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1])"
    path = os.path.join(ROOT, "lib", "zygote.py")
    subprocess.run([sys.executable, "-I", "-S", "-c", code, path], cwd="/", check=True)


def test_a_killed_zygote_is_replaced(monkeypatch):
    starts = []
    start = sandbox.Zygote.start
    monkeypatch.setattr(sandbox.Zygote, "start", lambda self: starts.append(1) or start(self))
    judge = ex.judge
    verdicts = []

    def judge_and_kill(zygote, *rest):
        verdicts.append(judge(zygote, *rest))
        if len(verdicts) == 2:
            zygote.process.kill()
        return verdicts[-1]

    monkeypatch.setattr(ex, "judge", judge_and_kill)
    programs = [("add", GOOD + "\n" * k + f"# {k}") for k in range(5)]
    verdicts_of = ex.execute({"add": ADD}, programs, 3.0, 1)
    assert list(verdicts_of) == programs
    assert set(verdicts_of.values()) == {(True, True, "")}
    assert len(starts) == 2


def test_a_program_that_died_with_its_zygote_is_run_again():
    runs = []

    def work(zygote, item):
        program = sandbox.Program(zygote, dict(timeout=3.0), "def f(): return 7")
        # The first time, for want of memory, say.
        if not runs:
            zygote.process.kill()
            zygote.process.wait()
        runs.append(item)
        try:
            return program.load(["f"])["f"]()
        except sandbox.ProgramFailed as failure:
            return str(failure)
        finally:
            program.close()

    results = sandbox.run_all(work, ["item"], dict(timeout=3.0, memory=1024), 1)
    assert list(results) == [("item", 7)]
    assert runs == ["item", "item"]


def test_what_is_missing_is_said_once_or_refused(capsys):
    sandbox.say_missing.cache_clear()
    for _ in range(2):
        sandbox.say_missing(("Landlock",), False)
    assert capsys.readouterr().err.count("no Landlock") == 1
    with pytest.raises(sandbox.NoSandbox, match="no seccomp .* --require-sandbox"):
        sandbox.say_missing(("seccomp",), True)
    sandbox.say_missing((), True)
    assert capsys.readouterr().err == ""


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
    instructions = zygote.seccomp_filter(machine)

    def verdict(name, *args):
        return verdict_of(instructions, architecture, calls[name], *args)

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
    assert verdict_of(instructions, 0x40000003, 0) == "kill"


def test_other_machines_have_no_filter():
    assert zygote.seccomp_filter("riscv64") == b""


def test_the_limits_hold_without_any_other_part_of_the_cage(tmp_path):
    """Where there is no seccomp, no file is written and no memory had beyond the limit."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import zygote\n"
        "file = open(sys.argv[2], 'wb', buffering=0)\n"
        "zygote.set_limits(1 << 28)\n"
        "try: file.write(b'x')\n"
        "except OSError: print('no file')\n"
        "try: bytearray(1 << 29)\n"
        "except MemoryError: print('no memory')\n"
    )
    command = [sys.executable, "-c", code, os.path.join(ROOT, "lib"), str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True)
    expected = ["no file", "no memory"] if sys.platform == "linux" else ["no file"]
    assert done.stdout.splitlines()[: len(expected)] == expected
