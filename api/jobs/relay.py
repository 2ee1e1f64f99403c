"""One Redis subscription for all clients of a process: every reader gets each event of its job once
and in order.

The channel carries events quickly, the log surely: a reader that sees a gap or was slow looks into
the log. Knows nothing of HTTP, and of jobs only their logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from wire import keys
from wire.log_entries import Entry, decode, decode_rows, lines, range_after

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 3.0
"""Silence after which to look into the log: nothing else tells that the channel lost the last
event of a job."""
BUFFER = 1000
"""Entries kept for a reader whose client is slow; beyond it they are dropped and read from the
log again."""
PAGE = 500
_RECONNECT_S = 0.2
_LISTEN_S = 5.0
_EARLY_S = 0.002
"""Event loops ring in whole milliseconds."""


class Reader:
    """One client's way through one job's log.

    ``cursor`` is the position up to which the client has the text; what it hands out begins there,
    and carries the position it leads to. Where the log is read is kept beside it: after a crash of
    Redis the same text may stand in other entries. Of a job that the first release took in,
    positions count events (``by_tokens`` is false), as its readers' cursors do.
    """

    def __init__(
        self,
        relay: Relay,
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
        self._relay = relay
        self._arrived: list[Entry] = []
        self._behind = replay
        self._waiter: asyncio.Future[None] | None = None
        self._left = False
        self._due = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether the client has gone, or the process goes; the client may go on elsewhere with
        its cursor."""
        return self._left or self._relay.closing

    @property
    def behind(self) -> bool:
        """Whether the log has to be read (again) before anything can be said of its end."""
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
        """Have the next batch come from the log; ``in_doubt``, Redis may have lost what was read
        of it."""
        self._behind = True
        self._in_doubt = self._in_doubt or in_doubt
        self.wake()

    def leave(self) -> None:
        """The client has gone: whoever waits for more need not."""
        self._left = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def detach(self) -> None:
        """Leave. Synchronous, so that it works while the client's task is being cancelled."""
        self._relay.detach(self)
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
            entries = await self._relay.stored(self.job_id, self._sequence)
        except RedisError:
            self._behind, self._in_doubt = True, self._in_doubt or in_doubt
            await asyncio.sleep(min(timeout, _RECONNECT_S))
            return []
        self._behind = self._behind or len(entries) == PAGE
        return entries

    async def _make_sure(self) -> None:
        """Read the log from its start again unless it still leads to where this reader is in it."""
        if self._by_tokens and self._sequence:
            last = await self._relay.stored(self.job_id, self._sequence - 1, 1)
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
                # Written anew, and otherwise grouped, since this reader was here; once is enough.
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


class Relay:
    """The subscription of a process and the readers behind it."""

    def __init__(self, redis: Redis) -> None:
        self.closing = False
        self._redis = redis
        self._readers: dict[str, set[Reader]] = {}
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen. A Redis that isn't there yet is no reason not to start."""
        self._task = asyncio.create_task(self._listen(), name="relay")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), 1.0)

    def close(self) -> None:
        """Let every stream end where it is; their clients come back with their cursors."""
        self.closing = True
        for reader in self._all():
            reader.wake()

    async def stop(self) -> None:
        """Close, and end the subscription."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def attach(
        self, job_id: str, cursor: int = 0, *, replay: bool, by_tokens: bool = True
    ) -> Reader:
        """A reader of what follows a cursor. A job that isn't enqueued yet needs no replay."""
        reader = Reader(self, job_id, cursor, replay=replay, by_tokens=by_tokens)
        self._readers.setdefault(job_id, set()).add(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        readers = self._readers.get(reader.job_id, set())
        readers.discard(reader)
        if not readers:
            self._readers.pop(reader.job_id, None)

    def jobs(self) -> list[str]:
        """The jobs that somebody reads here."""
        return list(self._readers)

    @property
    def open(self) -> int:
        """How many readers there are here."""
        return sum(map(len, self._readers.values()))

    async def stored(self, job_id: str, after: int, most: int = PAGE) -> list[Entry]:
        """A page of the log after a sequence number."""
        rows = await self._redis.xrange(keys.log(job_id), min=range_after(after), count=most)
        return decode_rows(cast(list[tuple[bytes, dict[bytes, bytes]]], rows))

    def _all(self) -> list[Reader]:
        return [reader for readers in self._readers.values() for reader in readers]

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscription()
            except Exception as error:
                # whatever it was, the streams of this process need a subscription
                if self._subscribed.is_set():
                    _log.warning("lost the subscription: %s", type(error).__name__)
                self._subscribed.clear()
            await asyncio.sleep(_RECONNECT_S)

    async def _subscription(self) -> None:
        async with self._redis.pubsub() as channel:
            await channel.subscribe(keys.EVENTS_CHANNEL)
            # Subscribed means answered: only what is published from then on is sure to come.
            if await channel.get_message(timeout=1.0) is None:
                raise RedisTimeout("no answer to SUBSCRIBE")
            self._subscribed.set()
            for reader in self._all():
                reader.look_again(in_doubt=True)
            while True:
                message = await channel.get_message(timeout=_LISTEN_S)
                if message is None:
                    await channel.ping()
                elif message["type"] == "message":
                    self._deliver(message["data"])

    def _deliver(self, message: bytes) -> None:
        for job_id, line in lines(message):
            # Most of what is published may be read at other processes.
            if readers := self._readers.get(job_id):
                entry = decode(line)
                for reader in readers:
                    reader.put(entry)
