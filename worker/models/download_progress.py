"""How far a download is: its share, its speed and the time left, from the bytes that are there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from wire.model_registry import ModelRecord

WINDOW_S = 10.0
"""The speed is the mean of so many seconds."""
_MOST = 0.99
"""Before the model is whole it isn't finished, whatever its size was said to be."""


class Progress:
    """Of one download. ``total`` are its bytes."""

    def __init__(self, total: int, there: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``there``: bytes that an earlier try has left."""
        self._total, self._clock = total, clock
        self._seen = deque([(clock(), there)])

    def told(self, record: ModelRecord, there: int) -> ModelRecord:
        """The record with what is known now that so many bytes are there."""
        # Files are moved and removed meanwhile; a bar must not go back.
        there = max(there, self._seen[-1][1])
        now = self._clock()
        self._seen.append((now, there))
        while now - self._seen[0][0] > WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        speed = (there - before) / (now - since) if now > since else 0.0
        left = max(0, self._total - there)
        return record.model_copy(
            update={
                "download_progress": round(self.share(there), 4),
                "download_speed": round(speed, 1) if speed else None,
                "download_eta": round(left / speed, 1) if speed else None,
            }
        )

    def share(self, there: int) -> float:
        """0 to 1."""
        return min(_MOST, there / self._total) if self._total else 0.0
