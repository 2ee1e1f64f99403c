"""A prefix that prompts of batches share is read once: who would read it a second time waits for
the first."""

from __future__ import annotations

from collections.abc import Iterable

from worker.engine.batch_sequence import BatchSequence, Group

SHARED_PREFIX = 32
"""Tokens from which on a common prefix is read once and waited for by the others."""


class SharedPrefixes:
    """Knows which groups wait in vain, because nothing of their prompts is kept."""

    def __init__(self) -> None:
        self._unkept: set[Group] = set()

    def awaits(self, sequence: BatchSequence, running: Iterable[BatchSequence]) -> bool:
        """Whether a prompt that is being read now shares a prefix with this one that would be read
        twice."""
        if sequence.group in self._unkept or sequence.generated:
            return False
        for reading in running:
            if reading.generated or not reading.same_model(sequence):
                continue
            length = reading.cached_tokens + SHARED_PREFIX
            same = reading.prompt_ids[:length] == sequence.prompt_ids[:length]
            if len(sequence.prompt_ids) > length and same:
                reading.wanted = sequence.waited = True
                return True
        return False

    def entered(self, sequence: BatchSequence) -> None:
        """Note what came of the wait: a model's cache may keep nothing."""
        if sequence.waited and not sequence.cached_tokens and not sequence.generated:
            self._unkept.add(sequence.group)

    def forget(self) -> None:
        self._unkept.clear()
