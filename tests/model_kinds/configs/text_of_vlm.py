"""Kinds without pictures that mlx_vlm alone has."""

from __future__ import annotations

from typing import Any

from tests.model_kinds.configs.recipe import WINDOW
from tests.model_kinds.configs.vision.also_text import MINIMAX
from tests.model_kinds.configs.vision.popular import DELTA
from tests.model_kinds.configs.vision.recipe import VisionRecipe

_MIX = ["sliding_attention", "full_attention"]


def text(**own: Any) -> VisionRecipe:
    return VisionRecipe(text=own, picture="", token="", marks=(), flat=True)


KINDS: dict[str, VisionRecipe] = {
    "cohere2_moe": text(sliding_window_pattern=2, moe_num_shared_experts=1),
    "k2_horizon": text(),
    "kolibri1": text(layer_types=_MIX, use_sliding_window=True, sliding_window=WINDOW),
    "minimax_m3": text(**MINIMAX),
    "qwen3_5_moe_text": text(**DELTA),
    "qwen3_5_text": text(**DELTA),
    "xing4_0": text(hc_mult=2),
    "z1t": text(hidden_size=64, max_position_embeddings=2048),
}
