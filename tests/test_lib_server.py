"""lib/server.py: a server on loopback gives the rows that a model gives, or stops the stage."""

import itertools
import json
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lib import server

import pytest
from conftest import chat, contents, problem, read, run, step, write


def completion(message, **more):
    """A reply of OpenAI's form. `more` replaces fields."""
    usage = dict(completion_tokens=7)
    return dict(dict(choices=[dict(message=message)], usage=usage), **more)


class Handler(BaseHTTPRequestHandler):
    """Answers with what `self.server.answer(body)` returns.

    A text becomes a completion, and a number an HTTP status. A dictionary is sent as JSON, and
    bytes as they are. A tuple is such an answer and the headers that go with it.
    """

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.path == "/v1/chat/completions"
        answer = self.server.answer(body) if is_known else 404
        answer, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(answer if isinstance(answer, int) else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(answer, str):
            answer = completion(dict(content=answer))
        reply = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.wfile.write(reply)

    def log_message(self, *args):
        pass


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that a client would have waited; it does not wait."""
    waited = []
    monkeypatch.setattr(server.time, "sleep", waited.append)
    return waited


@pytest.fixture
def start(pauses):
    """start(answer): a server of OpenAI's form → its URL."""
    running = []

    def start_server(answer):
        engine = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        engine.answer = answer
        threading.Thread(target=engine.serve_forever, args=(0.02,), daemon=True).start()
        running.append(engine)
        return f"http://127.0.0.1:{engine.server_port}/v1"

    yield start_server
    for engine in running:
        engine.shutdown()
        engine.server_close()


def sample(tmp_path, url, *more):
    """Stage 01 on the problems in `p` by a server → the path of its rows."""
    call = ("--problems", tmp_path / "p", "--server", url, "--policy", "some/model")
    run(1, *call, "--out", tmp_path / "s", *more)
    return tmp_path / "s"


def test_a_server_writes_the_same_rows(tmp_path, start, capsys):
    write(tmp_path / "p", [problem("a"), problem("b"), problem("c")])
    bodies = []
    crowded = []
    numbers = itertools.count()
    free = threading.Semaphore(2)

    def answer(body):
        if not free.acquire(blocking=False):
            crowded.append(body)
            return 400
        bodies.append(body)
        # Long enough for a third request to come, if there were one.
        threading.Event().wait(0.03)
        free.release()
        # One request of seven comes at a bad time.
        return 503 if next(numbers) == 1 else body["messages"][0]["content"].upper()

    limits = ("--trajectories", 2, "--concurrency", 2)
    dials = ("--max-new-tokens", 11, "--temperature", 0.5)
    rows = read(sample(tmp_path, start(answer), *limits, *dials))

    # Rows in their order, each with its own answer, though requests run side by side.
    keys = [(row["task_id"], row["trajectory"], row["turn"]) for row in rows]
    assert keys == [(task, k, 1) for task in "abc" for k in (0, 1)]
    for row in rows:
        assert row["completion"] == f"WRITE F FOR {row['task_id'].upper()}."
        assert (row["tokens"], row["policy"]) == (7, "base")

    # The refused one was repeated, and no more than --concurrency were under way.
    assert len(bodies) == 7
    assert not crowded
    assert len({body["seed"] for body in bodies}) == 6
    for body in bodies:
        assert (body["model"], body["max_tokens"]) == ("some/model", 11)
        assert (body["temperature"], body["top_p"]) == (0.5, 1.0)


def test_a_state_that_the_server_finds_too_long_loses_its_oldest_turns(
    tmp_path, start, pauses, capsys
):
    write(tmp_path / "p", [problem("a")])
    # Eight turns are dropped, more than a busy server is asked again.
    state = chat("x", *["y", "o"] * 8)
    steps = [step("a", turn=9, messages=state, completion="y9", feedback="o9")]
    previous = write(tmp_path / "t9", steps)
    url = start(lambda body: 400 if len(body["messages"]) > 3 else "y10")
    (row,) = read(sample(tmp_path, url, "--previous", previous))
    assert row["completion"] == "y10"
    assert contents(row["messages"]) == ["x", "y9", "o9"]
    assert pauses == []


@pytest.mark.parametrize(
    "status, waits",
    [
        (404, []),  # asking again would not help
        (400, []),  # too long, and no turn is left to drop
        (429, [1, 2, 4, 8, 16, 32]),
        (500, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_a_server_that_does_not_answer_is_one_line(tmp_path, start, pauses, refused, status, waits):
    write(tmp_path / "p", [problem("a")])
    url = start(lambda body: status)
    refused(lambda: sample(tmp_path, url, "--trajectories", 1), url, f"HTTP {status}", "'a'")
    assert not (tmp_path / "s").exists()
    assert pauses == waits


def test_a_server_that_is_not_there_is_one_line(tmp_path, pauses, refused):
    write(tmp_path / "p", [problem("a")])
    # A port below 1024 that nobody listens on.
    url = "http://127.0.0.1:9/v1"
    refused(lambda: sample(tmp_path, url, "--trajectories", 1), url, "URLError", "'a'")
    assert pauses == [1, 2, 4, 8, 16, 32]


def test_a_slash_at_the_end_of_the_url_is_no_part_of_it(tmp_path, start, capsys):
    write(tmp_path / "p", [problem("a")])
    (row,) = read(sample(tmp_path, start(lambda body: "y") + "/", "--trajectories", 1))
    assert row["completion"] == "y"


# ── Odd replies ──────────────────────────────────────────────────────────────────────────────────

PARTS = [
    dict(type="text", text="def f(x):"),
    dict(type="thinking", thinking="Is it x + 1?", text="Is it?"),
    dict(type="text", text=" return x"),
]


@pytest.mark.parametrize(
    "reply, text, tokens",
    [
        (completion(dict(content=PARTS)), "def f(x): return x", 7),
        (completion(dict(content=[])), "", 7),
        (completion(dict(content=None)), "", 7),
        (completion(dict(role="assistant")), "", 7),
        # Nobody counted.
        (completion(dict(content="y"), usage=None), "y", 0),
        (completion(dict(content="y"), usage={}), "y", 0),
        (dict(choices=[dict(message=dict(content="y"))]), "y", 0),
    ],
)
def test_an_answer_in_another_form_is_a_row(tmp_path, start, pauses, capsys, reply, text, tokens):
    write(tmp_path / "p", [problem("a")])
    (row,) = read(sample(tmp_path, start(lambda body: reply), "--trajectories", 1))
    assert (row["completion"], row["tokens"]) == (text, tokens)
    assert pauses == []


BROKEN = [
    ((b"{", {"Content-Length": "100"}), "IncompleteRead"),
    ((503, {"Content-Length": "100"}), "IncompleteRead"),  # its explanation is cut off
    (b"<html>\nPlease log in", "no chat completion: <html> Please log in"),
    (b"\xff\xfe", "no chat completion"),
    (b"", "no chat completion"),
    (b"[" * 100_000, "no chat completion: [[["),
    (b"[]", "no chat completion: []"),
    (dict(error="overloaded"), 'no chat completion: {"error": "overloaded"}'),
    (dict(choices=[]), "no chat completion"),
    (dict(choices=[dict(message=None)]), "no chat completion"),
    (completion(dict(content=5)), "no chat completion"),
    (completion(dict(content=[dict(type="text")])), "no chat completion"),
    (completion(dict(content=["y"])), "no chat completion"),
    (completion(dict(content="y"), usage=[7]), "no chat completion"),
]


@pytest.mark.parametrize("reply, words", BROKEN)
def test_a_broken_reply_is_asked_for_again(tmp_path, start, pauses, refused, reply, words):
    write(tmp_path / "p", [problem("a")])
    replies = iter([reply, "y"])
    (row,) = read(sample(tmp_path, start(lambda body: next(replies)), "--trajectories", 1))
    assert row["completion"] == "y"
    assert pauses == [1]

    # For ever: one line.
    (tmp_path / "s").unlink()
    url = start(lambda body: reply)
    refused(lambda: sample(tmp_path, url, "--trajectories", 1), url, "'a'", words)
    assert pauses == [1, 1, 2, 4, 8, 16, 32]


def http_date(seconds):
    """The date so many seconds from now, as a header has it."""
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    "status, after, low, high",
    [
        (429, "5", 5, 5),
        (503, "2.5", 2.5, 2.5),
        # Never less than the client would have waited, and never for long.
        (429, "0", 1, 1),
        (429, "86400", 60, 60),
        (429, "1e999", 60, 60),
        (429, http_date(-100), 1, 1),
        (429, http_date(86400), 60, 60),
        # What is neither is no wish.
        (429, "soon", 1, 1),
        (429, "-5", 1, 1),
        (429, "5 minutes", 1, 1),
    ],
)
def test_a_server_says_when_to_come_back(tmp_path, start, pauses, capsys, status, after, low, high):
    write(tmp_path / "p", [problem("a")])
    replies = iter([(status, {"Retry-After": after}), b"", "y"])
    (row,) = read(sample(tmp_path, start(lambda body: next(replies)), "--trajectories", 1))
    assert row["completion"] == "y"
    first, second = pauses
    assert low <= first <= high
    # The next failure says nothing, and has the usual pause.
    assert second == 2


def test_a_server_says_until_when_it_is_away(tmp_path, start, pauses, capsys):
    write(tmp_path / "p", [problem("a")])
    numbers = itertools.count()

    def answer(body):
        return "y" if next(numbers) else (503, {"Retry-After": http_date(40)})

    sample(tmp_path, start(answer), "--trajectories", 1)
    # A date has whole seconds, and some time has passed since it was written.
    (pause,) = pauses
    assert 20 < pause <= 40


# ── When one row fails for good ──────────────────────────────────────────────────────────────────


def finished(part):
    """The rows of a .part, under their checksums and a line of what they depend on."""
    lines = part.read_text().splitlines()
    return [json.loads(line.partition(" ")[2]) for line in lines[1:]]


def test_rows_that_were_answered_are_kept_when_another_fails(tmp_path, start, capsys, refused):
    tasks = [f"t{k:02}" for k in range(12)]
    write(tmp_path / "p", [problem(task) for task in tasks])
    asked = []
    is_well = threading.Event()

    def answer(body):
        task = body["messages"][0]["content"].removeprefix("Write f for ").removesuffix(".")
        asked.append(task)
        if task == "t00" and not is_well.is_set():
            # It fails for the first time when t02 was answered and t03 came in its place.
            while "t03" not in asked:
                threading.Event().wait(0.01)
            return 500
        if task != "t02" and not is_well.is_set():
            # The others take until after the last try of t00.
            while asked.count("t00") < 7:
                threading.Event().wait(0.01)
            threading.Event().wait(0.3)
        return f"y of {task}"

    url = start(answer)
    call = ("--trajectories", 1, "--concurrency", 3)
    refused(lambda: sample(tmp_path, url, *call), url, "'t00'", "HTTP 500")

    # No more was asked for, and all that was asked for is there, once.
    assert not (tmp_path / "s").exists()
    kept = [row["task_id"] for row in finished(tmp_path / "s.part")]
    assert {"t01", "t02", "t03"} <= set(kept)
    assert sorted(kept) == sorted(set(asked) - {"t00"})
    assert len(kept) < 11

    # The next call asks for the rest alone.
    is_well.set()
    asked.clear()
    rows = read(sample(tmp_path, url, *call))
    assert sorted(asked) == sorted(set(tasks) - set(kept))
    assert [row["completion"] for row in rows] == [f"y of {task}" for task in tasks]


# ── Stage 06 ─────────────────────────────────────────────────────────────────────────────────────

WRONG = "```python\ndef f(x): return x\n```"
RIGHT = "```python\ndef f(x): return x + 1\n```"


def test_a_search_takes_its_candidates_from_a_server(tmp_path, start, capsys):
    """No model and no tokenizer has this name. The first answer is wrong, the repair correct."""
    write(tmp_path / "p", [problem("a")])
    bodies = []

    def answer(body):
        bodies.append(body)
        return RIGHT if len(body["messages"]) > 1 else WRONG

    call = ("--problems", tmp_path / "p", "--server", start(answer), "--policy", "some/model")
    dials = ("--turns", 2, "--n", 2, "--controls", "fresh", "--max-new-tokens", 11)
    run(6, "search", *call, *dials, "--name", "engine", "--out", tmp_path / "e")
    rows = read(tmp_path / "e")

    # Of every arm two turns. But for fresh samples, the second was asked with the feedback.
    arms = ["greedy", "Random", "fresh", "Random 2", "PT 2", "oracle 2"]
    assert len(rows) == 2 * len(arms)
    for row in rows:
        is_repair = row["turn"] == 2 and row["variant"] == "real"
        said = ["Write f for a.", WRONG, "`f(1)` gave 1, expected 2"]
        assert contents(row["messages"]) == (said if is_repair else said[:1])
        for candidate in row["candidates"]:
            assert candidate["completion"] == (RIGHT if is_repair else WRONG)
            assert candidate["public_passed"] == candidate["hidden_passed"] == is_repair
            assert candidate["tokens"] == 7
        assert row["policy"] == "engine"

    # Turn 1: greedy, and the two of all other arms. Turn 2: the same, and a fresh sample.
    assert sorted(body["temperature"] for body in bodies) == [0.0] * 2 + [0.7] * 5
    assert {(body["model"], body["max_tokens"]) for body in bodies} == {("some/model", 11)}
    # Two candidates in each of two turns have their own seeds.
    assert len({body["seed"] for body in bodies}) == 4


def test_a_search_whose_server_fails_is_one_line(tmp_path, start, refused):
    write(tmp_path / "p", [problem("a")])
    url = start(lambda body: 404)
    call = ("--problems", tmp_path / "p", "--server", url, "--policy", "some/model")
    refused(lambda: run(6, "search", *call, "--out", tmp_path / "e"), url, "HTTP 404", "'a'")
    assert not (tmp_path / "e").exists()
