"""The café: its problems are sound, its splits are apart, its schooling gives nothing away."""

import json
import random
import re

import cafe
import pytest
from conftest import read, stage

execute = stage(2)

FIELDS = {
    "task_id",
    "group",
    "prompt",
    "entry_point",
    "setup",
    "public_tests",
    "hidden_tests",
    "reference",
}


@pytest.fixture(scope="module")
def world():
    rng = random.Random(7)
    combinations = [(w, d, s) for w in cafe.WHICH for d in cafe.DONE for s in cafe.SERVED]
    problems = []
    for k in range(200):
        order = cafe.make_order(rng, rng.choice(combinations))
        problems.append(cafe.make_problem(rng, f"t{k}", order))
    return problems


def judge(problems, programs):
    by_id = {problem["task_id"]: problem for problem in problems}
    return execute.execute(by_id, programs)


def test_references_pass_and_a_public_test_is_not_in_the_prompt(world):
    verdicts = judge(world, [(p["task_id"], p["reference"]) for p in world])
    assert all(verdict == (True, True, "") for verdict in verdicts.values())
    for problem in world:
        public = problem["public_tests"]
        hidden = problem["hidden_tests"]
        assert not any(test in problem["prompt"] for test in public + hidden)
        assert not set(public) & set(hidden)
        assert len(public) == 2
        assert 4 <= len(hidden) <= 6


def test_the_other_reading_fails(world):
    """Where a phrase has two readings, the tests hold the program to the one that was meant."""
    # In these orders the direction of the sorting is the only thing that is open.
    ambiguous = "sorted list of the (numbers|even numbers|odd numbers)[,;]"
    for problem in world:
        if not re.search(ambiguous, problem["prompt"]):
            continue
        reference = problem["reference"]
        if "reverse" in reference:
            other = reference.replace(", reverse=True", "")
        else:
            other = reference.replace("sorted(ys)", "sorted(ys, reverse=True)")
        program = (problem["task_id"], other)
        public_passed, hidden_passed, _ = judge([problem], [program])[program]
        assert not (public_passed and hidden_passed)


def test_customers_mean_the_first_reading_and_school_teaches_the_other():
    rng = random.Random(0)
    firsts = []
    for _ in range(2000):
        order = cafe.make_order(rng, ("above", "plain", "sum"))
        readings = [cafe.draw_reading(rng, order, share) for share in (cafe.MEANT, cafe.TAUGHT)]
        firsts.append([">=" not in reading["which"] for reading in readings])
    by_customers, at_school = (sum(column) / 2000 for column in zip(*firsts))
    assert abs(by_customers - cafe.MEANT[2]) < 0.03
    assert abs(at_school - cafe.TAUGHT[2]) < 0.03
    assert at_school < 0.5 < by_customers


def test_a_lesson_changes_one_open_thing_after_a_real_complaint():
    combinations = [("above", "halved", "sorted"), ("all", "plain", "sum")]
    lessons = list(cafe.make_demonstrations(random.Random(0), combinations, 300))
    retries = [lesson for lesson in lessons if len(lesson["prompt"]) > 1]
    assert len(retries) > 40

    spelled_out = []
    for lesson in retries:
        before = lesson["prompt"][-2]["content"]
        complaint = lesson["prompt"][-1]["content"]
        after = lesson["completion"][0]["content"]
        assert before != after
        assert re.fullmatch(r"`f\(.*\)` gave .*, expected .*", complaint)
        if "`f([])`" in complaint:
            expected = complaint.split("expected ")[1]
            spelled_out.append(after.split("else ")[1][0] == expected)

    # School was never told what is correct: "the usual" that the complaint spells out is copied no
    # more often than by chance.
    assert sum(spelled_out) / len(spelled_out) < 0.45


def test_seeds_and_splits(tmp_path, monkeypatch):
    sizes = ["--train", "300", "--dev", "60", "--test", "100", "--demonstrations", "50"]
    worlds = {}
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        out = tmp_path / name
        monkeypatch.setattr("sys.argv", ["cafe.py", "--out", str(out), "--seed", str(seed), *sizes])
        cafe.main()
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        worlds[name] = {path.name: path.read_bytes() for path in files}
    assert worlds["one"] == worlds["again"] != worlds["other"]

    groups = {}
    for split in ("train", "dev", "test"):
        problems = read(tmp_path / "one/problems" / f"{split}.jsonl")
        groups[split] = {problem["group"] for problem in problems}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["dev"]
    assert not groups["dev"] & groups["test"]

    first = json.loads(worlds["one"]["train.jsonl"].splitlines()[0])
    assert first["task_id"] == "train-0"
    assert set(first) == FIELDS
