"""Jobs whose worker died: found by liveness keys on Redis time, and put back at the front of their queue.

RQ's own recovery compares wall clocks of hosts and takes minutes, so it is kept from ever seeing an abandoned job (its
registry scores are set a day ahead) and this runs in its place, in every worker, every few seconds and at start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

from wire import keys
from wire.messages import Failed
from wire.token_log import Append, JobEnded, JobGone, TokenLog

log = logging.getLogger(__name__)

MOST_CRASHES = 3
"""A job that was running when its worker died this many times is given up: it may be what kills them."""
_LOCK_MS = 5_000
_POPPED_GRACE_S = 5
"""Between popping and starting lie milliseconds; a job popped longer ago than this has lost its worker."""


def is_alive(redis: Redis, worker: str) -> bool:
    return bool(redis.exists(keys.worker_status(worker)))


class Recovery:
    """Puts back what dead workers left in ``queues``.

    ``dead`` tells of a worker that is known to be dead although its key still lives: an earlier process on this data
    folder, whose lock this process holds now.
    """

    def __init__(self, redis: Redis, queues: Iterable[Queue], dead: Callable[[str], bool]) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._dead = dead
        self._log = TokenLog(redis)

    def run(self) -> int:
        """One round, unless another worker is at it. Returns how many jobs were put back or given up."""
        if not self._redis.set(keys.RECOVERY_LOCK, "1", nx=True, px=_LOCK_MS):
            return 0
        try:
            return sum(self._started(queue) + self._popped(queue) for queue in self._queues)
        finally:
            self._redis.delete(keys.RECOVERY_LOCK)

    def run_at_start(self) -> int:
        """One round now, even if a worker died in the middle of one and left the lock behind."""
        self._redis.delete(keys.RECOVERY_LOCK)
        return self.run()

    def _started(self, queue: Queue) -> int:
        """Jobs in RQ's started registry whose worker is gone."""
        registry = queue.started_job_registry
        recovered = 0
        for member in cast(list[bytes], self._redis.zrange(registry.key, 0, -1)):
            execution = Execution.from_composite_key(member.decode(), self._redis)
            raw = cast(bytes | None, self._redis.hget(execution.key, "worker_name"))
            execution.worker_name = raw.decode() if raw else ""
            if execution.worker_name and not self._is_dead(execution.worker_name):
                continue
            job = queue.fetch_job(execution.job_id)
            if job is None or job.get_status() != JobStatus.STARTED:
                self._redis.zrem(registry.key, member)
                continue
            self._recover(queue, job, execution)
            recovered += 1
        return recovered

    def _popped(self, queue: Queue) -> int:
        """Jobs between the queue and the started registry, longer than any live worker would leave them there."""
        recovered = 0
        for raw in cast(list[bytes], self._redis.lrange(queue.intermediate_queue_key, 0, -1)):
            job_id = raw.decode()
            first_seen = keys.popped(job_id)
            if self._redis.set(first_seen, "1", nx=True, ex=3600) and not self._no_other_worker():
                self._redis.set(first_seen + ":fresh", "1", ex=_POPPED_GRACE_S)
                continue
            if self._redis.exists(first_seen + ":fresh"):
                continue
            with self._redis.pipeline() as pipeline:
                pipeline.lrem(queue.intermediate_queue_key, 1, job_id)
                pipeline.lpush(queue.key, job_id)
                pipeline.delete(first_seen)
                pipeline.execute()
            recovered += 1
        return recovered

    def _no_other_worker(self) -> bool:
        names = [name.decode() for name in cast(set[bytes], self._redis.smembers(keys.WORKERS))]
        return all(self._is_dead(name) for name in names)

    def _is_dead(self, worker: str) -> bool:
        return self._dead(worker) or not is_alive(self._redis, worker)

    def _recover(self, queue: Queue, job: Job, execution: Execution) -> None:
        crashes = int(self._redis.hincrby(keys.job(job.id), "crashes", 1))
        if crashes >= MOST_CRASHES and self._give_up(job.id, crashes):
            log.error("job %s was running at %d crashes: given up", job.id, crashes)
        else:
            log.warning("job %s goes on: its worker died", job.id)
        # Also a job that was given up goes through the queue: the worker that pops it finds the log ended, and closes
        # RQ's books on it like on any other.
        with self._redis.pipeline() as pipeline:
            requeue(queue, job, execution, pipeline)
            pipeline.execute()

    def _give_up(self, job_id: str, crashes: int) -> bool:
        try:
            attempt, entries = self._log.begin(job_id)
        except (JobGone, JobEnded):
            return False
        owner = cast(bytes, self._redis.hget(keys.job(job_id), "owner") or b"").decode()
        failed = Failed("gave_up_after_crashes", f"Given up: {crashes} workers died while they ran this chat.")
        self._log.append([Append(job_id, owner, attempt, len(entries) + 1, failed)])
        return True


def requeue(queue: Queue, job: Job, execution: Execution, pipeline: Pipeline) -> None:
    """Put a started job back at the front of its queue, and take its execution out of RQ's books."""
    execution.delete(job=job, pipeline=pipeline)
    StartedJobRegistry(queue.name, connection=queue.connection).remove_execution(execution, pipeline=pipeline)
    job.set_status(JobStatus.QUEUED, pipeline=pipeline)
    queue.push_job_id(job.id, pipeline=pipeline, at_front=True)
