"""The limits of keys in the queue: set for a name, and which class of service its chats get."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.errors import ApiError
from api.jobs.queue import JobQueue
from tests.support.fake_api import fake_api
from wire.access.limits import HIGHEST_TIER, MOST_RUNNING
from wire.keys import EVERYONE
from wire.queueing.turns import Tier

KEYS = "/api/engine/keys"


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
    if highest is not None:
        redis.hset(HIGHEST_TIER, mapping={"bob": highest, EVERYONE: "flex"})
    if used is not None:
        assert asyncio.run(jobs.tier_for(asked, "bob")) == used
        return
    with pytest.raises(ApiError) as refused:
        asyncio.run(jobs.tier_for(asked, "bob"))
    assert (refused.value.code, refused.value.param) == ("forbidden", "service_tier")
    assert asyncio.run(jobs.tier_for(asked, EVERYONE)) == asked
