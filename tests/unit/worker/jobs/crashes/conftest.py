"""An empty Redis, its chat queue, and the clock of the recovering process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fakeredis import FakeRedis
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from wire import keys


@pytest.fixture
def redis() -> Iterator[Redis]:
    with FakeRedis() as client:
        yield client


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(keys.CHAT_QUEUE, connection=redis, serializer=JSONSerializer)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the recovering process, in seconds: the last entry."""
    times = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[-1])
    return times
