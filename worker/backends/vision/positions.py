"""Positions that a language model can't number by itself."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def number_text(model: Any) -> None:
    """Have MiniCPM-o's language model number its tokens.

    It is Qwen3-VL's, which asks for the size of the tower's merged patches. This tower has none:
    the tokens of a picture are numbered as words are. mlx_vlm sets these numbers before it calls
    the language model, and a call without them fails.
    """
    if model.config.model_type == "minicpmo":
        model.language_model.get_rope_index = _in_order


def _in_order(ids: mx.array, *_: Any, **__: Any) -> tuple[mx.array, mx.array]:
    """The positions of tokens, [3, rows, tokens], and how far they are from their places: not at
    all."""
    rows, length = ids.shape
    positions = mx.broadcast_to(mx.arange(length), (3, rows, length))
    return positions, mx.zeros((rows, 1), dtype=mx.int32)
