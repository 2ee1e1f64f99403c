"""Poison jobs: which jobs a crash counts against, which become suspects, which are given up.

A chat is given up as a whole; of a slice of a batch only the line that was inside. By its mark, a
job that is given up was inside when its workers died: one that only ran at the same time never is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, cast

from redis import Redis
from rq.job import Job

from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult, Taken
from wire.messages import ErrorCode, Failed
from wire.token_log import Append, JobEnded, JobGone, TokenLog

MOST_CRASHES = 3
"""A chat that was running when its worker died this many times is given up as the likely
cause."""
SUSPECT = MOST_CRASHES - 1
"""From this many crashes on a job is a suspect: only one runs at a time, and a crash counts against
it alone. The first crash sets a slice of a batch to this: letting its lines in one at a time costs
little, and spares the chats that run at the same time."""
MOST_ALONE = MOST_CRASHES - 1
"""A line that was the suspect inside when its worker died this many times in a row is given up."""
MOST_UNSEEN = 10
"""A job without progress is also given up when its workers died this many times in a row while it
was only being read, or was not seen inside: weak evidence, because other jobs were inside too."""
READING = 0
"""The mark of a suspect that is only being read: no line and no attempt has this number."""
MOST_DEADLY_LINES = 8
"""Once this many lines of a batch have been given up, its other lines are, too: each has cost some
crashes, which hit all users."""
FURTHER = 4
"""A job that logs this many events between two crashes makes progress: its crashes count from one
again."""
log = logging.getLogger(__name__)
GAVE_UP: ErrorCode = "gave_up_after_crashes"
Fields = Mapping[str, int | str]


def is_suspect(crashes: bytes | None, beside: bytes | None) -> bool:
    """Whether these fields of a job's record make it a suspect."""
    return int(crashes or 0) >= SUSPECT or beside == b"1"


class CrashPolicy(Protocol):
    """One kind of job.

    ``mark`` was set as the suspect came in; the answers are fields of the job's record.
    """

    def was_inside(self, job_id: str, mark: str) -> bool:
        """Whether the marked suspect was still inside."""

    def after_own_crash(self, job: Job, mark: str | None) -> Fields:
        """After a crash of this job, or of no known one. Gives up a job that crashed too often."""

    def after_others_crash(self, job: Job) -> Fields:
        """After a crash whose culprit was another job."""


class ChatCrashPolicy:
    """Chats and model commands."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)

    def was_inside(self, job_id: str, mark: str) -> bool:  # noqa: ARG002 (a chat is one suspect or none)
        return True

    def after_own_crash(self, job: Job, mark: str | None) -> Fields:
        length, before, further = self._progress(job.id)
        crashes, unseen = 1 if further else before + 1, 0
        if not names_one(mark):  # It becomes a suspect, and is not given up for this.
            crashes = min(crashes, SUSPECT)
            unseen = 1 if further else int(self._redis.hget(keys.job(job.id), "unseen") or 0) + 1
        if crashes >= MOST_CRASHES or unseen >= MOST_UNSEEN:
            self._give_up(job.id, max(crashes, unseen))
        return {"crashes": crashes, "crashed_at": length, "unseen": unseen}

    def after_others_crash(self, job: Job) -> Fields:
        """Count nothing; but a job without progress becomes a suspect, as it may be the culprit."""
        _, _, further = self._progress(job.id)
        return {"beside": int(not further)}

    def _progress(self, job_id: str) -> tuple[int, int, bool]:
        """The log's length, the crashes so far, and whether there was progress since the last."""
        length = int(self._redis.xlen(keys.log(job_id)))
        before, crashed_at = (
            int(value or 0)
            for value in self._redis.hmget(keys.job(job_id), "crashes", "crashed_at")
        )
        return length, before, length - crashed_at >= FURTHER

    def _give_up(self, job_id: str, crashes: int) -> None:
        try:
            attempt, entries = self._log.begin(job_id)
        except (JobGone, JobEnded):
            return
        log.error("job given up: its workers died", extra={"job_id": job_id, "crashes": crashes})
        owner, kind = cast(list[bytes | None], self._redis.hmget(keys.job(job_id), "owner", "kind"))
        work = "command" if kind == b"model" else "chat"
        failed = Failed(GAVE_UP, f"Given up: {crashes} workers died while they ran this {work}.")
        self._log.append(
            [Append(job_id, (owner or b"").decode(), attempt, len(entries) + 1, failed)]
        )


class SliceCrashPolicy:
    """Slices of batches: after a crash the slice's lines are suspects, let in one at a time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)
        self._batches = BatchLog(redis)

    def was_inside(self, job_id: str, mark: str) -> bool:
        """A line that has its result had left before the crash."""
        work = self._work(job_id)
        return work is not None and not self._redis.hexists(
            keys.batch_output(work.batch_id, work.number), mark
        )

    def after_own_crash(self, job: Job, mark: str | None) -> Fields:
        work = self._work(job.id)
        if work is None:
            return {"crashes": SUSPECT}
        done = int(self._redis.hlen(keys.batch_output(work.batch_id, work.number)))
        names = ("crashed_line", "times", "unseen", "crashed_at")
        line, *counts = cast(list[bytes | None], self._redis.hmget(keys.job(job.id), *names))
        times, unseen, crashed_at = (int(count or 0) for count in counts)
        if not names_one(mark):
            unseen = unseen + 1 if done <= crashed_at else 1
            if unseen >= MOST_UNSEEN:
                self._give_up(work, None, unseen)
            return {"crashes": SUSPECT, "unseen": unseen, "crashed_at": done}
        # The progress of other lines does not clear the line that was inside.
        times = times + 1 if line == str(mark).encode() else 1
        if times >= MOST_ALONE:
            self._give_up(work, mark, times)
        return {"crashes": SUSPECT, "crashed_line": str(mark), "times": times, "unseen": 0}

    def after_others_crash(self, job: Job) -> Fields:  # noqa: ARG002 (every slice's lines become suspects)
        return {"crashes": SUSPECT}

    def _give_up(self, work: BatchSlice, mark: str | None, crashes: int) -> None:
        """Fail the line that was inside; without a mark, all lines that have no result."""
        try:
            attempt, _ = self._log.begin(work.job_id)
        except (JobGone, JobEnded):
            return
        log.error(
            "prompts given up: their workers died", extra={"job_id": work.job_id, "line": mark}
        )
        now_ms = time.time() * 1000
        taken = self._batches.take(work, attempt, now_ms, read=mark is not None)
        if taken is None:
            return
        error = (GAVE_UP, f"Given up: {crashes} workers died while they ran this prompt.")
        results = [replace(lost, error=error) for lost in taken.lost]
        if mark is not None:
            results = [
                LineResult(line.number, line.custom_id, error=error)
                for line in taken.lines
                if str(line.number) == mark
            ]
            self._batches.note_deadly(work)
        self._batches.write(taken, results, now_ms)

    def _work(self, job_id: str) -> BatchSlice | None:
        """The slice that a job's id stands for."""
        stored = cast(bytes | None, self._redis.hget(keys.job(job_id), "slice"))
        return None if stored is None else BatchSlice.model_validate_json(stored)


def names_one(mark: str | None) -> bool:
    """Whether a mark names what was inside, not only that something was being read."""
    return mark not in (None, str(READING))


def condemned(taken: Taken) -> list[LineResult]:
    """Failed results for a slice whose batch had too many deadly lines; else none."""
    if taken.deadly < MOST_DEADLY_LINES:
        return []
    error = (GAVE_UP, f"Given up: {taken.deadly} prompts of this batch killed their workers.")
    return [LineResult(line.number, line.custom_id, error=error) for line in taken.lines]
