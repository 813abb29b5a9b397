"""What the tests share: calls of the stages, hand-made rows, stubs of a search, random models."""

import importlib
import json
import os
import random
import re
import sys

# As in run_all.sh; torch reads it when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
SHARED = os.path.join(ROOT, "..", "shared", "data")
sys.path[:0] = [ROOT, os.path.join(ROOT, "data")]

import cafe
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

STAGES = [
    "01_rollout",
    "02_execute",
    "03_verifier",
    "04_relabel",
    "05_train_policy",
    "06_eval",
]


def pytest_addoption(parser):
    parser.addoption("--shuffle", help="a seed: run the files, and the tests of each, in any order")


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("--shuffle")
    if seed:
        rng = random.Random(seed)
        rng.shuffle(items)
        # File by file, or what the tests of one share would be made for each of them.
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda item: files.index(item.path))


# ── Stages and files ─────────────────────────────────────────────────────────────────────────────


def stage(number):
    """The module of a stage."""
    return importlib.import_module(STAGES[number - 1])


def run(number, *args):
    """Call a stage as the shell would, without the seconds that a new Python needs for imports."""
    command_line = sys.argv
    sys.argv = [f"{STAGES[number - 1]}.py", *map(str, args)]
    try:
        stage(number).main()
    finally:
        sys.argv = command_line


def write(path, rows):
    """Rows to a JSON Lines file → its path. A string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def read(path):
    """The rows of a JSON Lines file."""
    with open(path) as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def refused(capsys):
    """refused(call, word, …): the call ends with status 2 and ONE line that holds every word."""

    def check(call, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            call()
        line = capsys.readouterr().err
        assert ending.value.code == 2, line
        assert line.count("\n") == 1, line
        for word in words:
            assert str(word) in line, line

    return check


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def problem(task="p", public=("assert f(1) == 2",), hidden=("assert f(5) == 6",), **more):
    """A row of problems.jsonl. `more` adds fields or replaces them."""
    row = dict(
        task_id=task,
        group=task,
        prompt=f"Write f for {task}.",
        entry_point="f",
        setup="",
        public_tests=list(public),
        hidden_tests=list(hidden),
        reference="def f(x): return x + 1",
    )
    return dict(row, **more)


def step(
    task="p",
    trajectory=0,
    turn=1,
    code="def f(x): return x",
    public=False,
    hidden=False,
    **more,
):
    """A row of steps.jsonl. `more` adds fields or replaces them."""
    row = dict(
        policy="base",
        task_id=task,
        trajectory=trajectory,
        turn=turn,
        messages=[dict(role="user", content=f"Write f for {task}.")],
        completion=f"```python\n{code}\n```",
        tokens=5,
        code=code,
        public_passed=public,
        hidden_passed=hidden,
        feedback="" if public else "`f(1)` gave 1, expected 2",
    )
    return dict(row, **more)


def chat(*texts):
    """A chat of these texts, user and assistant by turns."""
    roles = ("user", "assistant")
    return [dict(role=roles[k % 2], content=text) for k, text in enumerate(texts)]


def contents(messages):
    """The texts of a chat."""
    return [message["content"] for message in messages]


def candidate(public=False, hidden=False, score=0.0, code="c"):
    """A judged and scored candidate, as a row of eval.jsonl holds it."""
    return dict(
        completion=code,
        code=code,
        public_passed=public,
        hidden_passed=hidden,
        feedback="" if public else f"{code} is wrong",
        score=score,
        scores=[score],
        tokens=3,
    )


def is_good(task, code):
    return code == "good"


def environment(codes, passes_hidden=is_good):
    """Stubs for stage 06's search → sample, judge, score, and the list of what was asked to sample.

    codes[task][turn - 1][candidate] is what is sampled. A code that begins with g or p passes the
    public tests, `passes_hidden(task, code)` tells about the hidden ones. The first of two
    verifiers likes long programs, the second likes all alike.
    """
    requests = []

    def sample(draws):
        requests.append(list(draws))
        return {
            draw: (json.loads(draw.state), codes[draw.task_id][draw.turn - 1][draw.candidate], 3)
            for draw in draws
        }

    def judge(programs):
        verdicts = {}
        for task, code in programs:
            passes_public = code[0] in "gp"
            feedback = "" if passes_public else f"{code} is wrong"
            verdicts[task, code] = (passes_public, passes_hidden(task, code), feedback)
        return verdicts

    def score(programs):
        return {(task, code): (float(len(code)), -1.0) for task, code in programs}

    return sample, judge, score, requests


# ── Models ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with the café's model, untrained: tokenizer, chat template, random weights."""
    path = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = cafe.make_tokenizer()
    cafe.make_model(tokenizer, 0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# Chat templates as three families write them, less tools and system prompts:
# {family: (template, the token that ends an answer)}.
LLAMA = (
    "{{ '<|begin_of_text|>' }}"
    "{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
    " + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
QWEN = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}"
    "{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role)"
    " + '\n' + m.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<start_of_turn>model\n' }}"
    "{% endif %}"
)
MODELS = {
    "llama": (LLAMA, "<|eot_id|>"),
    "qwen2": (QWEN, "<|im_end|>"),
    "gemma2": (GEMMA, "<end_of_turn>"),
}


def make_model(path, family, texts, vocabulary=400, context=512, **shape):
    """A random model of a family, and a byte-level tokenizer trained on `texts`, saved in `path`.

    As published: Llama has no padding token, Qwen2 pads with its end token, and Gemma's `eos` is
    not what ends an answer. Two layers of width 64, unless `shape` has other configuration values.
    """
    torch.manual_seed(0)
    tokenizer = make_tokenizer(family, texts, vocabulary)
    defaults = dict(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=context,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = transformers.AutoConfig.for_model(family, **dict(defaults, **shape))
    model = transformers.AutoModelForCausalLM.from_config(config)
    _, end = MODELS[family]
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)}
    model.generation_config = transformers.GenerationConfig(eos_token_id=sorted(ends))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def make_tokenizer(family, texts, vocabulary):
    """Byte-level BPE with the chat template and the special tokens of a family."""
    template, end = MODELS[family]
    special = list(dict.fromkeys([*re.findall(r"<[\w|]+>", template), "<eos>"]))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=template,
        eos_token="<eos>" if family == "gemma2" else end,
        pad_token={"llama": None, "qwen2": end, "gemma2": "<bos>"}[family],
    )
