"""Chats that wait for longer than they may: ended once, and only while they wait."""

from __future__ import annotations

import pytest
from redis import Redis

from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from api.jobs.reaper import JobReaper
from api.jobs.waiting.expiry import QueueExpiry
from tests.unit.api.jobs.queued_chats import log_of, submit
from wire import clock, keys
from wire.keys import EVERYONE
from wire.messages import Failed
from wire.queueing import turns
from wire.queueing.start_by import FIELD, START_BY
from wire.rq_jobs import queue_key, rq_job_key
from wire.token_log import TokenLog

QUEUE = queue_key(keys.CHAT_QUEUE)


@pytest.fixture
def expiry(redis: Redis) -> QueueExpiry:
    return QueueExpiry(redis, JobReaper(redis, 60))


def waiting(jobs: JobQueue, redis: Redis, *, overdue: bool) -> str:
    job_id = submit(jobs, Policy("cancel", max_queue_s=100.0))
    limit = redis.zscore(START_BY, job_id)
    assert limit == int(redis.hget(keys.job(job_id), FIELD) or 0)
    assert 90_000 < limit - clock.now_ms(redis) <= 100_000
    if overdue:
        redis.zadd(START_BY, {job_id: clock.now_ms(redis) - 1})
    return job_id


def test_a_chat_whose_time_is_over_ends_as_expired(
    jobs: JobQueue, redis: Redis, expiry: QueueExpiry
) -> None:
    over, before, without = (
        waiting(jobs, redis, overdue=True),
        waiting(jobs, redis, overdue=False),
        submit(jobs),
    )
    for _ in range(2):
        expiry.end_overdue()
    [end] = log_of(redis, over)
    assert isinstance(end, Failed)
    assert (end.code, end.param) == ("expired", "max_queue_s")
    assert redis.hget(rq_job_key(over), "status") == b"failed"
    assert redis.lrange(QUEUE, 0, -1) == [before.encode(), without.encode()]
    places = redis.zrange(turns.places(keys.CHAT_QUEUE), 0, -1)
    assert places == [before.encode(), without.encode()]
    assert redis.zrange(keys.live(EVERYONE), 0, -1) == [before.encode(), without.encode()]
    assert redis.zrange(START_BY, 0, -1) == [before.encode()]


def test_one_that_has_just_been_popped_is_left_to_its_worker(
    jobs: JobQueue, redis: Redis, expiry: QueueExpiry
) -> None:
    job_id = waiting(jobs, redis, overdue=True)
    redis.lmove(QUEUE, f"{QUEUE}:intermediate", "LEFT", "RIGHT")
    expiry.end_overdue()
    assert not redis.exists(keys.log(job_id))
    TokenLog(redis).begin(job_id)
    expiry.end_overdue()
    assert not redis.exists(keys.log(job_id))
    assert not redis.exists(START_BY)


def test_a_process_that_dies_in_between_leaves_it_to_another(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch, expiry: QueueExpiry
) -> None:
    job_id = waiting(jobs, redis, overdue=True)
    with monkeypatch.context() as killed:
        killed.setattr(JobReaper, "end_expired", lambda *_: None)
        expiry.end_overdue()
    assert not redis.exists(keys.log(job_id))
    redis.zadd(keys.STOPPING, {job_id: 0})
    JobReaper(redis, 60).finish_interrupted()
    [end] = log_of(redis, job_id)
    assert isinstance(end, Failed)
    assert end.code == "expired"
