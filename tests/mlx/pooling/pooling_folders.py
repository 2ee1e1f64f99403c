"""Tiny embedding models and rerankers with random weights, a folder of each kind."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from scripts.training.random_text_model import SMALL, make, train_tokenizer

VOCABULARY = 512
_ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "pad_token_id": 1,
}
_DECODER = _ENCODER | {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
_MODERN = {"global_attn_every_n_layers": 3, "local_attention": 16}
_LABEL = {"num_labels": 1}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("bert", "Model", _ENCODER),
    "xlm-roberta": ("xlm_roberta", "Model", _ENCODER | {"type_vocab_size": 1}),
    "modernbert": ("modernbert", "Model", _ENCODER | _MODERN),
    "qwen3-embedding": ("qwen3_embedding", "Model", _DECODER | {"model_type": "qwen3"}),
    "gemma-embedding": (
        "gemma3_embedding",
        "Model",
        _DECODER
        | {"model_type": "gemma3_text", "use_bidirectional_attention": True}
        | {"sliding_window": 512, "query_pre_attn_scalar": 8},
    ),
    "bert-reranker": ("bert", "SequenceClassificationModel", _ENCODER | _LABEL),
    "xlm-roberta-reranker": (
        "xlm_roberta",
        "SequenceClassificationModel",
        _ENCODER | _LABEL | {"type_vocab_size": 2},
    ),
}
"""By name: mlx_vlm's module, its class, and the config."""
EMBEDS = [name for name in KINDS if not name.endswith("reranker")]
RANKS = [*(name for name in KINDS if name.endswith("reranker")), "qwen3-reranker"]


def folder_of(kind: str, root: Path) -> Path:
    """A model folder of the kind."""
    folder = root / kind
    if kind == "qwen3-reranker":
        return make(folder, SMALL)
    folder.mkdir()
    module_name, class_name, settings = KINDS[kind]
    module = importlib.import_module(f"mlx_vlm.models.{module_name}")
    config = {"model_type": module_name.replace("_roberta", "-roberta")} | settings
    if class_name != "Model":
        config["architectures"] = ["SomethingForSequenceClassification"]
    model = getattr(module, class_name)(
        module.ModelConfig.from_dict(config | {"model_type": module_name})
    )
    mx.random.seed(7)
    weights = {name: _random(array) for name, array in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    (folder / "config.json").write_text(json.dumps(config))
    train_tokenizer(VOCABULARY).save_pretrained(folder)
    return folder


def _random(array: mx.array) -> mx.array:
    if array.ndim == 1:  # Norms and biases: larger ones would say the same of every text.
        return array + 0.02 * mx.random.normal(array.shape)
    return mx.random.normal(array.shape) / array.shape[-1] ** 0.5
