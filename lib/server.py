"""Sampling past one machine: any server that speaks OpenAI's chat completions API."""

import json
import os
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lib.rows import stop

from tqdm import tqdm

# Seconds to wait before a request is repeated. A server may ask for more (Retry-After), up to a
# minute.
PAUSES = (1, 2, 4, 8, 16, 32)
LONGEST_PAUSE = 60
TOO_LONG = (400, 413, 422)
TRY_LATER = (408, 409, 429)
# What reading a reply raises that is no JSON, or JSON of another shape.
MISREAD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def post(server, body):
    """One POST to SERVER/chat/completions → (status, headers, reply)."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    url = f"{server.rstrip('/')}/chat/completions"
    try:
        reply = urlopen(Request(url, json.dumps(body).encode(), headers), timeout=600)
    except HTTPError as error:
        reply = error  # it can be read like any reply
    with reply:
        return reply.status, reply.headers, reply.read()


def read_completion(reply):
    """The bytes of a chat completion → (text, tokens). Of anything else: ValueError.

    An answer without content is empty. If the server does not count tokens, they are 0, as a guess
    would look like a count.
    """
    try:
        answer = json.loads(reply)
        content = answer["choices"][0]["message"].get("content") or ""
        if not isinstance(content, str):
            # A list of parts. Those of other types, such as thoughts, do not belong to the answer.
            content = "".join(part["text"] for part in content if part["type"] == "text")
        usage = answer.get("usage") or {}
        return content, usage.get("completion_tokens") or 0
    except MISREAD:
        raise ValueError(f"no chat completion: {excerpt(reply)}") from None


def excerpt(reply):
    """How a reply begins, for a line on the terminal."""
    return reply[:200].decode(errors="replace")


def retry_after(headers):
    """The seconds that a server asks to be left alone, LONGEST_PAUSE at most; 0 if it does not."""
    value = headers.get("Retry-After", "0")
    try:
        if value[:1].isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return 0
    return min(LONGEST_PAUSE, seconds)


def ask(server, body, state, shorten):
    """One completion of state["messages"] → (text, tokens).

    A chat that the server refuses as too long is shortened in place, as stage 01 does with its own
    model. A server that is busy, gone or talks nonsense is asked again after PAUSES. In the end,
    ConnectionError.
    """
    pauses = list(PAUSES)
    while True:
        wish = 0  # the seconds that the server asks for
        try:
            status, headers, reply = post(server, dict(body, messages=state["messages"]))
            if status < 300:
                return read_completion(reply)
            problem = f"HTTP {status} {excerpt(reply)}"
            if status in TOO_LONG and len(state["messages"]) >= 3:
                state["messages"] = shorten(state["messages"])
                continue
            if status < 500 and status not in TRY_LATER:
                break
            wish = retry_after(headers)
        except (OSError, HTTPException, ValueError) as error:
            problem = f"{type(error).__name__}, {error}"
        if not pauses:
            break
        time.sleep(max(pauses.pop(0), wish))
    problem = " ".join(problem.split())
    raise ConnectionError(f"{server}, task_id '{state['task_id']}': no completion ({problem})")


def sample_remotely(server, body, states, seeds, shorten, concurrency):
    """Complete every state, `concurrency` requests at a time; yields (index, text, tokens).

    body: the fields of a request that all rows share. The seed of each row is sent along. Whether
    the same seed gives the same text is up to the server.
    """
    pool = ThreadPoolExecutor(concurrency)
    index_of = {}
    for index, (state, seed) in enumerate(zip(states, seeds)):
        request = pool.submit(ask, server, dict(body, seed=seed), state, shorten)
        index_of[request] = index
    failure = None
    bar = tqdm(total=len(states), desc="  sampling", unit="program", disable=None, leave=False)
    try:
        for request in as_completed(index_of):
            try:
                text, tokens = request.result()
            except CancelledError:
                continue
            except ConnectionError as error:
                # One row failed for good: ask for no more. What is under way is waited for, as the
                # caller keeps every row that was answered.
                failure = failure or error
                for other in index_of:
                    other.cancel()
                continue
            yield index_of[request], text, tokens
            bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    if failure:
        stop(failure)
