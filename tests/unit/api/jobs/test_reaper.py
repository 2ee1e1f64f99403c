"""Jobs that RQ's tools have ended, deleted or lost get their end: in the log, once, and in RQ's
records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api.jobs.ids import new_job_id
from api.jobs.queue import JobQueue
from api.jobs.reaper import ADRIFT_S, LOOK_AGAIN_S, STOPPING_S
from api.jobs.waiting import queue_look
from tests.support.api_support import QUEUE, LogWriter, announce
from tests.support.fake_api import fake_api
from tests.unit.api.jobs.rq_endings import CANARY, ENDINGS, cancel, chat, delete, fail, log_of, rq
from wire import clock as redis_clock
from wire import keys
from wire.messages import Delta, Failed, Finished, ModelCommand
from wire.queueing import turns
from wire.rq_jobs import popped_key, rq_job_key
from wire.settings import Settings

KEY_LIMIT = 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Redis' time in milliseconds, as the API reads it: the last entry."""
    times = [1_700_000_000_000]
    monkeypatch.setattr(redis_clock, "now_ms", lambda _: times[-1])
    monkeypatch.setattr(JobQueue, "_now_and_depth", lambda _: (times[-1], 0))
    return times


@pytest.fixture
def client(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    announce(redis)

    async def nothing(_: JobQueue) -> None:
        """In place of the API's own rounds, which would end a job beside the test."""

    monkeypatch.setattr(JobQueue, "settle_all", nothing)
    with TestClient(fake_api(redis, Settings(key_queue_limit=KEY_LIMIT))) as client:
        yield client


@pytest.fixture
def jobs(client: TestClient, clock: list[int]) -> JobQueue:  # noqa: ARG001 (its time is held still)
    jobs: JobQueue = client.app.state.services[JobQueue]  # type: ignore[attr-defined]
    return jobs


@pytest.mark.parametrize(
    ("end", "code"), ENDINGS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_queued_chat_that_rqs_tools_end_gets_one_end(
    jobs: JobQueue, redis: Redis, end: Any, code: str
) -> None:
    job_id = chat(jobs, "ann")
    end(redis, job_id)
    for _ in range(2):
        jobs._reaper.settle(job_id)
    [event] = log_of(redis, job_id)
    assert (event.code if isinstance(event, Failed) else event.finish_reason) == code
    assert redis.zcard(keys.live("ann")) == redis.zcard(keys.STOPPING) == 0
    assert not redis.exists(turns.places(keys.CHAT_QUEUE))
    assert redis.hget(keys.usage("ann"), "requests") == b"1"
    left = redis.hgetall(rq_job_key(job_id))
    assert not left or 0 < redis.ttl(rq_job_key(job_id)) <= keys.RQ_LIFETIME_S
    assert CANARY.encode() not in b"".join(left.values())
    if left:
        assert rq(redis, job_id).kwargs == {}


@pytest.mark.parametrize("end", [cancel, delete])
def test_whoever_reads_a_chats_state_finds_its_end(
    client: TestClient, jobs: JobQueue, redis: Redis, end: Any
) -> None:
    job_id = chat(jobs)
    end(redis, job_id)
    view = client.get(f"/api/engine/jobs/{job_id}").json()
    assert view["state"] == "ended"
    assert view["finish_reason"] in ("cancelled", "error")
    assert '"done": true' in client.get(f"/api/engine/chat/{job_id}/events").text


def test_a_chat_that_nobody_reads_gets_its_end_too(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    cancelled, waiting = chat(jobs), chat(jobs)
    cancel(redis, cancelled)
    clock.append(clock[-1] + LOOK_AGAIN_S * 1000 + 1)
    jobs._reaper.settle_all()
    assert isinstance(log_of(redis, cancelled)[-1], Finished)
    assert log_of(redis, waiting) == []
    clock.append(clock[-1] + LOOK_AGAIN_S * 1000 + 1)
    jobs._reaper.settle_all()
    assert redis.zrange(keys.UNENDED, 0, -1) == [waiting.encode()]


def test_a_model_command_that_is_cancelled_in_rq_is_answered(jobs: JobQueue, redis: Redis) -> None:
    command = ModelCommand(job_id=new_job_id(), action="scan")
    jobs._submit_command(command)
    cancel(redis, command.job_id)
    jobs._reaper.settle(command.job_id)
    assert isinstance(log_of(redis, command.job_id)[-1], Finished)


def test_the_owners_bound_counts_no_chat_that_is_over_for_rq(jobs: JobQueue, redis: Redis) -> None:
    gone = [chat(jobs, "ann") for _ in range(KEY_LIMIT)]
    for job_id, end in zip(gone, (cancel, delete, fail), strict=True):
        end(redis, job_id)
    chat(jobs, "ann")
    assert redis.zcard(keys.live("ann")) == 1
    assert all(log_of(redis, job_id) for job_id in gone)


def test_a_running_chat_that_is_cancelled_in_rq_is_its_workers_to_end(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    job_id = chat(jobs)
    redis.lpop(QUEUE)
    writer = LogWriter(redis, job_id)
    writer.text("so far")
    cancel(redis, job_id)
    jobs._reaper.settle(job_id)
    assert redis.exists(keys.cancel(job_id))  # by which a living worker ends it
    assert log_of(redis, job_id) == [Delta("so far", (0,))]
    assert writer.finish() == [1]
    clock.append(clock[-1] + STOPPING_S * 1000 + 1)
    jobs._reaper.finish_interrupted()
    assert len(log_of(redis, job_id)) == 2


def test_what_a_dead_worker_noted_of_its_run_goes_with_the_job(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    job_id = chat(jobs)
    job = Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
    with redis.pipeline() as pipe:
        Execution.create(job, 3600, pipeline=pipe, worker_name="dead")
        pipe.execute()
    redis.lrem(QUEUE, 1, job_id)
    job.cancel()
    jobs._reaper.settle(job_id)
    clock.append(clock[-1] + STOPPING_S * 1000 + 1)
    jobs._reaper.settle(job_id)
    assert redis.hget(keys.job(job_id), "state") == b"ended"
    assert not [*redis.scan_iter("rq:execution*")]


def test_a_running_chat_whose_worker_does_not_end_it_is_ended_after_a_while(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    job_id = chat(jobs)
    redis.lpop(QUEUE)
    frozen = LogWriter(redis, job_id)
    frozen.text("so far")
    delete(redis, job_id)
    jobs._reaper.settle(job_id)
    clock.append(clock[-1] + STOPPING_S * 1000 + 1)
    jobs._reaper.settle(job_id)
    text, end = log_of(redis, job_id)
    assert (text, end.usage.completion_tokens) == (Delta("so far", (0,)), 1)
    assert frozen.text("more") == [0]  # refused
    assert len(log_of(redis, job_id)) == 2


def test_a_worker_that_takes_the_job_up_at_this_moment_ends_it(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = chat(jobs)
    cancel(redis, job_id)
    begin, writers = jobs._reaper._log.begin, []

    def overtaken(wanted: str) -> Any:
        lease = begin(wanted)
        writers.append(LogWriter(redis, job_id))
        return lease

    monkeypatch.setattr(jobs._reaper._log, "begin", overtaken)
    jobs._reaper.settle(job_id)
    assert log_of(redis, job_id) == []
    assert b"data" in redis.hgetall(rq_job_key(job_id))  # RQ's record is the worker's to close
    assert redis.exists(keys.cancel(job_id))
    assert writers[0].write(Finished("cancelled")) == [1]


def test_a_job_that_was_popped_and_lost_goes_back_to_the_front(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    """A worker of several queues pops without a record of it, and dies."""
    lost, other = chat(jobs), chat(jobs)
    redis.lpop(QUEUE)
    for _ in range(1 + ADRIFT_S // LOOK_AGAIN_S):
        assert redis.lrange(QUEUE, 0, -1) == [other.encode()]
        clock.append(clock[-1] + LOOK_AGAIN_S * 1000)
        jobs._reaper.settle_all()
    assert redis.lrange(QUEUE, 0, -1) == [lost.encode(), other.encode()]
    clock.append(clock[-1] + LOOK_AGAIN_S * 1000)
    jobs._reaper.settle_all()
    assert redis.llen(QUEUE) == 2
    assert not redis.hexists(keys.job(lost), "adrift_ms")


def test_a_started_job_that_no_worker_has_goes_back_to_the_front(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    """Redis has lost the last writes of its worker, which has let go of it."""
    lost, runs = chat(jobs), chat(jobs)
    redis.delete(QUEUE)
    redis.hset(rq_job_key(lost), "status", "started")
    job = Job.fetch(runs, redis, JSONSerializer)
    job.set_status(JobStatus.STARTED)
    with redis.pipeline() as pipe:
        Execution.create(job, 3600, pipeline=pipe, worker_name="alive")
        pipe.execute()
    for _ in range(2 + ADRIFT_S // LOOK_AGAIN_S):
        clock.append(clock[-1] + LOOK_AGAIN_S * 1000)
        jobs._reaper.settle_all()
    assert redis.lrange(QUEUE, 0, -1) == [lost.encode()]
    assert redis.hget(rq_job_key(lost), "status") == b"queued"


def test_a_chat_between_pop_and_start_is_left_there(
    jobs: JobQueue, redis: Redis, clock: list[int]
) -> None:
    chat(jobs)
    redis.lmove(QUEUE, popped_key(keys.CHAT_QUEUE), "LEFT", "RIGHT")
    for _ in range(3):
        clock.append(clock[-1] + 2 * ADRIFT_S * 1000)
        jobs._reaper.settle_all()
    assert redis.llen(QUEUE) == 0


def test_cancelled_jobs_leave_rqs_registry_when_their_time_is_over(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CanceledJobRegistry(keys.CHAT_QUEUE, redis, serializer=JSONSerializer)
    first = chat(jobs)
    jobs._canceller.stop(first)
    assert registry.get_job_ids() == [first]
    monkeypatch.setattr("wire.rq_jobs.current_timestamp", lambda: 9_999_999_999)
    second = chat(jobs)
    jobs._canceller.stop(second)
    assert registry.get_job_ids() == [second]


def test_ready_and_status_and_views_say_that_the_queues_are_suspended(
    client: TestClient, jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_look, "POSITIONS_S", 0)
    job_id = chat(jobs)
    assert client.get(f"/api/engine/jobs/{job_id}").json()["held"] is None
    redis.set("rq:suspended", 1)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "suspended")
    assert client.get("/api/engine/status").json()["suspended"] is True
    assert client.get(f"/api/engine/jobs/{job_id}").json()["held"] == "suspended"
    redis.delete("rq:suspended")
    assert client.get("/ready").status_code == 200


def test_a_worker_that_does_not_answer_is_shown(
    client: TestClient, jobs: JobQueue, redis: Redis
) -> None:
    job_id = chat(jobs)
    job = rq(redis, job_id)
    job.prepare_for_execution("w1", redis.pipeline())
    redis.hset(job.key, mapping={"status": "started", "worker_name": "w1"})
    redis.lrem(QUEUE, 1, job_id)
    LogWriter(redis, job_id)
    assert client.get(f"/api/engine/jobs/{job_id}").json()["held"] is None
    assert client.get("/api/engine/status").json()["silent_workers"] == []
    redis.delete(keys.worker_status("w1"))
    assert client.get(f"/api/engine/jobs/{job_id}").json()["held"] == "no_worker"
    assert client.get("/api/engine/status").json()["silent_workers"] == ["w1"]


def test_the_data_of_a_closed_job_is_readable_by_rq(jobs: JobQueue, redis: Redis) -> None:
    job_id = chat(jobs)
    jobs._canceller.stop(job_id)
    job = rq(redis, job_id)
    assert job.get_call_string() == f"{keys.CHAT_TASK}()"
    assert json.dumps(job.to_dict(), default=str).count(CANARY) == 0
