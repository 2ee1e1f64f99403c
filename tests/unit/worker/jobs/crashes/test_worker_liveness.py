"""Which workers are dead."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from rq import Queue

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


def test_a_worker_never_takes_itself_for_dead(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    """After an outage of Redis its own key has run out as well."""
    started(redis, queue, submitted(redis, queue), worker=HERE)
    running = {member.decode() for member in redis.zrange(queue.started_job_registry.key, 0, -1)}  # type: ignore[union-attr]
    recovery = recovering(redis, queue)
    for _ in range(5):
        assert recovery.run(running) == 0
        clock.append(clock[-1] + 2)


def test_a_worker_is_dead_only_when_its_key_stays_away(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    started(redis, queue, submitted(redis, queue))
    recovery = recovering(redis, queue)
    assert recovery.run() == 0
    # This process was frozen, or Redis away: nothing is known of that time.
    clock.append(clock[-1] + 30)
    assert recovery.run() == 0
    redis.set(keys.worker_status(THERE), "alive")
    clock.append(clock[-1] + 3)
    assert recovery.run() == 0
    redis.delete(keys.worker_status(THERE))
    clock.append(clock[-1] + 3)
    assert recovery.run() == 0
    clock.append(clock[-1] + 3)
    assert recovery.run() == 1


def test_an_outage_in_the_middle_of_a_look_makes_it_start_over(
    redis: Redis, queue: Queue, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    started(redis, queue, submitted(redis, queue))
    recovery = recovering(redis, queue)
    assert recovery.run() == 0
    clock.append(clock[-1] + 3)
    with monkeypatch.context() as away:
        away.setattr(queue.connection, "zrange", _away)
        with pytest.raises(RedisAway):
            recovery.run()
    assert recovery.run() == 0


def _away(*_: object) -> None:
    raise RedisAway


def test_dead_workers_are_struck_off(redis: Redis, queue: Queue) -> None:
    redis.sadd(keys.WORKERS, HERE, THERE)
    recovering(redis, queue, THERE).run()
    assert redis.smembers(keys.WORKERS) == {HERE.encode()}


def test_a_plain_rq_worker_gets_time_to_give_a_job_back_and_no_crash_is_counted(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    """A plain RQ worker writes no status key and runs none of our jobs."""
    job = submitted(redis, queue)
    started(redis, queue, job, worker="plain")
    redis.srem(keys.WORKERS, "plain")
    recovery = recovering(redis, queue)
    for _ in range(4):
        assert recovery.run() == 0
        clock.append(clock[-1] + 2)
    clock.append(clock[-1] + 5)
    assert recovery.run() == 1
    assert (waiting(redis, queue), crashes(redis, job)) == ([job.id], 0)
