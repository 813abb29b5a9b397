"""lib/ends.py: a stage that ends early says so in a line, and it does not outlive its run."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, STAGES, read, write

PREPARE = f"import sys, os, time; sys.path.insert(0, {ROOT!r}); import lib.rows; "


def python(code, **environment):
    """Start a Python that has imported what every stage imports."""
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE + code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so does all below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process):
    """(status, stdout, stderr) of a process that ends by itself."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def scored(tmp_path):
    """A scored.jsonl of one correct step."""
    step = dict(policy="base", task_id="p", trajectory=0, turn=1, completion="a", code="a")
    step.update(messages=[dict(role="user", content="φ?")], feedback="", score=1.0)
    return write(tmp_path / "scored.jsonl", [dict(step, public_passed=True, hidden_passed=True)])


@pytest.mark.parametrize("package", ["torch", "transformers", "numpy", "tqdm"])
@pytest.mark.parametrize("stage", [name for name in STAGES if name[:2] in ("01", "03", "05", "06")])
def test_a_missing_package_is_named_in_a_line(stage, package):
    code = f"sys.modules[{package!r}] = None; sys.argv = ['{stage}.py']; __import__({stage!r})"
    status, out, err = ended(python(code))
    *warnings, line = err.splitlines()
    assert (status, out, line.count("Traceback")) == (2, "", 0)
    assert line.startswith(f"{stage}.py: the package {package} is missing; run_all.sh")
    # torch has a warning of its own where numpy is missing.
    assert warnings == [] or package == "numpy"


@pytest.mark.parametrize("stage", [*STAGES, "data/cafe", "data/mbpp", "data/check"])
def test_an_old_python_is_refused_in_a_line(stage):
    """Where one is installed; what no older Python compiles comes after the check."""
    old = next(filter(shutil.which, ("python3.9", "python3.8")), None)
    done = subprocess.run([old, "-c", ""], capture_output=True) if old else None
    if not old or done.returncode != 0:
        pytest.skip("no Python 3.9 or 3.8")
    done = subprocess.run([old, f"{ROOT}/{stage}.py"], capture_output=True, text=True)
    name = os.path.basename(stage)
    assert (done.returncode, done.stderr) == (2, f"{name}.py: Python 3.10 or newer is needed\n")


def test_ctrl_c_is_one_line():
    code = "sys.argv = ['05_x.py']; os.kill(os.getpid(), 2); time.sleep(9)"
    status, _, err = ended(python(code))
    assert status == -signal.SIGINT  # a shell calls it 130
    assert err == "\n05_x.py: cut off\n"


def test_a_fault_of_ours_keeps_its_traceback():
    status, _, err = ended(python("1 / 0"))
    assert status == 1 and "Traceback" in err and "ZeroDivisionError" in err
    status, _, err = ended(python("import nonsense"))
    assert status == 1 and "Traceback" in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_had_enough_is_no_fault(scored, tmp_path, monkeypatch, unbuffered):
    """Whether it is noticed by a print or by the last flush."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    for reader in ("head -1", "true"):
        out = tmp_path / f"{reader}.jsonl"
        command = (
            f"{sys.executable} {ROOT}/04_relabel.py --scored {scored} --out '{out}' | {reader}"
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.stderr == ""
        assert len(read(out)) == 1

    # More than fits into the pipe.
    status, out, err = ended(python("print('a' * 10**6); print('b', file=sys.stderr)"))
    assert (status, err) == (0, "b\n")
    command = f'{sys.executable} -c "{PREPARE}print(9 * 10**6 * chr(97))" | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("a", "")


def test_an_output_that_is_not_in_utf_8_is_escaped(scored, tmp_path):
    command = [sys.executable, f"{ROOT}/04_relabel.py", "--scored", scored]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out.jsonl")],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"x: \\u03c6?" in done.stdout


def test_a_stage_ends_with_its_run():
    with subprocess.Popen(["sleep", "60"]) as run, subprocess.Popen(["sleep", "60"]) as seeds:
        stage = python("time.sleep(60)", RUN_PID=f"{seeds.pid} {run.pid}")
        time.sleep(1)
        assert stage.poll() is None
        run.kill()
        run.wait()
        began = time.monotonic()
        assert stage.wait(timeout=10) == 3
        assert time.monotonic() - began < 1.5
        seeds.kill()
