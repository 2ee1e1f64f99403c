"""What the prompt cache keeps of a batch: the rows that were stored and no other memory of the
batch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Literal

import mlx.core as mx
import pytest

from tests.mlx.conftest import Bench

CHATS = 16


def _held() -> int:
    gc.collect()
    mx.synchronize()
    return mx.get_active_memory()


@pytest.mark.parametrize("kv", [None, 8])
@pytest.mark.parametrize("stopped", [False, True])
def test_kept_rows_take_the_memory_that_they_are_counted_with(
    bench_of: Callable[..., Bench], kv: Literal[8] | None, stopped: bool
) -> None:
    bench = bench_of(kv)
    before = _held()
    # They end one after another, so that each row leaves another batch.
    chats = [
        bench.chat(f"This is question {n}.", max_tokens=4 + n, temperature=0.0)
        for n in range(CHATS)
    ]
    bench.start(*chats)
    if stopped:
        bench.run(until=lambda: all(chat.generated for chat in chats))
        for chat in chats:
            bench.backend.remove(chat)
            bench.backend.step()
    else:
        bench.run()
    assert len(bench.cache) == CHATS
    more = _held() - before
    assert 0.5 * bench.cache.nbytes < more < 1.5 * bench.cache.nbytes
