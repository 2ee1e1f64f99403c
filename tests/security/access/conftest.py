"""The API with keys and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.security.access.keys import ANN, DIGEST, ODD, served
from tests.support.api_support import announce
from tests.support.fake_api import fake_redis
from wire.settings import Settings


@pytest.fixture(scope="module")
def redis() -> Redis:
    redis = fake_redis()
    announce(redis)
    return redis


@pytest.fixture(scope="module")
def with_keys(redis: Redis) -> Iterator[TestClient]:
    named = (f"ann:{ANN}", f"bob:sha256:{DIGEST}", f"odd:{ODD}")
    with served(redis, Settings(api_keys=named, cors_origins=("https://chat.example",))) as client:
        yield client


@pytest.fixture(scope="module")
def without_keys(redis: Redis) -> Iterator[TestClient]:
    with served(redis, Settings(allowed_hosts=("queue.lan", "*.lan.example"))) as client:
        yield client


@pytest.fixture
def client(with_keys: TestClient) -> TestClient:
    with_keys.cookies.clear()
    return with_keys
