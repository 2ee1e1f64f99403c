"""Chats that come in together are read together: those that are ready wait a moment for those that
follow.

Reading eight prompts in one go takes half the time of one after another, and rows that begin
together end together. Knows no engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_S = 0.02
"""How long the first waits at most; several chats are popped from the queue meanwhile."""
ENOUGH = 8
"""With so many nothing is gained by more."""
Enter = Callable[[], None]


class AdmissionWindow:
    """Chats on the doorstep. ``enter`` is what lets one in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: list[Enter] = []
        self._until = 0.0
        self.follow = 0
        """How many chats are known to come in next."""

    def add(self, enter: Enter) -> None:
        if not self._ready:
            self._until = self._clock() + LONGEST_S
        self._ready.append(enter)

    def open(self) -> None:
        """Let in all that are here, in order, unless more are about to come."""
        if self.follow and len(self._ready) < ENOUGH and self.left_s:
            return
        ready, self._ready = self._ready, []
        for enter in ready:
            enter()

    @property
    def left_s(self) -> float | None:
        """For how long those that are here still wait, seconds; None when nobody does."""
        return max(0.0, self._until - self._clock()) if self._ready else None
