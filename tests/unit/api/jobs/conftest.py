"""The queue of jobs over an empty Redis."""

from __future__ import annotations

import pytest
from redis import Redis

from api.jobs.queue import JobQueue
from api.registry import RegistryReader
from tests.support.fake_api import connections


@pytest.fixture
def jobs(redis: Redis) -> JobQueue:
    clients = connections(redis)
    return JobQueue(clients, RegistryReader(clients.waiting), 1000)
