"""One Redis subscription for all clients of a process: every reader gets each event of its job once and in order.

The channel carries events quickly, the log surely: a reader that sees a gap or was slow looks into the log. Knows
nothing of HTTP, and of jobs only their logs.
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
from wire.token_log import Entry, decode, decode_rows, lines, range_after

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 3.0
"""Silence after which to look into the log: nothing else tells that the channel lost the last event of a job."""
BUFFER = 1000
"""Entries kept for a reader whose client is slow; beyond it they are dropped and read from the log again."""
PAGE = 500
_RECONNECT_S = 0.2
_LISTEN_S = 5.0
_EARLY_S = 0.002
"""Event loops ring in whole milliseconds."""


class Reader:
    """One client's way through one job's log. ``sequence`` is the number of the last entry handed out."""

    def __init__(self, relay: Relay, job_id: str, sequence: int, replay: bool) -> None:
        self.job_id = job_id
        self.sequence = sequence
        self.ended = False
        self._relay = relay
        self._arrived: list[Entry] = []
        self._behind = replay
        self._waiter: asyncio.Future[None] | None = None
        self._left = False
        self._due = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether the client has gone, or the process goes; the client may go on elsewhere with its cursor."""
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

    def look_again(self) -> None:
        """Have the next batch come from the log."""
        self._behind = True
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
        # One alarm serves many waits: it is mostly found to be too early when it rings, and set again.
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
        self._behind = False
        try:
            entries = await self._relay.stored(self.job_id, self.sequence)
        except RedisError:
            self._behind = True
            await asyncio.sleep(min(timeout, _RECONNECT_S))
            return []
        self._behind = self._behind or len(entries) == PAGE
        return entries

    def _in_order(self, entries: list[Entry]) -> list[Entry]:
        fresh = []
        for entry in entries:
            if self.ended:
                break
            if entry.sequence > self.sequence + 1:
                self._behind = True
                break
            if entry.sequence == self.sequence + 1:
                self.sequence = entry.sequence
                self.ended = entry.ends
                fresh.append(entry)
            elif entry.sequence == 0:
                fresh.append(entry)
        return fresh


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

    def attach(self, job_id: str, after: int = 0, *, replay: bool) -> Reader:
        """A reader of what follows ``after``. A job that isn't enqueued yet needs no replay."""
        reader = Reader(self, job_id, after, replay)
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

    async def stored(self, job_id: str, after: int) -> list[Entry]:
        """A page of the log after a sequence number."""
        rows = await self._redis.xrange(keys.log(job_id), min=range_after(after), count=PAGE)
        return decode_rows(cast(list[tuple[bytes, dict[bytes, bytes]]], rows))

    def _all(self) -> list[Reader]:
        return [reader for readers in self._readers.values() for reader in readers]

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscription()
            except Exception as error:  # whatever it was, the streams of this process need a subscription
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
                reader.look_again()
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
