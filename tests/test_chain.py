"""All six stages on other models and other problems; what every stage has in common."""
import importlib, re, subprocess, sys

import pytest
from conftest import MODELS, ROOT, STAGES, make_model, problem, read, run, write

TASKS = [("add", "Add two numbers.", "a, b", "a + b", ["add(1, 2) == 3"], ["add(5, 5) == 10", "add(-1, 0) == -1"]),
         ("twice", "Double a number.", "x", "2 * x", ["twice(4) == 8"], ["twice(0) == 0", "twice(-3) == -6"]),
         ("last", "The last item of a list.", "xs", "xs[-1]", ["last([1, 7]) == 7"], ["last([3]) == 3", "last('ab') == 'b'"]),
         ("size", "How many items a list has.", "xs", "len(xs)", ["size([]) == 0"], ["size([1, 2]) == 2"])]
@pytest.mark.parametrize("kind", MODELS)
def test_six_stages(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problems = [problem(name, prompt=f"{text} Write {name}({args}).", entry_point=name, public=["assert " + t for t in public],
                        hidden=["assert " + t for t in hidden], reference=f"def {name}({args}):\n    return {body}") for name, text, args, body, public, hidden in TASKS]
    write(tmp_path / "p", problems)
    make_model(tmp_path / "model", kind, [p["prompt"] + p["reference"] for p in problems])
    # School: each problem with its own program, and with another's body half of the time, so that it writes right and wrong ones.
    chat = lambda p, body: dict(task_id=p["task_id"], prompt=[dict(role="user", content=p["prompt"])],
                                completion=[dict(role="assistant", content=f"```python\n{p['reference'].rpartition('return')[0]}return {body}\n```")])
    write(tmp_path / "school", [chat(p, body) for p, task in zip(problems, TASKS) for body in (task[3], "None")])
    run(5, "--base", "model", "--examples", "school", "--out", "base", "--steps", 200, "--lr", 3e-3, "--batch-size", 8)
    previous = []
    for t in (1, 2):
        run(1, "--problems", "p", "--policy", "base", "--out", f"t{t}.samples.jsonl", "--trajectories", 5, "--max-new-tokens", 60, "--temperature", 1, *previous)
        run(2, "--problems", "p", "--samples", f"t{t}.samples.jsonl", "--out", f"t{t}.steps.jsonl")
        previous = ["--previous", f"t{t}.steps.jsonl"]
    run(3, "train", "--problems", "p", "--steps", "t1.steps.jsonl", "t2.steps.jsonl", "--base", "base", "--out", "verifier", "--lr", 1e-3)
    run(3, "score", "--problems", "p", "--steps", "t1.steps.jsonl", "t2.steps.jsonl", "--verifier", "verifier", "--out", "scored.jsonl")
    run(4, "--scored", "scored.jsonl", "--out", "examples.jsonl")
    run(5, "--base", "base", "--examples", "examples.jsonl", "--out", "mucode-1", "--steps", 40, "--lr", 3e-3)
    run(6, "search", "--problems", "p", "--policy", "mucode-1", "--verifier", "verifier", "--out", "eval.jsonl", "--max-new-tokens", 60, "--n", 2)
    rows = [r for r in read("eval.jsonl") if r["rule"] == "Random" and r["n"] == 1 and r["temperature"] == 0 and r["turn"] == 1]
    assert len(rows) == 4 and sum(r["candidates"][0]["hidden_passed"] for r in rows) >= 3     # the expert's right programs were learned


def test_importing_a_stage_does_nothing():
    code = (f"import sys; sys.path.insert(0, {ROOT!r}); sys.argv = ['x', '--nonsense']; import importlib\n"
            f"for name in {STAGES!r}: importlib.import_module(name)\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout and not done.stderr, done.stderr


def test_plumbing_is_the_same_everywhere():
    part = {name: re.search(r"def stop\(.*?os\.replace\(path \+ \".part\", path\)\n", open(f"{ROOT}/{name}.py").read(), re.S)[0] for name in STAGES}
    assert len(set(part.values())) == 1


def test_a_stage_imports_other_stages_by_number():
    """01 and 02 import none; each import is of a file that is there. An edge goes backwards."""
    edges = {name: re.findall(r'import_module\("(\w+)"\)', open(f"{ROOT}/{name}.py").read()) for name in STAGES}
    assert edges == {"01_rollout": [], "02_execute": [], "03_verifier": ["01_rollout"], "04_relabel": [], "05_train_policy": ["01_rollout", "03_verifier"],
                     "06_eval": ["01_rollout", "02_execute", "03_verifier", "04_relabel"]}


@pytest.mark.parametrize("number, flag, value, more", [
    (1, "--trajectories", 0, ["--policy", "x"]), (1, "--temperature", -1, ["--policy", "x"]), (2, "--workers", 0, ["--samples", "x"]),
    (2, "--timeout", 0, ["--samples", "x"]), (3, "--epochs", 0, ["--steps", "x", "--base", "x"]),
    (3, "--programs", 1, ["--steps", "x", "--base", "x"]), (6, "--temperature", 0, ["--policy", "x"]), (5, "--lr", 0, ["--examples", "x", "--base", "x"]),
    (6, "--turns", 0, ["--policy", "x"]), (6, "--n", 0, ["--policy", "x"])])
def test_numbers_that_are_too_small(refused, number, flag, value, more):
    mode = {3: ["train"], 6: ["search"]}.get(number, [])
    files = [] if number == 5 else ["--problems", "x"]
    refused(lambda: run(number, *mode, *files, "--out", "x", *more, flag, value), flag, "too small")
