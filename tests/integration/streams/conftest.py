"""A Redis server and an API server in a thread, once for each file; the tests write the token logs
in place of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.integration.streams.served_api import Running, serving
from tests.support.api_support import announce


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.open()
    yield server
    server.close()


@pytest.fixture(scope="module")
def process(store: EmbeddedRedis) -> Iterator[Running]:
    with serving(store.url) as running:
        yield running


@pytest.fixture
def api(process: Running) -> Iterator[Running]:
    process.redis.flushall()
    announce(process.redis)
    yield process
    while process.streams:
        process.streams.pop().close()
