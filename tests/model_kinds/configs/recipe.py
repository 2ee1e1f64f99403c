"""How a tiny model's config.json is written: names that most kinds share, and what one kind adds."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

from tests.model_kinds.tokenizer import PAD, VOCABULARY

WINDOW = 64
"""Tokens of a sliding window: nearly every test prompt is longer."""
CONTEXT = 2048

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # the smallest that a key-value cache can be quantised in
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "pad_token_id": PAD,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "norm_epsilon": 1e-5,
    "layernorm_epsilon": 1e-5,
    "hidden_act": "silu",
    "sliding_window": WINDOW,
    "partial_rotary_factor": 1.0,
}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "num_shared_expert": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "moe_layer_freq": 1,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
}
SHARED = {**SIZES, **EXPERTS, **LATENT}


@dataclass(frozen=True)
class Recipe:
    """One kind: what its config.json holds beside the shared names that its library knows."""

    of: str = ""
    """The module whose arguments are asked for; empty for the kind's own."""
    nested: bool = False
    """Whether the language model's part is below ``text_config``."""
    model_type: str = ""
    own: dict[str, Any] = field(default_factory=dict)


def plain(model_type: str = "", **own: Any) -> Recipe:
    """A kind whose configuration is flat."""
    return Recipe(model_type=model_type, own=own)


def nested(of: str = "", model_type: str = "", **own: Any) -> Recipe:
    """A kind whose configuration has a ``text_config``; ``of`` is the module that reads it."""
    return Recipe(of=of, nested=True, model_type=model_type, own=own)


def text_config(kind: str, recipe: Recipe) -> dict[str, Any]:
    """The config.json of a text model, without the tokeniser's part."""
    model_type = recipe.model_type or kind
    part = {**_shared(recipe.of or model_type), **recipe.own}
    if not recipe.nested:
        return {**part, "model_type": model_type}
    inner = {"model_type": recipe.of or model_type, **part}
    return {"model_type": model_type, "vocab_size": VOCABULARY, "text_config": inner}


def _shared(model_type: str) -> dict[str, Any]:
    """The shared names that mlx_lm's class for a model type takes: config.json files have no
    others."""
    from mlx_lm.utils import MODEL_REMAPPING

    module = importlib.import_module(f"mlx_lm.models.{MODEL_REMAPPING.get(model_type, model_type)}")
    for name in ("TextArgs", "TextConfig", "TextModelArgs", "ModelArgs"):
        if (arguments := getattr(module, name, None)) is not None:
            known = inspect.signature(arguments).parameters
            return {name: value for name, value in SHARED.items() if name in known}
    raise LookupError(f"{module.__name__} has no class of arguments")
