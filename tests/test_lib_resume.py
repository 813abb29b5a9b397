"""lib/resume.py: what a stage had finished is found again, if it is the same work."""

import argparse
import os
import random
import shutil
import types

from lib import models, resume

import pytest
import torch
from conftest import chat, problem, read, run, stage, step, write

WORK = dict(seed=0, policy="x")


# ── The same work? ───────────────────────────────────────────────────────────────────────────────


def work(**flags):
    return resume.work_of(argparse.Namespace(**flags), ("policy", "files"), neutral=("out",))


def test_work_is_told_by_content_and_not_by_path(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / f"{name}.jsonl").write_text("rows")
    a, b = (dict(policy=str(tmp_path / x), files=[f"{tmp_path}/a.jsonl"]) for x in "ab")
    assert work(**a, out="o", seed=1) == work(**b, out="p", seed=1)
    assert work(**dict(a, files=[f"{tmp_path}/b.jsonl"])) == work(**a)
    assert work(**a, out="o", seed=1) != work(**a, out="o", seed=2)

    # A byte of a checkpoint, a file more, a byte of a file of rows.
    (tmp_path / "b/config.json").write_text("{ ")
    assert work(**a) != work(**b)
    (tmp_path / "b/config.json").write_text("{}")
    (tmp_path / "b/more").touch()
    assert work(**a) != work(**b)
    before = work(**a)
    (tmp_path / "a.jsonl").write_text("rowS")
    assert work(**a) != before


def test_what_is_no_input_is_taken_as_it_stands(tmp_path, monkeypatch):
    """A policy is called base, and there is a folder of that name; a hub has no folder at all."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("base")
    flags = work(policy="Qwen/Qwen2.5", files=None, name="base")
    assert (flags["policy"], flags["files"], flags["name"]) == ("Qwen/Qwen2.5", None, "base")


def test_other_code_is_other_work(tmp_path, monkeypatch):
    before = work(policy="x", files=None)
    for folder in ("", "lib"):
        shutil.copytree(f"{resume.ROOT}/{folder}", tmp_path / f"copy{folder}", ignore=only_python)
    monkeypatch.setattr(resume, "ROOT", str(tmp_path / "copy"))
    assert work(policy="x", files=None) == before
    with open(tmp_path / "copy/lib/rows.py", "a") as file:
        file.write("#")
    assert work(policy="x", files=None)["code"] != before["code"]


def test_other_packages_are_other_work(monkeypatch):
    before = work(policy="x", files=None)
    monkeypatch.setattr(resume, "version", lambda name: f"{name} 0.0")
    assert work(policy="x", files=None)["packages"] != before["packages"]


# Every flag of a stage that names what is read, and what is read there instead.
INPUTS = [
    (1, "", "problems"),
    (1, "", "policy"),
    (1, "", "previous"),
    (3, "train", "problems"),
    (3, "train", "steps"),
    (3, "train", "base"),
    (5, "", "base"),
    (5, "", "examples"),
    (6, "search", "problems"),
    (6, "search", "policy"),
    (6, "search", "verifier"),
]


@pytest.mark.parametrize("number, mode, changed", INPUTS)
def test_another_input_under_the_same_path_is_other_work(
    tmp_path, tiny, monkeypatch, number, mode, changed
):
    """Else the rows of two policies would mix in silence."""
    rows = [
        step("a", int(good), public=good, hidden=good, code=str(good)) for good in (False, True)
    ]
    answer = [dict(role="assistant", content="y")]
    files = dict(problems=[problem("a")], steps=rows, previous=[rows[0]])
    files["examples"] = [dict(prompt=chat("x"), completion=answer)]
    for name, table in files.items():
        write(tmp_path / name, table)
    model, tokenizer = models.load_policy(str(tiny))
    for name in ("policy", "base"):
        models.save_checkpoint(model, tokenizer, str(tmp_path / name))
    verifier = stage(3).make_verifier(str(tiny), 0)
    models.save_checkpoint(*verifier, str(tmp_path / "verifier"))

    class Seen(Exception):
        pass

    def work_of_call():
        def look(args, inputs, neutral):
            raise Seen(resume.work_of(args, inputs, neutral))

        monkeypatch.setattr(stage(number), "work_of", look)
        flags = [
            part
            for n, m, name in INPUTS
            if (n, m) == (number, mode)
            for part in (f"--{name}", tmp_path / name)
        ]
        with pytest.raises(Seen) as seen:
            run(number, *mode.split(), *flags, "--out", tmp_path / "out")
        return seen.value.args[0]

    before = work_of_call()
    assert work_of_call() == before
    if (tmp_path / changed).is_dir():
        with open(tmp_path / changed / "generation_config.json", "a") as file:
            file.write(" ")
        (tmp_path / changed / "SHA256SUMS").unlink()
    else:
        write(tmp_path / changed, [dict(row, more=1) for row in files[changed]])
    assert work_of_call() != before


def only_python(folder, names):
    return [x for x in names if not x.endswith(".py") and (x != "lib" or folder.endswith("lib"))]


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def log(path, *rows, work=WORK):
    """A call that keeps some rows and is killed: nothing closes its file."""
    found, keep = resume.open_log(path, work)
    for row in rows:
        keep(row)
    return found


def test_rows_are_found_by_the_next_call_and_the_one_after(tmp_path):
    path = str(tmp_path / "new/t")
    assert log(path, dict(k=0), [1, "φ\n"]) == []
    assert log(path, dict(k=2)) == [dict(k=0), [1, "φ\n"]]
    assert log(path) == [dict(k=0), [1, "φ\n"], dict(k=2)]


def test_the_row_that_was_cut_in_the_middle_is_dropped(tmp_path):
    path = str(tmp_path / "t")
    log(path, dict(k=0), dict(k="φ\n"))
    text = (tmp_path / "t.part").read_bytes()
    for length in range(len(text) + 1):
        (tmp_path / "t.part").write_bytes(text[:length])
        whole = max(0, text[:length].count(b"\n") - 1)
        assert log(path, dict(k=9)) == [dict(k=0), dict(k="φ\n")][:whole]
        assert log(path) == [*[dict(k=0), dict(k="φ\n")][:whole], dict(k=9)]


def test_a_long_row_that_was_cut_leaves_nothing_behind_a_short_one(tmp_path):
    path = str(tmp_path / "t")
    log(path, dict(k=0), dict(k="a" * 500))
    text = (tmp_path / "t.part").read_bytes()
    (tmp_path / "t.part").write_bytes(text[:-10])
    assert log(path, dict(k=1)) == [dict(k=0)]
    assert log(path) == [dict(k=0), dict(k=1)]


def test_rows_of_other_work_are_not_taken_over_and_that_is_said(tmp_path, capsys):
    path = str(tmp_path / "t")
    log(path, dict(k=0))
    assert log(path, dict(k=1), work=dict(WORK, seed=1)) == []
    assert (
        capsys.readouterr().err
        == f"  {path}.part is of other work (seed); it is now {path}.part.other\n"
    )
    assert log(path, work=dict(WORK, seed=1)) == [dict(k=1)]


def test_a_damaged_file_of_rows_is_named(tmp_path, refused):
    path = str(tmp_path / "t")
    log(path, *(dict(k=k, text="a" * 20) for k in range(9)))
    whole = (tmp_path / "t.part").read_bytes()
    rng = random.Random(0)
    for _ in range(100):
        place = rng.randrange(len(whole) - 1)
        change = bytes([whole[place] ^ (1 << rng.randrange(8))])
        (tmp_path / "t.part").write_bytes(whole[:place] + change + whole[place + 1 :])
        refused(lambda: log(path), f"{path}.part", "damaged; delete it")
    (tmp_path / "t.part").unlink()
    (tmp_path / "t.part").mkdir()
    refused(lambda: log(path), f"{path}.part", "damaged; delete it")
    (tmp_path / "t.part").rmdir()
    for text in ("hello\n", '{"a": 1}\n', "\0" * 50 + "\n", "00000000 null\n"):
        (tmp_path / "t.part").write_text(text)
        refused(lambda: log(path), f"{path}.part", "damaged; delete it")


def test_what_is_known_is_found_by_its_key(tmp_path):
    path = str(tmp_path / "t")
    known, learn = resume.open_memory(path, WORK, ("a", "b"))
    assert known == dict(a={}, b={})
    learn("a", {("x", 1): [True, "y"]}.items())
    learn("a", [(("z", 2), None), (("x", 3), 0.1)])
    expected = dict(a={("x", 1): [True, "y"], ("z", 2): None, ("x", 3): 0.1}, b={})
    assert known == expected
    known, _ = resume.open_memory(path, WORK, ("a", "b"))
    assert known == expected


def test_a_place_that_cannot_be_written_is_refused(tmp_path, refused):
    (tmp_path / "file").touch()
    path = tmp_path / "file/t"
    refused(lambda: log(str(path)), path, "cannot be written")


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


class Killed(Exception):
    pass


def train(path, kill_after=None, steps=9, work=WORK):
    """A training of a layer with dropout and momentum → its weights and its log."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    parts = dict(model=model, optimizer=optimizer, schedule=schedule)
    log = dict(losses=[])
    made = []
    for k in resume.training_steps(steps, parts, log, path, work):
        made.append(k)
        loss = model(torch.ones(2, 4)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        log["losses"].append(loss.item())
        if len(made) == kill_after:
            raise Killed
    return model.state_dict(), log, made


@pytest.fixture
def save_always(monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", -1)
    monkeypatch.setattr(resume, "SAVE_COST", 0)


def test_a_training_that_is_cut_off_goes_on_to_the_same_weights(tmp_path, save_always, capsys):
    path = str(tmp_path / "new/policy")
    weights, log, made = train(None)
    assert made == list(range(9))
    for kill_after in (1, 4, 3):
        with pytest.raises(Killed):
            train(path, kill_after)
    # The step in which it was killed was not saved.
    assert "going on after step 3 of 9" in capsys.readouterr().out
    again, its_log, made = train(path)
    assert made == [5, 6, 7, 8]
    assert its_log == log
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_training_of_other_work_begins_anew(tmp_path, save_always, capsys):
    path = str(tmp_path / "policy")
    with pytest.raises(Killed):
        train(path, 4)
    _, _, made = train(path, work=dict(WORK, seed=1, more=2))
    assert made == list(range(9))
    line = f"  {path}.training is of other work (seed, more); it is now {path}.training.other\n"
    assert line in capsys.readouterr().err

    # Who wants to go back to it can.
    for name in ("policy.training", "policy.training-3"):
        (tmp_path / f"{name}.other").rename(tmp_path / name)
    _, _, made = train(path)
    assert made == list(range(3, 9))


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """A step takes a second here, and a save ten: the first after 5, the next after 3 × 10."""
    now = [0]
    saves = []

    def save(done, *_):
        saves.append(done)
        now[0] += 10

    monkeypatch.setattr(resume, "SAVE_EVERY", 5)
    monkeypatch.setattr(resume, "SAVE_COST", 3)
    monkeypatch.setattr(resume, "save", save)
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(resume, "time", clock)
    for _ in resume.training_steps(80, {}, {}, str(tmp_path / "policy"), WORK):
        now[0] += 1
    assert saves == [6, 37, 68]


def test_nothing_is_saved_within_the_pause(tmp_path):
    train(str(tmp_path / "policy"))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_state_is_named(tmp_path, save_always, refused):
    path = str(tmp_path / "policy")
    with pytest.raises(Killed):
        train(path, 4)
    rng = random.Random(0)
    for file in (tmp_path / "policy.training", tmp_path / "policy.training-3"):
        whole = file.read_bytes()
        torn = [b"", b"hello", whole[:100], whole[: len(whole) // 2], whole[:-10]]
        for _ in range(50):
            place = rng.randrange(len(whole) - 1)
            change = bytes([whole[place] ^ (1 << rng.randrange(8))])
            torn.append(whole[:place] + change + whole[place + 1 :])
        for text in torn:
            file.write_bytes(text)
            refused(lambda: train(path), "policy.training: damaged; delete it")
        file.write_bytes(whole)
    (tmp_path / "policy.training-3").unlink()
    refused(lambda: train(path), "policy.training: damaged; delete it")


def test_a_state_that_cannot_be_written_is_one_line(tmp_path, save_always, refused, monkeypatch):
    def save(state, file):
        with open(file, "w") as half:
            half.write("half")
        raise RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file\nmore")

    monkeypatch.setattr(resume.torch, "save", save)
    path = tmp_path / "policy"
    refused(lambda: train(str(path)), f"{path}.training-1", "cannot be written", "failed writing")
    assert list(tmp_path.iterdir()) == []


def test_without_room_for_a_state_the_training_goes_on(tmp_path, save_always, monkeypatch):
    usage = resume.shutil.disk_usage(tmp_path)._replace(free=8 * 80)  # of 20 numbers of 4 bytes
    monkeypatch.setattr(resume.shutil, "disk_usage", lambda path: usage)
    weights, _, _ = train(None)
    again, _, _ = train(str(tmp_path / "policy"))
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def killed(monkeypatch):
    """killed(call, step): a call that is killed as this step begins."""

    def kill(call, step):
        def steps(*args):
            for k in resume.training_steps(*args):
                if k == step:
                    raise Killed
                yield k

        with monkeypatch.context() as patch:
            for number in (3, 5):
                patch.setattr(stage(number), "training_steps", steps)
            with pytest.raises(Killed):
                call()

    return kill


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_stage_05_goes_on_to_the_same_bytes(tmp_path, tiny, save_always, killed, capsys):
    answer = [dict(role="assistant", content="return x")]
    rows = [dict(prompt=chat(f"f{k}"), completion=answer) for k in range(6)]
    examples = write(tmp_path / "e", rows)

    def call(out):
        flags = ("--steps", 7, "--batch-size", 2, "--lr", 1e-2)
        run(5, "--base", tiny, "--examples", examples, "--out", tmp_path / out, *flags)

    call("whole")
    killed(lambda: call("cut"), 5)
    assert (tmp_path / "cut.training").exists() and not (tmp_path / "cut").exists()
    call("cut")
    assert "going on after step 5 of 7" in capsys.readouterr().out
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert list(tmp_path.glob("cut.*")) == []


def test_stage_03_goes_on_to_the_same_bytes(tmp_path, tiny, save_always, killed, capsys):
    """Also from within a later epoch, when an earlier one was the best."""
    problems = [problem(f"t{k}", group=f"g{k}", prompt="f(xs): the sum") for k in range(30)]
    steps = []
    for k in range(30):
        for good in (True, False):
            code = f"return {k + good}"
            row = step(f"t{k}", int(good), code=code, public=good, hidden=good)
            steps.append(row)
    files = ("--problems", write(tmp_path / "p", problems), "--steps", write(tmp_path / "s", steps))

    def call(out):
        flags = ("--lr", 1e-2, "--epochs", 3, "--batch-size", 9)
        run(3, "train", *files, "--base", tiny, "--out", tmp_path / out, *flags)

    call("whole")
    metrics = read(tmp_path / "whole/metrics.jsonl")
    assert len(metrics) == 3 and metrics[0]["problems"] > 0
    per_epoch = -(-(30 - metrics[0]["problems"]) // 9)
    for moment in (1, per_epoch, 2 * per_epoch + 1):
        killed(lambda: call("cut"), moment)
        call("cut")
        assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
