"""How a worker of many jobs pops them: from one queue at a time, and none while RQ is suspended.

An unreadable job is failed, and the worker goes on. RQ's private names that this relies on are held
by ``tests/unit/worker/jobs/rq_worker/test_rq_contract.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import redis.exceptions
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.job import Job
from rq.worker.base import WorkerStatus

from wire import keys, redis_refusals
from wire.routing import offers
from wire.routing.offers import Offer
from wire.rq_jobs import SUSPENDED, rq_job_key
from worker.jobs.rq_worker.bookkeeping import REQUEUE_POPPED, RqBookkeeping
from worker.jobs.rq_worker.turn_queue import take

POLL_S = 1
"""Longest block on the queue, seconds (RQ takes whole ones): how fast a stop signal is noticed."""
PAUSE_S = 1.0
"""Before the next try of a thread that serves all jobs, after a failure."""
SUSPENSION_CHECK_S = 1.0
"""How often an idle worker checks whether it is suspended; after a pop it checks each time."""
SUSPENDED_POLL_S = 0.1
# KEYS: intermediate list, RQ's job. ARGV: job id, seconds to keep it. No worker pops it again.
_FAIL_UNREADABLE = """
redis.call('LREM', KEYS[1], 0, ARGV[1])
if redis.call('TYPE', KEYS[2]).ok == 'hash' then
  redis.call('HSET', KEYS[2], 'status', 'failed')
  redis.call('EXPIRE', KEYS[2], ARGV[2])
else
  redis.call('DEL', KEYS[2])
end
"""


class RqIntake(RqBookkeeping):
    """Pops jobs."""

    _checked = 0.0

    def check_for_suspension(self, burst: bool) -> None:
        """RQ's loop checks before every pop, which is too early: a job may come seconds later.

        See ``pop_job``.
        """

    def is_suspended(self) -> bool:
        return bool(self.connection.exists(SUSPENDED))

    def wait_while_suspended(self, meanwhile: Callable[[], None]) -> None:
        """Wait until RQ is resumed; looks once a second while it isn't suspended."""
        if time.monotonic() - self._checked < SUSPENSION_CHECK_S:
            return
        self._checked = time.monotonic()
        if not self.retry_until_answered(self.is_suspended):
            return
        self.log.warning("Worker %s: suspended; `rq resume` lets it go on", self.name)
        before = self.get_state()
        with self.ignore_outage():
            self.set_state(WorkerStatus.SUSPENDED)
        while not self._stop_requested and self.retry_until_answered(self.is_suspended):
            meanwhile()
            time.sleep(SUSPENDED_POLL_S)
        self.log.warning("Worker %s: goes on", self.name)
        with self.ignore_outage():
            self.set_state(before)

    def pop_job(
        self, queue: Queue, timeout: int | None, passed_over: Collection[str] = ()
    ) -> tuple[Job, Queue] | None:
        """Pop a job of any owner but these; one that comes while RQ is suspended goes back to the
        front.

        Raises DequeueTimeout for none; without a timeout returns None, and doesn't wait.
        """
        popped = self.retry_until_answered(lambda: self._pop(queue, timeout, passed_over))
        return None if popped is None else self._unless_suspended(*popped)

    def pop_offer(
        self, queue: Queue, timeout: int, is_late: Callable[[Offer], bool]
    ) -> tuple[Job, Queue]:
        """Pop a chat that another worker offers to this one. Raises DequeueTimeout for none.

        It is among the queue's popped jobs, and is put back with them if this process dies. So is
        one that is late or gone.
        """
        names = [offers.offers(self.name)]
        found = self.retry_until_answered(lambda: self.connection.blpop(names, timeout))
        if found is None:
            raise DequeueTimeout("no offer")
        offer = offers.read_offer(self.name, found[1])
        job = None if is_late(offer) else queue.fetch_job(offer.job_id)
        if job is None:
            raise DequeueTimeout("late")
        job.redis_server_version = self.get_redis_server_version()
        return self._unless_suspended(job, queue)

    def pop_for_ever(self, pop: Callable[[], None]) -> None:
        """Start jobs of another kind with ``pop`` while the main thread pops chats."""
        while not self._stop_requested:
            try:
                pop()
            except DequeueTimeout:
                continue
            except redis.exceptions.RedisError as error:
                self.log.warning(
                    "Worker %s: waiting for Redis (%s)", self.name, redis_refusals.kind(error)
                )
                time.sleep(PAUSE_S)
            except Exception:
                self.log.exception("Worker %s: a job could not be popped", self.name)
                time.sleep(PAUSE_S)

    def _unless_suspended(self, job: Job, queue: Queue) -> tuple[Job, Queue]:
        if not self.retry_until_answered(self.is_suspended):
            return job, queue
        self._checked = 0.0
        self.put_back(job, queue)
        raise DequeueTimeout("suspended")

    def put_back(self, job: Job, queue: Queue) -> None:
        """Put a popped job back at the front of its queue."""
        names = [queue.intermediate_queue_key, queue.key, keys.popped(job.id)]
        self.retry_until_answered(
            lambda: self.connection.eval(REQUEUE_POPPED, len(names), *names, job.id)
        )

    def _pop(
        self, queue: Queue, timeout: int | None, passed_over: Collection[str]
    ) -> tuple[Job, Queue] | None:
        job_id = take(queue, timeout, passed_over)
        if job_id is None:
            return None
        try:
            job = self.job_class.fetch(
                job_id, connection=self.connection, serializer=self.serializer
            )
        except NoSuchJobError as error:
            raise DequeueTimeout("deleted") from error
        except Exception as error:
            if isinstance(error, redis.exceptions.RedisError) and not _is_wrong_type(error):
                raise
            self._fail_unreadable(queue, job_id, error)
            raise DequeueTimeout("unreadable") from error
        job.redis_server_version = self.get_redis_server_version()
        return job, queue

    def _fail_unreadable(self, queue: Queue, job_id: str, error: Exception) -> None:
        """Fail a job that RQ can't read: anyone who can write to Redis can write one.

        The API ends its streams, if any.
        """
        self.log.warning(
            "Worker %s: job %s can't be read (%s)", self.name, job_id[:64], type(error).__name__
        )
        names = [queue.intermediate_queue_key, rq_job_key(job_id)]
        self.connection.eval(_FAIL_UNREADABLE, len(names), *names, job_id, self.kept_s or 1)


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, redis.exceptions.ResponseError) and "WRONGTYPE" in str(error)
