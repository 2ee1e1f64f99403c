"""What a crash means for the job it hit: how far it had got, and how it is given up when it keeps killing its workers.

A chat is given up as a whole; of a slice of a batch only the line that was inside alone.
"""

from __future__ import annotations

import time
from typing import Protocol, cast

from redis import Redis
from rq.job import Job

from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult
from wire.messages import ErrorCode, Failed
from wire.token_log import Append, JobEnded, JobGone, TokenLog

MOST_CRASHES = 3
"""A job that was running when its worker died this many times is given up: it may be what kills them."""
SUSPECT = MOST_CRASHES - 1
"""From so many crashes on a job runs with no other such job beside it, and a crash is its own alone."""
GAVE_UP: ErrorCode = "gave_up_after_crashes"


class Blame(Protocol):
    """One kind of job. ``mark`` is what was written down as the suspect came in."""

    marks_part: bool
    """Whether a suspect is a part of the job: then the others' progress says nothing in its favour."""

    def holds(self, job_id: str, mark: str) -> bool:
        """Whether a crash is the marked suspect's own."""

    def progress(self, job_id: str) -> int:
        """A number that grows as the job gets on."""

    def give_up(self, job: Job, crashes: int, mark: str | None) -> int:
        """End what kills its workers, or nothing if it isn't known; the job's count of crashes from now on."""


class ChatBlame:
    """Chats and model commands."""

    marks_part = False

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)

    def holds(self, job_id: str, mark: str) -> bool:  # noqa: ARG002 (a chat is one suspect or none)
        return True

    def progress(self, job_id: str) -> int:
        return int(self._redis.xlen(keys.log(job_id)))

    def give_up(self, job: Job, crashes: int, mark: str | None) -> int:  # noqa: ARG002 (the chat itself is it)
        try:
            attempt, entries = self._log.begin(job.id)
        except (JobGone, JobEnded):
            return crashes
        owner = cast(bytes, self._redis.hget(keys.job(job.id), "owner") or b"").decode()
        failed = Failed(GAVE_UP, f"Given up: {crashes} workers died while they ran this chat.")
        self._log.append([Append(job.id, owner, attempt, len(entries) + 1, failed)])
        return crashes


class SliceBlame:
    """Slices of batches: suspects are lines, let in one at a time once their slice is under suspicion."""

    marks_part = True

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)
        self._batches = BatchLog(redis)

    def holds(self, job_id: str, mark: str) -> bool:
        """A line that has its result was not inside any more."""
        work = self._work(job_id)
        return work is not None and not self._redis.hexists(keys.batch_output(work.batch_id, work.number), mark)

    def progress(self, job_id: str) -> int:
        work = self._work(job_id)
        return 0 if work is None else int(self._redis.hlen(keys.batch_output(work.batch_id, work.number)))

    def give_up(self, job: Job, crashes: int, mark: str | None) -> int:
        work = self._work(job.id)
        if work is None or mark is None:
            return SUSPECT
        try:
            attempt, _ = self._log.begin(job.id)
        except (JobGone, JobEnded):
            return SUSPECT
        now_ms = time.time() * 1000
        taken = self._batches.take(work, attempt, now_ms)
        for line in taken.lines if taken is not None else ():
            if taken is not None and str(line.number) == mark:
                error = (GAVE_UP, f"Given up: {crashes} workers died while they ran this prompt.")
                self._batches.write(taken, [LineResult(line.number, line.custom_id, error=error)], now_ms)
        return SUSPECT

    def _work(self, job_id: str) -> BatchSlice | None:
        """The slice that a job's id stands for."""
        stored = cast(bytes | None, self._redis.hget(keys.job(job_id), "slice"))
        return None if stored is None else BatchSlice.model_validate_json(stored)
