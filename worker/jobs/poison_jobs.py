"""What a crash means for the jobs it hit: who is counted, who is watched from then on, and who is
given up.

A chat is given up as a whole; of a slice of a batch only the line that was inside. Whoever is given
up was inside, by its mark, when its workers died: a job that only ran beside is never ended for it.
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
from worker.jobs.crash_marks import READING

MOST_CRASHES = 3
"""A chat that was running when its worker died this many times is given up: it may be what kills
them."""
SUSPECT = MOST_CRASHES - 1
"""From so many crashes on a job runs with no other such job beside it, and a crash is its own
alone. A slice of a batch is set to it by the first crash: letting its lines in one at a time
costs little, and spares the chats beside them."""
MOST_ALONE = MOST_CRASHES - 1
"""A line that was the suspect on board when its worker died this many times in a row is given
up."""
MOST_UNSEEN = 10
"""A job without progress is given up all the same when its workers died this many times in a row
while it was only being read, or was not seen inside: that says little, for others were on board as
well."""
MOST_DEADLY_LINES = 8
"""Once so many lines of a batch have been given up, its other lines are, too: each has cost
everybody some crashes."""
FURTHER = 4
"""Events that a job logs between two crashes to show that it doesn't kill its workers: they
count from one again."""
log = logging.getLogger(__name__)
GAVE_UP: ErrorCode = "gave_up_after_crashes"
Fields = Mapping[str, int | str]


def is_suspect(crashes: bytes | None, beside: bytes | None) -> bool:
    """What the fields of a job's record say: whether it may be what kills its workers."""
    return int(crashes or 0) >= SUSPECT or beside == b"1"


class CrashPolicy(Protocol):
    """One kind of job. ``mark`` is what was written down as the suspect came in; answers are
    fields of its record."""

    def holds(self, job_id: str, mark: str) -> bool:
        """Whether the marked suspect was still inside."""

    def own(self, job: Job, mark: str | None) -> Fields:
        """After a crash of its own, or one that is nobody's in particular. Gives up what has
        killed too many."""

    def beside(self, job: Job) -> Fields:
        """After a crash that was another's."""


class ChatCrashPolicy:
    """Chats and model commands."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)

    def holds(self, job_id: str, mark: str) -> bool:  # noqa: ARG002 (a chat is one suspect or none)
        return True

    def own(self, job: Job, mark: str | None) -> Fields:
        length, before, further = self._progress(job.id)
        crashes, unseen = 1 if further else before + 1, 0
        if not _was_inside(mark):  # It is watched from now on, and not ended for it.
            crashes = min(crashes, SUSPECT)
            unseen = 1 if further else int(self._redis.hget(keys.job(job.id), "unseen") or 0) + 1
        if crashes >= MOST_CRASHES or unseen >= MOST_UNSEEN:
            self._give_up(job.id, max(crashes, unseen))
        return {"crashes": crashes, "crashed_at": length, "unseen": unseen}

    def beside(self, job: Job) -> Fields:
        """Not counted. But one that has shown nothing yet is let in alone next time: it may have
        been the one."""
        _, _, further = self._progress(job.id)
        return {"beside": int(not further)}

    def _progress(self, job_id: str) -> tuple[int, int, bool]:
        """The log's length, the crashes so far, and whether the job has got further since the
        last."""
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
        what = "command" if kind == b"model" else "chat"
        failed = Failed(GAVE_UP, f"Given up: {crashes} workers died while they ran this {what}.")
        self._log.append(
            [Append(job_id, (owner or b"").decode(), attempt, len(entries) + 1, failed)]
        )


class SliceCrashPolicy:
    """Slices of batches: suspects are lines, let in one at a time once their slice has been in a
    crash."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._log = TokenLog(redis)
        self._batches = BatchLog(redis)

    def holds(self, job_id: str, mark: str) -> bool:
        """A line that has its result was not inside any more."""
        work = self._work(job_id)
        return work is not None and not self._redis.hexists(
            keys.batch_output(work.batch_id, work.number), mark
        )

    def own(self, job: Job, mark: str | None) -> Fields:
        work = self._work(job.id)
        if work is None:
            return {"crashes": SUSPECT}
        done = int(self._redis.hlen(keys.batch_output(work.batch_id, work.number)))
        names = ("crashed_line", "times", "unseen", "crashed_at")
        line, *counts = cast(list[bytes | None], self._redis.hmget(keys.job(job.id), *names))
        times, unseen, crashed_at = (int(count or 0) for count in counts)
        if not _was_inside(mark):
            unseen = unseen + 1 if done <= crashed_at else 1
            if unseen >= MOST_UNSEEN:
                self._give_up(work, None, unseen)
            return {"crashes": SUSPECT, "unseen": unseen, "crashed_at": done}
        # The others' progress says nothing in favour of the line that was inside.
        times = times + 1 if line == str(mark).encode() else 1
        if times >= MOST_ALONE:
            self._give_up(work, mark, times)
        return {"crashes": SUSPECT, "crashed_line": str(mark), "times": times, "unseen": 0}

    def beside(self, job: Job) -> Fields:  # noqa: ARG002 (whatever it is, its lines are let in one at a time)
        return {"crashes": SUSPECT}

    def _give_up(self, work: BatchSlice, mark: str | None, crashes: int) -> None:
        """Fail the line that was inside; all that are left, when nobody got as far as any line."""
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


def _was_inside(mark: str | None) -> bool:
    return mark not in (None, str(READING))


def condemned(taken: Taken) -> list[LineResult]:
    """The results of what is left of a slice whose batch has had too many deadly lines; none
    while it hasn't."""
    if taken.deadly < MOST_DEADLY_LINES:
        return []
    error = (GAVE_UP, f"Given up: {taken.deadly} prompts of this batch killed their workers.")
    return [LineResult(line.number, line.custom_id, error=error) for line in taken.lines]
