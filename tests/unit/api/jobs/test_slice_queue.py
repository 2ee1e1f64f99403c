"""Slices that RQ's tools took out of the queue: put back, and in the end their lines are ended
by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api.jobs.queue import JobQueue
from api.jobs.slice_queue import MOST_FEEDS
from tests.support.api_support import MODEL, announce
from wire import keys
from wire.access.quota import DAILY_TOKENS
from wire.batches import SLICE_LINES, BatchSlice, slice_job_id
from wire.usage import day_of

QUEUE = "rq:queue:batch"
URL = "/api/engine/batches"


@pytest.fixture
def redis(redis: Redis) -> Redis:
    """With a worker that runs slices."""
    announce(redis)
    return redis


@pytest.fixture
def api(client: TestClient) -> TestClient:
    return client


def upload(api: TestClient, prompts: Sequence[str] = ("one", "two")) -> BatchSlice:
    answer = api.post(URL, json={"model_id": MODEL.id, "prompts": list(prompts)})
    batch_id = answer.json()["id"]
    return BatchSlice(
        job_id=slice_job_id(batch_id, 0), batch_id=batch_id, owner="everyone", number=0
    )


def feed(api: TestClient, work: BatchSlice) -> None:
    """What the API does every few seconds."""
    jobs: JobQueue = api.app.state.services[JobQueue]  # type: ignore[attr-defined]
    jobs._slices.feed(work)


def waiting(redis: Redis) -> list[str]:
    return [raw.decode() for raw in redis.lrange(QUEUE, 0, -1)]  # type: ignore[union-attr]


def rq(redis: Redis, work: BatchSlice) -> Job:
    return Job.fetch(work.job_id, connection=redis, serializer=JSONSerializer)


def cancel(redis: Redis, work: BatchSlice) -> None:
    rq(redis, work).cancel()


def delete(redis: Redis, work: BatchSlice) -> None:
    rq(redis, work).delete()


def empty(redis: Redis, _: BatchSlice) -> None:
    Queue(keys.BATCH_QUEUE, connection=redis, serializer=JSONSerializer).empty()


def fail(redis: Redis, work: BatchSlice) -> None:
    redis.lrem(QUEUE, 1, work.job_id)
    job = rq(redis, work)
    job.set_status(JobStatus.FAILED)
    job.failed_job_registry.add(job)


@pytest.mark.parametrize("take_out", [cancel, delete, empty, fail])
def test_a_slice_that_was_taken_out_is_queued_again(
    api: TestClient, redis: Redis, take_out: Any
) -> None:
    work = upload(api)
    take_out(redis, work)
    assert waiting(redis) == []
    for _ in range(2):
        feed(api, work)
    assert waiting(redis) == [work.job_id]
    job = rq(redis, work)
    assert job.get_status() == "queued"
    assert job.id not in job.failed_job_registry.get_job_ids()
    assert redis.keys("rq:canceled:*") == []


@pytest.mark.parametrize("take_out", [cancel, delete, fail])
def test_the_lines_of_a_slice_that_keeps_being_taken_out_end_by_name(
    api: TestClient, redis: Redis, take_out: Any
) -> None:
    work = upload(api)
    for _ in range(MOST_FEEDS + 1):
        take_out(redis, work)
        feed(api, work)
    assert waiting(redis) == []
    batch = api.get(f"{URL}/{work.batch_id}").json()
    assert (batch["status"], batch["counts"]["failed"]) == ("completed", 2)
    rows = [json.loads(row) for row in api.get(f"{URL}/{work.batch_id}/results").text.splitlines()]
    assert [(row["custom_id"], row["error"]["code"]) for row in rows] == [
        ("1", "job_lost"),
        ("2", "job_lost"),
    ]


def test_a_batch_whose_prompts_are_gone_does_not_run_for_ever(
    api: TestClient, redis: Redis
) -> None:
    work = upload(api)
    redis.set(keys.batch_input(work.batch_id, 0), b"not what was packed")
    for _ in range(MOST_FEEDS + 1):
        fail(redis, work)
        feed(api, work)
    batch = api.get(f"{URL}/{work.batch_id}").json()
    assert (batch["status"], batch["counts"]["failed"], batch["counts"]["left"]) == (
        "completed",
        2,
        0,
    )


def test_a_cancelled_batch_ends_although_its_slice_was_deleted(
    api: TestClient, redis: Redis
) -> None:
    work = upload(api)
    redis.hset(keys.batch(work.batch_id), mapping={"state": "cancelling", "ends_as": "cancelled"})
    delete(redis, work)
    feed(api, work)
    jobs: JobQueue = api.app.state.services[JobQueue]  # type: ignore[attr-defined]
    jobs._slices.withdraw(work)
    assert api.get(f"{URL}/{work.batch_id}").json()["status"] == "cancelled"


def test_the_next_slice_waits_while_its_owner_has_no_tokens_left_today(
    api: TestClient, redis: Redis
) -> None:
    first = upload(api, ["one"] * (SLICE_LINES + 1))
    job_id = slice_job_id(first.batch_id, 1)
    second = BatchSlice(job_id=job_id, batch_id=first.batch_id, owner="everyone", number=1)
    redis.hset(DAILY_TOKENS, "everyone", 10)
    redis.hset(keys.usage_day("everyone", day_of(redis.time()[0])), "completion_tokens", 10)  # type: ignore[index]
    feed(api, second)
    assert waiting(redis) == [first.job_id]
    redis.hset(DAILY_TOKENS, "everyone", 11)
    feed(api, second)
    assert waiting(redis) == [first.job_id, second.job_id]
