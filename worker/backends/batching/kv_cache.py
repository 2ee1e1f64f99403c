"""What the prompt cache needs to know of mlx_lm's key-value caches: how to copy one and cut its
end off."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, can_trim_prompt_cache, trim_prompt_cache


def trimmed(cache: list[Any], tokens: int) -> list[Any] | None:
    """A copy of ``cache`` without its last ``tokens`` tokens, or None if it can't be cut.

    A plain KVCache is copied without its arrays: trimming moves its offset only, and whoever goes
    on with the copy writes to a new array, or behind the offset into one that is replaced on write.
    """
    if tokens and not can_trim_prompt_cache(cache):
        return None
    duplicate = [_copy(layer) for layer in cache]
    if tokens:
        trim_prompt_cache(duplicate, tokens)
    return duplicate


def settle(cache: list[Any]) -> list[Any]:
    """Have a row taken out of a batch computed: it must not hold on to the arrays of the whole
    batch."""
    mx.async_eval([layer.state for layer in cache])
    return cache


def _copy(layer: Any) -> Any:
    return copy.copy(layer) if type(layer) is KVCache else copy.deepcopy(layer)
