"""What the tests share: the stages by number, a way to run one in this process, small rows, a tiny model."""
import importlib, json, os, re, sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")       # as in run_all.sh
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path[:0] = [ROOT, os.path.join(ROOT, "data")]
STAGES = ["01_rollout", "02_execute", "03_verifier", "04_relabel", "05_train_policy", "06_eval"]
SHARED = os.path.join(ROOT, "..", "shared", "data")


def stage(number):
    return importlib.import_module(STAGES[number - 1])


def run(number, *args):
    """Call a stage as the shell would, without the seconds that a new Python needs for its imports."""
    before, sys.argv = sys.argv, [STAGES[number - 1] + ".py", *map(str, args)]
    try: stage(number).main()
    finally: sys.argv = before


def write(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in open(path)]


def problem(task="p", public=("assert f(1) == 2",), hidden=("assert f(5) == 6",), **more):
    return dict(dict(task_id=task, group=task, prompt=f"Write f for {task}.", entry_point="f", setup="", public_tests=list(public),
                     hidden_tests=list(hidden), reference="def f(x): return x + 1"), **more)


def step(task="p", trajectory=0, turn=1, code="def f(x): return x", public=False, hidden=False, **more):
    return dict(dict(policy="base", task_id=task, trajectory=trajectory, turn=turn, messages=[dict(role="user", content=f"Write f for {task}.")],
                     completion=f"```python\n{code}\n```", tokens=5, code=code, public_passed=public, hidden_passed=hidden,
                     feedback="" if public else "`f(1)` gave 1, expected 2"), **more)


@pytest.fixture
def refused(capsys):
    """refused(call, word, …): the call ends with exit status 2 and ONE line on stderr that holds every word."""
    def check(call, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as e: call()
        line = capsys.readouterr().err
        assert e.value.code == 2 and line.count("\n") == 1, line
        for word in words: assert str(word) in line, line
    return check


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with the café's model, untrained: tokenizer, chat template, random weights."""
    import cafe
    path = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = cafe.make_tokenizer()
    cafe.make_model(tokenizer, 0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# Chat templates as three families write them, less tools and system prompts: {family: (template, the token that ends an answer)}
MODELS = dict(
    llama=("{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
           "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}", "<|eot_id|>"),
    qwen2=("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
           "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}", "<|im_end|>"),
    gemma2=("{{ '<bos>' }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}", "<end_of_turn>"))


def make_model(path, family, texts, vocabulary=400, context=512, **shape):
    """A random model of a family, 2 layers if not said otherwise, and a byte-level tokenizer trained on `texts`.

    As published: Llama has no padding token, Qwen2 pads with its end token, and Gemma's `eos` is not what ends an answer.
    """
    import torch, transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    torch.manual_seed(0)
    template, end = MODELS[family]
    special = list(dict.fromkeys([*re.findall(r"<[\w|]+>", template), "<eos>"]))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=template, eos_token="<eos>" if family == "gemma2" else end,
                                                     pad_token=dict(llama=None, qwen2=end, gemma2="<bos>")[family])
    config = transformers.AutoConfig.for_model(family, **dict(dict(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        max_position_embeddings=context, bos_token_id=None, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id), **shape))
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config = transformers.GenerationConfig(eos_token_id=sorted({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)}))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
