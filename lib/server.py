"""Sampling past one machine: any server that speaks OpenAI's chat completions API."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from lib.rows import stop

# Seconds to wait before a request is repeated; None: that was the last try.
PAUSES = (1, 2, 4, 8, 16, 32, None)
TOO_LONG = (400, 413, 422)
TRY_LATER = (408, 409, 429)


def request_completion(server, body):
    """One POST to SERVER/chat/completions → (text, tokens)."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = Request(f"{server}/chat/completions", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=600) as reply:
        answer = json.load(reply)
    text = answer["choices"][0]["message"]["content"] or ""
    return text, answer["usage"]["completion_tokens"]


def ask(server, body, state, shorten):
    """One completion of state["messages"] → (text, tokens).

    A chat that the server refuses as too long is shortened in place, as stage 01 does with its own
    model. A server that is busy or gone is asked again after PAUSES. In the end, ConnectionError.
    """
    for pause in PAUSES:
        try:
            return request_completion(server, dict(body, messages=state["messages"]))
        except HTTPError as error:
            reply = error.read(200).decode(errors="replace")
            problem = f"HTTP {error.code}, {reply}"
            if error.code in TOO_LONG and len(state["messages"]) >= 3:
                state["messages"] = shorten(state["messages"])
                continue
            if error.code < 500 and error.code not in TRY_LATER:
                break
        except (OSError, ValueError, LookupError, TypeError) as error:
            problem = f"{type(error).__name__}, {error}"
        if pause is not None:
            time.sleep(pause)
    problem = " ".join(problem.split())
    raise ConnectionError(f"{server}, task_id '{state['task_id']}': no completion ({problem})")


def sample_remotely(server, body, states, seeds, shorten, concurrency):
    """Complete every state, `concurrency` requests at a time; yields (index, text, tokens).

    body: the fields of a request that all rows share. The seed of each row is sent along. Whether
    the same seed gives the same text is up to the server.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        index_of = {}
        for index, (state, seed) in enumerate(zip(states, seeds)):
            request = pool.submit(ask, server, dict(body, seed=seed), state, shorten)
            index_of[request] = index
        bar = tqdm(total=len(states), desc="  sampling", unit="program", disable=None, leave=False)
        try:
            for request in as_completed(index_of):
                text, tokens = request.result()
                yield index_of[request], text, tokens
                bar.update()
        except ConnectionError as error:
            # One row failed for good: ask for no more.
            pool.shutdown(cancel_futures=True)
            stop(error)
        finally:
            bar.close()
