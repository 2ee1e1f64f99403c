"""A Redis that knows one job, and its token log."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from tests.unit.wire.one_log import JOB
from wire import keys
from wire.token_log import TokenLog


@pytest.fixture
def redis() -> Any:
    server = fakeredis.FakeRedis()
    server.hset(keys.job(JOB), mapping={"owner": "everyone"})
    server.zadd(keys.live("everyone"), {JOB: 1})
    return server


@pytest.fixture
def log(redis: Any) -> TokenLog:
    return TokenLog(redis)
