"""The limits of keys in the queue: set for a name, and which class of service its chats get."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.errors import ApiError
from api.jobs.policy import AskedTier
from api.jobs.queue import JobQueue
from tests.support.api_support import announce, chat_body
from tests.support.fake_api import fake_api
from tests.support.openai_support import CHAT, body
from wire.access.limits import HIGHEST_TIER, MOST_RUNNING
from wire.keys import EVERYONE
from wire.queueing.turns import Tier
from wire.settings import Settings

KEYS, NATIVE = "/api/engine/keys", "/api/engine/chat"
BOBS = "b" * 16
HEADER = "X-Service-Tier"


def test_limits_are_set_shown_and_taken_away_together(redis: Redis) -> None:
    with TestClient(fake_api(redis)) as client:
        added = client.post(KEYS, json={"name": "bob", "roles": ["admin"]}).json()
        client.headers["Authorization"] = f"Bearer {added['key']}"
        limits = {"name": "bob", "highest_tier": "flex", "most_running": 2}
        assert client.post(f"{KEYS}/limits", json=limits).json() == limits
        assert client.get(KEYS).json()[0].items() >= limits.items()
        assert redis.hgetall(HIGHEST_TIER) == {b"bob": b"flex"}
        assert redis.hgetall(MOST_RUNNING) == {b"bob": b"2"}
        for wrong in ({"most_running": 0}, {"highest_tier": "soon"}):
            assert client.post(f"{KEYS}/limits", json=limits | wrong).status_code == 422
        client.delete(f"{KEYS}/{added['id']}")
        assert not redis.exists(HIGHEST_TIER, MOST_RUNNING)


@pytest.mark.parametrize(
    ("highest", "asked", "used"),
    [
        (None, None, "default"),
        (None, "priority", "priority"),
        ("default", None, "default"),
        ("default", "flex", "flex"),
        ("default", "priority", None),
        ("flex", None, "flex"),
        ("flex", "default", None),
        ("priority", None, "default"),
    ],
)
def test_a_request_gets_no_class_above_the_highest(
    jobs: JobQueue, redis: Redis, highest: Tier | None, asked: Tier | None, used: Tier | None
) -> None:
    by_field = None if asked is None else AskedTier(asked, "its field")
    if highest is not None:
        redis.hset(HIGHEST_TIER, mapping={"bob": highest, EVERYONE: "flex"})
    if used is not None:
        assert asyncio.run(jobs.tier_for(by_field, "bob")) == used
        return
    with pytest.raises(ApiError) as refused:
        asyncio.run(jobs.tier_for(by_field, "bob"))
    assert (refused.value.code, refused.value.param) == ("forbidden", "its field")
    assert asyncio.run(jobs.tier_for(by_field, EVERYONE)) == asked


@pytest.mark.parametrize(
    ("path", "sent", "headers", "param"),
    [
        (NATIVE, {"priority": "high"}, {}, "priority"),
        (NATIVE, {}, {HEADER: "priority"}, HEADER),
        (CHAT, {"service_tier": "priority"}, {}, "service_tier"),
        (CHAT, {"priority": -1}, {}, "priority"),
        (CHAT, {"service_tier": "auto"}, {HEADER: "priority"}, HEADER),
    ],
)
def test_what_asks_for_too_high_a_class_is_named(
    redis: Redis, path: str, sent: dict[str, Any], headers: dict[str, str], param: str
) -> None:
    announce(redis)
    redis.hset(HIGHEST_TIER, "bob", "default")
    with TestClient(fake_api(redis, Settings(api_keys=(f"bob:{BOBS}",)))) as client:
        client.headers["Authorization"] = f"Bearer {BOBS}"
        whole = (chat_body() if path == NATIVE else body(path)) | sent
        refused = client.post(path, json=whole, headers=headers)
    assert refused.status_code == 403
    answer = refused.json().get("error", refused.json())
    assert (answer["code"], answer.get("param", param)) == ("forbidden", param)
    assert answer.get("message", answer.get("detail")).startswith(f"{param} asks for priority")
