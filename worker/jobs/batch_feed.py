"""Starting a slice enqueues the next one of its batch, so that batches alternate in the queue.

One slice of a batch waits at a time, however long the batch: the queue stays short, and a small
batch waits for one slice of each other batch, not for all. Knows RQ's queue, not the contents of a
slice.
"""

from __future__ import annotations

from redis.exceptions import WatchError
from rq import Queue

from wire.batches import BatchSlice, may_feed, slice_job_id
from wire.rq_jobs import enqueue_slice, rq_job_key


class BatchFeed:
    """Puts slices into the batch queue."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def after(self, work: BatchSlice, now_ms: float) -> None:
        """Enqueue the slice that follows, unless another worker has done so or there is none."""
        number = work.number + 1
        job_id = slice_job_id(work.batch_id, number)
        following = BatchSlice(
            job_id=job_id, batch_id=work.batch_id, owner=work.owner, number=number
        )
        with self._queue.connection.pipeline(transaction=True) as pipe:
            if not may_feed(pipe, following, rq_job_key(job_id)):
                return
            enqueue_slice(pipe, self._queue, following, int(now_ms))
            try:
                pipe.execute()
            except WatchError:
                return  # Another worker has just enqueued it.
