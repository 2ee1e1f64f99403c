"""Jobs whose worker died or doesn't know them: found, and put back at the front of their queue.

RQ's own recovery compares wall clocks of hosts and takes minutes, so it is kept from ever seeing an
abandoned job (its registry scores are set a day ahead) and this runs in its place, in every worker,
every few seconds and at start, by liveness keys on Redis time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError, WatchError
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.worker.base import BaseWorker
from rq.worker_registration import clean_worker_registry

from wire import keys
from wire.rq_jobs import rq_job_key
from worker.jobs.crash_marks import ISOLATED, READING
from worker.jobs.poison_jobs import ChatCrashPolicy, CrashPolicy, Fields, SliceCrashPolicy

log = logging.getLogger(__name__)

ABSENCE_S = 2.0
"""A worker is dead when its key has been missing for this long: after an outage of Redis all keys
have run out, and the living need a moment to renew theirs."""
_LONGEST_GAP_S = 6.0
"""After a longer time without a look nothing is known of how long a worker has been missing."""
_LOCK_MS = 5_000
_FOREIGN_S = 10.0
"""A worker of RQ's that isn't ours gives a job back within a second; one that has it longer is
gone."""
_POPPED_GRACE_S = 5
"""Between popping and starting lie milliseconds; a job popped longer ago than this has lost its
worker."""
# KEYS: intermediate list, queue, first seen. ARGV: job id. One script: two workers at it put a job
# back once.
PUT_BACK = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
"""


def is_alive(redis: Redis, worker: str) -> bool:
    return bool(redis.exists(keys.worker_status(worker)))


@dataclass(frozen=True, slots=True)
class _Lost:
    """A started job whose worker is dead. ``mark``: it was the one suspect on board, or a line
    of it was."""

    queue: Queue
    job: Job
    execution: Execution
    mark: str | None


class Recovery:
    """Puts back what dead workers left in ``queues``, for the worker ``name``, which is alive
    whatever Redis says.

    ``dead`` tells of a worker that is known to be dead although its key still lives: an earlier
    process on this data folder, whose lock this process holds now.
    """

    def __init__(
        self, redis: Redis, queues: Iterable[Queue], name: str, dead: Callable[[str], bool]
    ) -> None:
        self._redis = redis
        self._queues = list(queues)
        self._name = name
        self._dead = dead
        self._blame: dict[str, CrashPolicy] = {
            keys.CHAT_QUEUE: ChatCrashPolicy(redis),
            keys.BATCH_QUEUE: SliceCrashPolicy(redis),
        }
        self._put_back = redis.register_script(PUT_BACK)
        self._missing: dict[str, float] = {}
        self._unknown: set[str] = set()
        self._foreign: dict[str, float] = {}
        self._looked = time.monotonic()

    def run(self, running: AbstractSet[str] = frozenset()) -> int:
        """One round, unless another worker is at it. Returns how many jobs were put back or given
        up.

        ``running`` are the executions that go on in this worker. One that RQ's books have beside
        them has ended here, and a Redis that was killed has forgotten it: seen in two rounds, it is
        lost like a dead worker's.
        """
        return self._round(running, at_start=False)

    def run_at_start(self) -> int:
        """One round before this worker takes any job, even if a worker died in the middle of one
        and left the lock behind."""
        self._redis.delete(keys.RECOVERY_LOCK)
        return self._round(frozenset(), at_start=True)

    def _round(self, running: AbstractSet[str], *, at_start: bool) -> int:
        self._forget_old_absences()
        try:
            if not self._redis.set(keys.RECOVERY_LOCK, self._name, nx=True, px=_LOCK_MS):
                return 0
            try:
                recovered = self._started(running)
                # Later, what has just been popped may have been popped by another thread of this
                # worker.
                orphaned = at_start and self._no_other_worker()
                recovered += sum(self._popped(queue, orphaned=orphaned) for queue in self._queues)
                self._strike_off()
            finally:
                # After a round that took longer than the lock lives it may be another worker's.
                if self._redis.get(keys.RECOVERY_LOCK) == self._name.encode():
                    self._redis.delete(keys.RECOVERY_LOCK)
        except RedisError:
            self._missing.clear()
            raise
        return recovered

    def _forget_old_absences(self) -> None:
        now = time.monotonic()
        if now - self._looked > _LONGEST_GAP_S:
            self._missing.clear()
        self._looked = now

    def _started(self, running: AbstractSet[str]) -> int:
        """Jobs in RQ's started registries whose worker is gone, or has nothing to do with them."""
        lost: dict[str, list[_Lost]] = {}
        unknown: set[str] = set()
        for queue in self._queues:
            for worker, job in self._lost_in(queue, running, unknown):
                lost.setdefault(worker, []).append(job)
        self._unknown = unknown
        ours = {worker for worker in lost if worker != self._name and not self._is_foreign(worker)}
        return sum(self._recover_all(jobs, crashed=worker in ours) for worker, jobs in lost.items())

    def _lost_in(
        self, queue: Queue, running: AbstractSet[str], unknown: set[str]
    ) -> Iterator[tuple[str, _Lost]]:
        """Lost jobs, each with its worker. ``unknown`` gets the executions of this worker that
        don't run here."""
        for member in cast(list[bytes], self._redis.zrange(queue.started_job_registry.key, 0, -1)):
            execution = Execution.from_composite_key(member.decode(), self._redis)
            raw = cast(bytes | None, self._redis.hget(execution.key, "worker_name"))
            execution.worker_name = raw.decode() if raw else ""
            if execution.worker_name == self._name:
                if execution.composite_key in running:
                    continue
                unknown.add(execution.composite_key)
                # It may have begun, or ended, just now.
                if execution.composite_key not in self._unknown:
                    continue
            elif execution.worker_name and self._may_go_on(execution):
                continue
            job = self._started_job(queue, execution.job_id)
            if job is None:
                self._strike_out(queue, execution)
                continue
            mark = cast(bytes | None, self._redis.hget(keys.job(job.id), ISOLATED))
            alone = mark is not None and self._blame[queue.name].holds(job.id, mark.decode())
            yield (
                execution.worker_name,
                _Lost(queue, job, execution, mark.decode() if mark and alone else None),
            )

    def _started_job(self, queue: Queue, job_id: str) -> Job | None:
        """A job that is started in RQ's books; None for any other, and for one that can't be
        read."""
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

    def _may_go_on(self, execution: Execution) -> bool:
        if not self._is_foreign(execution.worker_name):
            return not self._is_dead(execution.worker_name)
        now = time.monotonic()
        self._foreign = {
            name: seen for name, seen in self._foreign.items() if now - seen < 2 * _FOREIGN_S
        }
        return now - self._foreign.setdefault(execution.composite_key, now) < _FOREIGN_S

    def _is_foreign(self, worker: str) -> bool:
        """Whether RQ knows the worker and we don't: a plain one, which runs nothing of ours and
        keeps no status."""
        if (
            self._dead(worker)
            or self._redis.sismember(keys.WORKERS, worker)
            or is_alive(self._redis, worker)
        ):
            return False
        return bool(self._redis.exists(f"{BaseWorker.redis_worker_namespace_prefix}{worker}"))

    def _strike_out(self, queue: Queue, execution: Execution) -> None:
        """Take an execution out of RQ's books whose job has ended elsewhere, or waits again: its
        worker won't."""
        # Its record may be gone; RQ asks only where it belonged.
        job = Job(execution.job_id, connection=self._redis)
        job.origin = queue.name
        with self._redis.pipeline() as pipeline:
            execution.delete(job=job, pipeline=pipeline)
            pipeline.execute()

    def _recover_all(self, jobs: list[_Lost], *, crashed: bool) -> int:
        """What one worker left: the oldest job ends up in front. If a suspect was on board, the
        crash is its own.

        It comes last: should this process die on the way, the next one still sees whose crash it
        was.
        """
        inside = [lost for lost in jobs if lost.mark not in (None, str(READING))]
        read = [lost for lost in jobs if lost.mark is not None]
        blamed = {lost.job.id for lost in inside or read or jobs}
        for lost in sorted(
            jobs, key=lambda lost: (lost.job.id not in blamed, lost.job.created_at), reverse=True
        ):
            blame = self._blame[lost.queue.name]
            if not crashed:
                self._recover(lost, lambda _: {})
            elif lost.job.id in blamed:
                self._recover(lost, partial(blame.own, mark=lost.mark))
            else:
                self._recover(lost, blame.beside)
        return len(jobs)

    def _recover(self, lost: _Lost, consequences: Callable[[Job], Fields]) -> None:
        """Put a job back and note what the crash means for it, both or neither, unless somebody
        else has done so."""
        job = lost.job
        with self._redis.pipeline() as pipeline:
            try:
                pipeline.watch(lost.execution.key, job.key)  # type: ignore[no-untyped-call]
                if job.get_status() != JobStatus.STARTED:
                    return
                why = (
                    "Redis forgot its end"
                    if lost.execution.worker_name == self._name
                    else "its worker died"
                )
                log.warning("job goes on: %s", why, extra={"job_id": job.id, "suspect": lost.mark})
                fields = consequences(job)
                pipeline.multi()
                # Also a job that was given up goes through the queue: the worker that pops it finds
                # the log ended, and closes RQ's books on it like on any other.
                requeue(lost.queue, job, lost.execution, pipeline)
                if fields and self._redis.exists(keys.job(job.id)):
                    pipeline.hset(keys.job(job.id), mapping=cast(dict[Any, Any], fields))
                pipeline.hdel(keys.job(job.id), ISOLATED)
                pipeline.execute()
            except WatchError:
                return

    def _popped(self, queue: Queue, *, orphaned: bool) -> int:
        """Jobs between the queue and the started registry, longer than any live worker would leave
        them there.

        ``orphaned``: no worker lives that could have popped them, so they go back at once.
        """
        recovered = 0
        for raw in cast(list[bytes], self._redis.lrange(queue.intermediate_queue_key, 0, -1)):
            job_id = raw.decode()
            name = rq_job_key(job_id)
            is_job = (
                ":" not in job_id
                and self._redis.type(name) == b"hash"
                and self._redis.hexists(name, "data")
            )
            if not is_job:
                # Deleted, or never a job (RQ takes what is before a colon): whoever pops it drops
                # it here again.
                self._redis.lrem(queue.intermediate_queue_key, 1, job_id)
                continue
            if not orphaned and self._was_just_popped(job_id):
                continue
            names = [queue.intermediate_queue_key, queue.key, keys.popped(job_id)]
            recovered += int(self._put_back(keys=names, args=[job_id]))
        return recovered

    def _was_just_popped(self, job_id: str) -> bool:
        """Whether a job was first seen between queue and registry within the grace. Its start
        deletes the key."""
        first_seen = keys.popped(job_id)
        # Forgotten soon after the grace: the same job may be popped again, by a worker that lives.
        self._redis.set(first_seen, "1", nx=True, ex=3 * _POPPED_GRACE_S)
        return int(self._redis.ttl(first_seen)) >= 2 * _POPPED_GRACE_S

    def _no_other_worker(self) -> bool:
        return all(self._is_dead(name) for name in self._workers() if name != self._name)

    def _workers(self) -> list[str]:
        return [name.decode() for name in cast(set[bytes], self._redis.smembers(keys.WORKERS))]

    def _is_dead(self, worker: str) -> bool:
        if worker == self._name:
            return False
        if self._dead(worker):
            return True
        if is_alive(self._redis, worker):
            self._missing.pop(worker, None)
            return False
        now = time.monotonic()
        return now - self._missing.setdefault(worker, now) >= ABSENCE_S

    def _strike_off(self) -> None:
        """Take dead workers off the lists; one that was only frozen writes itself down again."""
        for name in self._workers():
            if self._is_dead(name):
                self._redis.srem(keys.WORKERS, name)
                self._missing.pop(name, None)
        for queue in self._queues:
            clean_worker_registry(queue)


def requeue(queue: Queue, job: Job, execution: Execution, pipeline: Pipeline) -> None:
    """Put a started job back at the front of its queue, and take its execution out of RQ's
    books."""
    execution.delete(job=job, pipeline=pipeline)
    job.set_status(JobStatus.QUEUED, pipeline=pipeline)
    queue.push_job_id(job.id, pipeline=pipeline, at_front=True)
