"""Makes the caches of new rows, plain or quantised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_batch import CacheBatch
from worker.backends.batching.kv_cache import Pieces
from worker.backends.batching.quantized_cache import QuantizedKVCache
from worker.errors import WorkerError

log = logging.getLogger(__name__)

QUANTISED_GROUPS = (64, 32)
"""Group sizes of a quantised cache, by preference; one must divide the size of a layer's attention
heads."""
Forward = Callable[[mx.array, list[Any]], mx.array]
"""Feeds [rows, tokens] to the caches of the rows; returns logits [rows, tokens, vocabulary]."""
Groups = dict[int, int]
"""Group sizes by the numbers of the layers that are quantised."""


class CacheMaker:
    """``plain`` makes a model's own cache. With ``bits`` the layers that can be are quantised, from
    the first token on: so a prompt that is read in chunks, reused or continued after a crash gives
    the same text. With ``kv_bits`` of mlx_lm's generate_step, a chunk of a prompt would attend to
    itself unquantised."""

    def __init__(self, plain: Callable[[], list[Any]], bits: int | None) -> None:
        self._plain = plain
        self._bits = bits
        self._groups: Groups = {}
        self.needs_checkpoints = kv_cache.needs_checkpoints(plain())
        """Whether the cache has layers that can't be cut."""

    def start(self, forward: Forward) -> Iterator[None]:
        """Find out, in pieces, which layers can be quantised. Raises WorkerError if none can be."""
        if self._bits is None:
            return
        groups = _group_sizes(self._plain, forward)
        trial = _Trial(self._plain, forward, self._bits, groups)
        readable = yield from trial.most_of(list(groups), [])
        if not readable:
            raise WorkerError(
                "load_failed",
                "The key-value cache can't be quantised: this architecture's attention can't read"
                " quantised keys and values in any layer.",
            ) from trial.error
        if plain := sorted(groups.keys() - set(readable)):
            log.info("some layers can't be quantised", extra={"layers": plain})
        self._groups = {number: groups[number] for number in readable}

    @property
    def cuts_rows(self) -> bool:
        """Whether the rows of a batch can be cut by different lengths."""
        return CacheBatch([self.new()], lone=False).cuts_rows

    def new(self) -> list[Any]:
        """An empty cache of one row."""
        layers = self._plain()
        return layers if self._bits is None else _quantised(layers, self._groups, self._bits)


class _Trial:
    """Has a model read one token, with some of its layers quantised."""

    def __init__(
        self, plain: Callable[[], list[Any]], forward: Forward, bits: int, groups: Groups
    ) -> None:
        self._plain = plain
        self._forward = forward
        self._bits = bits
        self._groups = groups
        self.error: Exception | None = None
        """What the last trial that failed raised."""

    def most_of(self, numbers: list[int], chosen: list[int]) -> Pieces[list[int]]:
        """The layers ``chosen``, and of ``numbers`` those that can be quantised beside them.

        Halves what fails: one layer that others share costs a few trials. A trial that fails does
        so before anything is computed.
        """
        if (yield from self._passes([*chosen, *numbers])):
            return [*chosen, *numbers]
        if len(numbers) == 1:
            return chosen
        half = len(numbers) // 2
        chosen = yield from self.most_of(numbers[:half], chosen)
        return (yield from self.most_of(numbers[half:], chosen))

    def _passes(self, numbers: list[int]) -> Pieces[bool]:
        chosen = {number: self._groups[number] for number in numbers}
        layers = _quantised(self._plain(), chosen, self._bits)
        try:
            logits = self._forward(mx.array([[0]]), layers)
            yield from kv_cache.evaluate_by_layer(layers)
            mx.eval(logits)
        except Exception as error:
            self.error = error
            yield
            return False
        return True


def _quantised(layers: list[Any], groups: Groups, bits: int) -> list[Any]:
    """An empty cache like ``layers``, in which those with a group size are quantised."""
    return [
        _quantised_layer(layer, groups[number], bits) if number in groups else layer
        for number, layer in enumerate(layers)
    ]


def _quantised_layer(layer: Any, group: int, bits: int) -> Any:
    """A layer with a quantised cache for each that holds every token by itself; windows and states
    stay as they are."""
    if hasattr(layer, "caches"):
        return type(layer)(*(_quantised_layer(part, group, bits) for part in layer.caches))
    return QuantizedKVCache(group_size=group, bits=bits) if _holds_every_token(layer) else layer


def _holds_every_token(leaf: Any) -> bool:
    return type(leaf).__name__ == "KVCache"


def _group_sizes(plain: Callable[[], list[Any]], forward: Forward) -> Groups:
    """The group sizes of all layers whose caches are of a size that can be quantised.

    Raises WorkerError ``load_failed`` if there are none.
    """
    layers = plain()
    if not any(map(_holds_every_token, kv_cache.leaves(layers))):
        raise WorkerError(
            "load_failed",
            "The key-value cache can't be quantised: this architecture has other kinds of cache.",
        )
    forward(mx.array([[0]]), layers)
    sizes = {number: _sizes(layer) for number, layer in enumerate(layers)}
    groups = {
        number: group
        for number, held in sizes.items()
        if (group := next((g for g in QUANTISED_GROUPS if all(n % g == 0 for n in held)), None))
        and held
    }
    if not groups:
        raise WorkerError(
            "load_failed",
            "The key-value cache can't be quantised: heads of"
            f" {sorted(set().union(*sizes.values()))} values are too small.",
        )
    return groups


def _sizes(layer: Any) -> set[int]:
    """The sizes of one token's keys and values in the plain caches of a layer that was read."""
    plain = [leaf for leaf in kv_cache.leaves([layer]) if _holds_every_token(leaf)]
    held = [part for leaf in plain for part in (leaf.keys, leaf.values) if part is not None]
    return {part.shape[-1] for part in held}
