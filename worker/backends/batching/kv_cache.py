"""What the batch loop and the prompt cache do with mlx_lm's and mlx_vlm's key-value caches: merge
rows, take them apart, cut them, keep checkpoints.

Both libraries have the same kinds of layer caches, with the same methods, as classes of their own;
they are told apart by name here. A CacheList is a layer with several caches inside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from typing import Any, TypeVar

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import KVCache, RotatingKVCache

from worker.backends.batching.row_cuts import BatchKVCache, BatchRotatingKVCache

Result = TypeVar("Result")
Pieces = Generator[None, None, Result]
"""Work in pieces, of which the longest is about a layer for all tokens; returns its result."""
_PLAIN = (
    "KVCache",
    "QuantizedKVCache",
    "BatchKVCache",
    "BatchQuantizedKVCache",
    "CrossAttentionCache",
)
"""Caches that can be cut anywhere: those that hold every token by itself, and one that holds
none."""
_BATCHES: dict[type, Any] = {KVCache: BatchKVCache, RotatingKVCache: BatchRotatingKVCache}
"""Batches that aren't the library's own."""


def leaves(layers: list[Any]) -> Iterator[Any]:
    """The caches of some layers, those inside CacheLists by themselves."""
    for layer in layers:
        if hasattr(layer, "caches"):
            yield from leaves(list(layer.caches))
        else:
            yield layer


def evaluate(layers: list[Any]) -> None:
    """Compute what is in the caches."""
    mx.eval([layer.state for layer in layers])


def evaluate_by_layer(layers: list[Any]) -> Iterator[None]:
    """The same in pieces: what one layer holds depends on all of the layer before."""
    for layer in layers:
        mx.eval(layer.state)
        yield


def settle(layers: list[Any]) -> list[Any]:
    """Begin to compute the caches of a row that left a batch: otherwise they would reference the
    arrays of the whole batch."""
    mx.async_eval([layer.state for layer in layers])
    return layers


def nbytes(cache: list[Any]) -> int:
    """Bytes of some layers' caches, or of a checkpoint."""
    total = 0
    for leaf in leaves([layer for layer in cache if layer is not None]):
        if isinstance(leaf, list):
            total += nbytes(leaf)
            continue
        try:
            total += int(leaf.nbytes)
        except (NotImplementedError, AttributeError):
            arrays = [array for _, array in tree_flatten(leaf.state)]
            total += sum(array.nbytes for array in arrays if isinstance(array, mx.array))
    return total


# --- cutting --------------------------------------------------------------------------------------


def needs_checkpoints(layers: list[Any]) -> bool:
    """Whether a model's cache has layers that can't be cut, or not always."""
    return any(type(leaf).__name__ not in _PLAIN for leaf in leaves(layers))


def is_cuttable(cache: list[Any]) -> bool:
    """Whether the cache of a row can be cut to any shorter prefix as it is now."""
    return all(
        # A chunked cache says it can also when its beginning is gone. A state may say nothing.
        hasattr(leaf, "is_trimmable")
        and leaf.is_trimmable()
        and not getattr(leaf, "start_position", 0)
        for leaf in leaves(cache)
    )


def checkpoint(cache: list[Any]) -> list[Any]:
    """Copies of the layers of a row that can't be cut, None for the others.

    An array is copied when it is next written to, not here.
    """
    return [_kept(layer, copy.deepcopy) for layer in cache]


def checkpoint_of(batch: list[Any], index: int) -> list[Any]:
    """The same of one row of a batch."""
    return [_kept(layer, lambda leaf: leaf.extract(index)) for layer in batch]


def _kept(layer: Any, kept: Callable[[Any], Any]) -> Any:
    if hasattr(layer, "caches"):
        parts = [_kept(part, kept) for part in layer.caches]
        return None if all(part is None for part in parts) else parts
    return None if type(layer).__name__ in _PLAIN else kept(layer)


def cut(cache: list[Any], dropped: int, checkpoint: list[Any] | None) -> list[Any]:
    """A copy of a row's cache without its last ``dropped`` tokens; layers that can't be cut are
    copied from the checkpoint."""
    kept = [None] * len(cache) if checkpoint is None else checkpoint
    return [_cut(layer, dropped, copied) for layer, copied in zip(cache, kept, strict=True)]


def _cut(layer: Any, dropped: int, kept: Any) -> Any:
    if hasattr(layer, "caches"):
        return type(layer)(*cut(list(layer.caches), dropped, kept))
    if kept is not None:
        return copy.deepcopy(kept)
    duplicate = copy.deepcopy(layer)
    if dropped:
        duplicate.trim(dropped)
    if type(layer).__name__ == "KVCache" and layer.keys is not None:
        # Appending to the copy must not copy what was cut off.
        end = duplicate.offset
        duplicate.keys, duplicate.values = layer.keys[..., :end, :], layer.values[..., :end, :]
    return duplicate


# --- rows of a batch ------------------------------------------------------------------------------


def can_merge(layers: list[Any]) -> bool:
    """Whether the cache of a row can become a row of a batch."""
    return all(hasattr(leaf, "merge") for leaf in leaves(layers))


def merge(rows: list[list[Any]]) -> list[Any]:
    """A batch of the caches of some rows."""
    return [_merged([row[i] for row in rows]) for i in range(len(rows[0]))]


def extract(layer: Any, index: int) -> Any:
    """One row of a layer of a batch."""
    if hasattr(layer, "caches"):
        return type(layer)(*(extract(part, index) for part in layer.caches))
    if hasattr(layer, "keys") and layer.keys is None and type(layer).__name__ == "BatchKVCache":
        # The libraries fail: some layers never use one of their caches.
        return getattr(import_module(type(layer).__module__), "KVCache", KVCache)()
    return layer.extract(index)


def _merged(layers: list[Any]) -> Any:
    first = layers[0]
    if hasattr(first, "caches"):
        joined = type(first)()
        joined.caches = tuple(merge([list(layer.caches) for layer in layers]))
        return joined
    # mlx_vlm has classes of its own of these names.
    return _BATCHES.get(type(first), type(first)).merge(layers)
