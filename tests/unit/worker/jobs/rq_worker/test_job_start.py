"""What a job's start reads from Redis has the right names."""

from __future__ import annotations

from typing import Any

from wire import keys
from wire.queueing import start_by
from wire.token_log import TokenLog
from worker.jobs.rq_worker.job_start import JobStart, StartQuery

QUEUE = "rq:queue:chat"


def start_of(redis: Any, job_id: str, *, withdrawn: bool = False) -> JobStart:
    query = StartQuery(redis, QUEUE, "machine.1")
    with redis.pipeline() as pipeline:
        query.add_to(job_id, pipeline)
        return query.read(pipeline.execute(), withdrawn=withdrawn)


def test_a_job_that_was_in_a_crash_and_stopped_in_the_queue(redis: Any) -> None:
    fields = {"owner": "everyone", "crashes": "2", "beside": "1", keys.ISOLATED: "7"}
    redis.hset(keys.job("a"), mapping=fields)
    redis.set(keys.cancel("a"), "1")
    redis.rpush(QUEUE, "b", "c")
    start = start_of(redis, "a", withdrawn=True)
    attempt, logged = TokenLog(redis).lease("a", start.lease)
    assert (str(attempt).encode(), logged) == (redis.get(keys.attempt("a")), [])
    assert start.crash_fields == (b"2", b"1")
    assert (start.stopped, start.unmarked, start.queued, start.withdrawn) == (True, 1, 2, True)
    assert not redis.hexists(keys.job("a"), keys.ISOLATED)


def test_a_limit_of_waiting_is_for_the_first_start(redis: Any) -> None:
    redis.hset(keys.job("a"), mapping={"owner": "everyone", start_by.FIELD: "17"})
    assert start_of(redis, "a").start_by_ms == 17
    assert start_of(redis, "a").start_by_ms is None


def test_a_job_with_nothing_special(redis: Any) -> None:
    redis.hset(keys.job("a"), mapping={"owner": "everyone"})
    start = start_of(redis, "a")
    assert start.crash_fields == (None, None)
    assert start.start_by_ms is None
    assert (start.stopped, start.unmarked, start.queued, start.withdrawn) == (False, 0, 0, False)
