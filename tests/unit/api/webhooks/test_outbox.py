"""An end is in the outbox once, together with the end itself, and only of what asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from starlette.testclient import TestClient

from api.batches.intake import BatchIntake
from api.deps import find_service
from api.webhooks.events import event_of
from tests.support.api_support import MODEL, FakeWorker, announce, chat_body, wait_for
from tests.support.fake_api import fake_api
from wire import keys
from wire.batches import BatchLog, BatchSlice, LineResult
from wire.messages import Delta, Failed, Finished
from wire.token_log import ALREADY_THERE, Append, TokenLog
from wire.webhooks.names import LEASE
from wire.webhooks.outbox import OUTBOX

BATCHES = "/api/engine/batches"
LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}'


@pytest.fixture
def client(redis: Redis) -> Iterator[TestClient]:
    """The API, while another process sends webhooks."""
    announce(redis)
    redis.set(LEASE, "another")
    with TestClient(fake_api(redis)) as client:
        yield client


def told(redis: Redis) -> list[tuple[str, str, str]]:
    rows: Any = redis.xrange(OUTBOX)
    entries = [
        (row_id.decode(), {name.decode(): value.decode() for name, value in row.items()})
        for row_id, row in rows
    ]
    events = [event_of(row_id, entry) for row_id, entry in entries]
    return [(event.type, event.id, event.owner) for event in events if event]


@pytest.mark.parametrize(
    ("end", "name"),
    [(Finished("stop"), "completed"), (Finished("tool_calls"), "completed"), (Finished("length"), "incomplete"),
     (Finished("cancelled"), "cancelled"), (Failed("engine_failed", "It broke."), "failed")],
)  # fmt: skip
def test_a_chat_that_asks_is_told_once_however_often_its_end_is_written(
    client: TestClient, redis: Redis, end: Any, name: str
) -> None:
    bodies = [chat_body(webhook=True), chat_body()]
    with FakeWorker(redis, lambda _: (Delta("t", (1,)), end)).running():
        ids = [client.post("/api/engine/chat", json=body).headers["x-job-id"] for body in bodies]
    assert told(redis) == [(f"chat.{name}", ids[0], "everyone")]
    attempt = int(redis.get(keys.attempt(ids[0])).removeprefix(b"ended:"))  # type: ignore[union-attr]
    again = Append(ids[0], "everyone", attempt, 2, end)
    assert TokenLog(redis).append([again]) == [ALREADY_THERE]
    assert len(told(redis)) == 1


def test_a_background_response_is_told_and_no_other(client: TestClient, redis: Redis) -> None:
    with FakeWorker(redis).running() as worker:
        client.post("/v1/responses", json={"input": "x"})
        begun = client.post("/v1/responses", json={"input": "x", "background": True}).json()
        worker.settle()
    assert told(redis) == [("response.completed", begun["id"], "everyone")]


def take(redis: Redis) -> Any:
    raw: Any = redis.lpop("rq:queue:batch")
    job = Job.fetch(raw.decode(), connection=redis, serializer=JSONSerializer)
    work = BatchSlice.model_validate(job.kwargs["job"])
    attempt, _ = TokenLog(redis).begin(work.job_id)
    return BatchLog(redis).take(work, attempt, 0)


def finish(redis: Redis, taken: Any) -> None:
    done = [LineResult(row.number, row.custom_id, row.model_id, "ok") for row in taken.lines]
    for _ in range(2):
        BatchLog(redis).write(taken, done, 9000)


def test_a_batch_that_ends_by_itself_or_is_cancelled_is_told(
    client: TestClient, redis: Redis
) -> None:
    body = {"model_id": MODEL.id, "prompts": ["x"]}
    first, second, third = (client.post(BATCHES, json=body).json()["id"] for _ in range(3))
    finish(redis, take(redis))
    running = take(redis)
    for batch in (second, third):
        client.post(f"{BATCHES}/{batch}/cancel")
    assert told(redis) == [
        ("batch.completed", first, "everyone"),
        ("batch.cancelled", third, "everyone"),
    ]
    BatchLog(redis).write(running, (), 9000, cut=True)
    assert told(redis)[2:] == [("batch.cancelled", second, "everyone")]


def test_a_batch_of_refused_lines_and_one_that_expires_are_told(
    client: TestClient, redis: Redis
) -> None:
    refused = client.post(BATCHES, json={"model_id": MODEL.id, "prompts": [5]}).json()["id"]
    assert told(redis) == [("batch.completed", refused, "everyone")]
    waits = client.post(BATCHES, json={"model_id": MODEL.id, "prompts": ["x"]}).json()["id"]
    intake = find_service(client.app, BatchIntake)

    async def expire() -> None:
        record = await intake.store.record(waits, "everyone")
        assert record is not None
        await intake.cancel(record, "expired")

    client.portal.call(expire)  # type: ignore[union-attr]
    assert told(redis)[1:] == [("batch.expired", waits, "everyone")]


def test_a_file_batch_is_told_by_its_own_id_also_when_its_file_is_no_use(
    client: TestClient, redis: Redis
) -> None:
    ids = []
    for content in (LINE, b""):
        form = {"file": ("a.jsonl", content + b"\n")}
        file = client.post("/v1/files", files=form, data={"purpose": "batch"}).json()["id"]
        body = {"endpoint": "/v1/completions", "completion_window": "24h", "input_file_id": file}
        ids.append(client.post("/v1/batches", json=body).json()["id"])
    wait_for(lambda: redis.llen("rq:queue:batch") and told(redis))
    finish(redis, take(redis))
    assert sorted(told(redis)) == [
        ("batch.completed", ids[0], "everyone"),
        ("batch.failed", ids[1], "everyone"),
    ]


def test_a_chat_that_asks_is_refused_while_a_worker_of_an_older_release_runs(
    client: TestClient, redis: Redis
) -> None:
    redis.set(keys.worker_reads("w1"), 3)
    answer = client.post("/api/engine/chat", json=chat_body(webhook=True))
    assert (answer.status_code, answer.json()["code"]) == (503, "workers_outdated")
