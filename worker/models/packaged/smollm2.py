"""SmolLM2: the architecture of Llama, and a byte-level BPE tokeniser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from worker.models.packaged import tensor_names
from worker.models.packaged.catalogue import Form
from worker.models.packaged.gguf_file import Array, GgufFile, Quantised

SAMPLING: Mapping[str, float] = {"temperature": 0.2, "top_p": 0.9}
"""Of the example in the card of SmolLM2-135M-Instruct."""
_CONTROL = 3
"""A control token, in GGUF's numbers for kinds of tokens."""


def config(file: GgufFile) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": int(file["llama.vocab_size"]),
        "hidden_size": int(file["llama.embedding_length"]),
        "intermediate_size": int(file["llama.feed_forward_length"]),
        "num_hidden_layers": int(file["llama.block_count"]),
        "num_attention_heads": int(file["llama.attention.head_count"]),
        "num_key_value_heads": int(file["llama.attention.head_count_kv"]),
        "max_position_embeddings": int(file["llama.context_length"]),
        "rms_norm_eps": 1e-5,
        "rope_theta": float(file["llama.rope.freq_base"]),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


def tensors(file: GgufFile, form: Form) -> dict[str, Array | Quantised]:
    """In 4 bit the file's own blocks: embeddings have 8."""
    heads = {
        "attn_q": int(file["llama.attention.head_count"]),
        "attn_k": int(file["llama.attention.head_count_kv"]),
    }
    found: dict[str, Array | Quantised] = {}
    for name in file.names():
        exact = form == "4bit" and file.is_quantised(name)
        tensor = file.quantised(name) if exact else file.array(name)
        part = tensor_names.part_of(name)
        if part in heads:
            rows = len(tensor.weight if isinstance(tensor, Quantised) else tensor)
            order = rotary_order(rows, heads[part])
            tensor = tensor.reordered(order) if isinstance(tensor, Quantised) else tensor[order]
        found[tensor_names.LLAMA.of(name)] = tensor
    return found


def rotary_order(rows: int, heads: int) -> Array:
    """Which rows of a query or key matrix in GGUF are the first, second, … of MLX's.

    llama.cpp rotates neighbouring rows of a head together, MLX those that are half a head apart.
    """
    pairs = np.arange(rows).reshape(heads, rows // heads // 2, 2)
    return pairs.swapaxes(1, 2).reshape(rows)


def tokenizer(file: GgufFile) -> dict[str, Any]:
    tokens = file["tokenizer.ggml.tokens"]
    kinds = file["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            tensor_names.added_token(number, token, special=True)
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**byte_level, "add_prefix_space": False}],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in file["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(file: GgufFile) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(file["llama.context_length"]),
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "chat_template": file["tokenizer.chat_template"],
    }
