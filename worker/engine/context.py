"""What the lanes of chats and of batch prompts share: the engine's inbox, its watchdog, its notes.

Made before either, and given to both.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from worker.engine.watchdog import Watchdog

HIGH_MEMORY_PERCENT = 90.0
Work = Callable[[], None]


class EngineContext:
    """``memory_percent`` reads how much of the machine's memory is in use."""

    def __init__(self, memory_percent: Callable[[], float] = lambda: 0.0) -> None:
        self._memory_percent = memory_percent
        self.inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.watchdog = Watchdog()

    def post(self, work: Work) -> None:
        """Run something on the engine's thread, between two steps."""
        self.inbox.put(work)

    def notes(self) -> list[str]:
        """Warnings about this machine for a chat or a prompt that begins now, in sentences."""
        memory = self._memory_percent()
        return (
            [f"High memory usage ({memory:.0f}%). Generation may be slow."]
            if memory > HIGH_MEMORY_PERCENT
            else []
        )
