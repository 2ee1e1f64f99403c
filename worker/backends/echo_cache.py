"""A prompt cache for the echo backend: it holds numbers of tokens in place of keys and values."""

from __future__ import annotations

from wire.model_registry import ModelRecord
from worker.prompt_cache import Cache, Checkpoint, PromptCache
from worker.sequence import Sequence

TOKEN_BYTES = 1024


class TokenCounts:
    """Implements CacheOperations: a cache is a list of its number of tokens."""

    def is_cuttable(self, cache: Cache) -> bool:  # noqa: ARG002
        return True

    def cut(self, cache: Cache, dropped: int, checkpoint: Checkpoint | None) -> Cache:  # noqa: ARG002
        return [cache[0] - dropped]

    def checkpoint(self, cache: Cache) -> Checkpoint:  # noqa: ARG002
        return []

    def nbytes(self, cache: Cache | Checkpoint) -> int:
        return sum(cache) * TOKEN_BYTES


class PromptReuse:
    """The prompts of one model in the cache of all."""

    def __init__(self, cache: PromptCache, record: ModelRecord) -> None:
        self._cache = cache
        self._key = record.cache_key

    def look_up(self, sequence: Sequence) -> int:
        """How many tokens of the prompt need not be read."""
        sequence.cached_tokens = self._cache.fetch(self._key, sequence.prompt_ids).length
        return sequence.cached_tokens

    def keep(self, sequence: Sequence) -> None:
        """Keep a finished chat: its last token has not been read."""
        tokens = sequence.tokens[:-1]
        self._cache.insert(self._key, tokens, [len(tokens)])

    def forget(self) -> None:
        """The model is unloaded."""
        self._cache.forget(self._key)
