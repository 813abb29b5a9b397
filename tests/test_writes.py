"""Every write of every stage, where the place cannot be written or the disk is full."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT, STAGES, chat, problem, step, write

# A full disk, for everybody: no file may grow beyond a kilobyte. (A mount of its own needs root.)
FULL_DISK = "ulimit -f 1; exec "


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Rows for every stage, each file longer than a kilobyte."""
    folder = tmp_path_factory.mktemp("inputs")
    problems = [problem(f"t{k}", group=f"g{k}", prompt=f"f(xs): {'x' * 200}") for k in range(8)]
    steps = []
    for row in problems:
        for good in (True, False):
            outcome = dict(code=f"return {good}", public=good, hidden=good)
            steps.append(step(row["task_id"], int(good), messages=chat(row["prompt"]), **outcome))
    answer = [dict(role="assistant", content="return x")]
    write(folder / "problems", problems)
    write(folder / "steps", steps)
    write(folder / "samples", [dict(row, tokens=3) for row in steps])
    write(folder / "scored", [dict(row, score=1.0) for row in steps])
    write(folder / "examples", [dict(prompt=chat("f"), completion=answer)])
    return folder


def command(number, mode, files, tiny, inputs, out):
    flags = [word.replace("@", f"{inputs}/").replace("TINY", str(tiny)) for word in files.split()]
    script = f"{ROOT}/{STAGES[number - 1]}.py"
    return [sys.executable, script, *mode.split(), *flags, "--out", str(out)]


CALLS = [
    (1, "", "--problems @problems --policy TINY --max-new-tokens 2 --trajectories 1"),
    (2, "", "--problems @problems --samples @samples"),
    (3, "train", "--problems @problems --steps @steps --base TINY --epochs 1"),
    (3, "pairs", "--problems @problems --steps @steps"),
    (4, "", "--scored @scored"),
    (5, "", "--base TINY --examples @examples --steps 1"),
    (6, "search", "--problems @problems --policy TINY --max-new-tokens 2 --n 1 --turns 1"),
]


@pytest.mark.parametrize("number, mode, files", CALLS)
def test_a_full_disk_is_one_line_and_nothing_half_written(
    tmp_path, tiny, inputs, number, mode, files
):
    out = tmp_path / "out.jsonl"
    call = command(number, mode, files, tiny, inputs, out)
    shell = ["bash", "-c", FULL_DISK + '"$@"', "call", *call]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert str(tmp_path) in line and "cannot be written" in line, done.stderr
    assert "Traceback" not in done.stderr
    # Rows to go on from may stay, and the counts of stage 04, which are short and come first.
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"out.jsonl.part", "out.metrics.jsonl", ".out.metrics.jsonl.sha256"}


@pytest.mark.parametrize("number, mode, files", CALLS)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path, tiny, number, mode, files
):
    """There are no inputs: that would be the first complaint otherwise."""
    (tmp_path / "file").touch()
    call = command(number, mode, files, "no-model", tmp_path / "none", tmp_path / "file/out.jsonl")
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "file/out.jsonl: cannot be written (" in done.stderr
    assert os.listdir(tmp_path) == ["file"]
