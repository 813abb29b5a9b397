"""The café: small programming problems, the chats of a school, and an untrained model.

A customer orders a function over a list of numbers, and leaves things out:

    "f(xs): the largest of the numbers above 4, doubled; if there are none, the usual."

Does "above 4" include 4? And what is the usual? The waiter writes a program, serves it, and sees
the customer's face:

    `f([])` gave 0, expected 2

The waiter is the policy π. What the customer means is in the tests. The face is the feedback o_t.

An order fills three slots (which numbers, what is done to them, what is served) and ends with a
clause about the case that no numbers are left. Some phrases have two readings, and most customers
mean the first. "The usual" is 0, 1, 2 or 3. So there are three ways to learn what is meant:

    feedback spells out the usual    f([]) is a public test, and the next program can copy its value
    feedback hints at a reading      where the public list tells two readings apart, one fails
    experience tells the rest        elsewhere hidden tests decide: know what most customers mean

The waiter begins as a random network. School is supervised training on demonstrations.jsonl. It
teaches the waiter to write programs that fit the words, and to change one thing after a complaint.
But school has its own idea of what the words mean, and its chats may end in a wrong program. A
pretrained model is in the same position, and that is where μCode begins.

    python data/cafe.py --out runs/toy --seed 0

writes OUT/problems/{train,dev,test}.jsonl, OUT/problems/demonstrations.jsonl and OUT/model/. Train,
dev and test share no combination of slots. data/README.md describes the café in full.
"""

import argparse
import functools
import importlib
import itertools
import os
import random
import re
import sys

# A script's own folder is on the path, the checkout is not.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib.models import save_checkpoint
from lib.rows import write_jsonl

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

execute = importlib.import_module("02_execute")

# ── The menu ─────────────────────────────────────────────────────────────────────────────────────

# {name: (phrase of the order, its readings as pieces of the program)}. Where a phrase has two
# readings, the first is the one that most customers mean.

# Which numbers of the list count.
WHICH = {
    "all": ("the numbers", [""]),
    "above": ("the numbers above 4", [" if x > 4", " if x >= 4"]),
    "below": ("the numbers below 6", [" if x < 6", " if x <= 6"]),
    "small": ("the small numbers", [" if x < 5", " if x < 3"]),
    "even": ("the even numbers", [" if x % 2 == 0"]),
    "odd": ("the odd numbers", [" if x % 2 == 1"]),
}
# What is done to each of them.
DONE = {
    "plain": ("", ["x"]),
    "doubled": (", doubled", ["x * 2"]),
    "halved": (", halved", ["x // 2", "x / 2"]),
    "plus": (", plus 8", ["x + 8"]),
    "apart": (", as the difference from 5", ["abs(x - 5)", "x - 5"]),
}
# What is served: one value made from all of them.
SERVED = {
    "largest": ("the largest of ", ["max(ys)"]),
    "smallest": ("the smallest of ", ["min(ys)"]),
    "sum": ("the sum of ", ["sum(ys)"]),
    "first": ("the first of ", ["ys[0]"]),
    "sorted": ("a sorted list of ", ["sorted(ys)", "sorted(ys, reverse=True)"]),
    "average": ("the average of ", ["sum(ys) / len(ys)", "sum(ys) // len(ys)"]),
}
# What is given if no numbers are left: one of these, stated or called "the usual".
USUAL = ["0", "1", "2", "3"]

# A reading of an order is {slot: piece of code}. It fills the braces of this program.
PROGRAM = "def f(xs):\n    ys = [{done} for x in xs{which}]\n    return {served} if ys else {none}"
# How a program looks in a message of the waiter.
BLOCK = "```python\n{program}\n```"

# How often the first of a phrase's readings is drawn, by their number. The others share the rest
# evenly. "The usual" has four. School prefers the second of two, so there is something to unlearn.
MEANT = {1: 1.0, 2: 0.85, 4: 0.5}  # by customers
TAUGHT = {1: 1.0, 2: 0.33, 4: 0.25}  # by the school

# The share of orders that state a value for the empty list; the others say "the usual".
VALUE_STATED = 0.5

# The share of problems whose public list tells readings apart, where there is such a list.
PUBLIC_TELLS = 0.5

# Random lists drawn for a problem. The public and the hidden tests are chosen among them.
LISTS = 40
# Hidden lists of a problem: as many as it takes to tell the readings apart, filled up to this many.
HIDDEN_LISTS = 5

# Tries before the last one of a chat in which something is open: one of these, equally likely.
EARLIER_TRIES = (0, 0, 0, 0, 1, 2)

# How many of the 180 combinations of slots are kept for test and for dev. The remaining 60 are for
# training and school.
TEST_COMBINATIONS = 80
DEV_COMBINATIONS = 40


# ── Orders, readings, programs ───────────────────────────────────────────────────────────────────


def make_order(rng, combination):
    """An order: its words, and for each slot the readings that the words allow.

    combination: names in WHICH, DONE and SERVED, such as ("above", "doubled", "largest").
    """
    # The three slots.
    which, done, served = combination
    which_phrase, which_readings = WHICH[which]
    done_phrase, done_readings = DONE[done]
    served_phrase, served_readings = SERVED[served]

    # The last clause states a value, or leaves it open.
    if rng.random() < VALUE_STATED:
        value_phrase = rng.choice(USUAL)
        value_readings = [value_phrase]
    else:
        value_phrase = "the usual"
        value_readings = USUAL

    # "the largest of " + "the numbers above 4" + ", doubled"
    request = f"{served_phrase}{which_phrase}{done_phrase}"
    return {
        "combination": combination,
        "prompt": f"f(xs): {request}; if there are none, {value_phrase}.",
        "slots": {
            "which": which_readings,
            "done": done_readings,
            "served": served_readings,
            "none": value_readings,
        },
    }


def draw_reading(rng, order, first_share):
    """One way to read an order → {slot: piece of code}.

    first_share: MEANT for a customer, TAUGHT for the school.
    """
    # Each slot on its own: the first of its readings, or any of the others.
    reading = {}
    for slot, readings in order["slots"].items():
        if rng.random() < first_share[len(readings)]:
            reading[slot] = readings[0]
        else:
            reading[slot] = rng.choice(readings[1:])
    return reading


def write_program(reading):
    """The program for a reading of an order."""
    return PROGRAM.format(**reading)


@functools.cache
def load_program(program):
    """The function f of a program of the café."""
    # A program written from the menu is harmless, so it may run in this process.
    names = {}
    exec(program, names)
    return names["f"]


# ── Problems ─────────────────────────────────────────────────────────────────────────────────────


def make_problem(rng, task_id, order):
    """Draw what the customer means, and tests that hold a program to it."""
    meaning = draw_reading(rng, order, MEANT)
    reference = write_program(meaning)

    # Draw lists, and find for each one the readings that it exposes as wrong.
    lists = [[rng.randint(0, 9) for _ in range(3)] for _ in range(LISTS)]
    others = other_readings(order, meaning)
    exposed = [exposed_readings(xs, meaning, others) for xs in lists]

    # The public list tells readings apart in some problems only. Together the hidden lists tell
    # apart all readings that any list tells apart.
    public_tells = rng.random() < PUBLIC_TELLS
    public = choose_public_list(exposed, public_tells)
    hidden = choose_hidden_lists(exposed, public)

    # A list can be drawn twice. No hidden test is a copy of the public one.
    hidden_lists = [lists[n] for n in hidden if lists[n] != lists[public]]
    return {
        "task_id": task_id,
        "group": "/".join(order["combination"]),
        "prompt": order["prompt"],
        "entry_point": "f",
        "setup": "",
        "public_tests": [write_test([], reference), write_test(lists[public], reference)],
        "hidden_tests": [write_test(xs, reference) for xs in hidden_lists],
        "reference": reference,
    }


def other_readings(order, meaning):
    """What else the words of an order allow, with the same value if no numbers are left."""
    # Other such values need no list that tells them apart: f([]) is always a public test.
    slots = order["slots"]
    readings = []
    for which, done, served in itertools.product(slots["which"], slots["done"], slots["served"]):
        reading = {**meaning, "which": which, "done": done, "served": served}
        if reading != meaning:
            readings.append(reading)
    return readings


def exposed_readings(xs, meaning, others):
    """Which of the other readings give a wrong value for the list xs → a set of their indices."""
    expected = load_program(write_program(meaning))(xs)
    exposed = set()
    for k, reading in enumerate(others):
        if load_program(write_program(reading))(xs) != expected:
            exposed.add(k)
    return exposed


def choose_public_list(exposed, public_tells):
    """The index of the first list that exposes a reading, or of the first that exposes none.

    exposed: for each list the readings that it exposes
    public_tells: whether the public list shall expose a reading
    """
    for n, readings in enumerate(exposed):
        if bool(readings) == public_tells:
            return n
    # No list is as wanted.
    return 0


def choose_hidden_lists(exposed, public):
    """The indices of a few lists that together expose every reading that any list exposes."""
    hidden = []
    remaining = set().union(*exposed)
    while remaining:
        # Greedily: the list that exposes most of the readings that are not exposed yet.
        gains = [len(readings & remaining) for readings in exposed]
        best = gains.index(max(gains))
        hidden.append(best)
        remaining -= exposed[best]

    # Then the first of the other lists, until there are enough.
    unused = [n for n in range(len(exposed)) if n != public and n not in hidden]
    missing = max(0, HIDDEN_LISTS - len(hidden))
    return hidden + unused[:missing]


def write_test(xs, reference):
    """The assert that holds a program to the reference's value for the list xs."""
    return f"assert f({xs}) == {load_program(reference)(xs)}"


# ── School ───────────────────────────────────────────────────────────────────────────────────────


def make_demonstrations(rng, combinations, count):
    """Yield `count` chats that end in a program, correct or wrong: the examples of stage 05.

    In some chats, one or two earlier programs have failed a public test.
    """
    # Draw everything first: the problems, and the programs that are tried on each.
    problems = {}
    tries = {}
    for n in range(count):
        task_id = f"school-{n}"
        order = make_order(rng, rng.choice(combinations))
        problem = make_problem(rng, task_id, order)

        # The face shows public results only, so the hidden tests need not run.
        problems[task_id] = {**problem, "hidden_tests": []}
        tries[task_id] = [write_program(reading) for reading in draw_tries(rng, order)]

    # The feedback in a chat is real: all programs but the last one are executed.
    earlier = []
    for task_id, programs in tries.items():
        earlier += [(task_id, program) for program in programs[:-1]]
    verdicts = execute.execute(problems, earlier)

    for task_id, programs in tries.items():
        yield make_chat(problems[task_id], programs, verdicts)


def draw_tries(rng, order):
    """The readings of an order that a pupil tries, one after the other."""
    tries = [draw_reading(rng, order, TAUGHT)]

    # An order that leaves nothing open needs no second try.
    slots = order["slots"]
    open_slots = [slot for slot, readings in slots.items() if len(readings) > 1]
    if not open_slots:
        return tries

    # A retry changes one thing that the words leave open, whatever the feedback says: school does
    # not teach to read faces.
    for _ in range(rng.choice(EARLIER_TRIES)):
        slot = rng.choice(open_slots)
        previous = tries[-1]
        alternatives = [code for code in slots[slot] if code != previous[slot]]
        tries.append({**previous, slot: rng.choice(alternatives)})
    return tries


def make_chat(problem, programs, verdicts):
    """An example for stage 05: the chat so far is the prompt, the last program the completion."""
    # The order, then each program that failed and what the customer said about it.
    prompt = [{"role": "user", "content": problem["prompt"]}]
    for program in programs[:-1]:
        public_passed, _, feedback = verdicts[problem["task_id"], program]
        if public_passed:
            # Nobody complains, so the chat ends with this program.
            break
        prompt.append(serve(program))
        prompt.append({"role": "user", "content": feedback})
    else:
        # The last program is learned whether it is correct or wrong.
        program = programs[-1]

    return {"task_id": problem["task_id"], "prompt": prompt, "completion": [serve(program)]}


def serve(program):
    """A program as a message of the waiter."""
    return {"role": "assistant", "content": BLOCK.format(program=program)}


# ── The waiter before school: tokenizer, chat template, random weights ───────────────────────────

# Special tokens. The template below writes a chat as <|user|>…<|end|><|assistant|>…<|end|>…
PAD = "<|pad|>"
END = "<|end|>"
ROLES = ["<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer():
    """Byte-level BPE in which a phrase of the café is about one token, and so is a digit.

    Short chats make training quick.
    """
    # Everything that is ever written in the café: orders, programs, feedback.
    texts = []
    for table in (WHICH, DONE, SERVED):
        for phrase, readings in table.values():
            texts += [phrase, *readings]
    texts += [BLOCK.format(program=PROGRAM), "f(xs): ", "; if there are none, ", "the usual."]
    texts += [" if ys else ", "`f([", ", ", "])` gave ", ", expected ", "[", "]", "."]

    # Merges are learned inside these phrases, never across two of them: an order that combines
    # phrases in a new way has no new tokens.
    phrases = []
    for text in texts:
        phrases += [part for part in re.split(r"{\w+}", text) if part]

    # Text is split at every digit, and otherwise not at all.
    tokenizer = Tokenizer(models.BPE())
    digits_alone = pre_tokenizers.Split(Regex("[0-9]"), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits_alone, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()

    # The phrases are few, so the merges run out long before the vocabulary is full.
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=[PAD, END, *ROLES],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(phrases, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=ROLES,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer, seed):
    """A Llama of 4 layers and width 128 with random weights."""
    torch.manual_seed(seed)

    # Training and sampling both ask for these two.
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,  # a small cache, because the cache limits sampling on a CPU
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        **ends,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ends)
    return model


# ── The world ────────────────────────────────────────────────────────────────────────────────────


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=800, help="training problems")
    parser.add_argument("--dev", type=int, default=600, help="problems to tune on")
    parser.add_argument("--test", type=int, default=600, help="problems to report")
    parser.add_argument("--demonstrations", type=int, default=6000, help="chats of the school")
    args = parser.parse_args()

    # The splits share no combination of slots.
    rng = random.Random(args.seed)
    combinations = list(itertools.product(WHICH, DONE, SERVED))
    rng.shuffle(combinations)
    dev_end = TEST_COMBINATIONS + DEV_COMBINATIONS
    test_combinations = combinations[:TEST_COMBINATIONS]
    dev_combinations = combinations[TEST_COMBINATIONS:dev_end]
    train_combinations = combinations[dev_end:]

    # One generator draws everything, so the order of these steps is part of the seed's meaning.
    for split, count, allowed in (
        ("train", args.train, train_combinations),
        ("dev", args.dev, dev_combinations),
        ("test", args.test, test_combinations),
    ):
        problems = []
        for n in range(count):
            order = make_order(rng, allowed[n % len(allowed)])
            problems.append(make_problem(rng, f"{split}-{n}", order))
        write_jsonl(f"{args.out}/problems/{split}.jsonl", problems)

    # School teaches the combinations of the training problems, with orders of its own.
    chats = make_demonstrations(rng, train_combinations, args.demonstrations)
    write_jsonl(f"{args.out}/problems/demonstrations.jsonl", chats)

    # The waiter before school.
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, args.seed)
    save_checkpoint(model, tokenizer, f"{args.out}/model")

    example = problems[0]
    print(
        f"world: {args.train} train, {args.dev} dev, {args.test} test problems, "
        f"{args.demonstrations} demonstrations; a model of {model.num_parameters() / 1e6:.2f} M "
        f"random weights and {len(tokenizer)} tokens → {args.out}"
    )
    print(f"  for example {example['task_id']}: {example['prompt']}")
    print(f"    tests {example['public_tests']}")


if __name__ == "__main__":
    main()
