"""A run that is killed goes on to the same bytes, and nothing of it lives on.

Three kills of a small run by default; `KILLS=25 bash tests/run.sh tests/test_kills.py` makes five
runs of PRESET=smoke, of five kills each, in ten minutes.
"""

import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import ROOT

KILLS = int(os.environ.get("KILLS", 3))
PER_RUN = 5  # kills of one run at most
# Without KILLS, a run that is smaller still.
SMALL = dict(TRAIN="40", TEST="8", STEPS="8", N="2", CONTROLS="none")
SETTINGS = dict(PRESET="smoke", SEED="7", **({} if "KILLS" in os.environ else SMALL))
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes there")


def ignore_no_signal():
    """What a shell starts in the background ignores Ctrl-C, and what nohup starts SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(folder):
    """A run in a session of its own, as a terminal's would be."""
    command = ["bash", f"{ROOT}/run_all.sh"]
    with open(folder.with_suffix(".log"), "a") as log:
        environment = {**os.environ, **SETTINGS, "RUN": str(folder)}
        return subprocess.Popen(
            command,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=ignore_no_signal,
        )


def processes_of(folder):
    """{pid: its command line} of all processes that were started with this folder as RUN."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environment = file.read().split(b"\0")
            with open(f"/proc/{name}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
        if f"RUN={folder}".encode() in environment and command:
            found[int(name)] = command
    return found


def below(run):
    """{pid: when it began} of a run and all its descendants, also judges, who have no RUN."""
    parents = {}
    began = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            _, _, fields = file.read().rpartition(") ")
            parents[int(name)] = int(fields.split()[1])
            began[int(name)] = fields.split()[19]
    found = {run.pid}
    for _ in range(20):  # generations
        found |= {pid for pid, parent in parents.items() if parent in found}
    return {pid: began[pid] for pid in found if pid in began}


def alive(pid, began):
    """Does this process still run, and is it no other one of that number?"""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        _, _, fields = file.read().rpartition(") ")
        return fields.split()[19] == began and fields[0] != "Z"
    return False


def left_of(folder, before):
    """{pid: what it is} of the processes of a folder, and of those `before` that still run."""
    left = processes_of(folder)
    left.update((pid, "a descendant") for pid in before if alive(pid, before[pid]))
    return left


def stages_of(folder):
    """The processes of a run that are a stage."""
    return [pid for pid, line in processes_of(folder).items() if re.search(r"0[1-6]_\w+\.py", line)]


def kill(run, folder, rng):
    """One of four signals to the shell, to its whole session's group, or to a stage."""
    number = rng.choice(SIGNALS)
    target = rng.choice(["shell", "group", "stage"])
    stages = stages_of(folder)
    if target == "stage" and stages:
        os.kill(rng.choice(stages), number)
    elif target == "group":
        os.killpg(run.pid, number)
    else:
        os.kill(run.pid, number)
    return f"{number.name} to the {target}"


def contents(folder):
    """{path: hash} of everything that a run leaves, but what tells of the machine."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("code/"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run that nobody kills, what it holds, and how long it took."""
    folder = tmp_path_factory.mktemp("kills") / "run"
    began = time.monotonic()
    assert start(folder).wait() == 0, folder.with_suffix(".log").read_text()
    return folder, contents(folder), time.monotonic() - began


@pytest.mark.parametrize("seed", range(-(-KILLS // PER_RUN)))
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(undisturbed, tmp_path, seed):
    finished, expected, seconds = undisturbed
    rng = random.Random(seed)
    folder = tmp_path / "run"
    kills = min(PER_RUN, KILLS - seed * PER_RUN)
    if "KILLS" not in os.environ:
        # School is over, to save time.
        (folder / "base").mkdir(parents=True)
        for name in ("problems", "model", "base/policy", "settings"):
            copy = shutil.copytree if (finished / name).is_dir() else shutil.copy
            copy(finished / name, folder / name)
    for number in range(kills):
        run = start(folder)
        # Moments all over the run, since what is made is not made again.
        time.sleep(rng.uniform(0.05, 0.9) * seconds / kills)
        before = below(run)
        if run.poll() is None:
            what = kill(run, folder, rng)
        # A stage that dies takes the run with it, and a run its stages.
        deadline = time.monotonic() + 2
        while (left := left_of(folder, before)) and time.monotonic() < deadline:
            time.sleep(0.05)
        left.pop(run.pid, None)  # ours to bury, below
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"kill {number}, {what}: {left}"
        run.wait()

    log = folder.with_suffix(".log")
    assert start(folder).wait() == 0, log.read_text()
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    # Kills are told in a line each, by whoever dies last.
    assert "Traceback" not in log.read_text()
