"""Kinds without pictures that mlx_vlm alone has."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.recipe import WINDOW
from tests.model_kinds.configs.vision.also_text import MINIMAX
from tests.model_kinds.configs.vision.new_towers import DEEPSEEK_V4
from tests.model_kinds.configs.vision.popular import DELTA
from tests.model_kinds.configs.vision.recipe import VisionRecipe

_MIX = ["sliding_attention", "full_attention"]


def text(**own: Any) -> VisionRecipe:
    return VisionRecipe(text=own, picture="", token="", marks=(), flat=True)


KINDS: dict[str, VisionRecipe] = {
    "cohere2_moe": text(sliding_window_pattern=2, moe_num_shared_experts=1),
    "deepseek_v4": text(**DEEPSEEK_V4),
    "flint": text(num_hidden_layers=4, layer_types=_MIX * 2, no_rope_layer_indices=[1]),
    "hrm_text": text(num_key_value_heads=2, num_layers_per_stack=1, num_hidden_layers=6),
    "hy_v4": text(
        num_hidden_layers=3,
        num_key_value_heads=2,
        indexer_types=["full", "full", "shared"],
        index_n_heads=2,
        index_head_dim=32,
        index_topk=32,
        hc_mult=2,
    ),
    "k2_horizon": text(),
    "kolibri1": text(layer_types=_MIX, use_sliding_window=True, sliding_window=WINDOW),
    "limite": text(
        num_hidden_layers=4,
        ve_dim=32,
        ve_layers=[1],
        ve_stored_heads=1,
        attn_gate_channels=16,
        xsa_layers=[2],
        global_layers=[3],
        rope_n_pairs=8,
        mudd_layers=[2],
        mudd_tap_idx={"2": [0, 1, 2]},
        softcap_logits={"kind": "sigmoid", "a": 30.0, "b": 0.0, "c": 4.0},
    ),
    "longcat_flash_sparse": text(
        num_layers=2,
        ffn_hidden_size=96,
        expert_ffn_hidden_size=32,
        moe_topk=2,
        zero_expert_num=2,
        index_n_heads=2,
        index_head_dim=32,
        index_topk=32,
        index_init_tokens=4,
        index_local_tokens=8,
        oe_vocab_size_ratio=2,
        oe_neighbor_num=3,
        oe_split_num=2,
    ),
    "minimax_m3": text(**MINIMAX),
    "qwen3_5_moe_text": text(**DELTA),
    "qwen3_5_text": text(**DELTA),
    "xing4_0": text(hc_mult=2),
    "z1t": text(hidden_size=64, max_position_embeddings=2048),
}
