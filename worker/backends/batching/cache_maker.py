"""Makes the caches of new rows, plain or quantised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_vlm.models.cache import QuantizedKVCache

from worker.backends.batching import kv_cache
from worker.errors import WorkerError

QUANTISED_GROUPS = (64, 32)
"""Group sizes of a quantised cache, by preference; one must divide the size of an attention
head."""
Forward = Callable[[mx.array, list[Any]], mx.array]
"""Feeds [rows, tokens] to the caches of the rows; returns logits [rows, tokens, vocabulary]."""


class CacheMaker:
    """``plain`` makes a model's own cache. With ``bits`` the layers that can be are quantised, from
    the first token on: so a prompt that is read in chunks, reused or continued after a crash gives
    the same text. With ``kv_bits`` of mlx_lm's generate_step, a chunk of a prompt would attend to
    itself unquantised."""

    def __init__(self, plain: Callable[[], list[Any]], bits: int | None) -> None:
        self._plain = plain
        self._bits = bits
        self._group = 0
        self.needs_checkpoints = kv_cache.needs_checkpoints(plain())
        """Whether the cache has layers that can't be cut."""

    def start(self, forward: Forward) -> None:
        """Find out how the cache can be quantised. Raises WorkerError if it can't be."""
        if self._bits is not None:
            self._group = _quantisation_group(
                self._plain, self._bits, lambda cache: forward(mx.array([[0]]), cache)
            )

    def new(self) -> list[Any]:
        """An empty cache of one row."""
        layers = self._plain()
        return layers if self._bits is None else _quantised_like(layers, self._group, self._bits)


def _quantised_like(layers: list[Any], group: int, bits: int) -> list[Any]:
    """An empty cache like ``layers``, with a quantised one for each that holds every token by
    itself; windows and states stay as they are."""
    return [_quantised(layer, group, bits) for layer in layers]


def _quantised(layer: Any, group: int, bits: int) -> Any:
    if hasattr(layer, "caches"):
        return type(layer)(*_quantised_like(list(layer.caches), group, bits))
    if type(layer).__name__ == "KVCache":
        return QuantizedKVCache(group_size=group, bits=bits)
    return layer


def _quantisation_group(
    new_cache: Callable[[], list[Any]], bits: int, run: Callable[[list[Any]], object]
) -> int:
    """The group size for quantising a model's cache; ``run`` feeds tokens into an empty cache.

    Raises WorkerError ``load_failed`` if this model's cache can't be quantised.
    """
    layers = new_cache()
    if all(type(leaf).__name__ != "KVCache" for leaf in kv_cache.leaves(layers)):
        raise WorkerError("load_failed", "This architecture's key-value cache can't be quantised.")
    run(layers)
    plain = [leaf for leaf in kv_cache.leaves(layers) if type(leaf).__name__ == "KVCache"]
    held = [part for leaf in plain for part in (leaf.keys, leaf.values) if part is not None]
    sizes = sorted({part.shape[-1] for part in held})
    group = next((g for g in QUANTISED_GROUPS if all(size % g == 0 for size in sizes)), None)
    if group is None or not sizes:
        raise WorkerError(
            "load_failed",
            f"The key-value cache can't be quantised: heads of {sizes} values are too small.",
        )
    try:
        quantised_layers = _quantised_like(new_cache(), group, bits)
        run(quantised_layers)
        kv_cache.evaluate(quantised_layers)
    except Exception as error:
        raise WorkerError(
            "load_failed",
            "This architecture's attention can't read a quantised key-value cache"
            f" ({type(error).__name__}).",
        ) from error
    return group
