"""How jobs are written into Redis, and when a job is refused instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api import errors
from api.errors import ApiError
from api.jobs.ids import new_job_id
from api.jobs.policy import Policy
from api.jobs.queue import JobQueue
from api.registry import RegistryReader
from tests.support.api_support import QUEUE, announce, chat_body, status
from tests.support.fake_api import connections, fake_api
from tests.unit.api.jobs.queued_chats import CHAT, a_chat, submit, submit_several
from wire import keys
from wire.keys import EVERYONE
from wire.messages import ChatJob, ModelCommand
from wire.settings import Settings
from wire.versions import FIRST, VERSION, TooNew

LIMIT = 2


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    with TestClient(fake_api(redis, Settings(queue_limit=LIMIT))) as client:
        yield client


def text_of(value: Any) -> Any:
    return {name.decode(): kept.decode() for name, kept in value.items()}


def test_a_chat_is_an_rq_job_that_any_dashboard_can_show(jobs: JobQueue, redis: Redis) -> None:
    job_id = submit(jobs)
    job = Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
    described = "model-1 for everyone"
    assert (job.func_name, job.description, job.origin, job.timeout) == (
        keys.CHAT_TASK,
        described,
        "chat",
        -1,
    )
    assert (job.result_ttl, job.failure_ttl, job.retries_left) == (
        keys.RQ_LIFETIME_S,
        keys.RQ_LIFETIME_S,
        100,
    )
    assert job.get_status() == "queued"
    stored = ChatJob.model_validate(job.kwargs["job"])
    assert stored.job_id == job_id
    assert stored.submitted_ms > 0
    assert stored.messages[0].content == "the canary sings"


def test_what_is_remembered_of_a_chat_holds_no_prompt_and_expires(
    jobs: JobQueue, redis: Redis
) -> None:
    job_id = submit(jobs, Policy("cancel", frozenset({"include_usage"})))
    record = text_of(redis.hgetall(keys.job(job_id)))
    assert record.pop("submitted_ms").isdigit()
    assert json.loads(record.pop("sampling"))["seed"] == 1
    assert len(record.pop("request_sha256")) == 64
    assert record == {
        "owner": "everyone",
        "model_id": "model-1",
        "model_revision": "r1",
        "queue": "chat",
        "kind": "chat",
        "state": "queued",
        "on_disconnect": "cancel",
        "stream_options": "include_usage",
        "version": str(VERSION),
    }
    assert 0 < redis.ttl(keys.job(job_id)) <= keys.RECORD_LIFETIME_S
    assert redis.zrange(keys.live(EVERYONE), 0, -1) == [job_id.encode()]


@pytest.mark.parametrize(("policy", "watched"), [("cancel", 1), ("continue", 0)])
def test_only_chats_that_end_with_their_readers_are_watched(
    jobs: JobQueue, redis: Redis, policy: Any, watched: int
) -> None:
    submit(jobs, Policy(policy))
    assert redis.zcard(keys.ABANDONED_AFTER) == watched


def test_several_answers_are_queued_all_or_none(redis: Redis) -> None:
    clients = connections(redis)
    jobs = JobQueue(clients, RegistryReader(clients.waiting), queue_limit=6, key_limit=4)
    announce(redis)
    submit_several(jobs, 4)
    before = sorted(redis.keys())
    for chats in ([a_chat() for _ in range(3)], [a_chat().model_copy(update={"owner": "ann"})] * 5):
        with pytest.raises(ApiError) as refused:
            asyncio.run(jobs.submit_chats(chats, Policy("cancel")))
        assert sorted(redis.keys()) == before
    assert (refused.value.code, refused.value.param) == ("invalid_request", "n")
    assert "4 answers at most" in refused.value.message
    assert len(submit_several(jobs, 2)) == 2
    assert redis.llen(QUEUE) == 6


def test_several_answers_count_against_their_owners_bound(redis: Redis) -> None:
    clients = connections(redis)
    jobs = JobQueue(clients, RegistryReader(clients.waiting), queue_limit=100, key_limit=4)
    announce(redis)
    chats = [a_chat().model_copy(update={"owner": "ann"}) for _ in range(8)]
    asyncio.run(jobs.submit_chats(chats[:3], Policy("cancel")))
    with pytest.raises(ApiError) as full:
        asyncio.run(jobs.submit_chats(chats[3:5], Policy("cancel")))
    assert (full.value.code, "3 chats wait" in full.value.message) == ("queue_full", True)
    asyncio.run(jobs.submit_chats(chats[5:6], Policy("cancel")))
    assert redis.zcard(keys.live("ann")) == redis.llen(QUEUE) == 4


def test_workers_are_asked_once_what_they_read(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = connections(redis)
    registry = RegistryReader(clients.waiting)
    jobs = JobQueue(clients, registry, queue_limit=100)
    announce(redis)
    asked: list[int] = []
    oldest_version = registry.oldest_version

    async def counting() -> int:
        asked.append(await oldest_version())
        return asked[-1]

    monkeypatch.setattr(registry, "oldest_version", counting)
    chats = [a_chat().model_copy(update={"group": "one"}) for _ in range(4)]
    asyncio.run(jobs.submit_chats(chats, Policy("cancel")))
    assert len(asked) == 1
    assert redis.llen(QUEUE) == 4


def test_jobs_of_one_request_know_each_other(jobs: JobQueue, redis: Redis) -> None:
    first, second, third = submit_several(jobs, 3)
    assert redis.hget(keys.job(first), "choices") == f"{first} {second} {third}".encode()
    assert redis.hget(keys.job(third), "first_choice") == first.encode()
    assert redis.lrange(QUEUE, 0, -1) == [job.encode() for job in (first, second, third)]
    assert set(redis.zrange(keys.ABANDONED_AFTER, 0, -1)) == set(redis.lrange(QUEUE, 0, -1))
    assert not redis.hexists(keys.job(submit(jobs)), "choices")


def test_commands_go_before_what_waits(jobs: JobQueue, redis: Redis) -> None:
    submit(jobs)
    command = ModelCommand(job_id=new_job_id(), action="load", model_id="model-1")
    jobs._submit_command(command)
    assert redis.lindex(QUEUE, 0) == command.job_id.encode()
    job = Job.fetch(command.job_id, connection=redis, serializer=JSONSerializer)
    assert (job.func_name, job.description) == (keys.MODEL_TASK, "load model")


def test_a_full_queue_is_429_with_a_time_worked_out_from_the_last_jobs(
    client: TestClient, redis: Redis
) -> None:
    announce(redis, status(slots=1))
    redis.rpush(keys.RECENT_RATE, 10, 20)
    redis.rpush(QUEUE, *(["x"] * LIMIT))
    response = client.post(CHAT, json=chat_body())
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert response.headers["retry-after"] == "30"
    assert not redis.keys(keys.job("*"))


@pytest.mark.parametrize(("seconds", "header"), [(0.001, "1"), (9999, "300")])
def test_retry_after_stays_within_bounds(
    client: TestClient, redis: Redis, seconds: float, header: str
) -> None:
    announce(redis)
    redis.rpush(keys.RECENT_RATE, seconds)
    redis.rpush(QUEUE, *(["x"] * LIMIT))
    assert client.post(CHAT, json=chat_body()).headers["retry-after"] == header


def test_without_a_worker_chats_and_commands_are_503(client: TestClient, redis: Redis) -> None:
    announce(redis)
    redis.delete(keys.WORKER_SEEN)
    for response in (
        client.post(CHAT, json=chat_body()),
        client.post("/models/load", json={"model_id": "model-1"}),
    ):
        assert (response.status_code, response.json()["code"]) == (503, "no_worker")
        assert int(response.headers["retry-after"]) > 0
    assert not redis.keys(keys.job("*"))


def test_a_chat_that_a_living_worker_cannot_read_is_refused_by_name(
    jobs: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(redis, old := status())
    redis.delete(keys.worker_reads(old.name))  # It reports no version.
    chat = a_chat()

    def too_new(job: ChatJob, version: int) -> ChatJob:
        assert (job, version) == (chat, FIRST)
        raise TooNew("flavour")

    monkeypatch.setattr("api.jobs.queue.needs", {chat: 2}.__getitem__)
    monkeypatch.setattr("api.jobs.queue.readable", too_new)
    with pytest.raises(ApiError, match="flavour") as refused:
        asyncio.run(jobs.submit_chats([chat], Policy("cancel")))
    assert (refused.value.code, errors.STATUS[refused.value.code]) == ("workers_outdated", 503)
    assert not redis.exists("rq:queue:chat")
