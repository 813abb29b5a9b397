"""Models with random weights: those of three families, with their tokenizers and templates."""

import re

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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
