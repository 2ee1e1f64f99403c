"""Stopping chats: queued, running and ended ones."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api.jobs.ids import new_job_id
from api.jobs.queue import JobQueue
from api.jobs.reaper import STOPPING_S
from tests.support.api_support import QUEUE, FakeWorker, LogWriter
from tests.unit.api.jobs.queued_chats import CHAT, log_of, submit, submit_several
from wire import keys
from wire.keys import EVERYONE
from wire.messages import Finished, ModelCommand
from wire.rq_jobs import rq_job_key


def test_a_stopped_queued_chat_ends_at_once_and_never_runs(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    jobs._canceller.stop(job_id)
    assert redis.llen(QUEUE) == 0
    assert redis.exists(keys.cancel(job_id))
    [end] = log_of(redis, job_id)
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    assert redis.zcard(keys.live(EVERYONE)) == redis.zcard(keys.STOPPING) == 0
    assert Job.fetch(job_id, connection=redis, serializer=JSONSerializer).get_status() == "canceled"
    assert 0 < redis.ttl(rq_job_key(job_id)) <= keys.RQ_LIFETIME_S


def test_stopping_twice_changes_nothing(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    jobs._canceller.stop(job_id)
    before = log_of(redis, job_id)
    jobs._canceller.stop(job_id)
    assert log_of(redis, job_id) == before


def test_stopping_an_ended_chat_leaves_no_cancel_key(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    FakeWorker(redis).step()
    jobs._canceller.stop(job_id)
    assert not redis.exists(keys.cancel(job_id))
    assert log_of(redis, job_id)[-1] == Finished("stop")


def test_a_running_chat_is_left_to_its_worker(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    redis.lpop(QUEUE)
    writer = LogWriter(redis, job_id)
    jobs._canceller.stop(job_id)
    assert redis.exists(keys.cancel(job_id))
    assert not log_of(redis, job_id)
    assert writer.finish() == [1]


def test_a_chat_stopped_on_its_second_way_through_the_queue_keeps_its_text(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs)
    LogWriter(redis, job_id).text("some ", "text")
    redis.hset(keys.job(job_id), "state", "queued")
    jobs._canceller.stop(job_id)
    *texts, end = log_of(redis, job_id)
    assert [delta.text for delta in texts] == ["some ", "text"]
    assert end.finish_reason == "cancelled"
    assert end.usage.completion_tokens == 2


def test_a_stop_that_another_process_did_not_finish_is_finished(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs)
    redis.lrem(QUEUE, 1, job_id)
    redis.zadd(keys.STOPPING, {job_id: jobs._now_and_depth()[0] - STOPPING_S * 1000 - 1})
    jobs._reaper.finish_interrupted()
    assert log_of(redis, job_id)[-1].finish_reason == "cancelled"
    assert redis.zcard(keys.STOPPING) == 0


def test_stop_all_ends_chats_and_leaves_commands(jobs: JobQueue, redis: Redis) -> None:
    chats = [submit(jobs) for _ in range(3)]
    command = ModelCommand(job_id=new_job_id(), action="scan")
    jobs._submit_command(command)
    jobs._canceller.stop_all(EVERYONE)
    assert redis.lrange(QUEUE, 0, -1) == [command.job_id.encode()]
    assert all(log_of(redis, job_id)[-1].finish_reason == "cancelled" for job_id in chats)


def test_a_stop_of_the_first_choice_ends_all_and_of_another_that_one(
    jobs: JobQueue, redis: Redis
) -> None:
    first, second, third, fourth = submit_several(jobs, 4)
    jobs._canceller.stop(third)
    assert redis.lrange(QUEUE, 0, -1) == [job.encode() for job in (first, second, fourth)]
    jobs._canceller.stop(first, "somebody else")
    assert redis.llen(QUEUE) == 3
    assert redis.exists(*(keys.cancel(job) for job in (first, second, fourth))) == 0
    FakeWorker(redis).step()
    jobs._canceller.stop(first, EVERYONE)
    assert redis.llen(QUEUE) == redis.zcard(keys.live(EVERYONE)) == 0
    assert not redis.exists(keys.cancel(first))  # It had ended.
    ends = [log_of(redis, job)[-1].finish_reason for job in (first, second, third, fourth)]
    assert ends == ["stop", "cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize(
    "body", [None, {}, {"job_id": "nobody"}, {"job_id": "0" * 32}, {"job_id": "*"}]
)
def test_stop_always_answers_stopped(client: TestClient, body: Any) -> None:
    response = (
        client.post(f"{CHAT}/stop", json=body) if body is not None else client.post(f"{CHAT}/stop")
    )
    assert (response.status_code, response.json()) == (200, {"status": "stopped"})


def test_stop_refuses_an_unknown_field(client: TestClient) -> None:
    assert client.post(f"{CHAT}/stop", json={"job": "x"}).status_code == 422
