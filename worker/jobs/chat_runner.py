"""Between RQ's worker and the engine: takes a popped job's lease, gives it to the engine, and
reports its end.

Owns what this worker tells others about itself (its status, the models it has). Knows both Redis
and the engine.
"""

from __future__ import annotations

import contextlib
import logging
import time
from functools import partial

import psutil
from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job

from wire import keys
from wire.batches import BatchSlice
from wire.messages import ChatJob, ModelCommand
from wire.model_registry import ModelRecord, Registry
from wire.settings import Settings
from wire.token_log import JobEnded, JobGone, TokenLog
from worker import backends, tasks
from worker.backends.base import Backend
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.engine import Engine
from worker.engine.watchdog import end_if_hung
from worker.errors import WorkerError
from worker.jobs.batch_feed import BatchFeed
from worker.jobs.batch_runner import BatchRunner
from worker.jobs.command_runner import CommandRunner
from worker.jobs.crashes.crash_marks import CrashMarks
from worker.jobs.crashes.poison_jobs import READING, is_suspect
from worker.jobs.event_writer import EventWriter
from worker.jobs.failed_starts import FailedStarts, named
from worker.jobs.model_commands import ModelCommands
from worker.jobs.rq_worker.bookkeeping import Outcome
from worker.jobs.rq_worker.chat_worker import ChatWorker
from worker.jobs.rq_worker.job_start import JobStart
from worker.jobs.rq_worker.meta import RqMeta, meta_of, outcome_of
from worker.jobs.status_reporter import StatusReporter, end_in_numbers
from worker.models.downloads import Downloads
from worker.models.files import created
from worker.models.folders import ModelFolders
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

log = logging.getLogger(__name__)
LAST_WORDS_S = 10.0
"""How long the last events are tried to be written when the worker ends."""


class ChatRunner:
    """Runs the jobs that a ChatWorker pops. Build it, give it to the worker, call ``open``."""

    def __init__(self, settings: Settings, redis: Redis, worker: ChatWorker) -> None:
        self._settings = settings
        self._redis = redis
        self._worker = worker
        self._log = TokenLog(redis)
        self._marks = CrashMarks(redis)
        self._unstarted = FailedStarts(redis)
        self._registry = Registry(redis)
        self._report = StatusReporter(redis, settings, worker.name, worker.queues[0].key)
        self._rq_meta = RqMeta(redis, worker.queues[0].key)
        self._deadlines: dict[str, float] = {}
        self._published: set[str] = set()
        self._draining = False
        self._cache = backends.new_prompt_cache(settings)
        fetched = settings.data / "models"
        names = settings.data / "registered-models.json"
        self.catalogue = ModelFolders(
            settings.models, settings.backend == "echo", downloaded=fetched, registered=names
        )
        self._downloads = Downloads(fetched, self._download_changed)
        self._models = LoadedModels(
            self.catalogue.find,
            self._open_backend,
            budget=settings.memory_mb << 20 or psutil.virtual_memory().total * 3 // 4,
            available=lambda: int(psutil.virtual_memory().available),
        )
        self._writer = EventWriter(
            redis,
            on_cancel=self.cancel,
            on_refused=self._taken_over,
            on_forgotten=self._forgotten,
            on_end=self._reached_its_end,
        )
        prompts = BatchScheduler(
            self._models,
            slots=settings.slots,
            share=settings.batch_share / 100,
            on_end=lambda sequence: self._slices.line_ended(sequence),
            on_suspect=self._marks.enter,
            on_clear=self._marks.leave,
        )
        self._engine = Engine(
            self._models,
            self._writer.put,
            lambda: float(psutil.virtual_memory().percent),
            self._marks.enter,
            self._report.meter,
            prompts,
        )
        self._report.meter.batch_tokens = lambda: prompts.tokens
        self._slices = BatchRunner(
            redis, self._engine, worker.ended, self._report.now_ms, settings.slots
        )
        self._feed = BatchFeed(worker.queues[1])
        commands = ModelCommands(self.catalogue, self._models, self._engine, self._downloads)
        self._commands = CommandRunner(commands, self._log, self._tell_models, worker.ended)

    def open(self) -> None:
        """Look for models, tell Redis of them, start the threads."""
        self._report.open()
        self.catalogue.scan()
        self._publish_models()
        self._writer.start()
        self._slices.start()
        self._engine.start()

    def _open_backend(self, record: ModelRecord) -> Backend:
        began = time.monotonic()
        backend = backends.open_backend(record, self._settings, self._cache)
        self._report.meter.loaded(seconds := time.monotonic() - began)
        log.info("model loaded", extra={"model": record.id, "seconds": round(seconds, 3)})
        return backend

    def close(self) -> None:
        self._writer.close(LAST_WORDS_S)
        self._engine.close(LAST_WORDS_S)
        self._commands.close()
        with contextlib.suppress(RedisError):  # Away, it forgets this worker by itself.
            self._report.close()

    # --- a job's way in ---------------------------------------------------------------------------

    def start(self, job: Job, start: JobStart) -> None:
        """Give a job to the engine. Raises WorkerError if it can't be run, once its end is
        written."""
        try:
            self._start(job, start)
        except RedisError:
            raise  # Tried again until Redis answers.
        except Exception as error:
            log.debug("a job could not be started", exc_info=True)
            told = named(error)
            self._engine.release(job.id)
            self._writer.let_go(job.id)
            self._deadlines.pop(job.id, None)
            self._unstarted.end(job.id, told, self._report.now_ms())
            raise told from None

    def _start(self, job: Job, start: JobStart) -> None:
        suspect = is_suspect(*start.crash_fields)
        if suspect:  # Before it is read: that may be what kills this process.
            self._marks.set(job.id, READING)
        try:
            attempt, logged = self._log.lease(job.id, start.lease)
        except JobEnded:
            self._worker.ended(job.id, *self._rq_meta.ended_as(job.id))
            return
        except JobGone:
            tasks.read(job)  # It may not be a job of ours at all.
            raise WorkerError("job_lost", "The job's record is gone from Redis.") from None
        work = tasks.read(job)
        if isinstance(work, ModelCommand):
            # They run one at a time: the first crash is enough to watch one.
            if start.crash_fields[0] is not None or suspect:
                self._marks.set(work.job_id, attempt)
            self._commands.submit(work, attempt, len(logged) + 1)
            return
        if isinstance(work, BatchSlice):
            self._feed.after(work, self._report.now_ms())
            self._slices.take(
                work,
                attempt,
                suspect=suspect,
                read=partial(self._marks.remove, work.job_id, READING),
            )
            return
        sequence = tasks.sequence(work, attempt, logged, self._report.now_ms(), self._images(work))
        sequence.suspect = suspect
        if suspect:
            self._marks.remove(work.job_id, READING)  # It waits to be let in.
        # While this process was frozen another took the job up, and lost it again: ours of then is
        # in the way.
        self._engine.release(work.job_id)
        self._writer.hold(sequence, logged)
        if start.stopped or start.withdrawn:
            # Stopped, or cancelled in RQ, between being popped and now; RQ itself never looks
            # again.
            self._writer.put([(sequence, event) for event in sequence.finish("cancelled")])
            return
        self._deadlines[work.job_id] = time.monotonic() + self._settings.job_timeout_s
        self._engine.submit(sequence, follow=min(start.queued, self._worker.free_slots))

    def _images(self, job: ChatJob) -> dict[str, bytes]:
        """The bytes of the job's images, by SHA-256. One that is gone is missing, and the chat
        fails when it is due."""
        hashes = sorted({part.sha256 for message in job.messages for part in message.images()})
        if not hashes:
            return {}
        values = self._redis.mget([keys.image(sha256) for sha256 in hashes])
        return {
            sha256: value
            for sha256, value in zip(hashes, values, strict=True)
            if isinstance(value, bytes)
        }

    # --- a job's way out --------------------------------------------------------------------------

    def cancel(self, job_id: str) -> None:
        self._engine.cancel(job_id)

    def lacks_end(self, job_id: str) -> bool:
        return self._log.lacks_end(job_id)

    def wait_for_slice_room(self, seconds: float) -> bool:
        """Wait for that long at most until a slice of a batch is of use; whether one is."""
        return self._slices.wait_for_room(seconds)

    def drain(self) -> None:
        """Batches go on elsewhere at once: nobody waits for a line."""
        self._slices.hand_back()

    def hand_back(self, job_ids: list[str]) -> None:
        """Let go of running chats: what they have said is written down, and somebody else goes
        on with them."""
        self._draining = True
        for job_id in job_ids:
            self._engine.release(job_id)
        # Once the engine has gone round, every event it made for these jobs is with the writer.
        with contextlib.suppress(TimeoutError):
            self._engine.call(lambda: None).result(LAST_WORDS_S)
            self._engine.call(lambda: None).result(LAST_WORDS_S)
        self._writer.flush(LAST_WORDS_S)
        for job_id in job_ids:
            self._writer.let_go(job_id)
            self._forget(job_id, Outcome.HANDED_BACK)

    def _taken_over(self, job_id: str) -> None:
        log.warning("job has been taken over by another worker", extra={"job_id": job_id})
        self._engine.release(job_id)
        self._forget(job_id, Outcome.LOST)

    def _forgotten(self, job_id: str) -> None:
        log.warning(
            "Redis has lost the end of the job: it is taken up anew", extra={"job_id": job_id}
        )
        self._engine.release(job_id)
        self._forget(job_id, Outcome.HANDED_BACK)

    def _reached_its_end(self, sequence: Sequence) -> None:
        self._report.meter.ended(sequence)
        log.info("chat ended", extra=end_in_numbers(sequence))
        self._deadlines.pop(sequence.job_id, None)
        outcome, reason = outcome_of(sequence.end)
        if outcome is not Outcome.FAILED:
            self._report.note_rate(sequence.elapsed_ms / 1000)
        self._worker.ended(sequence.job_id, outcome, reason, meta_of(sequence))

    def _forget(self, job_id: str, outcome: Outcome) -> None:
        self._deadlines.pop(job_id, None)
        self._worker.ended(job_id, outcome)

    # --- what others see of this worker -----------------------------------------------------------

    def beat(self) -> None:
        """Every second: renew the status, end chats that are past their time, notice an engine
        that hangs."""
        for job_id, deadline in list(self._deadlines.items()):
            if time.monotonic() > deadline:
                self._deadlines.pop(job_id, None)
                limit = self._settings.job_timeout_s
                self._engine.fail(
                    job_id, "job_timeout", f"The chat took longer than {limit} seconds."
                )
        end_if_hung(self._engine, self._settings.hang_s)
        # Before this worker is seen: nobody may find it without its models.
        if not self._report.listen():
            self._publish_models()
        inside = self._engine.snapshot()
        self._report.tell(inside, self._models, self._cache, draining=self._draining)
        self._rq_meta.tell(inside)

    def _publish_models(self) -> None:
        records = {
            record.id: record for record in (*self.catalogue.all(), *self._downloads.records())
        }
        for gone in self._published - set(records):
            self._registry.remove(gone)
        for record in records.values():
            self._registry.put(record, created(record))
        self._published = set(records)

    def _tell_models(self) -> None:
        self._publish_models()
        self.beat()

    def _download_changed(self) -> None:
        self.catalogue.scan()
        try:
            self._publish_models()
        except RedisError:
            return  # The next news tells more.
