"""Bytes of request bodies that may be held at once: first in, first out.

Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """A budget of bytes, reserved and released in FIFO order."""

    def __init__(self, size: int) -> None:
        self.free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, limit_s: float) -> bool:
        """Whether there was room within the time."""
        if not self._waiting and size <= self.free:
            self.free -= size
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await asyncio.wait_for(asyncio.shield(turn), limit_s)
        except TimeoutError:
            if turn.done():
                return True
            turn.cancel()
            self._serve()
            return False
        except BaseException:
            if turn.done():
                self.give(size)
            turn.cancel()
            self._serve()
            raise
        return True

    def give(self, size: int) -> None:
        self.free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self.free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)
