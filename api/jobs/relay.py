"""One Redis subscription for all readers of a process.

The channel carries events quickly, the log surely: a reader that sees a gap or was slow looks into
the log. Knows nothing of HTTP, and of jobs only their logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeout

from api.jobs.reader import PAGE, Reader
from api.periodic import end
from wire import keys
from wire.log_entries import Entry, decode, decode_rows, lines, range_after

_log = logging.getLogger(__name__)

_RECONNECT_S = 0.2
_LISTEN_S = 5.0


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
        """Let every stream end where it is; clients reconnect with their cursors."""
        self.closing = True
        for reader in self._all():
            reader.wake()

    async def stop(self) -> None:
        """Close, and end the subscription."""
        self.close()
        if self._task is not None:
            await end(self._task)

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
        """The jobs with a reader in this process."""
        return list(self._readers)

    @property
    def open(self) -> int:
        """How many readers there are here."""
        return sum(map(len, self._readers.values()))

    async def stored(self, job_id: str, after: int, most: int = PAGE) -> list[Entry]:
        """A page of the log after a sequence number."""
        rows = await self._redis.xrange(keys.log(job_id), min=range_after(after), count=most)
        return decode_rows(cast(list[tuple[bytes, dict[bytes, bytes]]], rows))

    async def log(self, job_id: str) -> list[Entry]:
        """The whole log so far."""
        entries: list[Entry] = []
        while page := await self.stored(job_id, len(entries)):
            entries += page
            if len(page) < PAGE:
                break
        return entries

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
