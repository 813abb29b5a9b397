"""lib/server.py: a server on loopback gives the rows that a model gives, or stops the stage."""

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import chat, contents, problem, read, run, step, write

from lib import server


class Handler(BaseHTTPRequestHandler):
    """Answers with what `self.server.answer(body)` returns: a text, or an HTTP status."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.path == "/v1/chat/completions"
        answer = self.server.answer(body) if is_known else 404
        choice = dict(message=dict(content=answer))
        reply = dict(choices=[choice], usage=dict(completion_tokens=7))
        self.send_response(answer if isinstance(answer, int) else 200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

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


def test_a_state_that_the_server_finds_too_long_loses_its_oldest_turn(tmp_path, start, capsys):
    write(tmp_path / "p", [problem("a")])
    state = chat("x", "y1", "o1")
    steps = [step("a", turn=2, messages=state, completion="y2", feedback="o2")]
    previous = write(tmp_path / "t2", steps)
    url = start(lambda body: 400 if len(body["messages"]) > 3 else "y3")
    (row,) = read(sample(tmp_path, url, "--previous", previous))
    assert row["completion"] == "y3"
    assert contents(row["messages"]) == ["x", "y2", "o2"]


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
