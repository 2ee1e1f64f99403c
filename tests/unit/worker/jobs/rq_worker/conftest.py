"""A queue of chats as a worker pops it."""

from __future__ import annotations

import pytest
from fakeredis import FakeRedis
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from wire import keys


@pytest.fixture
def redis() -> Redis:
    return FakeRedis()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(keys.CHAT_QUEUE, connection=redis, serializer=JSONSerializer)
