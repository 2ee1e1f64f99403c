"""One service of two slots for each file; each test leaves it idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.rq_tools.rq_service import SLOTS
from tests.support.service_support import RunningService, wait
from wire import keys


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two slots, twenty milliseconds a token."""
    settings = {"MLXQ_ECHO_DELAY_MS": "20", "MLXQ_SLOTS": str(SLOTS)}
    running = RunningService(tmp_path_factory.mktemp("rq"), **settings)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def quiet(service: RunningService) -> Iterator[None]:
    """Each test leaves an idle service that isn't suspended."""
    yield
    service.redis.delete("rq:suspended")
    service.http.call("POST", "/api/engine/chat/stop")
    wait(lambda: service.http.call("GET", "/api/engine/status")[1]["running_total"] == 0)
    assert service.redis.zcard(keys.live("everyone")) == 0
    wait(lambda: service.queue.started_job_registry.count == 0)
