r"""Stage 01 · rollout: one turn of sampling, a program for every trajectory that is still open.

What it does in μCode (Algorithm 1, line 3). The policy π meets each problem x in several independent
trajectories. The state s_t = (x, y_1, o_1, …, y_{t−1}, o_{t−1}) is the chat so far: the problem, then
for each earlier turn the program y and the feedback o that it got. This stage samples y_t ~ π(· | s_t)
for all open trajectories; stage 02 runs what was written; then this stage is called again for turn
t + 1, with those steps as --previous. A trajectory stays open while its PUBLIC tests fail, and hidden
results are never read here.

Noise by row. Token k of a row is drawn by inverse CDF from the k-th number of a stream that is seeded
with hash(seed, task_id, trajectory, turn). So what a row says does not depend on its neighbours in the
batch, and a run that was cut off goes on from its finished rows (in NAME.part) to the same bytes.
(On a GPU, bfloat16 sums are rounded differently for other batch shapes, which now and then tips a token.)

READS   problems.jsonl       task_id, prompt (turn 1)
        turn{t−1}.steps.jsonl  --previous (later turns)
WRITES  *.samples.jsonl      one row a sampled program (its .part: the settings, then rows as they finish), for example
        {"policy": "base", "task_id": "train-67", "trajectory": 0, "turn": 1,
         "messages": [{"role": "user", "content": "f(xs): the largest of …"}],
         "completion": "```python\ndef f(xs): …```", "tokens": 12}
RUN     in the folder of a run, such as runs/toy:
        python ../../01_rollout.py --problems problems/train.jsonl --policy base/policy \
            --trajectories 8 --max-new-tokens 48 --out try1.samples.jsonl
        python ../../01_rollout.py --problems problems/train.jsonl --policy base/policy --previous base/turn1.steps.jsonl \
            --max-new-tokens 48 --out try2.samples.jsonl
        python ../../01_rollout.py … --server http://localhost:8000/v1 --policy NAME    # an engine that serves NAME
COSTS   the café: 4 to 9 s a turn on a CPU core, 3 s of them imports

Differs from the paper's code: there sampling is unseeded, and N = 1 runs stop on hidden results too.
"""
import argparse, contextlib, gc, hashlib, json, os, sys, time


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────
# The same lines in every stage: skip them after the first.

def stop(message):
    """Bad input ends a stage with one line on stderr and exit status 2."""
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    raise SystemExit(2)


def read_jsonl(path, fields, key=()):
    """The rows of a JSON Lines file. Every row has `fields` = {name: type}; no two share their `key` fields."""
    rows, seen = [], set()
    try:
        for n, line in enumerate(open(path, encoding="utf-8", newline="\n"), 1):
            row = json.loads(line)
            if not isinstance(row, dict): stop(f"{path}, row {n}: not a JSON object; one a line is expected")
            for name, kind in fields.items():
                if name not in row: stop(f"{path}, row {n}: field '{name}' is missing")
                if not isinstance(row[name], kind) or isinstance(row[name], bool) and kind is not bool:
                    stop(f"{path}, row {n}: field '{name}' is {json.dumps(row[name])[:40]}, "
                         f"a {getattr(kind, '__name__', 'number')} is expected")
            mine = tuple(row.get(name) for name in key)
            if mine and mine in seen: stop(f"{path}, row {n}: {', '.join(key)} = {mine} stands in an earlier row too")
            seen.add(mine)
            rows.append(row)
    except OSError as e: stop(f"{path}: {e.strerror}")
    except ValueError as e: stop(f"{path}, row {len(rows) + 1}: not a line of JSON in UTF-8 ({getattr(e, 'msg', e)})")
    return rows or stop(f"{path}: no rows; the stage that writes this file had nothing to write")


def write_jsonl(path, rows):
    """Write NAME.part, then rename: a file under its own name is whole."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path + ".part", "w", encoding="utf-8") as file:
            for row in rows: file.write(json.dumps(row) + "\n")
        os.replace(path + ".part", path)
    except OSError as e: stop(f"{path}: cannot be written ({e.strerror})")


# ── The chat as tokens: the one place where a state becomes what the model reads ─────────────────

def render(tokenizer, messages, reply=True):
    """Chat → token ids, with the model's own template. `reply`: end with the opening of its answer."""
    # The date is fixed because the template of Llama-3.2 would write today's: another day, other bytes.
    return tokenizer.apply_chat_template(messages, add_generation_prompt=reply, return_dict=False,
                                         date_string="26 Jul 2024")


def next_messages(step):
    """s_{t+1}: s_t, then y_t as the assistant and o_t as the user, both word for word."""
    return step["messages"] + [dict(role="assistant", content=step["completion"]),
                               dict(role="user", content=step["feedback"])]


def is_chat(messages):
    """Can a template take it? [{"role": …, "content": …}, …], not empty."""
    return bool(messages) and all(isinstance(m, dict) and isinstance(m.get("role"), str)
                                  and isinstance(m.get("content"), str) for m in messages)


def fit(tokenizer, messages, room):
    """Drop the oldest (y, o) of a state until it has at most `room` tokens → (messages, ids).

    ids is None where x alone is too long. The shortened chat is what the row keeps, so that training
    sees what was sampled from.
    """
    while len(ids := render(tokenizer, messages)) > room:
        if len(messages) < 3: return messages, None
        messages = without_oldest(messages)
    return messages, ids


def without_oldest(messages):
    """A state without its first (y, o)."""
    return messages[:1] + messages[3:]


# ── The model ────────────────────────────────────────────────────────────────────────────────────
# torch and transformers take seconds to import, so they are imported where they are needed: a bad
# input file is reported at once, and importing this stage costs nothing.

@contextlib.contextmanager
def uncollected():
    """Import and load without the garbage collector, which would take a sixth of the time and find nothing."""
    gc.disable()
    try: yield
    finally: gc.freeze(); gc.enable()


@contextlib.contextmanager
def in_memory(what):
    """A GPU that is too small ends the stage with one line that says which dial to turn."""
    import torch
    try: yield
    except torch.OutOfMemoryError: stop(f"out of memory: no room for {what}")


def pick_device():
    import torch
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokenizer(path):
    """The tokenizer of a checkpoint folder or hub name; it must have a chat template."""
    from transformers import AutoTokenizer, logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try: tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as e: stop(f"{path}: no tokenizer loads from here ({why(path, e)})")
    if not tokenizer.chat_template:
        stop(f"{path}: the tokenizer has no chat template; use an instruction-tuned model")
    return tokenizer


@uncollected()
def load_policy(path, dtype=None):
    """π from a checkpoint folder or hub name → (model, tokenizer). dtype: if not said, bfloat16 on cuda, float32 elsewhere."""
    import torch
    from transformers import AutoModelForCausalLM
    tokenizer, device = load_tokenizer(path), pick_device()
    dtype = dtype or (torch.bfloat16 if device == "cuda" else torch.float32)
    try: model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError) as e: stop(f"{path}: no model loads from here ({why(path, e)})")
    with in_memory(f"the weights of {path}; take a smaller model"): return model.to(device).eval(), tokenizer


def why(path, error):
    return str(error).strip().splitlines()[0] if os.path.isdir(path) else "no such folder, and no hub was reached that has a model of that name"


def stop_ids(model, tokenizer):
    """The ids that end an answer."""
    # Llama has three and Gemma's is not the tokenizer's eos, so the generation config is asked too.
    ids = model.generation_config.eos_token_id
    return sorted({*(ids if isinstance(ids, list) else [ids]), tokenizer.eos_token_id} - {None})


def context_length(model):
    return getattr(model.config.get_text_config(), "max_position_embeddings", 1 << 30)


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────

def noise(seed, task_id, trajectory, turn, count):
    """`count` uniform numbers in [0, 1) that belong to one row and to nothing else; longer ones begin the same."""
    import numpy as np
    key = hashlib.sha256(f"{seed}\n{task_id}\n{trajectory}\n{turn}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(key[:8], "little"))).random(count, np.float32)


def choose(logits, uniform, temperature):
    """The next token of each row: logits (B, V), uniform (B,) → ids (B,). Temperature 0 is greedy."""
    import torch
    if temperature == 0: return logits.argmax(-1)
    cdf = torch.softmax(logits.float() / temperature, -1).cumsum(-1)                       # (B, V)
    # Inverse CDF: the first token whose cumulative probability exceeds u. Float sums do not end at 1
    # exactly, so u is scaled by the last of them.
    ids = torch.searchsorted(cdf, (uniform * cdf[:, -1])[:, None], right=True)[:, 0]
    return ids.clamp(max=logits.shape[-1] - 1)


def sample_batch(model, prompts, noises, temperature, max_new_tokens, stops):
    """y ~ π(· | s) for one batch: B lists of ids, noises (B, max_new_tokens) → B lists of new ids.

    The end token is part of the answer. Each pass feeds one token a row and reuses the keys and values
    of all earlier ones.
    """
    import torch
    from transformers import DynamicCache
    # Trajectories of one problem begin alike: a prompt is read once, whatever rows start from it (U prompts, B rows).
    once = {p: k for k, p in enumerate(dict.fromkeys(map(tuple, prompts)))}
    device, width = model.device, max(map(len, prompts))
    # Padded on the left, so that every row's next token stands at the same position of the cache.
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in once], device=device)     # (U, W)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in once], device=device)
    position = (mask.cumsum(-1) - 1).clamp(min=0)                                           # (U, W)
    uniform, ends = torch.as_tensor(noises, device=device), torch.tensor(stops, device=device)
    rows = torch.arange(len(prompts), device=device)         # which prompt each row of the batch is
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    out, cache = [[] for _ in prompts], DynamicCache(config=model.config)
    for k in range(max_new_tokens):
        logits = model(input_ids=ids, attention_mask=mask, position_ids=position,
                       past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]    # (U or B, V)
        if k == 0:                                           # from here on every row goes its own way
            mine = torch.tensor([once[tuple(p)] for p in prompts], device=device)           # (B,)
            cache.batch_select_indices(mine)
            logits, mask, position = logits[mine], mask[mine], position[mine]
        token = choose(logits, uniform[rows, k], temperature)                               # (B,)
        for row, t, over in zip(rows.tolist(), token.tolist(), done.tolist()):
            if not over: out[row].append(t)
        done = done | torch.isin(token, ends)
        if done.all(): break
        # Rows that have ended leave once they are an eighth of the batch: leaving costs a copy of the cache.
        if done.sum() * 8 >= len(done):
            keep = (~done).nonzero()[:, 0]
            cache.batch_select_indices(keep)
            rows, mask, position, token, done = (x[keep] for x in (rows, mask, position, token, done))
        ids, position = token[:, None], position[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
    return out


def sample(model, tokenizer, prompts, keys, temperature, max_new_tokens, batch_size, seed):
    """Sample all prompts (token ids), each with the noise of its key (task_id, trajectory, turn).

    Yields (index, completion, tokens) as batches finish; the caller puts them in order.
    """
    import numpy as np, torch
    from tqdm import tqdm
    stops = stop_ids(model, tokenizer)
    # Longest first: equal lengths stand together (little padding), and memory runs out at once or never.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    bar = tqdm(total=len(order), desc="  sampling", unit="program", disable=None, leave=False)
    with torch.inference_mode(), bar:
        for start in range(0, len(order), batch_size):
            part = order[start:start + batch_size]
            noises = np.stack([noise(seed, *keys[i], max_new_tokens) for i in part])
            with in_memory(f"{len(part)} rows of up to {len(prompts[part[0]])} + {max_new_tokens} tokens; lower --batch-size"):
                answers = sample_batch(model, [prompts[i] for i in part], noises, temperature, max_new_tokens, stops)
            for i, ids in zip(part, answers):
                yield i, tokenizer.decode(ids, skip_special_tokens=True), len(ids)
            bar.update(len(part))


# ── Past one machine: somebody else's engine ─────────────────────────────────────────────────────

def ask(server, model, state, temperature, max_new_tokens, seed):
    """One completion of `state["messages"]` by an OpenAI-compatible server → (completion, tokens).

    A chat that the server refuses loses its oldest (y, o) in place, as `fit` would do. A server that is
    busy or gone is asked again after 1, 2, 4, … seconds; in the end, ConnectionError.
    """
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}
    for pause in (1, 2, 4, 8, 16, 32, None):
        body = dict(model=model, messages=state["messages"], temperature=temperature, top_p=1.0, max_tokens=max_new_tokens, seed=seed)
        try:
            with urlopen(Request(f"{server}/chat/completions", json.dumps(body).encode(), headers), timeout=600) as reply:
                answer = json.load(reply)
            return answer["choices"][0]["message"]["content"] or "", answer["usage"]["completion_tokens"]
        except HTTPError as e:
            problem = f"HTTP {e.code}, {e.read(200).decode(errors='replace')}"
            if e.code in (400, 413, 422) and len(state["messages"]) >= 3: state["messages"] = without_oldest(state["messages"]); continue
            if e.code < 500 and e.code not in (408, 409, 429): break
        except (OSError, ValueError, LookupError, TypeError) as e: problem = f"{type(e).__name__}, {e}"
        if pause: time.sleep(pause)
    raise ConnectionError(f"{server}, task_id '{state['task_id']}': no completion ({' '.join(problem.split())})")


def sample_server(server, model, states, temperature, max_new_tokens, concurrency, seed):
    """As `sample`, by a server that works on `concurrency` requests at a time. Its noise is its own: the
    seed of each row is sent along, and whether it makes the same text again is up to the engine."""
    from concurrent.futures import ThreadPoolExecutor, as_completed
    from tqdm import tqdm
    with ThreadPoolExecutor(concurrency) as pool:
        asked = {}
        for i, s in enumerate(states):
            own = int(noise(seed, s["task_id"], s["trajectory"], s["turn"], 1)[0] * 2 ** 31)
            asked[pool.submit(ask, server, model, s, temperature, max_new_tokens, own)] = i
        try:
            for done in tqdm(as_completed(asked), total=len(asked), desc="  sampling", unit="program", disable=None, leave=False):
                yield asked[done], *done.result()
        except ConnectionError as e:
            pool.shutdown(cancel_futures=True)                  # one row failed for good: ask for no more
            stop(e)


# ── One turn ─────────────────────────────────────────────────────────────────────────────────────

def open_states(problems, previous, trajectories, name):
    """Rows without a completion: s_1 of every trajectory, or s_{t+1} of those whose public tests failed."""
    if previous is None:
        return [dict(policy=name, task_id=p["task_id"], trajectory=k, turn=1,
                     messages=[dict(role="user", content=p["prompt"])])
                for p in problems for k in range(trajectories)]
    return [dict(policy=name, task_id=s["task_id"], trajectory=s["trajectory"], turn=s["turn"] + 1,
                 messages=next_messages(s)) for s in previous if not s["public_passed"]]


def finished_rows(part, settings):
    """Whole rows of an earlier, cut-off call with the same settings (the first line of NAME.part)."""
    if not os.path.exists(part): return {}
    lines = open(part, encoding="utf-8").read().split("\n")[:-1]      # what follows the last newline was cut off
    if not lines or lines[0] != settings: return {}
    return {(r["task_id"], r["trajectory"], r["turn"]): r for r in map(json.loads, lines[1:])}


def read_states(args):
    """The open states of the command line's files, checked."""
    problems = read_jsonl(args.problems, dict(task_id=str, prompt=str), ["task_id"])
    if not args.previous: return open_states(problems, None, args.trajectories, args.name)
    fields = dict(task_id=str, trajectory=int, turn=int, messages=list, completion=str, public_passed=bool,
                  feedback=str)
    previous = read_jsonl(args.previous, fields, ("policy", "task_id", "trajectory", "turn"))
    known = {p["task_id"] for p in problems}
    for n, s in enumerate(previous, 1):
        if s["task_id"] not in known:
            stop(f"{args.previous}, row {n}: task_id '{s['task_id']}' is not in {args.problems}")
        if s["turn"] != previous[0]["turn"]:
            stop(f"{args.previous}, row {n}: field 'turn' is {s['turn']}, but {previous[0]['turn']} in row 1; give one turn's steps")
        if not is_chat(s["messages"]):
            stop(f"{args.previous}, row {n}: field 'messages' is not a chat of role and content")
    return open_states(problems, previous, args.trajectories, args.name)


def fit_all(tokenizer, states, room, args):
    """The prompt (token ids) of each state; `messages` of a state that was shortened are replaced."""
    prompts, fitted = [], {}
    for state in states:
        text = json.dumps(state["messages"])                                     # trajectories of a problem begin alike
        if text not in fitted: fitted[text] = fit(tokenizer, state["messages"], room)
        state["messages"], ids = fitted[text]
        if ids is None:
            stop(f"{args.problems}, task_id '{state['task_id']}': field 'prompt' has more than the {max(0, room)} tokens that "
                 f"{args.policy} has beside {args.max_new_tokens} new ones; lower --max-new-tokens or shorten it")
        prompts.append(ids)
    return prompts


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--problems", required=True, help="problems.jsonl")
    ap.add_argument("--policy", required=True, help="checkpoint folder or hub name of π")
    ap.add_argument("--out", required=True, help="samples.jsonl to write")
    ap.add_argument("--previous", help="steps.jsonl of the turn before (absent at turn 1)")
    ap.add_argument("--name", default="base", help="what the rows call this policy [%(default)s]")
    ap.add_argument("--trajectories", type=int, default=15, help="trajectories a problem (turn 1) [%(default)s]")
    ap.add_argument("--temperature", type=float, default=0.7, help="0 is greedy [%(default)s]")
    ap.add_argument("--max-new-tokens", type=int, default=1000, help="tokens a completion may have [%(default)s]")
    ap.add_argument("--batch-size", type=int, default=256, help="rows sampled together [%(default)s]")
    ap.add_argument("--server", help="URL of an OpenAI-compatible API (…/v1) that samples instead; --policy is the model's name there")
    ap.add_argument("--concurrency", type=int, default=64, help="requests to --server at a time [%(default)s]")
    ap.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    args = ap.parse_args()
    for flag, value in vars(args).items():
        if type(value) in (int, float) and (value < 0 or value == 0 and flag not in ("seed", "temperature")):
            stop(f"--{flag.replace('_', '-')} is {value}: too small")

    states = read_states(args)
    if not states:
        print(f"01 rollout: all public tests of {args.previous} passed; nothing is open, nothing is written")
        return
    keys = [(s["task_id"], s["trajectory"], s["turn"]) for s in states]
    settings = json.dumps({k: v for k, v in sorted(vars(args).items()) if k not in ("out", "batch_size", "concurrency")})
    rows = finished_rows(args.out + ".part", settings)
    if rows: print(f"  going on from {len(rows)} finished rows in {args.out}.part")
    todo = [s for s, key in zip(states, keys) if key not in rows]
    if args.server: answers = sample_server(args.server, args.policy, todo, args.temperature, args.max_new_tokens, args.concurrency, args.seed)
    else:
        model, tokenizer = load_policy(args.policy)
        prompts = fit_all(tokenizer, todo, context_length(model) - args.max_new_tokens, args)
        answers = sample(model, tokenizer, prompts, [key for key in keys if key not in rows],
                         args.temperature, args.max_new_tokens, args.batch_size, args.seed)
    os.makedirs(os.path.dirname(args.out) or ".", exist_ok=True)
    with open(args.out + ".part", "w", encoding="utf-8") as file:
        file.write("\n".join([settings, *map(json.dumps, rows.values())]) + "\n")
        for j, completion, tokens in answers:
            row = dict(todo[j], completion=completion, tokens=tokens)
            rows[row["task_id"], row["trajectory"], row["turn"]] = row
            file.write(json.dumps(row) + "\n")
    rows = [rows[key] for key in keys]
    write_jsonl(args.out, rows)

    lost = sum(len(r["messages"]) < 2 * r["turn"] - 1 for r in rows)
    lost = f"; {lost} states have lost their oldest turns to fit the context" if lost else ""
    print(f"01 rollout: {args.name}, turn {rows[0]['turn']}: {len(rows)} programs, "
          f"{sum(r['tokens'] for r in rows)} tokens{lost} → {args.out}")
    seen = "\n".join(m["content"] for m in rows[0]["messages"]) + "\n" if args.server else tokenizer.decode(render(tokenizer, rows[0]["messages"]))
    print(f"  for example {rows[0]['task_id']}, as the model sees it and goes on:\n    "
          + (seen + rows[0]["completion"]).replace("\n", "\n    "))


if __name__ == "__main__":
    main()
