"""Puts jobs that no worker runs any more back at the front of their queue.

RQ's own recovery compares wall clocks of hosts and takes minutes, so it is kept from ever seeing an
abandoned job (its registry scores are set a day ahead). This runs instead, in every worker, at
start and every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError, WatchError
from rq import Queue
from rq.job import Job, JobStatus
from rq.worker_registration import clean_worker_registry

from wire import keys
from worker.jobs.crashes.lost_jobs import LostJob, LostJobs
from worker.jobs.crashes.poison_jobs import (
    ChatCrashPolicy,
    CrashPolicy,
    Fields,
    SliceCrashPolicy,
)
from worker.jobs.crashes.popped_jobs import PoppedJobs
from worker.jobs.crashes.worker_liveness import WorkerLiveness
from worker.jobs.rq_worker.bookkeeping import requeue

log = logging.getLogger(__name__)

_LOCK_MS = 5_000


class Recovery:
    """Recovers the jobs in ``queues``, for the worker ``name``.

    ``known_dead`` is true of a worker that is dead although its key still exists: an earlier
    process on this data folder, whose lock this process holds now.
    """

    def __init__(
        self, redis: Redis, queues: Iterable[Queue], name: str, known_dead: Callable[[str], bool]
    ) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._name = name
        self._policies: dict[str, CrashPolicy] = {
            keys.CHAT_QUEUE: ChatCrashPolicy(redis),
            keys.BATCH_QUEUE: SliceCrashPolicy(redis),
        }
        self._liveness = WorkerLiveness(redis, name, known_dead)
        self._lost = LostJobs(redis, self._liveness, self._was_inside)
        self._popped = PoppedJobs(redis)

    def run(self, running: AbstractSet[str] = frozenset()) -> int:
        """Do one round, unless another worker is at it; returns how many jobs were recovered.

        ``running`` are the executions of this worker. Any other that RQ has for it has ended here,
        and a Redis that was killed has forgotten that: seen in two rounds, it is lost.
        """
        return self._round(running, at_start=False)

    def run_at_start(self) -> int:
        """Do one round before the first pop, even if a dead worker left the lock behind."""
        self._redis.delete(keys.RECOVERY_LOCK)
        return self._round(frozenset(), at_start=True)

    def _round(self, running: AbstractSet[str], *, at_start: bool) -> int:
        self._liveness.begin_round()
        try:
            if not self._redis.set(keys.RECOVERY_LOCK, self._name, nx=True, px=_LOCK_MS):
                return 0
            try:
                return self._recover_all(running, at_start)
            finally:
                # After a round that took longer than the lock lives it may be another worker's.
                if self._redis.get(keys.RECOVERY_LOCK) == self._name.encode():
                    self._redis.delete(keys.RECOVERY_LOCK)
        except RedisError:
            self._liveness.forget()
            raise

    def _recover_all(self, running: AbstractSet[str], at_start: bool) -> int:
        lost = self._lost.find(self._queues, running)
        ours = {
            worker
            for worker in lost
            if worker != self._name and not self._liveness.is_foreign(worker)
        }
        recovered = sum(
            self._recover_worker(jobs, crashed=worker in ours) for worker, jobs in lost.items()
        )
        # After the start another thread of this worker may have just popped what is there.
        orphaned = at_start and self._liveness.is_alone()
        recovered += sum(self._popped.requeue(queue, orphaned=orphaned) for queue in self._queues)
        self._liveness.remove_dead()
        for queue in self._queues:
            clean_worker_registry(queue)
        return recovered

    def _was_inside(self, queue: Queue, job_id: str, mark: str) -> bool:
        return self._policies[queue.name].was_inside(job_id, mark)

    def _recover_worker(self, jobs: list[LostJob], *, crashed: bool) -> int:
        """Recover the jobs of one worker: the oldest ends up in front.

        A suspect that was inside is the culprit of the crash.

        The culprit comes last: should this process die before, the next recovery still sees it.
        """
        inside = [lost for lost in jobs if lost.was_inside]
        marked = [lost for lost in jobs if lost.mark is not None]
        culprits = {lost.job.id for lost in inside or marked or jobs}
        for lost in sorted(
            jobs, key=lambda lost: (lost.job.id not in culprits, lost.job.created_at), reverse=True
        ):
            policy = self._policies[lost.queue.name]
            if not crashed:
                self._recover(lost, lambda _: {})
            elif lost.job.id in culprits:
                self._recover(lost, partial(policy.after_own_crash, mark=lost.mark))
            else:
                self._recover(lost, policy.after_others_crash)
        return len(jobs)

    def _recover(self, lost: LostJob, consequences: Callable[[Job], Fields]) -> None:
        """Requeue a job and record what the crash means for it, unless another worker has."""
        job = lost.job
        with self._redis.pipeline() as pipeline:
            try:
                pipeline.watch(lost.execution.key, job.key)  # type: ignore[no-untyped-call]
                if job.get_status() != JobStatus.STARTED:
                    return
                own = lost.execution.worker_name == self._name
                why = "Redis forgot its end" if own else "its worker died"
                log.warning("job goes on: %s", why, extra={"job_id": job.id, "suspect": lost.mark})
                fields = consequences(job)
                pipeline.multi()
                # A job that was given up goes through the queue as well: the worker that pops it
                # finds the log ended and records that end in RQ.
                requeue(lost.queue, job, lost.execution, pipeline)
                if fields and self._redis.exists(keys.job(job.id)):
                    pipeline.hset(keys.job(job.id), mapping=cast(dict[Any, Any], fields))
                pipeline.hdel(keys.job(job.id), keys.ISOLATED)
                pipeline.execute()
            except WatchError:
                return
