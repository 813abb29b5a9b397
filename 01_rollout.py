r"""Stage 01 · rollout: sample one turn, a program for every trajectory that is still open.

WHAT IT DOES IN μCODE (Algorithm 1: D_i ← rollouts of π)
  The policy π meets each problem x in several independent trajectories. The state

      s_t = (x, y_1, o_1, …, y_{t−1}, o_{t−1})

  is a chat: the problem, then for each earlier turn the program y and the feedback o that it got.
  This stage samples y_t ~ π(· | s_t) for all open trajectories. Stage 02 runs the programs. Then
  this stage is called again for turn t + 1, with those steps as --previous. A trajectory stays
  open while its PUBLIC tests fail. Hidden results are never read here.

WHY THE SAME COMMAND GIVES THE SAME BYTES
  Each token is drawn by inverse CDF: one uniform number picks it from the cumulative distribution.
  The numbers of a row come from a stream seeded with hash(seed, task_id, trajectory, turn). So a
  row does not depend on its neighbours in the batch, and a run that was cut off goes on from its
  finished rows (in NAME.part) to the same bytes. (On a GPU, sums in bfloat16 are rounded
  differently for other batch shapes, which now and then tips a token.)

READS   problems.jsonl         task_id, prompt
        turn{t−1}.steps.jsonl  as --previous, from turn 2 on
WRITES  turn{t}.samples.jsonl  one row per sampled program, for example
        {"policy": "base", "task_id": "train-67", "trajectory": 0, "turn": 1,
         "messages": [{"role": "user", "content": "f(xs): the largest of …"}],
         "completion": "```python\ndef f(xs): …```", "tokens": 12}
RUN     in the folder of a run, such as runs/toy:
        python ../../01_rollout.py --problems problems/train.jsonl --policy base/policy \
            --trajectories 8 --max-new-tokens 48 --out try1.samples.jsonl
        python ../../01_rollout.py --problems problems/train.jsonl --policy base/policy \
            --previous base/turn1.steps.jsonl --max-new-tokens 48 --out try2.samples.jsonl
        --server http://localhost:8000/v1 has an engine sample, and --policy names its model.
COSTS   the café: 4 to 13 s a turn on a CPU core, 3 s of them imports

DIFFERS FROM THE PAPER'S CODE: there sampling is unseeded, and runs with N = 1 stop on hidden
results too.
"""

import argparse
import hashlib
import json

from lib import models
from lib.resume import open_log, work_of
from lib.rows import STEP_KEY, check_flags, check_task_ids, indent, read_jsonl, stop, write_jsonl
from lib.server import sample_remotely

import numpy as np
import torch
from tqdm import tqdm
from transformers import DynamicCache

# ── The state, as a chat and as tokens ───────────────────────────────────────────────────────────


def first_messages(problem):
    """s_1 = x: the problem is the first user message."""
    return [dict(role="user", content=problem["prompt"])]


def next_messages(messages, completion, feedback):
    """s_{t+1} = (s_t, y_t, o_t): a new chat, longer by the completion and its feedback.

    The completion is the assistant's and the feedback the user's. Both stay word for word.

    >>> next_messages([{"role": "user", "content": "x"}], "y", "o")[1:]
    [{'role': 'assistant', 'content': 'y'}, {'role': 'user', 'content': 'o'}]
    """
    # BEGIN SOLUTION
    # What was sampled is what is read, and later trained on.
    program = dict(role="assistant", content=completion)
    observation = dict(role="user", content=feedback)
    return messages + [program, observation]
    # END SOLUTION


def chat_of(problem, history):
    """s_t = (x, y_1, o_1, …, y_{t−1}, o_{t−1}) from x and the pairs (y, o) that came after it."""
    messages = first_messages(problem)
    for completion, feedback in history:
        messages = next_messages(messages, completion, feedback)
    return messages


def render(tokenizer, messages, reply=True):
    """Chat → token ids, by the model's own template. `reply`: end with the opening of its answer.

    The one place where a state becomes what the model reads.
    """
    return models.apply_template(tokenizer, messages, reply)


def without_oldest(messages):
    """A state without its first (y, o)."""
    # x stays: it is the problem.
    return messages[:1] + messages[3:]


def fit(tokenizer, messages, room):
    """Drop the oldest (y, o) of a state until it has at most `room` tokens → (messages, ids).

    The row keeps the shortened chat, so training sees what was sampled from. ids is None if x alone
    is too long.
    """
    ids = render(tokenizer, messages)
    while len(ids) > room:
        if len(messages) < 3:  # only x is left
            return messages, None
        messages = without_oldest(messages)
        ids = render(tokenizer, messages)
    return messages, ids


def fit_all(tokenizer, chats, room):
    """`fit` for many states → [(messages, ids), …]."""
    # The trajectories of a problem begin alike, so equal states are rendered once.
    fitted = {}
    for messages in chats:
        text = json.dumps(messages)  # a chat that can be a key
        if text not in fitted:
            fitted[text] = fit(tokenizer, messages, room)
    return [fitted[json.dumps(messages)] for messages in chats]


def check_prompts(tokenizer, problems, room, args):
    """Stop if a problem leaves no room for an answer in the model's context."""
    for problem in problems:
        _, ids = fit(tokenizer, first_messages(problem), room)
        if ids is None:
            where = f"{args.problems}, task_id '{problem['task_id']}': field 'prompt'"
            limit = f"{max(0, room)} tokens that {args.policy} has beside {args.max_new_tokens} new"
            stop(f"{where} exceeds the {limit} ones; lower --max-new-tokens or shorten it")


def open_states(problems, previous, trajectories, policy):
    """The states to sample from, as rows that lack a completion.

    At turn 1 (previous is None): s_1 for every trajectory of every problem. Later: s_{t+1} for each
    step in `previous` whose public tests failed.
    """
    rows = []

    # Turn 1: every trajectory starts from x alone.
    if previous is None:
        for problem in problems:
            for trajectory in range(trajectories):
                row = dict(policy=policy, task_id=problem["task_id"], trajectory=trajectory, turn=1)
                rows.append(dict(row, messages=first_messages(problem)))
        return rows

    # Later turns: the stop rule of the paper. Only the PUBLIC tests end a trajectory, so a program
    # that fails them goes on even if it should pass all hidden ones.
    for step in previous:
        if step["public_passed"]:
            continue
        key = dict(task_id=step["task_id"], trajectory=step["trajectory"], turn=step["turn"] + 1)
        messages = next_messages(step["messages"], step["completion"], step["feedback"])
        rows.append(dict(policy=policy, **key, messages=messages))
    return rows


# ── Sampling ─────────────────────────────────────────────────────────────────────────────────────


def noise(seed, task_id, trajectory, turn, count):
    """`count` uniform numbers in [0, 1) that belong to one row: float32, (count,).

    A longer stream begins with the same numbers.
    """
    # Python's own hash() of a string differs from process to process; SHA-256 does not.
    key = hashlib.sha256(f"{seed}\n{task_id}\n{trajectory}\n{turn}".encode()).digest()
    stream = np.random.Generator(np.random.Philox(int.from_bytes(key[:8], "little")))
    return stream.random(count, np.float32)


def choose(logits, uniform, temperature):
    """The next token of each row: logits (B, V), uniform (B,) in [0, 1) → ids (B,).

    Inverse CDF: the first token whose cumulative probability, under the softmax of logits /
    temperature, exceeds the uniform number. A token of probability 0 is never drawn, though sums of
    floats need not end at exactly 1. Temperature 0 is greedy: the most likely token.

    >>> choose(torch.tensor([[0.2, 0.3, 0.5]] * 2).log(), torch.tensor([0.1, 0.4]), 1.0)
    tensor([0, 1])
    """
    # BEGIN SOLUTION
    if temperature == 0:
        return logits.argmax(-1)
    # π(· | s) at this temperature, summed up: the last entry of each row is about 1.
    probabilities = torch.softmax(logits.float() / temperature, -1)  # (B, V)
    cdf = probabilities.cumsum(-1)  # (B, V)

    # The number is scaled by the last sum, which may be a little more or less than 1.
    threshold = uniform * cdf[:, -1]
    ids = torch.searchsorted(cdf, threshold[:, None], right=True)[:, 0]
    return ids.clamp(max=logits.shape[-1] - 1)
    # END SOLUTION


def read_prompts(model, prompts):
    """One pass over the prompts of a batch → (logits (B, V), mask (B, W), cache).

    Trajectories of one problem begin alike, so each distinct prompt is read once (U of them), and
    its keys and values are then copied to all rows that start from it.
    """
    # The distinct prompts, in the order in which they first occur.
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    width = max(map(len, distinct))

    # Padded on the left, so that the next token of every row has the same place in the cache.
    # The mask hides the padding, and positions count from the first real token.
    padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in distinct]
    real = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in distinct]
    ids = torch.tensor(padded, device=model.device)  # (U, W)
    mask = torch.tensor(real, device=model.device)  # (U, W)
    position = (mask.cumsum(-1) - 1).clamp(min=0)  # (U, W)

    # The one pass that reads whole prompts.
    cache = DynamicCache(config=model.config)
    logits = next_logits(model, ids, mask, position, cache)  # (U, V)

    # From here on every row goes its own way.
    index = {prompt: i for i, prompt in enumerate(distinct)}
    source = torch.tensor([index[tuple(prompt)] for prompt in prompts], device=model.device)
    cache.reorder_cache(source)
    return logits[source], mask[source], cache


def next_logits(model, ids, mask, position, cache):
    """The logits of the next token (B, V). The keys and values of `ids` join the cache."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1]


def drop_ended(done, cache, *tensors):
    """The tensors (B, …) without the rows that are done (B,). The cache loses them in place."""
    keep = (~done).nonzero()[:, 0]
    cache.reorder_cache(keep)
    return [tensor[keep] for tensor in tensors]


def sample_batch(model, prompts, noises, temperature, max_new_tokens, end_ids):
    """y ~ π(· | s) for one batch: B prompts of ids, noises (B, max_new_tokens) → B lists of ids.

    The end token is part of the answer.
    """
    device = model.device
    uniform = torch.as_tensor(noises, device=device)  # (B, max_new_tokens)
    ends = torch.tensor(end_ids, device=device)
    answers = [[] for _ in prompts]

    # Rows will leave the batch, so each remembers which prompt it answers.
    rows = torch.arange(len(prompts), device=device)  # (B,)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)  # (B,)

    logits, mask, cache = read_prompts(model, prompts)
    for k in range(max_new_tokens):
        # Token k of every row. Rows that are done only wait to leave.
        token = choose(logits, uniform[rows, k], temperature)  # (B,)
        for row, token_id, is_done in zip(rows.tolist(), token.tolist(), done.tolist()):
            if not is_done:
                answers[row].append(token_id)

        # A row ends with an end token, or when it has used up its tokens.
        done = done | torch.isin(token, ends)
        if done.all() or k + 1 == max_new_tokens:
            break

        # Leaving costs a copy of the cache, so rows leave once an eighth of the batch has ended.
        if done.sum() * 8 >= len(done):
            rows, mask, token, done = drop_ended(done, cache, rows, mask, token, done)

        # Feed the new token alone: the cache has the keys and values of all earlier ones.
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        position = mask.sum(-1, keepdim=True) - 1  # (B, 1)
        logits = next_logits(model, token[:, None], mask, position, cache)  # (B, V)
    return answers


def sample(model, tokenizer, prompts, keys, *, temperature, max_new_tokens, batch_size, seed):
    """Sample all prompts (lists of ids), each with the noise of its key.

    keys: (task_id, trajectory, turn) of each prompt. Yields (index, completion, tokens) as batches
    finish. The caller restores the order.
    """
    end_ids = models.stop_ids(model, tokenizer)
    # Longest first: rows of equal length share a batch (little padding), and if memory is too
    # small it runs out at once.
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    bar = tqdm(total=len(order), desc="  sampling", unit="program", disable=None, leave=False)
    with torch.inference_mode(), bar:
        for start in range(0, len(order), batch_size):
            # The noise of a row is drawn in full, whatever batch the row is in.
            batch = order[start : start + batch_size]
            noises = np.stack([noise(seed, *keys[i], max_new_tokens) for i in batch])
            longest = len(prompts[batch[0]])
            purpose = f"{len(batch)} rows of up to {longest} + {max_new_tokens} tokens"
            with models.enough_memory(f"{purpose}; lower --batch-size"):
                batch_prompts = [prompts[i] for i in batch]
                answers = sample_batch(
                    model, batch_prompts, noises, temperature, max_new_tokens, end_ids
                )

            # Template tokens such as the end token are no part of the text.
            for i, ids in zip(batch, answers):
                yield i, tokenizer.decode(ids, skip_special_tokens=True), len(ids)
            bar.update(len(batch))


# ── The command line ─────────────────────────────────────────────────────────────────────────────


def read_previous(path, problems, problems_path):
    """The steps of the turn before, checked."""
    fields = "policy task_id trajectory turn messages completion public_passed feedback"
    steps = read_jsonl(path, fields, STEP_KEY)

    # A step holds its whole state, so one turn's steps are enough, and two turns' would mix them.
    check_task_ids(path, steps, {problem["task_id"] for problem in problems}, problems_path)
    turn = steps[0]["turn"]
    for number, step in enumerate(steps, 1):
        if step["turn"] != turn:
            reason = f"field 'turn' is {step['turn']}, but {turn} in row 1; give one turn"
            stop(f"{path}, row {number}: {reason}")
    return steps


def key_of(row):
    """What the noise of a row belongs to, beside the seed."""
    return row["task_id"], row["trajectory"], row["turn"]


def make_sampler(problems, args):
    """π, loaded or behind --server → sample_states, and its tokenizer (None: the server has it).

    sample_states(states, temperature) yields (index, text, tokens). It shortens a state that does
    not fit the context in place: its row keeps the shortened chat.
    """

    def sample_by_server(states, temperature):
        # The server's noise is its own, so each row sends a seed.
        seeds = [int(noise(args.seed, *key_of(state), 1)[0] * 2**31) for state in states]
        body = dict(model=args.policy, temperature=temperature, top_p=1.0)
        body["max_tokens"] = args.max_new_tokens
        return sample_remotely(args.server, body, states, seeds, without_oldest, args.concurrency)

    if args.server:
        return sample_by_server, None

    # π, and the tokens that its context leaves for a prompt.
    model, tokenizer = models.load_policy(args.policy)
    room = models.context_length(model) - args.max_new_tokens
    check_prompts(tokenizer, problems, room, args)

    def sample_here(states, temperature):
        # What a long state loses, its row loses too: training reads what was sampled from.
        fitted = fit_all(tokenizer, [state["messages"] for state in states], room)
        for state, (messages, _) in zip(states, fitted):
            state["messages"] = messages
        prompts = [ids for _, ids in fitted]
        keys = [key_of(state) for state in states]
        dials = dict(max_new_tokens=args.max_new_tokens, batch_size=args.batch_size, seed=args.seed)
        return sample(model, tokenizer, prompts, keys, temperature=temperature, **dials)

    return sample_here, tokenizer


def print_summary(rows, tokenizer, args):
    """One line of result, and the first row as the model sees it and goes on."""
    # s_t has 2t − 1 messages, unless its oldest turns were dropped.
    tokens = sum(row["tokens"] for row in rows)  # end tokens included
    shortened = sum(len(row["messages"]) < 2 * row["turn"] - 1 for row in rows)
    lost = f"; {shortened} states lost their oldest turns to fit the context" if shortened else ""
    print(
        f"01 rollout: {args.name}, turn {rows[0]['turn']}: {len(rows)} programs, "
        f"{tokens} tokens{lost} → {args.out}"
    )

    # A broken template is seen here at once.
    messages = rows[0]["messages"]
    prompt = "".join(message["content"] + "\n" for message in messages)
    if tokenizer:
        prompt = tokenizer.decode(render(tokenizer, messages))
    print(f"  for example {rows[0]['task_id']}, as the model sees it and goes on:")
    print(indent(prompt + rows[0]["completion"]))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--problems", required=True, help="problems.jsonl")
    add("--policy", required=True, help="checkpoint folder or hub name of π")
    add("--out", required=True, help="samples.jsonl to write")
    add("--previous", help="steps.jsonl of the turn before (absent at turn 1)")
    add("--name", default="base", help="what the rows call this policy [%(default)s]")
    add("--trajectories", type=int, default=15, help="per problem, at turn 1 [%(default)s]")
    add("--temperature", type=float, default=0.7, help="0 is greedy [%(default)s]")
    add("--max-new-tokens", type=int, default=1000, help="per completion [%(default)s]")
    add("--batch-size", type=int, default=256, help="rows sampled together [%(default)s]")
    add("--server", help="URL (…/v1) of an OpenAI-compatible API that samples instead")
    add("--concurrency", type=int, default=64, help="requests to --server at once [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    args = parser.parse_args()
    check_flags(args, may_be_zero=("seed", "temperature"))
    return args


def main():
    # The open states: s_1 of every trajectory, or s_{t+1} of those that failed a public test.
    args = parse_args()
    problems = read_jsonl(args.problems, "task_id prompt", ["task_id"])
    previous = None
    if args.previous:
        previous = read_previous(args.previous, problems, args.problems)
    states = open_states(problems, previous, args.trajectories, args.name)
    if not states:
        print(f"01 rollout: all public tests of {args.previous} passed; nothing is left open")
        return

    # Rows that an earlier call of this work had finished before it was cut off are kept.
    neutral = ("out", "batch_size", "concurrency")
    work = work_of(args, inputs=("problems", "policy", "previous"), neutral=neutral)
    finished, keep = open_log(args.out, work)
    rows = {key_of(row): row for row in finished}
    if rows:
        print(f"  going on from {len(rows)} finished rows in {args.out}.part")
    todo = [state for state in states if key_of(state) not in rows]

    # y_t ~ π(· | s_t) for the others.
    sample_states, tokenizer = make_sampler(problems, args)
    for i, text, tokens in sample_states(todo, args.temperature):
        row = dict(todo[i], completion=text, tokens=tokens)
        keep(row)
        rows[key_of(row)] = row

    # Back in the order of the states.
    rows = [rows[key_of(state)] for state in states]
    write_jsonl(args.out, rows)
    print_summary(rows, tokenizer, args)


if __name__ == "__main__":
    main()
