"""Where the reading of a prompt begins: behind the longest prefix of it that is known."""

from __future__ import annotations

from typing import Any

from worker.backends.batching import kv_cache
from worker.backends.batching.decode_batch import DecodeBatch
from worker.backends.batching.prefill import Prefill
from worker.backends.batching.row import Model, Row
from worker.prompt_cache import PromptCache, common_tokens, reach

LEAST_SHARED = 32
"""The same in a batch lane, and how much longer than what the prompt cache has the beginning of
another row's prompt must be: copying a row out of the batch takes as long as reading some."""


class PromptReuse:
    """``key`` is the model's in the prompt cache; ``from_disk``: whether prompts wait for entries
    on the disk."""

    def __init__(
        self, model: Model, cache: PromptCache, key: Any, *, from_disk: bool = True
    ) -> None:
        self._model = model
        self._cache = cache
        self._key = key
        self._from_disk = from_disk

    def look_up(self, row: Row, decode: DecodeBatch, prefill: Prefill) -> None:
        """Find the longest prefix of a row's prompt, in the other rows or in the prompt cache. The
        row has no cache as long as it waits for the disk."""
        self._decode, self._prefill = decode, prefill
        row.cache = None
        if row.reads_ahead and self._waits_for_disk(row):
            return
        if row.reads_ahead:
            row.cache, row.read, row.checkpoints = self._cache.fetch(self._key, row.key_ids)
            other, shared = self._sharing(row)
            if other is not None:
                self._cache.cached_tokens += shared - row.read
                row.cache, row.read, row.checkpoints = self._share(other, row, shared)
        if row.cache is None:
            row.cache = self._model.caches.new()
        if not row.sequence.position:
            row.sequence.cached_tokens = row.read

    def _waits_for_disk(self, row: Row) -> bool:
        """Whether a row waits for the beginning of its prompt, for which the disk is asked once."""
        disk = self._cache.disk if self._from_disk else None
        if disk is not None and not row.asked_disk:
            row.asked_disk = True
            known = max(self._cache.known(self._key, row.prompt_key), self._sharing(row)[1])
            row.disk_wait = disk.find(self._key, row.prompt_key, known, self._prefill.token_s)
        return row.waits_for_disk

    def _sharing(self, row: Row) -> tuple[Row | None, int]:
        """The row in the batch that has a longer beginning of another's prompt than its cache,
        and how long that is."""
        best, longest = None, row.read
        for other in (*self._decode.rows, *self._prefill.rows):
            if other is row or not other.reusable or not other.read:
                continue
            same = common_tokens(row.prompt_key, other.prompt_key, longest + 1)
            common = min(same, other.read, row.last)
            if self._model.caches.needs_checkpoints:
                common = reach(other.checkpoints, common)
            if common > longest and common >= row.read + row.least_shared(other, LEAST_SHARED):
                best, longest = other, common
        return best, longest

    def _share(self, other: Row, row: Row, shared: int) -> tuple[list[Any], int, dict[int, Any]]:
        """A copy of the beginning of another row's cache. It is kept for further rows as well."""
        decodes = other in self._decode.rows
        held = self._decode.held(other) if decodes else other.read
        cache = self._decode.cache_of(other) if decodes else self._prefill.cache_of(other)
        assert cache is not None, "a row that has been read has a cache"
        at = other.checkpoints.get(shared)
        kept = kv_cache.settle(kv_cache.cut(cache, held - shared, at if held > shared else None))
        inside = {n: copied for n, copied in other.checkpoints.items() if n <= shared}
        self._cache.insert(self._key, row.key_ids[:shared], kept, inside)
        return kv_cache.cut(kept, 0, None), shared, inside
