"""Jobs that were popped but never started: between RQ's queue and its started registry."""

from __future__ import annotations

from typing import cast

from redis import Redis
from rq import Queue

from wire import keys
from wire.rq_jobs import rq_job_key
from worker.jobs.rq_worker.bookkeeping import REQUEUE_POPPED

_GRACE_S = 5
"""A start follows its pop within milliseconds; a job popped longer ago than this has lost its
worker."""
# KEYS: intermediate list, when the job was first seen there. ARGV: job id, seconds to remember
# that, seconds left of these while the grace lasts. Answers 1 within the grace. In one go: a start
# that comes between would leave a time behind, and the job's next pop would be taken for an old
# one.
_SEE = """
if not redis.call('LPOS', KEYS[1], ARGV[1]) then return 1 end
redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[2])
if redis.call('TTL', KEYS[2]) >= tonumber(ARGV[3]) then return 1 end
return 0
"""


class PoppedJobs:
    """Puts jobs back that no live worker would have left between queue and registry so long."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._requeue = redis.register_script(REQUEUE_POPPED)
        self._see = redis.register_script(_SEE)

    def requeue(self, queue: Queue, *, orphaned: bool) -> int:
        """Put such jobs of a queue back, and return how many.

        ``orphaned``: no live worker could have popped them, so they go back at once.
        """
        return sum(
            self._requeue_one(queue, raw.decode(), orphaned)
            for raw in cast(list[bytes], self._redis.lrange(queue.intermediate_queue_key, 0, -1))
        )

    def _requeue_one(self, queue: Queue, job_id: str, orphaned: bool) -> int:
        if not self._is_job(job_id):
            # Deleted, or never a job: every worker that pops it drops it here again.
            self._redis.lrem(queue.intermediate_queue_key, 1, job_id)
            return 0
        intermediate, first_seen = queue.intermediate_queue_key, keys.popped(job_id)
        # Remembered for longer than the grace; a start deletes it.
        grace: list[str | int] = [job_id, 3 * _GRACE_S, 2 * _GRACE_S]
        if not orphaned and self._see(keys=[intermediate, first_seen], args=grace):
            return 0
        names = [intermediate, queue.key, first_seen]
        return int(self._requeue(keys=names, args=[job_id]))

    def _is_job(self, job_id: str) -> bool:
        """Whether RQ has such a job. Of an id with a colon RQ reads only what is before it."""
        name = rq_job_key(job_id)
        return (
            ":" not in job_id
            and self._redis.type(name) == b"hash"
            and bool(self._redis.hexists(name, "data"))
        )
