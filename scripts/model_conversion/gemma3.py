"""Gemma 3: sliding windows in five of six layers, and a SentencePiece BPE tokeniser of 262,144
words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.model_conversion.gguf_library import LibraryFile
from worker.models.packaged import tensor_names
from worker.models.packaged.catalogue import Form
from worker.models.packaged.gguf_file import Array
from worker.models.packaged.tensor_names import TensorNames

SAMPLING: Mapping[str, float] = {}
"""A base model has no chats to recommend it for."""
_CONTROL, _USER_DEFINED = 3, 4
"""GGUF's numbers for kinds of tokens."""
_SPACE = "▁"
_NAMES = TensorNames(
    {
        **tensor_names.ATTENTION_AND_MLP,
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
)
_IMAGES = ("<start_of_image>", "<end_of_image>")

CHAT_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {{- '<start_of_turn>user\\n' + message.content + '<end_of_turn>\\n' }}
    {%- else %}
        {%- set role = 'model' if message.role == 'assistant' else 'user' %}
        {{- '<start_of_turn>' + role + '\\n' + message.content + '<end_of_turn>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\\n' }}
{%- endif %}
"""
"""In the form of the instruction model's, so that chats can be sent. The base model has seen none:
its answers are text that goes on, not replies."""


def config(file: LibraryFile) -> dict[str, Any]:
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": len(file["tokenizer.ggml.tokens"]),
        "hidden_size": int(file["gemma3.embedding_length"]),
        "intermediate_size": int(file["gemma3.feed_forward_length"]),
        "num_hidden_layers": int(file["gemma3.block_count"]),
        "num_attention_heads": int(file["gemma3.attention.head_count"]),
        "num_key_value_heads": int(file["gemma3.attention.head_count_kv"]),
        "head_dim": int(file["gemma3.attention.key_length"]),
        "query_pre_attn_scalar": int(file["gemma3.attention.key_length"]),
        "max_position_embeddings": int(file["gemma3.context_length"]),
        "sliding_window": int(file["gemma3.attention.sliding_window"]),
        "sliding_window_pattern": 6,
        "rms_norm_eps": 1e-6,
        "rope_theta": float(file["gemma3.rope.freq_base"]),
        "rope_local_base_freq": 10000.0,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "pad_token_id": 0,
    }


def tensors(file: LibraryFile, _: Form) -> dict[str, Array]:
    found = {_NAMES.of(name): file.array(name) for name in file.names()}
    # Of norms llama.cpp keeps the factor, MLX what is added to 1.
    return {name: array - 1 if name.endswith("norm") else array for name, array in found.items()}


_PRE_TOKENIZER = {
    "type": "Split",
    "pattern": {"String": " "},
    "behavior": "MergedWithPrevious",
    "invert": False,
}
_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}


def tokenizer(file: LibraryFile) -> dict[str, Any]:
    kinds = file["tokenizer.ggml.token_type"]
    tokens = [
        token.replace(" ", _SPACE) if kind == _USER_DEFINED else token
        for token, kind in zip(file["tokenizer.ggml.tokens"], kinds, strict=True)
    ]
    added = [number for number, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            tensor_names.added_token(
                number, tokens[number], special=_is_special(tokens[number], kinds[number])
            )
            for number in added
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
        "pre_tokenizer": _PRE_TOKENIZER,
        "post_processor": _begin_with_bos(vocabulary["<bos>"]),
        "decoder": _DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges(vocabulary, {number for number in added if kinds[number] != _CONTROL}),
        },
    }


def _is_special(token: str, kind: int) -> bool:
    unused = token.startswith("<unused") or token == "<mask>"
    return token in _IMAGES or (kind == _CONTROL and not unused)


def merges(vocabulary: dict[str, int], first: set[int]) -> list[list[str]]:
    """The merges of a vocabulary, which GGUF leaves out: every way to put a token together from
    two others, in the order of the tokens. Tokens in ``first`` come before all others; of one
    token's, the longest left part comes first."""
    found = []
    for token, number in vocabulary.items():
        rank = -1 if number in first else number
        for cut in range(len(token) - 1, 0, -1):
            left, right = token[:cut], token[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((rank, -len(left), -len(right), left, right))
    found.sort(key=lambda merge: merge[:3])
    return [[left, right] for *_, left, right in found]


def _begin_with_bos(number: int) -> dict[str, Any]:
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [bos, text],
        "pair": [bos, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [number], "tokens": ["<bos>"]}},
    }


def tokenizer_config(file: LibraryFile) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(file["gemma3.context_length"]),
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "chat_template": CHAT_TEMPLATE,
    }
