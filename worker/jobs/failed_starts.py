"""Ends jobs that can't be started, so that their clients get an error and not only RQ.

A job may be of a later release, name an unknown task, or be unreadable.
"""

from __future__ import annotations

import json
import logging
from typing import Any, cast

from pydantic import ValidationError
from redis import Redis

from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult
from wire.messages import Delta, Failed, Usage
from wire.token_log import Append, JobEnded, JobGone, TokenLog
from worker.errors import WorkerError

log = logging.getLogger(__name__)


def named(error: Exception) -> WorkerError:
    """The error for the client."""
    if isinstance(error, WorkerError):
        return error
    return WorkerError("internal_error", f"The job can't be run ({type(error).__name__}).")


class FailedStarts:
    """Writes the end of a chat or a command into its log, and a result for each line of a slice."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)
        self._batches = BatchLog(redis)

    def end(self, job_id: str, error: WorkerError, now_ms: float) -> None:
        """End a job under a new lease, unless Redis doesn't know it or it has ended."""
        stored = self._redis.hmget(keys.job(job_id), "kind", "owner", "slice")
        kind, owner, part = cast(list[bytes | None], stored)
        try:
            attempt, logged = self._log.begin(job_id)
        except (JobGone, JobEnded):
            return
        log.warning("a job can't be run", extra={"job_id": job_id, "code": error.code})
        if kind == b"slice":
            self._end_slice(part, attempt, error, now_ms)
            return
        deltas = [event for entry in logged if isinstance(event := entry.event, Delta)]
        usage = Usage(completion_tokens=sum(len(delta.token_ids) for delta in deltas))
        failed = Failed(error.code, error.message, usage)
        name = (owner or b"").decode()
        self._log.append([Append(job_id, name, attempt, len(logged) + 1, failed)])

    def _end_slice(
        self, stored: bytes | None, attempt: int, error: WorkerError, now_ms: float
    ) -> None:
        work = _slice(stored)
        taken = None if work is None else self._batches.take(work, attempt, now_ms)
        if taken is not None:
            failure = (error.code, error.message)
            results = [
                LineResult(line.number, line.custom_id, error=failure) for line in taken.lines
            ]
            self._batches.write(taken, [*results, *taken.lost], now_ms)


def _slice(stored: bytes | None) -> BatchSlice | None:
    """The slice of a job's record; fields that a later release has added are ignored."""
    try:
        row: dict[str, Any] = json.loads(stored or b"")
        return BatchSlice(**{name: row[name] for name in BatchSlice.model_fields})
    except (ValueError, TypeError, KeyError, ValidationError):
        return None
