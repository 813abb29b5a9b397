"""The café: a world of small programming problems, and a language model that has not learned anything yet.

A customer orders a list function, and leaves things out:

    f(xs): the largest of the numbers above 4, doubled; if there are none, the usual.

Above 4, is 4 itself meant? And what IS the usual? The waiter writes a program, serves it, and sees a face:

    `f([])` gave 0, expected 2

An order is three slots (which numbers, what is done to them, what is served) and a last clause. Some phrases
have two readings, and customers mostly mean the first; "the usual" is 0, 1, 2 or 3. So

    feedback SPELLS OUT the usual        the test f([]) fails and shows it: the next program can copy it
    feedback HINTS at a reading          where the public list tells two readings apart, the wrong one fails
    only EXPERIENCE tells the rest       elsewhere hidden tests decide, and one must know what customers mean

The waiter is the policy π, the customer's meaning is what the tests hold it to, the face is the feedback o_t. It
starts as a random network. School (demonstrations.jsonl, supervised) teaches it to write programs that fit the
words and to change one thing after a complaint; but school has its own idea of what words mean, and its lessons
are not chosen for being right. That is the place a pretrained model is in, and where μCode begins.

    python data/cafe.py --out runs/toy --seed 0

writes OUT/problems/{train,dev,test}.jsonl, OUT/problems/demonstrations.jsonl and OUT/model/ (0.8 M random
weights). Dev and test orders combine slots as neither school nor training did; a combination is a `group`.
"""
import argparse, importlib, itertools, os, random, re, shutil, sys
from functools import lru_cache

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
execute = importlib.import_module("02_execute")

# Each phrase and its readings, the likelier first.
WHICH = {
    "all":   ("the numbers", [""]),
    "above": ("the numbers above 4", [" if x > 4", " if x >= 4"]),
    "below": ("the numbers below 6", [" if x < 6", " if x <= 6"]),
    "small": ("the small numbers", [" if x < 5", " if x < 3"]),
    "even":  ("the even numbers", [" if x % 2 == 0"]),
    "odd":   ("the odd numbers", [" if x % 2 == 1"]),
}
DONE = {
    "plain":   ("", ["x"]),
    "doubled": (", doubled", ["x * 2"]),
    "halved":  (", halved", ["x // 2", "x / 2"]),
    "plus":    (", plus 8", ["x + 8"]),
    "apart":   (", as the difference from 5", ["abs(x - 5)", "x - 5"]),
}
SERVED = {
    "largest":  ("the largest of ", ["max(ys)"]),
    "smallest": ("the smallest of ", ["min(ys)"]),
    "sum":      ("the sum of ", ["sum(ys)"]),
    "first":    ("the first of ", ["ys[0]"]),
    "sorted":   ("a sorted list of ", ["sorted(ys)", "sorted(ys, reverse=True)"]),
    "average":  ("the average of ", ["sum(ys) / len(ys)", "sum(ys) // len(ys)"]),
}
PROGRAM = "```python\ndef f(xs):\n    ys = [{done} for x in xs{which}]\n    return {served} if ys else {none}\n```"
USUAL = "0123"          # what "the usual" can be
# How often the first of 1, 2 or 4 readings is drawn; the others share the rest.
MEANT = {1: 1.0, 2: 0.85, 4: 0.5}       # by customers
TAUGHT = {1: 1.0, 2: 0.33, 4: 0.25}     # at school
USUAL_SAID = 0.5        # how many orders say what to give if there are none; the others say "the usual"
PUBLIC_TELLS = 0.5      # how often the public list tells the readings apart, where a list can


def make_order(rng, combination):
    """An order: its words, and for each slot the readings that the words allow."""
    which, done, served = (table[name] for table, name in zip((WHICH, DONE, SERVED), combination))
    said = rng.choice(USUAL) if rng.random() < USUAL_SAID else None
    words = f"f(xs): {served[0]}{which[0]}{done[0]}; if there are none, {said or 'the usual'}."
    slots = dict(which=which[1], done=done[1], served=served[1], none=[said] if said else list(USUAL))
    return dict(combination=combination, prompt=words, slots=slots)


def draw_reading(rng, order, likely):
    """One choice a slot; where the words allow several, the first is drawn with probability likely[how many]."""
    return {slot: readings[0] if rng.random() < likely[len(readings)] else rng.choice(readings[1:])
            for slot, readings in order["slots"].items()}


def write_program(reading):
    return PROGRAM.format(**reading)


@lru_cache(maxsize=None)
def function(program):
    """The f of one of the world's own programs (they are safe to run here)."""
    names = {}
    exec(execute.extract_code(program), names)
    return names["f"]


def make_problem(rng, task_id, order):
    """Draw what the customer means, and tests that hold the program to it."""
    meant = draw_reading(rng, order, MEANT)
    choices = itertools.product(*(order["slots"][slot] for slot in ("which", "done", "served")))
    readings = [dict(meant, which=w, done=d, served=s) for w, d, s in choices]
    others = [reading for reading in readings if reading != meant]
    right, wrong = function(write_program(meant)), [function(write_program(other)) for other in others]
    lists = [[rng.randint(0, 9) for _ in range(3)] for _ in range(40)]
    told = [{k for k, f in enumerate(wrong) if f(xs) != right(xs)} for xs in lists]      # whom each list exposes
    tells = rng.random() < PUBLIC_TELLS
    public = next((n for n in range(len(lists)) if bool(told[n]) == tells), 0)
    hidden, left = [], set().union(*told)
    while left:                                                   # few lists that together expose every reading that can be
        hidden.append(max(range(len(lists)), key=lambda n: len(told[n] & left)))
        left -= told[hidden[-1]]
    hidden += [n for n in range(len(lists)) if n != public and n not in hidden][:max(0, 5 - len(hidden))]
    test = lambda xs: f"assert f({xs}) == {right(xs)}"
    return dict(task_id=task_id, group="/".join(order["combination"]), prompt=order["prompt"], entry_point="f",
                setup="", public_tests=[test([]), test(lists[public])], hidden_tests=[test(lists[n]) for n in hidden if lists[n] != lists[public]],
                reference=execute.extract_code(write_program(meant)))


def make_demonstrations(rng, combinations, count):
    """School: (chat → program). Some of the chats hold one or two tries that failed, with their feedback."""
    lessons, problems = [], {}
    for n in range(count):
        order = make_order(rng, rng.choice(combinations))
        problems[str(n)] = dict(make_problem(rng, str(n), order), hidden_tests=[])           # school hears complaints alone
        tries = [draw_reading(rng, order, TAUGHT)]
        open_slots = [slot for slot, readings in order["slots"].items() if len(readings) > 1]
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2)) if open_slots else 0):
            slot = rng.choice(open_slots)                         # a retry changes one thing that the words leave open
            other = [r for r in order["slots"][slot] if r != tries[-1][slot]]
            tries.append(dict(tries[-1], **{slot: rng.choice(other)}))
        lessons.append((str(n), [write_program(t) for t in tries]))
    earlier = [(task, execute.extract_code(y)) for task, ys in lessons for y in ys[:-1]]
    verdicts = execute.execute(problems, earlier, progress=False)
    for task, ys in lessons:
        messages, y = [dict(role="user", content=problems[task]["prompt"])], ys[-1]
        for try_ in ys[:-1]:
            passed, _, feedback = verdicts[task, execute.extract_code(try_)]
            if passed: y = try_; break                            # nobody complained: the lesson ends here
            messages += [dict(role="assistant", content=try_), dict(role="user", content=feedback)]
        yield dict(task_id=f"school-{task}", prompt=messages, completion=[dict(role="assistant", content=y)])


# ── The waiter before school: tokenizer, chat template, random weights ───────────────────────────────────────────

TEMPLATE = ("{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def make_tokenizer():
    """Byte-level BPE in which a phrase of the world is about one token and a digit is one: short chats, quick learning."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    texts = [text for table in (WHICH, DONE, SERVED) for words, readings in table.values() for text in [words, *readings]]
    texts += [PROGRAM, "f(xs): ", "; if there are none, ", "the usual.", " if ys else ",
              "`f([", ", ", "])` gave ", ", expected ", "[", "]", "."]
    phrases = [part for text in texts for part in re.split(r"{\w+}", text) if part]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("[0-9]"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    # Merges are learned inside phrases, never across two: an order that combines them anew has no new tokens.
    tokenizer.train_from_iterator(phrases, trainers.BpeTrainer(
        vocab_size=2000, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>",
                                   additional_special_tokens=special[2:], chat_template=TEMPLATE)


def make_model(tokenizer, seed):
    """A Llama of 4 layers, width 128. One key/value head: the cache is what limits sampling on a CPU."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--out", required=True, help="the run's folder")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--train", type=int, default=800, help="training problems")
    ap.add_argument("--dev", type=int, default=600, help="problems to tune on")
    ap.add_argument("--test", type=int, default=600, help="problems to report")
    ap.add_argument("--demonstrations", type=int, default=6000, help="chats of the schooling")
    args = ap.parse_args()

    rng = random.Random(args.seed)
    combinations = list(itertools.product(WHICH, DONE, SERVED))
    rng.shuffle(combinations)
    test, dev, train = combinations[:80], combinations[80:120], combinations[120:]      # 180 in all
    os.makedirs(f"{args.out}/problems", exist_ok=True)
    for split, count, some in (("train", args.train, train), ("dev", args.dev, dev), ("test", args.test, test)):
        rows = [make_problem(rng, f"{split}-{n}", make_order(rng, some[n % len(some)])) for n in range(count)]
        execute.write_jsonl(f"{args.out}/problems/{split}.jsonl", rows)
    execute.write_jsonl(f"{args.out}/problems/demonstrations.jsonl", make_demonstrations(rng, train, args.demonstrations))

    from transformers import logging
    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, args.seed)
    shutil.rmtree(f"{args.out}/model.part", ignore_errors=True)
    model.save_pretrained(f"{args.out}/model.part")
    tokenizer.save_pretrained(f"{args.out}/model.part")
    shutil.rmtree(f"{args.out}/model", ignore_errors=True)
    os.rename(f"{args.out}/model.part", f"{args.out}/model")
    print(f"world: {args.train} train, {args.dev} dev, {args.test} test problems, {args.demonstrations} demonstrations; "
          f"a model of {model.num_parameters() / 1e6:.2f} M random weights and {len(tokenizer)} tokens → {args.out}")
    print(f"  for example {rows[0]['task_id']}: {rows[0]['prompt']}\n    tests {rows[0]['public_tests']}")


if __name__ == "__main__":
    main()
