"""Finds started jobs that no worker runs any more: theirs is dead, or has no such run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus

from wire import keys
from worker.jobs.crashes.poison_jobs import names_one
from worker.jobs.crashes.worker_liveness import WorkerLiveness

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LostJob:
    """A started job that no worker runs.

    ``mark`` is set if it, or a line of it, was the isolated suspect of its worker.
    """

    queue: Queue
    job: Job
    execution: Execution
    mark: str | None

    @property
    def was_inside(self) -> bool:
        """Whether it was the suspect inside the engine, not only being read."""
        return names_one(self.mark)


class LostJobs:
    """Looks through RQ's started registries.

    ``was_inside`` says of a queue, a job and its mark whether the marked suspect was still inside.
    """

    def __init__(
        self,
        redis: Redis,
        liveness: WorkerLiveness,
        was_inside: Callable[[Queue, str, str], bool],
    ) -> None:
        self._redis = redis
        self._liveness = liveness
        self._was_inside = was_inside
        self._unknown: set[str] = set()
        """This worker's executions that did not run here in the last round."""

    def find(self, queues: list[Queue], running: AbstractSet[str]) -> dict[str, list[LostJob]]:
        """All lost jobs by their worker; ``running`` are this worker's executions."""
        lost: dict[str, list[LostJob]] = {}
        seen: set[str] = set()
        for queue in queues:
            for execution in self._executions(queue, running):
                if self._goes_on(execution, seen):
                    continue
                if (job := self._lost_job(queue, execution)) is not None:
                    lost.setdefault(execution.worker_name, []).append(job)
        self._unknown = seen
        return lost

    def _executions(self, queue: Queue, running: AbstractSet[str]) -> list[Execution]:
        """The executions of a queue's started jobs, with their workers; without these."""
        started = cast(list[bytes], self._redis.zrange(queue.started_job_registry.key, 0, -1))
        others = (member for member in map(bytes.decode, started) if member not in running)
        executions = [Execution.from_composite_key(member, self._redis) for member in others]
        with self._redis.pipeline(transaction=False) as pipeline:
            for execution in executions:
                pipeline.hget(execution.key, "worker_name")
            workers = cast(list[bytes | None], pipeline.execute())
        for execution, worker in zip(executions, workers, strict=True):
            execution.worker_name = worker.decode() if worker else ""
        return executions

    def _goes_on(self, execution: Execution, seen: set[str]) -> bool:
        """Whether an execution that doesn't run here may still run.

        ``seen`` gets those of this worker.
        """
        if execution.worker_name != self._liveness.name:
            return bool(execution.worker_name) and self._liveness.may_go_on(execution)
        seen.add(execution.composite_key)
        # It may have begun, or ended, just now.
        return execution.composite_key not in self._unknown

    def _lost_job(self, queue: Queue, execution: Execution) -> LostJob | None:
        job = self._started_job(queue, execution.job_id)
        if job is None:
            self._delete(queue, execution)
            return None
        stored = cast(bytes | None, self._redis.hget(keys.job(job.id), keys.ISOLATED))
        mark = None if stored is None else stored.decode()
        if mark is not None and not self._was_inside(queue, job.id, mark):
            mark = None
        return LostJob(queue, job, execution, mark)

    def _started_job(self, queue: Queue, job_id: str) -> Job | None:
        """A job whose status in RQ is started; None for any other, and for an unreadable one."""
        try:
            job = queue.fetch_job(job_id)
        except ResponseError:  # Not even a hash.
            return None
        except RedisError:
            raise
        except Exception as error:
            log.warning(
                "a job of RQ can't be read (%s)", type(error).__name__, extra={"job_id": job_id}
            )
            return None
        return job if job is not None and job.get_status() == JobStatus.STARTED else None

    def _delete(self, queue: Queue, execution: Execution) -> None:
        """Remove an execution whose job has ended elsewhere, or waits again."""
        # The job's record may be gone; RQ asks only for its queue.
        job = Job(execution.job_id, connection=self._redis)
        job.origin = queue.name
        with self._redis.pipeline() as pipeline:
            execution.delete(job=job, pipeline=pipeline)
            pipeline.execute()
