"""Jobs that wait for a time before they wait for their turn, in RQ's registry of scheduled jobs.

RQ's own scheduler would fork the worker, compare the hosts' clocks and know no turns; the API
releases these jobs, by Redis' time. RQ's status of such a job is ``queued`` all the same: to a
process of the release before, any other is over.
"""

from __future__ import annotations

from redis.client import Pipeline

from wire import keys

FIELD = "not_before_ms"
"""Field of a job's record: when it is released, Redis time in milliseconds."""
QUEUED = "queued_ms"
"""Field of a job's record: since when it waits for its turn, if not since it was submitted."""
LONGEST_S = 6 * 24 * 3600
"""A job's record is kept for a day longer."""


def scheduled_key(queue: str) -> str:
    """RQ's sorted set: job -> seconds since the epoch at which it is due."""
    return f"rq:scheduled:{queue}"


def schedule(pipe: Pipeline, queue_key: str, queue: str, job_id: str, not_before_ms: int) -> None:
    """Move a job from its queue's end to the scheduled ones, in the transaction that queues it."""
    pipe.lrem(queue_key, -1, job_id)
    pipe.zadd(scheduled_key(queue), {job_id: -(-not_before_ms // 1000)})
    pipe.hset(keys.job(job_id), FIELD, not_before_ms)
