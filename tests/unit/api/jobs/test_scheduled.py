"""Jobs that wait for a time: released once it has come, and until then neither lost nor found."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer

from api.errors import ApiError
from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from api.jobs.reaper import ADRIFT_S, JobReaper
from api.jobs.waiting.scheduled import ScheduledJobs
from tests.unit.api.jobs.queued_chats import log_of, submit
from wire import clock, keys
from wire.batches import BatchSlice, slice_job_id
from wire.messages import Finished
from wire.queueing import turns
from wire.queueing.schedule import LONGEST_S, QUEUED, scheduled_key
from wire.rq_jobs import queue_key, rq_job_key
from worker.jobs.crashes.recovery import Recovery

CHATS = queue_key(keys.CHAT_QUEUE)
SCHEDULED = scheduled_key(keys.CHAT_QUEUE)


def later(redis: Redis, seconds: float) -> Policy:
    return Policy("continue", not_before_ms=int(clock.now_ms(redis) + seconds * 1000), tier="flex")


def make_due(redis: Redis, job_id: str, scheduled: str = SCHEDULED) -> None:
    assert redis.zadd(scheduled, {job_id: 1}, xx=True, ch=True)


def waiting(redis: Redis) -> list[str]:
    return [job_id.decode() for job_id in redis.lrange(CHATS, 0, -1)]


def test_the_registry_is_rqs_own(redis: Redis) -> None:
    assert ScheduledJobRegistry(keys.CHAT_QUEUE, connection=redis).key == SCHEDULED


def test_a_job_is_released_once_it_is_due_and_gets_its_turn_then(
    jobs: JobQueue, redis: Redis
) -> None:
    scheduled, release = submit(jobs, later(redis, 60)), ScheduledJobs(redis).release_due
    others = [submit(jobs, Policy("continue", tier="flex")) for _ in range(3)]
    release()
    assert waiting(redis) == others
    assert redis.hget(rq_job_key(scheduled), "status") == b"queued"
    make_due(redis, scheduled)
    release()
    release()
    assert waiting(redis) == [*others, scheduled]
    assert redis.zrange(turns.places(keys.CHAT_QUEUE), -1, -1) == [scheduled.encode()]
    assert clock.now_ms(redis) - int(redis.hget(keys.job(scheduled), QUEUED) or 0) < 60_000
    assert not redis.exists(SCHEDULED)


def test_a_time_that_has_passed_is_none(jobs: JobQueue, redis: Redis) -> None:
    assert waiting(redis) == [] != [submit(jobs, later(redis, -5))] == waiting(redis)


def test_a_time_far_away_is_refused(jobs: JobQueue, redis: Redis) -> None:
    with pytest.raises(ApiError) as refused:
        submit(jobs, later(redis, LONGEST_S + 60))
    assert refused.value.param == "not_before"
    assert not redis.exists(SCHEDULED)


def test_nothing_takes_a_scheduled_job_for_lost(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither recovery nor reaper; one that nobody releases is put back after its time."""
    scheduled, reaper = submit(jobs, later(redis, 3600)), JobReaper(redis, 60)
    queues = [
        Queue(name, connection=redis, serializer=JSONSerializer)
        for name in (keys.CHAT_QUEUE, keys.BATCH_QUEUE)
    ]
    recovery = Recovery(redis, queues, "a-worker", lambda _: True)
    now = clock.now_ms(redis)

    def look(after_s: float) -> None:
        monkeypatch.setattr(clock, "now_ms", lambda _: now + after_s * 1000)
        recovery.run_at_start()
        reaper.settle(scheduled)
        reaper.settle_all()
        reaper.finish_interrupted()

    for after_s in (0.0, 3000.0, 3000.0 + 2 * ADRIFT_S):
        look(after_s)
    assert waiting(redis) == []
    assert redis.zscore(SCHEDULED, scheduled) is not None
    assert not redis.exists(keys.cancel(scheduled))
    for after_s in (3610.0, 3610.0 + ADRIFT_S):
        look(after_s)
    assert waiting(redis) == [scheduled]
    make_due(redis, scheduled)
    ScheduledJobs(redis).release_due()
    assert waiting(redis) == [scheduled]


def test_a_scheduled_chat_is_stopped_at_once(jobs: JobQueue, redis: Redis) -> None:
    scheduled = submit(jobs, later(redis, 3600))
    jobs._canceller.stop(scheduled)
    [end] = log_of(redis, scheduled)
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    assert not redis.exists(SCHEDULED)


def test_one_that_was_cancelled_in_rq_does_not_run(jobs: JobQueue, redis: Redis) -> None:
    scheduled = submit(jobs, later(redis, 3600))
    redis.hset(rq_job_key(scheduled), "status", "canceled")
    make_due(redis, scheduled)
    ScheduledJobs(redis).release_due()
    assert waiting(redis) == []
    JobReaper(redis, 60).settle(scheduled)
    assert isinstance(log_of(redis, scheduled)[0], Finished)


def test_scheduled_chats_count_against_the_queues_limit(jobs: JobQueue, redis: Redis) -> None:
    for _ in range(3):
        submit(jobs, later(redis, 3600))
    assert jobs._now_and_depth()[1] == 3


def test_the_slice_of_a_batch_waits_and_is_withdrawn(jobs: JobQueue, redis: Redis) -> None:
    work = BatchSlice(job_id=slice_job_id("b" * 32, 0), batch_id="b" * 32, owner="ann", number=0)
    scheduled = scheduled_key(keys.BATCH_QUEUE)
    nothing: Any = lambda _: None  # noqa: E731
    for _ in range(2):
        jobs._slices.submit(work, nothing, int(clock.now_ms(redis)) + 60_000)
        assert not redis.exists(queue_key(keys.BATCH_QUEUE))
        assert redis.zcard(scheduled) == 1
        if redis.exists(keys.attempt(work.job_id)):
            break
        jobs._slices.withdraw(work)
        assert not redis.exists(scheduled)
    make_due(redis, work.job_id, scheduled)
    ScheduledJobs(redis).release_due()
    assert redis.lrange(queue_key(keys.BATCH_QUEUE), 0, -1) == [work.job_id.encode()]
