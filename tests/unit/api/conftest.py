"""An empty Redis in memory for each test, and the API over it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakeredis import FakeRedis, FakeServer
from starlette.testclient import TestClient

from tests.support.fake_api import fake_api, fake_redis, server_of


@pytest.fixture
def redis() -> FakeRedis:
    return fake_redis()


@pytest.fixture
def server(redis: FakeRedis) -> FakeServer:
    return server_of(redis)


@pytest.fixture
def client(redis: FakeRedis) -> Iterator[TestClient]:
    with TestClient(fake_api(redis)) as client:
        yield client
