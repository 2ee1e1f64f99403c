"""RQ's records of jobs of which many run at once in one process: their starts and ends.

Makes single entries; worker.jobs.rq_worker.chat_worker decides when. RQ's private names that this
relies on are held by ``tests/unit/worker/jobs/test_rq_contract.py``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

import redis.exceptions
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker.base import BaseWorker, WorkerStatus

from wire import keys, redis_refusals, rq_jobs
from wire.rq_jobs import Closing
from worker import tasks

Result = TypeVar("Result")

BEAT_THREAD = "heartbeat"
WORKER_LIFETIME_S = 10
"""RQ's record of this worker outlives its last heartbeat by this."""
EXECUTION_LIFETIME_S = 24 * 3600
"""Scores in RQ's started registry are wall-clock times of this host: a day ahead, no other
host's clock can be so wrong that it takes a running job for abandoned. worker.jobs.crashes.recovery
finds abandoned jobs."""
RETRY_S = (0.1, 1.0)
"""First and longest wait for a Redis that is away."""


# KEYS: intermediate list, queue, when it was first seen popped. ARGV: job id. One script: of two
# workers only one puts a job back.
REQUEUE_POPPED = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
"""


class Outcome(Enum):
    """How a run ended, as RQ's books see it. LOST: another worker has the job now; its books are
    not ours to keep."""

    FINISHED = auto()
    FAILED = auto()
    STOPPED = auto()
    HANDED_BACK = auto()
    LOST = auto()


_STATUS = {
    Outcome.FINISHED: JobStatus.FINISHED,
    Outcome.FAILED: JobStatus.FAILED,
    Outcome.STOPPED: JobStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. ``reason`` and ``meta`` are shown by RQ's pages: they hold nothing of the
    request."""

    outcome: Outcome
    reason: str = ""
    meta: Mapping[str, Any] | None = None


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's timers interrupt the thread that runs a job; here a job has no thread, and the runner
    keeps deadlines."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class Runner(Protocol):
    """Runs jobs; reports each one's end through ``ChatWorker.ended``."""

    def ask(self, job_id: str, pipeline: Any) -> None:
        """Add to a transaction what starting a job needs of Redis."""

    def start(self, job: Job, answers: list[Any], *, withdrawn: bool) -> None:
        """Begin a job, given the answers to what ``ask`` added. Raises WorkerError if it can't be
        run.

        ``withdrawn``: RQ was told to cancel or delete it just before.
        """

    def cancel(self, job_id: str) -> None: ...

    def wait_for_slice_room(self, seconds: float) -> bool:
        """Wait for that long at most until a slice of a batch is of use; whether one is."""

    def drain(self) -> None:
        """Nothing more will come: let go of what nobody waits for."""

    def hand_back(self, job_ids: list[str]) -> None:
        """Let jobs go without an end; reports HANDED_BACK for each."""

    def lacks_end(self, job_id: str) -> bool:
        """Whether Redis, killed a moment ago, has lost the end that was written for the job."""

    def beat(self) -> None:
        """Called every second beside the heartbeat."""

    def close(self) -> None: ...


@dataclass(slots=True)
class Run:
    """One job that runs here."""

    job: Job
    queue: Queue
    execution: Execution
    noted: float = 0.0
    """When RQ's books were last told that it goes on, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Start:
    """What noting a start came to. ``withdrawn``: RQ had cancelled or deleted the job after it
    was popped."""

    execution: Execution
    answers: list[Any]
    withdrawn: bool


class RqBookkeeping(BaseWorker):
    """The entries that a worker of many jobs makes, each in one go."""

    death_penalty_class = NoDeathPenalty
    kept_s = keys.RQ_LIFETIME_S
    """How long RQ's pages show an ended job."""

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 (RQ's signature)
        return EXECUTION_LIFETIME_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:  # noqa: ARG002 (RQ's signature)
        """RQ's loop calls this after every job: three round trips that the heartbeat thread
        makes needless."""
        if pipeline is not None or threading.current_thread().name == BEAT_THREAD:
            super().heartbeat(WORKER_LIFETIME_S, pipeline)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Go on without Redis: it comes back, and what was left out is done again a moment
        later."""
        try:
            yield
        except redis.exceptions.RedisError as error:
            self.log.warning("Worker %s: Redis is away (%s)", self.name, redis_refusals.kind(error))

    def _insist(self, step: Callable[[], Result]) -> Result:
        """Do something for as long as Redis takes to answer."""
        wait, longest = RETRY_S
        while True:
            try:
                return step()
            except redis.exceptions.RedisError as error:
                self.log.warning(
                    "Worker %s: waiting for Redis (%s)", self.name, redis_refusals.kind(error)
                )
                if self._stop_requested and threading.current_thread() is threading.main_thread():
                    raise StopRequested from error
                time.sleep(wait)
                wait = min(wait * 2, longest)

    def note_start(self, job: Job, queue: Queue, ask: Callable[[str, Any], None]) -> Start:
        """Note in RQ's books that a job runs here: RQ's ``prepare_execution`` and
        ``prepare_job_execution`` in one transaction, since this thread and the engine's take turns
        and each round trip is one. So ``ask`` adds to it what running the job needs of Redis; the
        answers to that are returned.

        A try whose answer a broken connection swallowed may have been written. It is struck out
        with the next, or it would stay in the books for as long as this worker lives.
        """
        lifetime = self.get_heartbeat_ttl(job)
        left = [other for other in self.executions.values() if other.job_id == job.id]
        with self.connection.pipeline() as pipeline:
            pipeline.hget(job.key, "status")
            for other in left:
                other.delete(job=job, pipeline=pipeline)
            execution = Execution.create(job, lifetime, pipeline=pipeline, worker_name=self.name)
            self.executions[execution.id] = execution
            self.set_state(WorkerStatus.BUSY, pipeline)
            self.heartbeat(pipeline=pipeline)
            job.heartbeat(now(), lifetime, pipeline=pipeline)
            job.prepare_for_execution(self.name, pipeline=pipeline)
            pipeline.persist(job.key)
            pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
            pipeline.delete(keys.popped(job.id))
            ours = len(pipeline)
            ask(job.id, pipeline)
            status, *answers = pipeline.execute()
        for other in left:
            self.executions.pop(other.id, None)
        return Start(
            execution, answers[ours - 1 :], (status or b"").decode() not in rq_jobs.GOING_ON
        )

    def write_down(self, run: Run, ending: Ending) -> None:
        """Strike a run out of the started jobs and note how it ended.

        By entries of our own: RQ's own end of a job would run callbacks, send webhooks and queue
        other jobs, all of which anybody who can write to Redis could ask for.
        """
        job, queue, execution, outcome = run.job, run.queue, run.execution, ending.outcome
        if outcome is Outcome.HANDED_BACK and not self._is_ours(run):
            outcome = Outcome.LOST
        with self.connection.pipeline() as pipeline:
            if outcome is Outcome.HANDED_BACK:
                requeue(queue, job, execution, pipeline)
            else:
                execution.delete(job=job, pipeline=pipeline)
            if outcome in _STATUS:
                self._count(run, outcome, pipeline)
                kept_s = (
                    min(self.kept_s, keys.SLICE_LIFETIME_S)
                    if queue.name == keys.BATCH_QUEUE
                    else self.kept_s
                )
                closing = Closing(_STATUS[outcome], kept_s, ending.reason, ending.meta)
                rq_jobs.close(pipeline, job.id, queue.name, tasks.name(job) or "", closing)
            pipeline.execute()
        self.executions.pop(execution.id, None)

    def _count(self, run: Run, outcome: Outcome, pipeline: Any) -> None:
        """The sums that RQ keeps of a worker."""
        if outcome is Outcome.FINISHED:
            self.increment_successful_job_count(pipeline)
        else:
            self.increment_failed_job_count(pipeline)
        self.increment_total_working_time(now() - run.execution.created_at, pipeline)

    def _is_ours(self, run: Run) -> bool:
        """Whether RQ's books still say that this run goes on: who recovers a job strikes it out."""
        registry = run.job.started_job_registry
        return self.connection.zscore(registry.key, run.execution.composite_key) is not None


def requeue(queue: Queue, job: Job, execution: Execution, pipeline: Pipeline) -> None:
    """Put a started job back at the front of its queue, and delete its execution."""
    execution.delete(job=job, pipeline=pipeline)
    job.set_status(JobStatus.QUEUED, pipeline=pipeline)
    queue.push_job_id(job.id, pipeline=pipeline, at_front=True)
