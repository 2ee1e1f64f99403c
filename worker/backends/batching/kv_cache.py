"""Copies and trims mlx_lm's key-value caches, for the prompt cache."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, can_trim_prompt_cache, trim_prompt_cache


def trimmed(cache: list[Any], tokens: int) -> list[Any] | None:
    """A copy of ``cache`` without its last ``tokens`` tokens, or None if it can't be cut.

    A plain KVCache is copied without its arrays: trimming only moves its offset, and appending to
    the copy writes to a new array, or behind the offset into one that is replaced on write.
    """
    if tokens and not can_trim_prompt_cache(cache):
        return None
    duplicate = [_copy(layer) for layer in cache]
    if tokens:
        trim_prompt_cache(duplicate, tokens)
    return duplicate


def settle(cache: list[Any]) -> list[Any]:
    """Evaluate the cache of a row that left a batch: otherwise it would reference the arrays of the
    whole batch."""
    mx.async_eval([layer.state for layer in cache])
    return cache


def _copy(layer: Any) -> Any:
    return copy.copy(layer) if type(layer) is KVCache else copy.deepcopy(layer)
