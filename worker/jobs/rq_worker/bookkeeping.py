"""RQ's records of jobs of which many run at once in one process: their starts and ends.

Makes single entries; worker.jobs.rq_worker.chat_worker decides when. RQ's private names that this
relies on are held by ``tests/unit/worker/jobs/rq_worker/test_rq_contract.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

import redis.exceptions
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker.base import BaseWorker, WorkerStatus

from wire import keys, redis_refusals, rq_jobs
from wire.queueing import may_start, turns
from wire.routing.offers import Offer, Reason, put_offer
from wire.rq_jobs import Closing
from worker import tasks
from worker.redis_retry import retry_until_answered

Result = TypeVar("Result")

EXECUTION_LIFETIME_S = 24 * 3600
"""Scores in RQ's started registry are wall-clock times of this host: a day ahead, no other
host's clock can be so wrong that it takes a running job for abandoned. worker.jobs.crashes.recovery
finds abandoned jobs."""
BACKOFF = ExponentialBackoff(base=0.1, cap=1.0)
"""Waits for a Redis that is away, seconds."""


# KEYS: intermediate list, queue, when it was first seen popped. ARGV: job id. One script: of two
# workers only one puts a job back.
REQUEUE_POPPED = (
    may_start.TELL
    + """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
tell_may_start()
return 1
"""
)


class Outcome(Enum):
    """How a run ended, for RQ. LOST: another worker has the job now and keeps its records."""

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
    """How a run ended.

    RQ's pages show ``reason`` and ``meta``: they hold nothing of the request. ``offer`` says to
    which worker a chat that is handed back is offered, and why, before all others. ``attempt`` is
    that which ended; None: whichever runs. A Redis that has lost its last writes may give a job to
    a worker that still has it inside.
    """

    outcome: Outcome
    reason: str = ""
    meta: Mapping[str, Any] | None = None
    offer: tuple[Offer, Reason] | None = None
    attempt: int | None = None


class NoDeathPenalty(BaseDeathPenalty):
    """No timer: RQ's would interrupt the thread that runs a job, and here none does."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


@dataclass(slots=True)
class Run:
    """One job that runs here."""

    job: Job
    queue: Queue
    execution: Execution
    attempt: int
    """The number of its lease, by which it is told from an earlier run of the job that this worker
    still had inside when the job came back to it."""
    renewed: float = 0.0
    """When RQ's records of it were last renewed, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class RecordedStart:
    """A start that has been recorded, with Redis' replies to what was asked at the same time.
    ``withdrawn``: the job had been cancelled or deleted with RQ's own tools."""

    execution: Execution
    replies: list[Any]
    withdrawn: bool


class RqBookkeeping(BaseWorker):
    """The entries that a worker of many jobs makes, each in one transaction."""

    death_penalty_class = NoDeathPenalty
    kept_s = keys.RQ_LIFETIME_S
    """How long RQ's pages show an ended job."""

    @contextmanager
    def ignore_outage(self) -> Iterator[None]:
        """Go on without Redis: what is left out is done again a moment after it is back."""
        try:
            yield
        except redis.exceptions.RedisError as error:
            self.log.warning("Worker %s: Redis is away (%s)", self.name, redis_refusals.kind(error))

    def retry_until_answered(self, call: Callable[[], Result]) -> Result:
        """Repeat a call until Redis answers; the main thread gives up when the worker stops."""
        return retry_until_answered(call, BACKOFF, self._waits_for_redis)

    def _waits_for_redis(self, error: redis.exceptions.RedisError) -> None:
        self.log.warning("Worker %s: waiting for Redis (%s)", self.name, redis_refusals.kind(error))
        if self._stop_requested and threading.current_thread() is threading.main_thread():
            raise StopRequested from error

    def record_start(
        self, job: Job, queue: Queue, ask: Callable[[str, Any], None]
    ) -> RecordedStart:
        """Record in RQ that a job runs here, and ask what running it needs of Redis.

        RQ's ``prepare_execution`` and ``prepare_job_execution`` in one transaction, because this
        thread and the engine's alternate at every round trip. ``ask`` adds the questions.

        A try whose reply was lost with its connection may have been written. The next try deletes
        its execution, which would stay for as long as this worker lives.
        """
        lifetime = self.get_heartbeat_ttl(job)
        earlier = [other for other in self.executions.values() if other.job_id == job.id]
        with self.connection.pipeline() as pipeline:
            pipeline.hget(job.key, "status")
            for other in earlier:
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
            turns.leave(pipeline, queue.name, job.id)
            own = len(pipeline)
            ask(job.id, pipeline)
            replies = pipeline.execute()
        for other in earlier:
            self.executions.pop(other.id, None)
        withdrawn = (replies[0] or b"").decode() not in rq_jobs.GOING_ON
        return RecordedStart(execution, replies[own:], withdrawn)

    def record_end(self, run: Run, ending: Ending) -> None:
        """Delete a run's execution and record how it ended.

        Without RQ's own end of a job, which would run callbacks, send webhooks and queue other
        jobs: anyone who can write to Redis could ask for those.
        """
        job, queue, execution, outcome = run.job, run.queue, run.execution, ending.outcome
        if outcome is Outcome.HANDED_BACK and not self._is_ours(run):
            outcome = Outcome.LOST
        with self.connection.pipeline() as pipeline:
            if outcome is Outcome.HANDED_BACK:
                requeue(queue, job, execution, pipeline, ending.offer)
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
        """Add to the sums that RQ keeps of a worker."""
        if outcome is Outcome.FINISHED:
            self.increment_successful_job_count(pipeline)
        else:
            self.increment_failed_job_count(pipeline)
        self.increment_total_working_time(now() - run.execution.created_at, pipeline)

    def _is_ours(self, run: Run) -> bool:
        """Whether RQ still has this run as started: a recovery would have deleted it."""
        registry = run.job.started_job_registry
        return self.connection.zscore(registry.key, run.execution.composite_key) is not None


def requeue(
    queue: Queue,
    job: Job,
    execution: Execution,
    pipeline: Pipeline,
    offer: tuple[Offer, Reason] | None = None,
) -> None:
    """Put a started job back at the front of its queue, or offer it to another worker, and delete
    its execution."""
    execution.delete(job=job, pipeline=pipeline)
    job.set_status(JobStatus.QUEUED, pipeline=pipeline)
    if offer is None:
        queue.push_job_id(job.id, pipeline=pipeline, at_front=True)
        may_start.tell(pipeline)
    else:
        put_offer(pipeline, *offer, queue.intermediate_queue_key)
