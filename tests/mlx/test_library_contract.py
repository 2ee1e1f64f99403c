"""What worker.backends.batching relies on of mlx_lm's and mlx_vlm's caches: a new release that
changes it fails here first."""

from __future__ import annotations

import inspect
from types import ModuleType

import mlx.core as mx
import pytest
from mlx_lm.generate import TextStateMachine
from mlx_lm.models import cache as lm_cache
from mlx_vlm.models import cache as vlm_cache

LIBRARIES = [lm_cache, vlm_cache]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["KVCache", "RotatingKVCache", "ArraysCache"])
def test_caches_of_a_row_can_be_merged(library: ModuleType, name: str) -> None:
    assert callable(getattr(library, name).merge)


@pytest.mark.parametrize(
    "batch",
    [
        *(
            getattr(library, name)
            for library in LIBRARIES
            for name in ("BatchKVCache", "BatchRotatingKVCache", "ArraysCache", "CacheList")
        ),
        vlm_cache.BatchQuantizedKVCache,
    ],
)
def test_rows_of_a_batch_come_and_go_and_may_be_padded(batch: type) -> None:
    for method in ("filter", "extend", "extract", "prepare", "finalize"):
        assert callable(getattr(batch, method))


@pytest.mark.parametrize("library", LIBRARIES)
def test_layers_with_several_caches_keep_them_in_caches(library: ModuleType) -> None:
    inner = library.KVCache()
    assert list(library.CacheList(inner).caches) == [inner]
    assert "self.caches = " in inspect.getsource(library.CacheList.__init__)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_chunked_cache_says_where_it_starts(library: ModuleType) -> None:
    assert library.ChunkedKVCache(8).start_position == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_plain_cache_appends_behind_its_offset(library: ModuleType) -> None:
    """Cutting slices the arrays to the offset."""
    cache = library.KVCache()
    cache.keys = cache.values = mx.ones((1, 1, 3, 2))
    cache.offset = 3
    keys, _ = cache.update_and_fetch(mx.zeros((1, 1, 1, 2)), mx.zeros((1, 1, 1, 2)))
    assert (cache.offset, keys.shape, keys[0, 0, :, 0].tolist()) == (4, (1, 1, 4, 2), [1, 1, 1, 0])


def test_a_window_takes_several_tokens_behind_all_but_its_oldest() -> None:
    """So they can be cut off again; ``_temporal_order`` turns a window round without them."""
    window = lm_cache.BatchRotatingKVCache(4, [0])

    def feed(*numbers: int) -> None:
        tokens = mx.array(numbers, dtype=mx.float32).reshape(1, 1, -1, 1)
        window.update_and_fetch(tokens, tokens)

    for number in range(6):
        feed(number)
    assert window.keys.flatten().tolist() == [4, 5, 2, 3]
    window._temporal_order()
    assert window.keys.flatten().tolist() == [2, 3, 4, 5]
    feed(6, 7, 8)
    assert window.keys.flatten().tolist() == [3, 4, 5, 6, 7, 8]
    assert (window._idx, window._offset, window.offset.item()) == (6, 9, 9)


def test_the_text_state_machine_has_its_three_steps() -> None:
    for method in ("step", "flush", "make_state"):
        assert callable(getattr(TextStateMachine, method))
