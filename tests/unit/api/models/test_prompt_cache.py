"""Deleting cached prompts: what the route asks of workers, and when it says that they have."""

from __future__ import annotations

import secrets

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.models import prompt_cache
from tests.support.api_support import announce, status
from wire import disk_cache
from wire.disk_cache import DiskCacheUse

ROUTE = "/api/engine/prompt-cache"


def _tell(redis: Redis, name: str, **use: object) -> None:
    announce(redis, status(name))
    redis.set(disk_cache.use_key(name), DiskCacheUse(**use).model_dump_json())  # type: ignore[arg-type]


def test_every_worker_confirms_a_deletion(
    client: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "mark")
    monkeypatch.setattr(prompt_cache, "WAIT_S", 0.0)
    _tell(redis, "a.1", folder="/a", cleared="mark")
    _tell(redis, "b.1", folder="/b", cleared="an earlier mark")
    assert client.delete(ROUTE).json() == {"status": "deleting", "workers": 1}
    _tell(redis, "b.1", folder="/b", cleared="mark")
    assert client.delete(ROUTE).json() == {"status": "deleted", "workers": 2}
    assert redis.get(disk_cache.CLEARED) == b"mark"


def test_the_status_has_what_is_on_the_disks(client: TestClient, redis: Redis) -> None:
    _tell(redis, "a.1", folder="/a", bytes=7, hits=3, cleared="mark")
    _tell(redis, "b.1")  # switched off
    announce(redis, status("c.1"))  # of an earlier release
    workers = client.get("/api/engine/status").json()["workers"]
    found = {row["name"]: row["disk_cache"] for row in workers}
    assert (found["a.1"]["bytes"], found["a.1"]["hits"]) == (7, 3)
    assert "cleared" not in found["a.1"]
    assert found["b.1"] is None
    assert found["c.1"] is None
    shown = client.get("/metrics").text
    assert 'mlxq_disk_cache_hits_total{worker="a"} 3.0' in shown
    assert 'mlxq_disk_cache_bytes{worker="b"}' not in shown
