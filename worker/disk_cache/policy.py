"""When an entry is worth writing, and when one is worth loading.

Writing wears out disks and loading costs time: both are bounded here, by numbers alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import isinf

LEAST_TOKENS = 256
"""Shorter prompts are as soon read again. Also how many tokens more than what is in memory an entry
must have to be loaded."""
IDLE_S = 2.0
"""For how long no chat has run before entries that are still in memory are written."""
BYTES_PER_S = 64 << 20
"""How fast is written at most, but for the end of the worker."""
HOUR_S = 3600.0
LEAST_FREE = 1 << 30
"""Bytes that are left free on the disk."""
PENDING_SHARE = 4
"""Of the memory for cached prompts, one in so many bytes may belong to entries that have left the
cache and wait to be written; beyond it the oldest of them are given up."""

FIRST_READ_RATE = 200e6
"""Bytes per second that a disk is expected to read, before one has been measured."""
FASTER_THAN_READING = 0.5
"""An entry is loaded if that should take at most this share of the time that reading the tokens
takes."""
PATIENCE = 0.25
"""A prompt waits for its entry for this share of the time that reading the tokens would take, at
most; then it is read as if there were none."""
LEAST_PATIENCE_S = 0.5
TIMES_EXPECTED = 3
"""Until a model's pace is known: it waits so many times as long as loading should take."""
SHARE_OF_UNKNOWN = 0.25
"""Until a model's pace is known: how much of an entry a prompt must have in common with it."""


class WriteBudget:
    """In any hour no more is written than the folder may hold."""

    def __init__(self, cap: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._cap = cap
        self._clock = clock
        self._written: deque[tuple[float, int]] = deque()

    def allows(self, nbytes: int) -> bool:
        since = self._clock() - HOUR_S
        while self._written and self._written[0][0] < since:
            self._written.popleft()
        return sum(size for _, size in self._written) + nbytes <= self._cap

    def spend(self, nbytes: int) -> None:
        self._written.append((self._clock(), nbytes))


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry that a prompt could begin with: ``gained`` tokens less would be read, of the entry's
    ``tokens``; its file has ``nbytes``. ``token_s`` is how long the model takes to read a token,
    infinite if that isn't known yet."""

    gained: int
    tokens: int
    nbytes: int
    token_s: float


class LoadChoice:
    """Whether an entry comes sooner from the disk than out of the model."""

    def __init__(self) -> None:
        self._bytes_per_s = FIRST_READ_RATE

    def worthwhile(self, offer: Offer) -> bool:
        if offer.gained < LEAST_TOKENS:
            return False
        if isinf(offer.token_s):
            return offer.gained >= offer.tokens * SHARE_OF_UNKNOWN
        return self._expected_s(offer) <= FASTER_THAN_READING * offer.gained * offer.token_s

    def patience_s(self, offer: Offer) -> float:
        """For how long a prompt waits for its entry."""
        if isinf(offer.token_s):
            return max(LEAST_PATIENCE_S, TIMES_EXPECTED * self._expected_s(offer))
        return max(LEAST_PATIENCE_S, PATIENCE * offer.gained * offer.token_s)

    def measured(self, nbytes: int, seconds: float) -> None:
        """An entry of so many bytes has been loaded."""
        self._bytes_per_s = (self._bytes_per_s + nbytes / max(seconds, 1e-3)) / 2

    def _expected_s(self, offer: Offer) -> float:
        return offer.nbytes / self._bytes_per_s
