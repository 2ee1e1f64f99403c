"""What starting a job needs to know of Redis, asked in the transaction that records the start."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from wire import keys
from wire.queueing import start_by
from wire.routing import offers
from wire.token_log import TokenLog


class JobStart(NamedTuple):
    """Redis' replies. All fields but the last are in the order of ``StartQuery``'s commands."""

    lease: Any
    """The reply that ``TokenLog.lease`` reads."""
    crash_fields: tuple[bytes | None, bytes | None]
    """``crashes`` and ``beside`` of the job's record: whether it is a suspect."""
    stopped: bool
    """Whether its cancel key was set between its pop and now."""
    unmarked: int
    """How many marks of an earlier worker were removed."""
    queued: int
    """How many chats wait in the queue."""
    start_by_ms: int | None
    """By when it must have started, if it starts for the first time and may not wait for ever:
    Redis time in milliseconds."""
    offered: bytes | None
    """Why it has been offered to a worker, if it has."""
    withdrawn: bool
    """Whether it was cancelled or deleted with RQ's own tools after its pop."""

    @property
    def attempt(self) -> int:
        """The number of the lease; negative if there was none to take."""
        return int(self.lease[0])


class StartQuery:
    """Takes a job's lease for a worker and asks for the rest."""

    def __init__(self, redis: Redis, chats_key: str, worker: str) -> None:
        self._log = TokenLog(redis)
        self._worker = worker
        self._chats_key = chats_key

    def add_to(self, job_id: str, pipeline: Pipeline) -> None:
        self._log.ask(pipeline, job_id, self._worker)
        pipeline.hmget(keys.job(job_id), "crashes", "beside")
        pipeline.exists(keys.cancel(job_id))
        pipeline.hdel(keys.job(job_id), keys.ISOLATED)  # It is let in later.
        pipeline.llen(self._chats_key)
        pipeline.hmget(keys.job(job_id), start_by.FIELD, "attempts")  # Its lease counts as one.
        pipeline.get(offers.mark(job_id))

    @staticmethod
    def read(replies: list[Any], *, withdrawn: bool) -> JobStart:
        lease, (crashes, beside), stopped, unmarked, queued, (limit, attempts), offered = replies
        start_by_ms = None if limit is None or int(attempts or 0) > 1 else int(limit)
        return JobStart(
            *(lease, (crashes, beside), bool(stopped), unmarked, queued, start_by_ms),
            *(offered, withdrawn),
        )
