"""Stage 01: what the model sees, which token it gets, who goes on."""
import gc, json, shutil, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from conftest import problem, read, run, stage, step, write

ex = stage(1)


def test_choose_is_the_inverse_cdf():
    logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]])).repeat(6, 1)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51, 0.999])
    assert ex.choose(logits, uniform, 1.0).tolist() == [0, 0, 1, 1, 2, 2]
    # at temperature 1/2 the probabilities are squared: 4, 9, 25 of 38
    assert ex.choose(logits, torch.tensor([0.10, 0.11, 0.33, 0.35, 0.9, 0.0]), 0.5).tolist() == [0, 1, 1, 2, 2, 0]
    assert ex.choose(logits, uniform, 0).tolist() == [2] * 6


def test_noise_belongs_to_the_row():
    here = ex.noise(0, "p", 3, 1, 8)
    assert np.array_equal(here, ex.noise(0, "p", 3, 1, 8)) and np.array_equal(here[:5], ex.noise(0, "p", 3, 1, 5))
    for other in [(1, "p", 3, 1), (0, "q", 3, 1), (0, "p", 4, 1), (0, "p", 3, 2)]: assert not np.array_equal(here, ex.noise(*other, 8))
    assert 0 <= here.min() and here.max() < 1


def naive(model, prompt, uniform, temperature, stops):
    """One row, no cache, no padding, cumulative sums by hand."""
    ids = list(prompt)
    for u in uniform:
        p = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double() / temperature, -1).tolist()
        token, total = 0, p[0]
        while total <= u and token < len(p) - 1: token += 1; total += p[token]
        ids.append(token)
        if token in stops: break
    return ids[len(prompt):]


def test_sampling_equals_a_naive_loop_for_any_batch(tiny):
    model, tokenizer = ex.load_policy(str(tiny))
    for name, weight in model.named_parameters():                                    # an untrained model hardly looks back: make it,
        if "q_proj" in name or "k_proj" in name: weight.data *= 30                   # so that a wrong position or mask is seen
    stops = list(range(0, 500, 6))                                                   # many ends: rows leave the batch at different times
    prompts = [ex.render(tokenizer, [dict(role="user", content="x" * n)]) for n in (1, 9, 4, 2, 17, 4, 4)]                    # three rows share a prompt
    noises = np.stack([ex.noise(0, "p", k, 1, 12) for k in range(7)])
    with torch.inference_mode():
        expected = [naive(model, p, u, 3.0, stops) for p, u in zip(prompts, noises)]
        assert len({len(e) for e in expected}) > 2
        assert ex.sample_batch(model, prompts, noises, 3.0, 12, stops) == expected
        assert [ex.sample_batch(model, [p], u[None], 3.0, 12, stops)[0] for p, u in zip(prompts, noises)] == expected
        assert ex.sample_batch(model, prompts[::-1], noises[::-1].copy(), 3.0, 12, stops) == expected[::-1]


def test_the_collector_comes_back(tmp_path, refused):
    """Loading switches it off; a load that fails must not leave it off."""
    refused(lambda: ex.load_policy(str(tmp_path / "none")), "none")
    assert gc.isenabled()


def test_greedy_is_generate(tiny):
    model, tokenizer = ex.load_policy(str(tiny))
    prompt = ex.render(tokenizer, [dict(role="user", content="f(xs): the sum of the numbers")])
    theirs = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=10)[0, len(prompt):].tolist()
    with torch.inference_mode(): assert ex.sample_batch(model, [prompt], np.zeros((1, 10), np.float32), 0, 10, ex.stop_ids(model, tokenizer))[0] == theirs


def test_who_goes_on():
    steps = [step("a", 0), step("a", 1, public=True, hidden=True), step("a", 2, public=True, hidden=False), step("b", 0, hidden=True)]
    after = ex.open_states(None, steps, None, "x")
    assert [(s["policy"], s["task_id"], s["trajectory"], s["turn"]) for s in after] == [("x", "a", 0, 2), ("x", "b", 0, 2)]
    assert after[0]["messages"] == [dict(role="user", content="Write f for a."), dict(role="assistant", content=steps[0]["completion"]),
                                    dict(role="user", content="`f(1)` gave 1, expected 2")]
    first = ex.open_states([problem("a"), problem("b")], None, 2, "x")
    assert [(s["task_id"], s["trajectory"], s["turn"]) for s in first] == [("a", 0, 1), ("a", 1, 1), ("b", 0, 1), ("b", 1, 1)]
    assert first[0]["messages"] == [dict(role="user", content="Write f for a.")]


def test_a_state_that_is_too_long_loses_its_oldest_turns(tiny):
    tokenizer = ex.load_tokenizer(str(tiny))
    chat = [dict(role="user", content="x")] + [dict(role=r, content=f"{r[0]}{k}" * 9) for k in (1, 2, 3) for r in ("assistant", "user")]
    sizes = [len(ex.render(tokenizer, chat[:1] + chat[1 + 2 * k:])) for k in range(4)]
    assert ex.fit(tokenizer, chat, sizes[0])[0] == chat
    messages, ids = ex.fit(tokenizer, chat, sizes[0] - 1)
    assert messages == chat[:1] + chat[3:] and len(ids) == sizes[1]
    assert ex.fit(tokenizer, chat, sizes[3])[0] == chat[:1]
    assert ex.fit(tokenizer, chat, sizes[3] - 1)[1] is None


def test_the_date_is_fixed(tiny):
    tokenizer = ex.load_tokenizer(str(tiny))
    tokenizer.chat_template = "{{ date_string }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert tokenizer.decode(ex.render(tokenizer, [dict(role="user", content="!")])) == "26 Jul 2024!"


def rollout(tiny, problems, out, *more):
    run(1, "--problems", problems, "--policy", tiny, "--out", out, "--trajectories", 3, "--max-new-tokens", 6, *more)
    return out.read_bytes()


def test_stage_goes_on_from_finished_rows(tmp_path, tiny, capsys):
    problems = write(tmp_path / "p", [problem(t) for t in "ab"])
    whole = rollout(tiny, problems, tmp_path / "whole")
    assert rollout(tiny, problems, tmp_path / "small", "--batch-size", 2) == whole
    assert rollout(tiny, problems, tmp_path / "seed", "--seed", 1) != whole
    rows = whole.decode().splitlines(keepends=True)
    assert set(json.loads(rows[0])) == {"policy", "task_id", "trajectory", "turn", "messages", "completion", "tokens"} and len(rows) == 6
    settings = dict(max_new_tokens=6, name="base", policy=str(tiny), previous=None, problems=str(problems), seed=0, server=None, temperature=0.7, trajectories=3)
    marked = dict(json.loads(rows[1]), completion="finished before the kill")
    for some, expected in [(settings, True), (dict(settings, seed=1), False)]:       # rows of another seed are not taken over
        (tmp_path / "cut.part").write_text(json.dumps(some) + "\n" + json.dumps(marked) + "\n" + rows[2][:20])
        assert ("before the kill" in rollout(tiny, problems, tmp_path / "cut").decode()) is expected


def test_nothing_open_writes_nothing(tmp_path, tiny, capsys):
    run(1, "--problems", write(tmp_path / "p", [problem("a")]), "--policy", tiny, "--out", tmp_path / "o",
        "--previous", write(tmp_path / "s", [step("a", public=True)]))
    assert "nothing is open" in capsys.readouterr().out and not (tmp_path / "o").exists()


def test_bad_input(tmp_path, tiny, refused):
    problems, out = write(tmp_path / "p", [problem("a")]), tmp_path / "o"
    call = lambda *more: run(1, "--problems", problems, "--out", out, *more)
    refused(lambda: call("--policy", tmp_path / "none"), tmp_path / "none", "tokenizer")
    shutil.copytree(tiny, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    refused(lambda: call("--policy", tmp_path / "bare"), "bare", "chat template")
    shutil.copytree(tiny, tmp_path / "weightless")
    (tmp_path / "weightless" / "model.safetensors").unlink()
    refused(lambda: call("--policy", tmp_path / "weightless"), "weightless", "model")
    refused(lambda: call("--policy", tiny, "--max-new-tokens", 2045), problems, "'a'", "'prompt'", "--max-new-tokens")
    refused(lambda: call("--policy", tiny, "--previous", write(tmp_path / "s", [step("zzz")])), "row 1", "zzz")
    refused(lambda: call("--policy", tiny, "--previous", write(tmp_path / "s", [{**step("a"), "public_passed": "no"}])), "row 1", "public_passed")
    refused(lambda: call("--policy", tiny, "--previous", write(tmp_path / "s", [step("a"), step("a")])), "row 2", "trajectory")
    refused(lambda: call("--policy", tiny, "--previous", write(tmp_path / "s", [step("a"), step("a", turn=2)])), "row 2", "'turn' is 2")
    assert not out.exists()


@pytest.fixture
def server(monkeypatch):
    """A server of OpenAI's form on loopback. server(answer): answer(body) gives a text, or an HTTP status → its URL."""
    monkeypatch.setattr(ex.time, "sleep", lambda seconds: None)
    running = []
    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = answer(body) if self.path == "/v1/chat/completions" else 404
                data = json.dumps(dict(choices=[dict(message=dict(content=said))], usage=dict(completion_tokens=7))).encode()
                self.send_response(said if isinstance(said, int) else 200)
                self.end_headers()
                self.wfile.write(data)
            def log_message(self, *args): pass
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/v1"
    yield start
    for s in running: s.shutdown()


def test_a_server_writes_the_same_rows(tmp_path, server):
    write(tmp_path / "p", [problem(t) for t in "abc"])
    heard, busy = [], threading.Semaphore(2)
    def answer(body):
        assert busy.acquire(blocking=False), "more requests at a time than --concurrency"
        heard.append(body)
        busy.release()
        return 503 if len(heard) == 2 else body["messages"][0]["content"].upper()
    run(1, "--problems", tmp_path / "p", "--server", server(answer), "--policy", "some/model", "--out", tmp_path / "s", "--trajectories", 2,
        "--concurrency", 2, "--max-new-tokens", 11, "--temperature", 0.5)
    rows = read(tmp_path / "s")
    assert [(r["task_id"], r["trajectory"], r["turn"]) for r in rows] == [(t, k, 1) for t in "abc" for k in (0, 1)]
    assert all(r["completion"] == f"WRITE F FOR {r['task_id'].upper()}." and r["tokens"] == 7 and r["policy"] == "base" for r in rows)
    assert len(heard) == 7 and len({body["seed"] for body in heard}) == 6                # the refused one was asked again
    assert all((b["model"], b["max_tokens"], b["temperature"], b["top_p"]) == ("some/model", 11, 0.5, 1.0) for b in heard)


def test_a_state_that_the_server_finds_too_long_loses_its_oldest_turn(tmp_path, server):
    write(tmp_path / "p", [problem("a")])
    chat = [dict(role="user", content="x"), dict(role="assistant", content="y1"), dict(role="user", content="o1")]
    write(tmp_path / "t2", [step("a", turn=2, messages=chat, completion="y2", feedback="o2")])
    run(1, "--problems", tmp_path / "p", "--previous", tmp_path / "t2", "--policy", "m", "--out", tmp_path / "s",
        "--server", server(lambda body: 400 if len(body["messages"]) > 3 else "y3"))
    assert [m["content"] for m in read(tmp_path / "s")[0]["messages"]] == ["x", "y2", "o2"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_does_not_answer_is_one_line(tmp_path, server, refused, status):
    write(tmp_path / "p", [problem("a")])
    url = server(lambda body: status)
    refused(lambda: run(1, "--problems", tmp_path / "p", "--policy", "m", "--out", tmp_path / "s", "--server", url), url, f"HTTP {status}", "'a'")
    assert not (tmp_path / "s").exists()
