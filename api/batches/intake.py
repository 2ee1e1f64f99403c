"""Accepts batches, ends them early, and repairs what a process left half-done.

Whoever offers batches to clients, in whatever shape, does it through this. Knows nothing of HTTP
and nothing of RQ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from api.batches.lines import LineParser
from api.batches.quota import BatchQuota
from api.batches.store import BatchRecord, BatchStore
from api.batches.upload import UploadReader
from api.chat.json_schema import Schemas
from api.errors import ApiError
from api.jobs.ids import new_job_id
from api.jobs.queue import JobQueue
from api.jobs.waiting.scheduled import check_time
from api.periodic import repeat
from wire.batches import BatchSlice, BatchState, slice_job_id

UPLOADS_AT_ONCE = 4
"""Each holds some megabytes."""
WAIT_S = 5.0
"""How long an upload waits, unread, for its turn."""
RETRY_S = 5
LOOK_S = 10.0
"""How often batches without an owner's attention are looked after."""


class BatchIntake:
    """The way into and out of the queue for batches."""

    def __init__(
        self,
        redis: Redis,
        jobs: JobQueue,
        schemas: Schemas,
        *,
        quota: BatchQuota,
        lifetime_s: float,
    ) -> None:
        self.store = BatchStore(redis, quota=quota, lifetime_s=lifetime_s)
        self._jobs = jobs
        self._schemas = schemas
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def accept(
        self,
        owner: str,
        pieces: AsyncIterable[bytes],
        parser: LineParser,
        *,
        model_id: str = "",
        details: Mapping[str, Any] | None = None,
        batch_id: str | None = None,
    ) -> BatchRecord:
        """Take a batch in from JSONL that arrives in pieces, and queue it.

        ``model_id`` is for display.

        ``details`` are kept; ``ends_by_ms`` among them is when it ends as expired,
        ``not_before_ms`` when it begins. ``batch_id`` is new unless given.

        Raises ApiError for a batch that is refused as a whole; nothing of it is kept then.
        """
        begins = int((details or {}).get("not_before_ms", 0))
        check_time(begins, await self.store.now_ms())
        try:
            async with asyncio.timeout(WAIT_S):
                await self._uploads.acquire()
        except TimeoutError:
            raise ApiError("busy", "Too many uploads at once. Try again.", RETRY_S) from None
        try:
            opened = await self.store.open(batch_id or new_job_id(), owner, model_id, details)
            parser = replace(parser, settle=self._schemas.for_upload())
            record = await UploadReader(self.store, opened, parser).read_all(pieces)
            await self._queue(record)
            return record
        finally:
            self._uploads.release()

    async def _queue(self, record: BatchRecord) -> None:
        try:
            await self.store.keep(record)
            if record.ended:
                await self.store.accept_alone(record)
            else:
                await self._jobs.submit_slice(
                    _slice(record, 0),
                    lambda pipe: self.store.accept(record, pipe),
                    record.not_before_ms,
                )
        except BaseException:
            # Unless the transaction went through and only its answer was lost: the batch exists
            # then.
            if await self.store.record(record.id, record.owner) is None:
                await self.store.abandon(record.id, record.slices, record.pieces)
            raise

    async def cancel(self, record: BatchRecord, ends_as: BatchState = "cancelled") -> None:
        """End a batch early, keeping what is finished. One that has ended stays as it is."""
        if await self.store.cut(record, ends_as):
            await self._withdraw(record)

    async def _withdraw(self, record: BatchRecord) -> None:
        for number in await self.store.open_slices(record.id):
            await self._jobs.withdraw_slice(_slice(record, number))

    async def run(self) -> None:
        """Look after batches until cancelled."""
        await repeat(LOOK_S, self._look, "looking after batches")

    async def _look(self) -> None:
        await self.store.quota.sweep()
        now = await self.store.now_ms()
        for record in await self.store.open_batches():
            if record.ends_by_ms and record.ends_by_ms <= now:
                await self.cancel(record, "expired")
            if record.state == "cancelling":
                await self._withdraw(record)
            if record.not_before_ms > now:
                continue
            for number in await self.store.to_feed(record):
                await self._jobs.feed_slice(_slice(record, number))


def _slice(record: BatchRecord, number: int) -> BatchSlice:
    job_id = slice_job_id(record.id, number)
    return BatchSlice(job_id=job_id, batch_id=record.id, owner=record.owner, number=number)
