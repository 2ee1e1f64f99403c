"""The slots of a worker, which two threads take for the chats that they pop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slots:
    """``running`` says how many chats run; ``freed`` is notified when one has ended."""

    def __init__(self, number: int, running: Callable[[], int]) -> None:
        self.number = number
        self.freed = threading.Condition()
        self._running = running
        self._reserved: set[str] = set()
        """Chats that have been popped and don't count as running yet."""

    def wait(self, seconds: float) -> bool:
        """Wait up to this long for a free slot; whether one is."""
        with self.freed:
            return self.freed.wait_for(self._is_free, seconds)

    def reserve(self, job_id: str) -> bool:
        """Take a slot for a chat that has been popped, if one is still free."""
        with self.freed:
            free = self._is_free()
            if free:
                self._reserved.add(job_id)
            return free

    def release(self, job_id: str) -> None:
        """A reserved slot is taken by a running chat now, or free again."""
        with self.freed:
            self._reserved.discard(job_id)
            self.freed.notify_all()

    def _is_free(self) -> bool:
        return self._running() + len(self._reserved) < self.number
