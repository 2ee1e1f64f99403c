"""Which layers of a model get a quantised cache."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache

from worker.backends.batching import kv_cache
from worker.backends.batching.cache_maker import CacheMaker
from worker.errors import WorkerError


class Layers:
    """A model that only fills its caches; the layers numbered in ``strict`` fail on quantised ones,
    whose heads are of ``size`` values."""

    def __init__(
        self, count: int, *, strict: Collection[int] = (), size: dict[int, int] | None = None
    ) -> None:
        self.count = count
        self.strict = strict
        self.size = size or {}
        self.calls = 0

    def cache(self) -> list[Any]:
        return [KVCache() for _ in range(self.count)]

    def __call__(self, ids: mx.array, layers: list[Any]) -> mx.array:
        self.calls += 1
        for number, layer in enumerate(layers):
            for leaf in kv_cache.leaves([layer]):
                if not hasattr(leaf, "update_and_fetch"):
                    continue
                shape = (*ids.shape, self.size.get(number, 64))
                held = leaf.update_and_fetch(mx.ones((1, *shape)), mx.ones((1, *shape)))
                if number in self.strict:
                    held[0].shape  # noqa: B018  # as attention that works on keys itself does
        return mx.zeros((*ids.shape, 8))

    def start(self, cache: Any = None) -> list[Any]:
        """The caches of a new row, after the model was tried out."""
        maker = CacheMaker(cache or self.cache, 8)
        list(maker.start(self))
        return maker.new()


def group_sizes(layers: list[Any]) -> list[int]:
    """By layer; 0 for a plain one."""
    return [getattr(layer, "group_size", 0) for layer in layers]


def test_layers_that_can_not_be_read_quantised_stay_plain_and_are_found_in_a_few_trials() -> None:
    model = Layers(64, strict={5, 63})
    sizes = group_sizes(model.start())
    assert [number for number, size in enumerate(sizes) if size == 0] == [5, 63]
    assert model.calls < 30


def test_a_model_whose_layers_all_fail_is_refused_and_says_why() -> None:
    with pytest.raises(WorkerError, match="in any layer") as refused:
        Layers(4, strict={0, 1, 2, 3}).start()
    assert refused.value.code == "load_failed"
    assert isinstance(refused.value.__cause__, AttributeError)


def test_each_layer_has_the_largest_group_that_its_heads_can_be_cut_into() -> None:
    assert group_sizes(Layers(4, size={1: 32, 2: 20, 3: 96}).start()) == [64, 32, 0, 32]


def test_heads_that_are_all_too_small_are_refused() -> None:
    with pytest.raises(WorkerError, match=r"\[16\] values are too small"):
        Layers(2, size={0: 16, 1: 16}).start()


def test_windows_and_states_stay_and_alone_they_are_refused() -> None:
    others = [RotatingKVCache(16), ArraysCache(2)]
    sizes = group_sizes(Layers(3).start(lambda: [RotatingKVCache(16), ArraysCache(2), KVCache()]))
    assert sizes == [0, 0, 64]
    with pytest.raises(WorkerError, match="other kinds of cache"):
        Layers(2).start(lambda: others)


def test_of_a_layer_with_several_caches_all_are_quantised_or_none() -> None:
    def cache() -> list[Any]:
        return [CacheList(KVCache(), ArraysCache(1)), CacheList(KVCache(), KVCache())]

    first, second = Layers(2, strict={1}).start(cache)
    assert group_sizes(first.caches) == [64, 0]
    assert group_sizes(second.caches) == [0, 0]


def test_quantised_rows_are_merged_and_taken_apart_as_they_were() -> None:
    model = Layers(1)
    rows = [model.start() for _ in range(2)]
    for row, tokens in zip(rows, (3, 5), strict=True):
        model(mx.zeros((1, tokens), dtype=mx.int32), row)
    [batch] = kv_cache.merge(rows)
    assert batch.keys_and_values()[0][0].shape[:3] == (2, 1, 5)
    for number, [row] in enumerate(rows):
        again = batch.extract(number)
        assert (type(again), again.offset) == (type(row), row.offset)
        for one, other in zip(again.keys_and_values(), row.keys_and_values(), strict=True):
            assert all(mx.array_equal(a, b).item() for a, b in zip(one, other, strict=True))
