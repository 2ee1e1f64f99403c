"""Which token ids a model has, for prompts that are sent as ids. Knows no MLX."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from worker.errors import WorkerError


class Vocabulary:
    """The ids of a tokeniser that a model has embeddings for: there may be fewer of these, and to
    look up one that isn't there is no error in MLX. Thread-safe."""

    def __init__(self, tokenizer: Any, sizes: Sequence[Any]) -> None:
        """``sizes`` are what the model's config names as the size, as far as it does."""
        self._tokenizer = tokenizer
        self._sizes = [size for size in sizes if isinstance(size, int) and size > 0]

    @cached_property
    def _end(self) -> int:
        # Only when it is needed: a large vocabulary takes a tenth of a second.
        known: dict[str, int] = self._tokenizer.get_vocab()
        return min([max(known.values()) + 1, *self._sizes])

    def checked(self, ids: Sequence[int], marks: Collection[int] = ()) -> list[int]:
        """The ids of a prompt. ``marks`` stand for images, which such a prompt has none of.

        Raises WorkerError ``bad_prompt`` for others.
        """
        if min(ids) < 0 or max(ids) >= self._end:
            raise WorkerError(
                "bad_prompt", "The prompt has a token id that is not in the model's vocabulary."
            )
        if not set(marks).isdisjoint(ids):
            raise WorkerError(
                "bad_prompt", "The prompt has a token that stands for an image, and no image."
            )
        return list(ids)


def sizes_in(config: Any) -> list[Any]:
    """The sizes of the vocabulary that a model's config names, also in its part for texts."""
    owners = config, getattr(config, "thinker_config", None)
    texts = [getattr(owner, "text_config", None) for owner in owners]
    return [getattr(part, "vocab_size", None) for part in (config, *texts)]
