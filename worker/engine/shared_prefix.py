"""A prefix that prompts of batches share is prefilled once; the others wait for the first."""

from __future__ import annotations

from collections.abc import Iterable

from worker.engine.batch_sequence import BatchSequence, Group

SHARED_PREFIX = 32
"""Tokens from which on the others wait for a common prefix."""


class SharedPrefixes:
    """Knows which groups don't profit from waiting, because their model's cache keeps nothing."""

    def __init__(self) -> None:
        self._unkept: set[Group] = set()

    def awaits(self, sequence: BatchSequence, running: Iterable[BatchSequence]) -> bool:
        """Whether a prompt in prefill shares a prefix with this one."""
        if sequence.group in self._unkept or sequence.generated:
            return False
        for other in running:
            if other.generated or not other.same_model(sequence):
                continue
            length = other.cached_tokens + SHARED_PREFIX
            same = other.prompt_ids[:length] == sequence.prompt_ids[:length]
            if len(sequence.prompt_ids) > length and same:
                other.prefix_awaited = sequence.waited = True
                return True
        return False

    def entered(self, sequence: BatchSequence) -> None:
        """Note whether waiting helped: a model's cache may keep nothing."""
        if sequence.waited and not sequence.cached_tokens and not sequence.generated:
            self._unkept.add(sequence.group)

    def forget(self) -> None:
        self._unkept.clear()
