"""What goes back into the queue after a worker's end, and what is left alone: with a real RQ on a
Redis without a server."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tests.unit.worker.jobs.crashes.started_jobs import (
    HERE,
    THERE,
    crashes,
    recovering,
    started,
    submitted,
    waiting,
)
from wire import keys


def test_a_round_that_took_too_long_leaves_another_workers_lock_alone(
    redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovery = recovering(redis, queue)
    monkeypatch.setattr(
        recovery._liveness, "remove_dead", lambda: redis.set(keys.RECOVERY_LOCK, THERE)
    )
    recovery.run()
    assert redis.get(keys.RECOVERY_LOCK) == THERE.encode()


def test_jobs_go_back_to_the_front_in_their_order(redis: Redis, queue: Queue) -> None:
    jobs = [submitted(redis, queue) for _ in range(4)]
    for job in jobs[2::-1]:
        started(redis, queue, job)
    recovering(redis, queue, THERE).run()
    assert waiting(redis, queue) == [job.id for job in jobs]


def test_a_job_unknown_to_its_living_worker_goes_on_and_no_crash_is_counted(
    redis: Redis, queue: Queue
) -> None:
    """A Redis that was killed has forgotten its end."""
    forgotten, going_on = submitted(redis, queue), submitted(redis, queue)
    for job in (forgotten, going_on):
        started(redis, queue, job, worker=HERE, events=2)
    [here] = [
        member.decode()
        for member in redis.zrange(queue.started_job_registry.key, 0, -1)  # type: ignore[union-attr]
        if member.startswith(going_on.id.encode())
    ]
    recovery = recovering(redis, queue)
    assert recovery.run({here}) == 0
    assert recovery.run({here}) == 1
    assert waiting(redis, queue) == [forgotten.id]
    assert crashes(redis, forgotten) == 0
    assert recovery.run({here}) == 0


def test_an_execution_that_a_worker_does_not_know_for_a_moment_is_left_alone(
    redis: Redis, queue: Queue
) -> None:
    job = submitted(redis, queue)
    started(redis, queue, job, worker=HERE)
    [member] = redis.zrange(queue.started_job_registry.key, 0, -1)  # type: ignore[misc]
    recovery = recovering(redis, queue)
    for running in (set(), {member.decode()}, set()):
        assert recovery.run(running) == 0
    assert waiting(redis, queue) == []


@pytest.mark.parametrize("gone", [False, True])
def test_of_an_ended_job_a_dead_worker_leaves_nothing_in_rqs_records(
    redis: Redis, queue: Queue, gone: bool
) -> None:
    job = submitted(redis, queue)
    started(redis, queue, job)
    if gone:
        redis.delete(job.key)
    else:
        # By another worker, which has removed its own execution.
        job.set_status(JobStatus.FINISHED)
    assert redis.keys("rq:execution*")
    assert recovering(redis, queue, THERE).run() == 0
    assert redis.keys("rq:execution*") == []
    assert not redis.exists(queue.started_job_registry.key)
    assert waiting(redis, queue) == []


@pytest.mark.parametrize("broken", ["text", {"data": "x", "status": "nonsense"}])
def test_a_started_job_that_can_not_be_read_holds_nothing_up(
    redis: Redis, queue: Queue, broken: Any
) -> None:
    bad, good = submitted(redis, queue), submitted(redis, queue)
    for job in (bad, good):
        started(redis, queue, job)
    redis.delete(bad.key)
    if isinstance(broken, str):
        redis.set(bad.key, broken)
    else:
        redis.hset(bad.key, mapping=broken)
    assert recovering(redis, queue, THERE).run() == 1
    assert waiting(redis, queue) == [good.id]
