"""How long a chat may wait for its turn: the time by which it must have started."""

from __future__ import annotations

from collections.abc import Sequence

from redis.client import Pipeline

from wire import keys
from wire.messages import ErrorCode

START_BY = keys.PREFIX + "start-by"
"""Sorted set: chat that waits -> Redis time in milliseconds by which it must have started. One that
has started stays until that time."""
FIELD = "start_by_ms"
"""The same in the job's record, for the worker that starts it."""
EXPIRED: ErrorCode = "expired"
MESSAGE = "This chat waited in the queue for longer than its max_queue_s."
PARAM = "max_queue_s"


def limit(pipe: Pipeline, job_ids: Sequence[str], start_by_ms: int) -> None:
    """Set the time, in the transaction that puts the jobs in the queue."""
    pipe.zadd(START_BY, dict.fromkeys(job_ids, start_by_ms))
    for job_id in job_ids:
        pipe.hset(keys.job(job_id), FIELD, start_by_ms)
