"""What the tests share: the stages by number, a way to run one in this process, small rows, a tiny model."""
import importlib, json, os, sys

import pytest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.join(ROOT, "data")]
STAGES = ["01_rollout", "02_execute", "03_verifier", "04_relabel", "05_train_policy", "06_eval"]
SHARED = os.path.join(ROOT, "..", "shared", "data")


def stage(number):
    return importlib.import_module(STAGES[number - 1])


def run(number, *args):
    """Call a stage as the shell would, without the seconds that a new Python needs for its imports."""
    before, sys.argv = sys.argv, [STAGES[number - 1] + ".py", *map(str, args)]
    try: stage(number).main()
    finally: sys.argv = before


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in open(path)]


def problem(task="p", public=("assert f(1) == 2",), hidden=("assert f(5) == 6",), **more):
    return dict(dict(task_id=task, group=task, prompt=f"Write f for {task}.", entry_point="f", setup="", public_tests=list(public),
                     hidden_tests=list(hidden), reference="def f(x): return x + 1"), **more)


def step(task="p", trajectory=0, turn=1, code="def f(x): return x", public=False, hidden=False, **more):
    return dict(dict(policy="base", task_id=task, trajectory=trajectory, turn=turn, messages=[dict(role="user", content=f"Write f for {task}.")],
                     completion=f"```python\n{code}\n```", tokens=5, code=code, public_passed=public, hidden_passed=hidden,
                     feedback="" if public else "`f(1)` gave 1, expected 2"), **more)


@pytest.fixture
def refused(capsys):
    """refused(call, word, …): the call ends with exit status 2 and ONE line on stderr that holds every word."""
    def check(call, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as e: call()
        line = capsys.readouterr().err
        assert e.value.code == 2 and line.count("\n") == 1, line
        for word in words: assert str(word) in line, line
    return check


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with the café's model, untrained: tokenizer, chat template, random weights."""
    import cafe
    path = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = cafe.make_tokenizer()
    cafe.make_model(tokenizer, 0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
