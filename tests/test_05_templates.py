"""Stage 05's loss mask, token by token, for the chat templates of ten families.

The templates are written from their published form, less tools and system prompts. What a chat
becomes, and where its loss is, is written down here by hand.
"""

import datetime
import re

from lib.models import end_token

import pytest
import transformers
from conftest import chat, stage
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

rollout = stage(1)
policy = stage(5)

LOOP = "{% for m in messages %}"
END = "{% endfor %}"
OPEN = "{% if add_generation_prompt %}"
CLOSE = "{% endif %}"

# Each: the template, the tokens at which sampling stops (the tokenizer's own first), the chat
# a, wrong, b as what the model reads, and the token that ends an answer.
FAMILIES = {
    "Llama 3.2": (
        "{{ '<|begin_of_text|>' }}{% if not date_string is defined %}"
        "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + date_string + '<|eot_id|>' }}"
        f"{LOOP}{{{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
        f" + m.content | trim + '<|eot_id|>' }}}}{END}"
        f"{OPEN}{{{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}}}{CLOSE}",
        ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"],
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: 26 Jul 2024"
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nwrong<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "Qwen 2.5": (
        f"{LOOP}{{{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}}}{END}"
        f"{OPEN}{{{{ '<|im_start|>assistant\n' }}}}{CLOSE}",
        ["<|im_end|>", "<|endoftext|>"],
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nwrong<|im_end|>\n"
        "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "Qwen 3, which strips thoughts": (
        f"{LOOP}{{% set text = m.content.split('</think>')[-1].lstrip('\n') %}}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if loop.last and m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
        f"{{{{ text + '<|im_end|>\n' }}}}{END}"
        f"{OPEN}{{{{ '<|im_start|>assistant\n' }}}}{CLOSE}",
        ["<|im_end|>", "<|endoftext|>"],
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nwrong<|im_end|>\n"
        "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "Gemma 2, which renames a role and has another eos": (
        "{{ '<bos>' }}"
        f"{LOOP}{{{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role)"
        f" + '\n' + m.content | trim + '<end_of_turn>\n' }}}}{END}"
        f"{OPEN}{{{{ '<start_of_turn>model\n' }}}}{CLOSE}",
        ["<eos>", "<end_of_turn>"],
        "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nwrong<end_of_turn>\n"
        "<start_of_turn>user\nb<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
    ),
    "Mistral, without an opening": (
        "{{ '<s>' }}"
        f"{LOOP}{{% if m.role == 'user' %}}{{{{ '[INST] ' + m.content + ' [/INST]' }}}}"
        f"{{% else %}}{{{{ ' ' + m.content + '</s>' }}}}{{% endif %}}{END}",
        ["</s>"],
        "<s>[INST] a [/INST] wrong</s>[INST] b [/INST]",
        "</s>",
    ),
    "Phi 3, with two end tokens": (
        f"{LOOP}{{{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}}}{END}"
        f"{OPEN}{{{{ '<|assistant|>\n' }}}}{{% else %}}{{{{ '<|endoftext|>' }}}}{CLOSE}",
        ["<|endoftext|>", "<|assistant|>", "<|end|>"],
        "<|user|>\na<|end|>\n<|assistant|>\nwrong<|end|>\n<|user|>\nb<|end|>\n<|assistant|>\n",
        "<|end|>",
    ),
    "Granite, which writes today's date": (
        "{{ '<|start_of_role|>system<|end_of_role|>' + \"Today's Date: \""
        " + strftime_now('%B %d, %Y') + '.<|end_of_text|>\n' }}"
        f"{LOOP}{{{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content"
        f" + '<|end_of_text|>\n' }}}}{END}"
        f"{OPEN}{{{{ '<|start_of_role|>assistant<|end_of_role|>' }}}}{CLOSE}",
        ["<|end_of_text|>"],
        "<|start_of_role|>system<|end_of_role|>Today's Date: July 26, 2024.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>a<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>wrong<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>b<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
        "<|end_of_text|>",
    ),
    "DeepSeek R1, which opens a thought": (
        "{{ '<｜begin▁of▁sentence｜>' }}"
        f"{LOOP}{{% if m.role == 'user' %}}{{{{ '<｜User｜>' + m.content }}}}{{% else %}}"
        "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
        f"{{% endif %}}{END}"
        f"{OPEN}{{{{ '<｜Assistant｜><think>\n' }}}}{CLOSE}",
        ["<｜end▁of▁sentence｜>"],
        "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜>wrong<｜end▁of▁sentence｜>"
        "<｜User｜>b<｜Assistant｜><think>\n",
        "<｜end▁of▁sentence｜>",
    ),
    "gpt-oss, with other end tokens within and behind a chat": (
        "{{ '<|start|>system<|message|>Current date: ' + strftime_now(\"%Y-%m-%d\") + '<|end|>' }}"
        f"{LOOP}{{% if m.role == 'user' %}}"
        "{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}{% else %}"
        "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
        f"{{{{ '<|return|>' if loop.last else '<|end|>' }}}}{{% endif %}}{END}"
        f"{OPEN}{{{{ '<|start|>assistant' }}}}{CLOSE}",
        ["<|return|>", "<|call|>"],
        "<|start|>system<|message|>Current date: 2024-07-26<|end|>"
        "<|start|>user<|message|>a<|end|>"
        "<|start|>assistant<|channel|>final<|message|>wrong<|end|>"
        "<|start|>user<|message|>b<|end|><|start|>assistant",
        "<|return|>",
    ),
    "Zephyr, whose turns end with eos and a newline": (
        f"{LOOP}{{{{ '<|' + m.role + '|>\n' + m.content + '</s>\n' }}}}{END}"
        f"{OPEN}{{{{ '<|assistant|>\n' }}}}{CLOSE}",
        ["</s>"],
        "<|user|>\na</s>\n<|assistant|>\nwrong</s>\n<|user|>\nb</s>\n<|assistant|>\n",
        "</s>",
    ),
    "a template without any end token": (
        f"{LOOP}{{{{ m.role + ': ' + m.content + '\n' }}}}{END}{OPEN}{{{{ 'assistant:' }}}}{CLOSE}",
        ["<eos>"],
        "user: a\nassistant: wrong\nuser: b\nassistant:",
        "<eos>",
    ),
}
# Tokens of several letters, which merge with what stands before them: two newlines are one token.
TEXTS = ["\n\n\n\ndef f(xs):\n\n    return xs\n", "  :  x", "assistant:\n\n"] * 9
LABELS = [
    "def f(xs): return xs",
    "\ndef f(xs): return xs",
    " def f(xs): return xs",
    "\n\n",
    "é\t中",
    "",
]


def make_tokenizer(template, ends):
    """Byte-level BPE whose special tokens are those of the template."""
    special = list(dict.fromkeys(re.findall(r"<[｜|]?[\w▁]+[｜|]?>|</s>", template)))
    special = [token for token in special if token != "<think>"] + ends
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split("never", "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(dict.fromkeys(special)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, eos_token=ends[0]
    )


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_on_what_sampling_would_have_produced(family, label):
    template, ends, before, end = FAMILIES[family]
    tokenizer = make_tokenizer(template, ends)
    end_id = end_token(tokenizer, sorted(map(tokenizer.convert_tokens_to_ids, ends)))
    ids, n = policy.encode_example(tokenizer, chat("a", "wrong", "b"), label, end_id)

    # The state: what sampling starts from, and no loss.
    assert ids[:-n] == rollout.render(tokenizer, chat("a", "wrong", "b"))
    assert tokenizer.decode(ids[:-n]) == before
    # The answer: as stage 01 turns ids into text, and one end token, at which it stops.
    assert tokenizer.decode(ids[-n:], skip_special_tokens=True) == label
    assert tokenizer.convert_ids_to_tokens(ids[-1:]) == [end]
    assert not {tokenizer.convert_tokens_to_ids(token) for token in ends} & set(ids[-n:-1])

    _, targets = policy.collate([(ids, n), ([1] * (len(ids) + 3), 1)])
    assert targets[0].tolist() == [-100] * (len(ids) - n) + ids[-n:] + [-100] * 3


def test_tomorrow_a_chat_is_the_same(monkeypatch):
    """Whatever the clock says, for templates that ask it."""
    for family in ("Llama 3.2", "Granite, which writes today's date"):
        tokenizer = make_tokenizer(*FAMILIES[family][:2])
        text = tokenizer.decode(rollout.render(tokenizer, chat("a")))
        assert "2024" in text
        assert str(datetime.date.today().year) not in text


def test_a_chat_that_a_template_refuses_gets_one_line(refused):
    template = (
        f"{LOOP}{{% if not m.content %}}{{{{ raise_exception('empty answers are not allowed') }}}}"
        f"{{% endif %}}{{{{ m.content }}}}{END}"
    )
    tokenizer = make_tokenizer(template, ["<eos>"])
    messages = chat("a", "", "b")
    refused(lambda: rollout.render(tokenizer, messages), "template", "empty answers", "'b'")
