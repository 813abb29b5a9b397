"""lib/rows.py: what is read, what is refused, and files that are whole or not there."""

import contextlib
import functools
import os
from argparse import Namespace

from lib import rows

import pytest
from conftest import read, write

FIELDS = dict(task_id=str, turn=int, score=rows.finite, passed=bool, messages=list)
ROW = dict(task_id="a", turn=1, score=0.5, passed=True, messages=[])


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def test_rows_come_as_they_are_and_unknown_fields_pass_through(tmp_path):
    table = [dict(ROW, more="é"), dict(ROW, turn=2, score=3)]
    assert rows.read_jsonl(write(tmp_path / "t", table), FIELDS, ["task_id", "turn"]) == table


def test_only_a_newline_ends_a_row(tmp_path):
    """Other programs write U+2028 in a string, a return between fields, or Windows' line ends."""
    text = '{"code": "a\u2028b\u0085c",\r"k": 1}\r\n{"code": "d"}'
    (tmp_path / "t").write_bytes(text.encode())
    table = rows.read_jsonl(tmp_path / "t", dict(code=str))
    assert table == [dict(code="a\u2028b\u0085c", k=1), dict(code="d")]


@pytest.mark.parametrize(
    "table, words",
    [
        ([ROW, {"task_id": "a"}], ["row 2", "field 'turn' is missing"]),
        ([dict(ROW, task_id=7)], ["row 1", "field 'task_id' is 7, expected type: str"]),
        ([dict(ROW, score="high")], ["field 'score' is \"high\", expected a finite number"]),
        ([dict(ROW, turn=True)], ["field 'turn' is true, expected type: int"]),
        ([dict(ROW, passed=1)], ["field 'passed' is 1, expected type: bool"]),
        ([ROW, ROW], ["row 2", "task_id, turn = ('a', 1) duplicates an earlier row"]),
        (["[1, 2]"], ["row 1: not a JSON object; one per line is expected"]),
        ([ROW, "{"], ["row 2: not a line of JSON in UTF-8"]),
        ([ROW, ""], ["row 2: not a line of JSON in UTF-8"]),
        ([ROW, "[" * 100_000], ["row 2: not a line of JSON in UTF-8"]),
        ([ROW, dict(ROW, score=float("nan"))], ["row 2: field 'score' is nan"]),
        ([ROW, dict(ROW, score=float("-inf"))], ["row 2: field 'score' is -inf"]),
        ([], ["no rows"]),
    ],
)
def test_bad_rows_are_refused_by_file_row_and_field(tmp_path, refused, table, words):
    path = write(tmp_path / "t", table)
    refused(lambda: rows.read_jsonl(path, FIELDS, ["task_id", "turn"]), f"{path}", *words)


def test_a_key_of_several_fields_may_share_some(tmp_path):
    table = [ROW, dict(ROW, turn=2), dict(ROW, task_id="b")]
    assert len(rows.read_jsonl(write(tmp_path / "t", table), FIELDS, ["task_id", "turn"])) == 3
    assert len(rows.read_jsonl(write(tmp_path / "t", [ROW, ROW]), FIELDS)) == 2


def test_files_that_cannot_be_read_are_refused(tmp_path, refused):
    refused(lambda: rows.read_jsonl(tmp_path / "none", {}), tmp_path / "none", "No such file")
    (tmp_path / "latin").write_bytes(b'{"code": "\xe9"}\n')
    refused(lambda: rows.read_jsonl(tmp_path / "latin", {}), tmp_path / "latin", "row 1", "UTF-8")


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "a folder/that is new/t"
    rows.write_jsonl(str(path), [ROW, dict(ROW, task_id="é\n\u2028")])
    assert read(path) == [ROW, dict(ROW, task_id="é\n\u2028")]
    assert sorted(file.name for file in path.parent.iterdir()) == [".t.sha256", "t"]


def test_a_file_under_its_own_name_is_whole(tmp_path):
    """Writing that fails in the middle leaves the file of before as it was."""

    def two_lines():
        yield "new\n"
        raise RuntimeError

    path = tmp_path / "t"
    path.write_text("old\n")
    with pytest.raises(RuntimeError):
        rows.write_text(str(path), two_lines())
    assert path.read_text() == "old\n"


def test_a_place_that_cannot_be_written_is_refused(tmp_path, refused):
    (tmp_path / "file").touch()
    path = tmp_path / "file/t"
    refused(lambda: rows.write_jsonl(str(path), [ROW]), path, "cannot be written")


# ── The command line ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(batch_size=0), "--batch-size is 0: too small"),
        (dict(n=[1, 0]), "--n is 0: too small"),
        (dict(seed=-1), "--seed is -1: too small"),
        (dict(lr=0.0), "--lr is 0.0: too small"),
        (dict(timeout=float("inf")), "--timeout is inf: a finite number"),
        (dict(beta=float("nan")), "--beta is nan: a finite number"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(refused, flags, words):
    refused(lambda: rows.check_flags(Namespace(**flags)), words)


def test_numbers_that_make_sense_pass():
    rows.check_flags(Namespace(seed=0, n=[1, 5], lr=1e-9, strict=False, out="0", previous=None))
    rows.check_flags(Namespace(temperature=0.0), may_be_zero=("temperature",))


def test_every_line_is_indented():
    assert rows.indent("a\n  b", by=2) == "  a\n    b"


def test_an_example_does_nothing_to_a_terminal():
    """No escape sequence, no bell, no carriage return, no half of a letter."""
    shown = rows.indent("\x1b[2Jα\tb\r\a\ud800", by=0)
    assert shown == "\\x1b[2Jα\tb\\r\\x07\\ud800"


def test_a_file_and_its_sum_agree_whenever_the_writer_is_killed(tmp_path, monkeypatch):
    """Killed before each rename and removal, with and without a file of before."""
    path = str(tmp_path / "t")
    for before in ([], [dict(k=0)]):
        for moment in range(1, 6):
            for left in tmp_path.iterdir():
                left.unlink()
            if before:
                rows.write_jsonl(path, before)

            calls = []

            def killed(call, *names, calls=calls, moment=moment):
                calls.append(names)
                if len(calls) == moment:
                    raise KeyboardInterrupt
                return call(*names)

            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
                for name in ("replace", "remove"):
                    call = functools.partial(killed, getattr(os, name))
                    patch.setattr(rows.os, name, call)
                rows.write_jsonl(path, [dict(k=1)])
            if before or os.path.exists(path):
                assert rows.read_jsonl(path, {}) in (before, [dict(k=1)])

            # The next writer is not disturbed, and its file has its own sum.
            rows.write_jsonl(path, [dict(k=2)])
            assert rows.read_jsonl(path, {}) == [dict(k=2)]
            assert sorted(os.listdir(tmp_path)) == [".t.sha256", "t"]


@pytest.mark.parametrize("levels", [45, 60])
def test_rows_are_not_nested_without_end(tmp_path, refused, levels):
    """What is read must be written again, and both are recursive."""
    path = write(tmp_path / "t", ["{" + '"a": ' + "[" * levels + "]" * levels + "}"])
    if levels < rows.MOST_LEVELS:
        assert len(rows.read_jsonl(path, {})) == 1
    else:
        refused(lambda: rows.read_jsonl(path, {}), "row 1", "'a'", "nested")


# ── Where --out goes ─────────────────────────────────────────────────────────────────────────────


def test_a_target_is_tried_before_the_work(tmp_path, refused):
    (tmp_path / "file").touch()
    (tmp_path / "folder.jsonl").mkdir()
    for out in ("file/t.jsonl", "file/a/b", "folder.jsonl", "n" * 300):
        path = str(tmp_path / out)
        refused(lambda path=path: rows.check_flags(Namespace(out=path)), path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.jsonl"]


def test_trying_a_target_leaves_nothing_and_changes_nothing(tmp_path):
    (tmp_path / "t.jsonl").write_text("old")
    (tmp_path / "t.jsonl.part").write_text("to go on from")
    (tmp_path / "policy.part").mkdir()
    for out in ("t.jsonl", "policy", "new", "t.md"):
        rows.check_flags(Namespace(out=str(tmp_path / out)))
    assert (tmp_path / "t.jsonl").read_text() == "old"
    assert (tmp_path / "t.jsonl.part").read_text() == "to go on from"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_target_that_is_no_ordinary_file_is_refused(refused):
    """A rename would put a file in its place."""
    refused(lambda: rows.check_out("/dev/null"), "/dev/null", "no ordinary file")


def test_a_row_of_an_earlier_file_is_refused(tmp_path, refused):
    seen = set()
    rows.read_jsonl(write(tmp_path / "one", [ROW]), FIELDS, ["task_id"], seen)
    two = write(tmp_path / "two", [dict(ROW, task_id="b"), ROW])
    refused(lambda: rows.read_jsonl(two, FIELDS, ["task_id"], seen), "two, row 2", "duplicates")


def test_a_sum_that_cannot_be_read_is_named(tmp_path, refused):
    path = write(tmp_path / "t", [ROW])
    (tmp_path / ".t.sha256").mkdir()
    refused(lambda: rows.read_jsonl(path, FIELDS), ".t.sha256", "delete it")
