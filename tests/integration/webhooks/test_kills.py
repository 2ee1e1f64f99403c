"""The API is killed between the end of something and its webhook, and the receiver is down: each
end is told in the end, under the id that the first try had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from redis import Redis

from tests.faults.client import CHAT, MODEL
from tests.faults.stack import LIMIT_S, Stack, until
from tests.unit.api.webhooks.receiver import HOST, Receiver, receiving
from wire.webhooks import names
from wire.webhooks.outbox import OUTBOX

CHATS = 5


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path, MLXQ_WEBHOOK_HOSTS=HOST)
    stack.start_worker()
    stack.start_api()
    asyncio.run(stack.worker_ready())
    asyncio.run(stack.api_ready())
    yield stack
    stack.close()


def test_ends_are_told_after_kills_of_the_api_and_while_the_receiver_was_down(
    stack: Stack,
) -> None:
    with receiving() as receiver, connected(stack) as client:
        endpoint = add(client, receiver.url)
        asyncio.run(killed(stack, client, receiver, endpoint))
    openai = OpenAI(api_key="none", webhook_secret=endpoint["signing_secret"])
    for one in receiver.received:
        event: Any = openai.webhooks.unwrap(one.body, one.headers)
        assert event.type == "chat.incomplete"
    told: dict[str, set[str]] = {}
    for one in receiver.received:
        about = json.loads(one.body)["data"]["id"]
        told.setdefault(about, set()).add(one.headers["webhook-id"])
    assert len(told) == CHATS
    assert all(len(ids) == 1 for ids in told.values())


def connected(stack: Stack) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://{HOST}:{stack.port()}", timeout=LIMIT_S)


def add(client: httpx2.Client, url: str) -> Any:
    body = {"name": "faults", "url": url, "event_types": ["chat.incomplete"]}
    return client.post("/v1/webhook_endpoints", json=body).json()


async def killed(stack: Stack, client: httpx2.Client, receiver: Receiver, endpoint: Any) -> None:
    receiver.statuses[:] = [500] * CHATS
    stack.redis.set(names.LEASE, "another process")  # This one sends nothing yet.
    for number in range(CHATS):
        begin(client, number)
    # No API process lives as these end: the worker writes the notes.
    stack.kill("api")
    await until(lambda: stack.redis.xlen(OUTBOX) == CHATS, what="notes of the ends")
    assert receiver.received == []
    stack.redis.delete(names.LEASE)
    stack.start_api()
    await until(lambda: receiver.received, what="a first try")
    stack.kill("api")
    stack.redis.delete(names.LEASE)  # Or the test would wait until it expires.
    stack.start_api()
    await stack.api_ready()
    await until(lambda: settled(stack.redis, endpoint["id"]), what="deliveries")


def begin(client: httpx2.Client, number: int) -> None:
    body = {
        "model_id": MODEL,
        "messages": [{"role": "user", "content": f"webhook {number}"}],
        "max_tokens": 30,
        "on_disconnect": "continue",
        "webhook": True,
    }
    with client.stream("POST", CHAT, json=body) as response:
        assert response.status_code == 200, response.read()


def settled(redis: Redis, endpoint_id: str) -> bool:
    """Whether all has been accepted. What waits for its next try is due now."""
    due = names.due(endpoint_id)
    waiting: Any = redis.zrange(due, 0, -1)
    for raw in waiting:
        redis.zadd(due, {raw: 0}, xx=True)
    return not redis.exists(due) and not redis.xlen(OUTBOX)
