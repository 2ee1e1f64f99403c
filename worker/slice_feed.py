"""Who starts a slice puts the next one of its batch at the end of the queue: so batches take turns there.

One slice of a batch waits at a time, however long the batch: the queue stays short, and a small batch waits for one
slice of each other, not for all of them. Knows RQ's queue, not what a slice is made of.
"""

from __future__ import annotations

from redis.exceptions import WatchError
from rq import Queue, Retry
from rq.job import Job

from wire import keys
from wire.batches import BatchSlice, may_feed, slice_job_id
from wire.versions import VERSION

_NO_TIMEOUT = -1
_ABANDONED_RETRIES = 100


class SliceFeed:
    """Puts slices into the batch queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def after(self, work: BatchSlice, now_ms: float) -> None:
        """Queue the slice that follows, unless somebody has done so or there is none."""
        number = work.number + 1
        job_id = slice_job_id(work.batch_id, number)
        following = BatchSlice(job_id=job_id, batch_id=work.batch_id, owner=work.owner, number=number)
        with self._queue.connection.pipeline(transaction=True) as pipe:
            if not may_feed(pipe, following, f"{Job.redis_job_namespace_prefix}{job_id}"):
                return
            # The API queues a batch's first slice in the same way.
            self._queue.enqueue_call(
                keys.BATCH_TASK,
                kwargs={"job": following.model_dump(mode="json"), "version": VERSION},
                timeout=_NO_TIMEOUT,
                result_ttl=keys.SLICE_LIFETIME_S,
                failure_ttl=keys.PROMPT_LIFETIME_S,
                description=f"batch {work.batch_id}, slice {number}",
                job_id=job_id,
                retry=Retry(max=_ABANDONED_RETRIES),
                pipeline=pipe,
            )
            record: dict[bytes | str, bytes | float | int | str] = {
                "owner": work.owner,
                "model_id": "",
                "kind": "slice",
            }
            record |= {
                "slice": following.model_dump_json(),
                "queue": self._queue.name,
                "submitted_ms": int(now_ms),
                "state": "queued",
                "version": VERSION,
            }
            pipe.hset(keys.job(job_id), mapping=record)
            pipe.expire(keys.job(job_id), keys.RECORD_LIFETIME_S)
            try:
                pipe.execute()
            except WatchError:
                return  # Somebody else has just put it there.
