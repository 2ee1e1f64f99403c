"""One client's way through one job's log: each event once and in order, from its cursor on."""

from __future__ import annotations

import asyncio
from typing import Protocol

from redis.exceptions import RedisError

from wire.log_entries import Entry

LOOK_AGAIN_S = 3.0
"""After this silence the log is read: the channel may have lost the last event of a job."""
BUFFER = 1000
"""Entries kept for a reader whose client is slow; beyond it they are dropped and read from the
log again."""
PAGE = 500
_RETRY_S = 0.2
_EARLY_S = 0.002
"""Event loops ring in whole milliseconds."""


class LogSource(Protocol):
    """Where a reader gets what it doesn't get from the channel: the relay."""

    closing: bool

    async def stored(self, job_id: str, after: int, most: int = PAGE) -> list[Entry]:
        """A page of the log after a sequence number."""

    def detach(self, reader: Reader) -> None:
        """Send a reader no more entries."""


class Reader:
    """One client's way through one job's log.

    ``cursor`` is the position up to which the client has the text; what it hands out begins there,
    and carries the position it leads to. Where the log is read is kept beside it: after a crash of
    Redis the same text may stand in other entries. Of a job that the first release took in,
    positions count events (``by_tokens`` is false), as its readers' cursors do.
    """

    def __init__(
        self,
        source: LogSource,
        job_id: str,
        cursor: int,
        *,
        replay: bool,
        by_tokens: bool,
    ) -> None:
        self.job_id = job_id
        self.cursor = cursor
        self.ended = False
        self._by_tokens = by_tokens
        self._sequence = 0 if by_tokens else cursor
        self._place = self._sequence
        self._in_doubt = False
        self._trusts = False
        self._source = source
        self._arrived: list[Entry] = []
        self._behind = replay
        self._waiter: asyncio.Future[None] | None = None
        self._left = False
        self._due = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether the client has disconnected, or the process stops."""
        return self._left or self._source.closing

    @property
    def behind(self) -> bool:
        """Whether the log must be read (again) before anything is known of its end."""
        return self._behind

    def put(self, entry: Entry) -> None:
        """Take an entry from the channel."""
        if len(self._arrived) >= BUFFER:
            self._arrived.clear()
            self._behind = True
        if not self._behind or entry.sequence == 0:
            self._arrived.append(entry)
        self.wake()

    def look_again(self, *, in_doubt: bool = False) -> None:
        """Read the next batch from the log; ``in_doubt``: Redis may have lost some of it."""
        self._behind = True
        self._in_doubt = self._in_doubt or in_doubt
        self.wake()

    def leave(self) -> None:
        """The client has disconnected: wake up whatever waits for more entries."""
        self._left = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def detach(self) -> None:
        """Leave. Synchronous, so that it works while the client's task is being cancelled."""
        self._source.detach(self)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def batch(self, timeout: float) -> list[Entry]:
        """The next entries, in order, each once; an empty list when none came in time."""
        if not self._behind and not self._arrived and not self.closed:
            await self._wait(timeout)
        stored = await self._stored(timeout) if self._behind else []
        arrived, self._arrived = self._arrived, []
        return self._in_order(stored + arrived)

    async def _wait(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._due = loop.time() + timeout
        # One alarm serves many waits: it is mostly found to be too early when it rings, and set
        # again.
        if self._alarm is None or self._alarm.when() > self._due:
            self._set_alarm(loop)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(self._due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        if self._waiter is None:
            return
        if loop.time() >= self._due - _EARLY_S:
            self.wake()
        else:
            self._set_alarm(loop)

    async def _stored(self, timeout: float) -> list[Entry]:
        in_doubt, self._behind, self._in_doubt = self._in_doubt, False, False
        try:
            if in_doubt:
                await self._make_sure()
            entries = await self._source.stored(self.job_id, self._sequence)
        except RedisError:
            self._behind, self._in_doubt = True, self._in_doubt or in_doubt
            await asyncio.sleep(min(timeout, _RETRY_S))
            return []
        self._behind = self._behind or len(entries) == PAGE
        return entries

    async def _make_sure(self) -> None:
        """Read the log from its start again unless it still leads to where this reader is in it."""
        if self._by_tokens and self._sequence:
            last = await self._source.stored(self.job_id, self._sequence - 1, 1)
            if [(entry.sequence, entry.position) for entry in last] != [
                (self._sequence, self._place)
            ]:
                self._rewind()
        self._trusts = False

    def _rewind(self) -> None:
        self._sequence = self._place = 0
        self._behind = True

    def _in_order(self, entries: list[Entry]) -> list[Entry]:
        fresh = []
        for entry in entries:
            if entry.sequence == 0:
                fresh.append(entry)
                continue
            if self.ended:
                break
            if entry.sequence > self._sequence + 1:
                self._behind = True
                break
            if entry.sequence <= self._sequence:
                continue
            placed = self._placed(entry)
            if placed.start != self._place and not self._trusts:
                # Rewritten in other groups since this reader read it; once is enough.
                self._rewind()
                self._trusts = True
                break
            self._sequence, self._place = entry.sequence, placed.position
            if (unseen := self._unseen(placed)) is not None:
                self.cursor, self.ended = unseen.position, unseen.ends
                fresh.append(unseen)
        return fresh

    def _placed(self, entry: Entry) -> Entry:
        if self._by_tokens:
            return entry.placed(self._place)
        return entry._replace(start=self._place, position=entry.sequence)

    def _unseen(self, entry: Entry) -> Entry | None:
        """What the client hasn't got of an entry."""
        # Also when the text has ended before the client's position: it must hear of it.
        if entry.ends:
            return entry._replace(position=max(entry.position, self.cursor))
        if entry.start >= self.cursor:
            return entry
        return entry.rest(self.cursor) if entry.position > self.cursor else None
