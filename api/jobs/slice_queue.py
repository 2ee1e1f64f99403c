"""Puts slices of batches in the queue and withdraws them.

A slice that should be in the queue and was removed from outside is put back; one that is removed
again and again has its lines ended with an error, so that no batch runs for ever. Synchronous;
knows RQ, and nothing of HTTP.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq import Queue
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from api.jobs.reaper import JobReaper
from wire import clock, keys
from wire.batches import BatchLog, BatchSlice, LineResult, Taken, may_feed
from wire.messages import ErrorCode
from wire.queueing import turns
from wire.queueing.schedule import scheduled_key
from wire.rq_jobs import Closing, enqueue_slice, rq_job_key
from wire.token_log import JobEnded, JobGone, TokenLog

_log = logging.getLogger(__name__)

MOST_FEEDS = 3
"""A slice that was removed from the queue this often, or failed there, is not put back any more."""
_FED_AGAIN = "fed_again"
_ERROR: tuple[ErrorCode, str] = (
    "job_lost",
    "The part of the batch that this line is in was taken out of the queue.",
)


class SliceQueue:
    """The queue of slices. RQ's pages show an ended one for ``kept_s``."""

    def __init__(self, redis: Redis, reaper: JobReaper, kept_s: int) -> None:
        self._redis = redis
        self._reaper = reaper
        self._kept_s = kept_s
        self._queue = Queue(keys.BATCH_QUEUE, connection=redis, serializer=JSONSerializer)
        self._log = TokenLog(redis)
        self._batches = BatchLog(redis)

    def submit(
        self, work: BatchSlice, with_it: Callable[[Pipeline], None], not_before_ms: int = 0
    ) -> None:
        """Put a slice in the queue, and in the same transaction what ``with_it`` writes."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.multi()
        with_it(pipe)
        enqueue_slice(pipe, self._queue, work, clock.now_ms(self._redis), not_before_ms)
        pipe.execute()

    def feed(self, work: BatchSlice) -> None:
        """Put a slice in the queue that should be there, unless it is or a worker has it."""
        again = self._redis.hget(keys.job(work.job_id), _FED_AGAIN)
        with self._redis.pipeline(transaction=True) as pipe:
            if not may_feed(pipe, work, rq_job_key(work.job_id)):
                return
            if int(cast(bytes | None, again) or 0) >= MOST_FEEDS:
                pipe.reset()
                self._give_up(work)
                return
            enqueue_slice(pipe, self._queue, work, clock.now_ms(self._redis))
            pipe.hincrby(keys.job(work.job_id), _FED_AGAIN, 1)
            try:
                pipe.execute()
            except WatchError:
                return  # Somebody else has just put it there.

    def withdraw(self, work: BatchSlice) -> None:
        """End a slice of a batch that ends early, if it waits in the queue or for its time: its
        lines get no results."""
        waits = self._redis.zrem(scheduled_key(self._queue.name), work.job_id)
        if not self._redis.lrem(self._queue.key, 1, work.job_id) and not waits:
            return
        self._redis.zrem(turns.places(self._queue.name), work.job_id)
        try:
            attempt, _ = self._log.begin(work.job_id)
        except (JobEnded, JobGone):
            pass
        else:
            self._batches.write(
                Taken(work, attempt, 0, "cancelling", ()), (), clock.now_ms(self._redis), cut=True
            )
        self._reaper.close_in_rq(
            work.job_id, self._queue.name, Closing(JobStatus.CANCELED, self._kept_s)
        )

    def _give_up(self, work: BatchSlice) -> None:
        """End every line of a slice that has no result, by name."""
        try:
            attempt, _ = self._log.begin(work.job_id)
        except (JobEnded, JobGone):
            return
        now = clock.now_ms(self._redis)
        try:
            work_in_hand = self._batches.take(work, attempt, now)
        except (ValueError, zlib.error):  # Prompts that can't be read.
            work_in_hand = Taken(work, attempt, self._batches.results_of(work), "running", ())
        if work_in_hand is None:
            return
        lost = [
            LineResult(line.number, line.custom_id, error=_ERROR) for line in work_in_hand.lines
        ]
        _log.warning(
            "slice given up",
            extra={"batch": work.batch_id, "slice": work.number, "lines": len(lost)},
        )
        self._batches.write(work_in_hand, lost, now, cut=True)
