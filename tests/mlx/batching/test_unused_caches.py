"""Layers of several caches of which one is never used."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models import cache as lm_cache
from mlx_vlm.models import cache as vlm_cache

from worker.backends.batching.cache_batch import CacheBatch


@pytest.mark.parametrize("library", [lm_cache, vlm_cache])
def test_a_row_leaves_a_batch_with_a_cache_that_its_layer_never_used(library: Any) -> None:
    rows = []
    for length in (3, 5):
        used = library.KVCache()
        used.update_and_fetch(mx.ones((1, 1, length, 4)), mx.ones((1, 1, length, 4)))
        rows.append([library.CacheList(used, library.KVCache())])
    batch = CacheBatch(rows, lone=False)
    (layer,) = batch.extract(1)
    assert layer.caches[0].offset == 5
    assert type(layer.caches[1]) is library.KVCache
    assert layer.caches[1].empty()
