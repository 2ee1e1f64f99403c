"""Starts popped jobs: takes a job's lease and gives it to what runs its kind."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job

from wire import keys
from wire.batches import BatchSlice
from wire.log_entries import Entry
from wire.messages import ChatJob, ModelCommand
from wire.token_log import JobEnded, JobGone, TokenLog
from worker import tasks
from worker.errors import WorkerError
from worker.jobs.batch_feed import BatchFeed
from worker.jobs.batch_runner import BatchRunner
from worker.jobs.chat_runner import ChatRunner
from worker.jobs.command_runner import CommandRunner
from worker.jobs.crashes.crash_marks import CrashMarks
from worker.jobs.crashes.poison_jobs import READING, is_suspect
from worker.jobs.failed_starts import FailedStarts, named
from worker.jobs.rq_worker.bookkeeping import Ending
from worker.jobs.rq_worker.job_start import JobStart
from worker.jobs.rq_worker.meta import RqMeta
from worker.jobs.rq_worker.ports import JobEnds
from worker.jobs.status_reporter import StatusReporter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runners:
    """What runs each kind of job."""

    chats: ChatRunner
    slices: BatchRunner
    commands: CommandRunner

    def open(self) -> None:
        """Start their threads."""
        self.chats.open()
        self.slices.start()


class JobRunner:
    """Starts the jobs that a ChatWorker pops."""

    def __init__(
        self,
        redis: Redis,
        worker: JobEnds,
        runners: Runners,
        feed: BatchFeed,
        marks: CrashMarks,
        reporter: StatusReporter,
        rq_meta: RqMeta,
    ) -> None:
        self._redis = redis
        self._worker = worker
        self._chats, self._slices = runners.chats, runners.slices
        self._commands = runners.commands
        self._feed = feed
        self._marks = marks
        self._reporter = reporter
        self._rq_meta = rq_meta
        self._log = TokenLog(redis)
        self._failed_starts = FailedStarts(redis)

    def start(self, job: Job, start: JobStart) -> None:
        """Start a job. Raises WorkerError if it can't be run, once its end is written."""
        try:
            self._start(job, start)
        except RedisError:
            raise  # Repeated until Redis answers.
        except Exception as error:
            log.debug("a job could not be started", exc_info=True)
            failure = named(error)
            self._chats.discard(job.id)
            self._failed_starts.end(job.id, failure, self._reporter.now_ms())
            raise failure from None

    def _start(self, job: Job, start: JobStart) -> None:
        suspect = is_suspect(*start.crash_fields)
        if suspect:  # Before it is read: reading may be what kills this process.
            self._marks.set(job.id, READING)
        try:
            attempt, logged = self._log.lease(job.id, start.lease)
        except JobEnded:
            self._worker.ended(job.id, Ending(*self._rq_meta.ended_as(job.id)))
            return
        except JobGone:
            tasks.read(job)  # It may not be a job of ours at all.
            raise WorkerError("job_lost", "The job's record is gone from Redis.") from None
        work = tasks.read(job)
        if isinstance(work, ModelCommand):
            # Commands run one at a time: after one crash a command is a suspect.
            if start.crash_fields[0] is not None or suspect:
                self._marks.set(work.job_id, attempt)
            self._commands.submit(work, attempt, len(logged) + 1)
        elif isinstance(work, BatchSlice):
            self._start_slice(work, attempt, suspect)
        else:
            self._start_chat(work, attempt, logged, start, suspect)

    def _start_slice(self, work: BatchSlice, attempt: int, suspect: bool) -> None:
        self._feed.after(work, self._reporter.now_ms())
        read = partial(self._marks.remove, work.job_id, READING)
        self._slices.take(work, attempt, suspect=suspect, read=read)

    def _start_chat(
        self, work: ChatJob, attempt: int, logged: list[Entry], start: JobStart, suspect: bool
    ) -> None:
        now_ms = self._reporter.now_ms()
        sequence = tasks.sequence(work, attempt, logged, now_ms, self._images(work))
        sequence.suspect = suspect
        if suspect:
            self._marks.remove(work.job_id, READING)  # It waits to be let in.
        if start.start_by_ms is not None and now_ms > start.start_by_ms:
            self._chats.expire(sequence, logged)
            return
        stopped = start.stopped or start.withdrawn
        offered = (start.offered or b"").decode()
        self._chats.start(sequence, logged, stopped=stopped, queued=start.queued, offered=offered)

    def _images(self, job: ChatJob) -> dict[str, bytes]:
        """The bytes of the job's images, by SHA-256.

        One that is gone is missing, and the chat fails once it is prepared.
        """
        hashes = sorted({part.sha256 for message in job.messages for part in message.images()})
        if not hashes:
            return {}
        values = self._redis.mget([keys.image(sha256) for sha256 in hashes])
        return {
            sha256: value
            for sha256, value in zip(hashes, values, strict=True)
            if isinstance(value, bytes)
        }

    def cancel(self, job_id: str) -> None:
        self._chats.cancel(job_id)

    def lacks_end(self, job_id: str) -> bool:
        return self._log.lacks_end(job_id)

    def wait_for_slice_room(self) -> AbstractSet[str] | None:
        return self._slices.wait_for_room()

    def drain(self) -> None:
        """Take no more offers, and hand batches back at once: no client waits for a line."""
        self._chats.drain()
        self._slices.hand_back()

    def hand_back(self, job_ids: list[str]) -> None:
        """Let go of running chats; another worker goes on with them."""
        self._reporter.draining = True
        self._chats.hand_back(job_ids)

    def close(self) -> None:
        self._chats.close()
        self._commands.close()
        with contextlib.suppress(RedisError):  # Without Redis the status expires by itself.
            self._reporter.close()
