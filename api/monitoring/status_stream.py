"""The status as a stream: one read a second for all viewers of this process.

Knows what an event stream is, and nothing of what the status holds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from redis.exceptions import RedisError

from api.monitoring.overview import StatusReader, shown_to

_log = logging.getLogger(__name__)

EVERY_S = 1.0
_TAIL = 3
"""Rows of the history sent with each look: a row is finished over two seconds."""
_AWAY = b'event: away\ndata: {"code": "redis_unavailable"}\n\n'


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class _Look:
    """A status as its viewers get it: encoded once for all who may see the same."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        self._status = status
        self._events: dict[str | None, bytes] = {}

    def event(self, owner: str | None) -> bytes:
        if self._status is None:
            return _AWAY
        if owner not in self._events:
            self._events[owner] = _event("status", shown_to(owner, self._status))
        return self._events[owner]


class StatusStream:
    """One a process; its task lives as long as there are viewers."""

    def __init__(self, overview: StatusReader) -> None:
        self._overview = overview
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[_Look | None] | None = None
        self._history: list[dict[str, Any]] = []
        self.looks = 0
        """How often it has looked."""
        self.closing = False

    @property
    def watched(self) -> bool:
        """Whether it reads the status, because there are viewers."""
        return self._task is not None

    def close(self) -> None:
        """Let every stream end; clients reconnect."""
        self.closing = True
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def join(self, owner: str | None = None) -> Viewer:
        """Somebody watches from now on: an owner, its own jobs alone, or who may see all."""
        self._watchers += 1
        if self._task is None:
            self._next = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(), name="watch")
        return Viewer(self, owner)

    def leave(self) -> None:
        """Somebody watches no more.

        Synchronous, so that it works while a task is being cancelled.
        """
        self._watchers -= 1
        if self._watchers == 0 and self._task is not None:
            self._task.cancel()
            self._task = self._next = None

    async def next(self, owner: str | None) -> bytes:
        """The next event; empty when there will be none."""
        if self._next is None or self.closing:
            return b""
        look = await asyncio.shield(self._next)
        return b"" if look is None else look.event(owner)

    def history(self) -> bytes:
        """The last minutes as of the last look."""
        return _event("history", self._history)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            look = await self._look()
            done, self._next = self._next, asyncio.get_running_loop().create_future()
            if done is not None and not done.done():
                done.set_result(look)
            await asyncio.sleep(max(0.1, EVERY_S - (time.monotonic() - began)))

    async def _look(self) -> _Look:
        self.looks += 1
        try:
            status = await self._overview.status()
            self._history = await self._overview.history(status["now_ms"])
        except RedisError:
            return _Look(None)
        except Exception:
            _log.exception("a look at the service failed")
            return _Look(None)
        return _Look(status | {"tail": self._history[-_TAIL:]})


class Viewer:
    """One viewer: the history once, then a status every second."""

    def __init__(self, watch: StatusStream, owner: str | None) -> None:
        self._watch = watch
        self._owner = owner
        self._gone = False

    def gone(self) -> None:
        """The client has disconnected: no more events are needed."""
        self._gone = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        first = True
        while (chunk := await self._watch.next(self._owner)) and not self._gone:
            yield self._watch.history() + chunk if first else chunk
            first = False
