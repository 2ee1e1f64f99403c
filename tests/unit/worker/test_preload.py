"""Pinned models at a worker's start: loaded as they were pinned, and no reason not to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakeredis import FakeRedis

from tests.support.chats import Loads, Reader
from wire.models import pins
from worker import preload
from worker.backends.echo import ECHO_MODEL
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.models.folders import ModelFolders
from worker.models.loaded import LoadedModels


class Start:
    """A worker that starts, with one model that is pinned and one that is gone."""

    def __init__(self) -> None:
        self.redis, self.loads = FakeRedis(), Loads()
        self.redis.hset(pins.PINNED_MODELS, ECHO_MODEL.id, '{"kv_quantization":8,"later":1}')
        self.redis.hset(pins.PINNED_MODELS, "gone", "not JSON")
        self.folders = ModelFolders([], echo=ECHO_MODEL)
        self.folders.scan()
        self.models = LoadedModels(
            self.folders.find, self.loads, budget=1 << 30, available=lambda: 1 << 30
        )
        self.engine = Engine(self.models, Reader())
        self.engine.start()

    def run(self) -> list[tuple[str, int | None]]:
        records = preload.pinned(self.redis, self.folders)
        preload.start(self.redis, self.engine, records).join()
        return [(key.model_id, key.kv_quantization) for key, _ in self.models.resident()]


@pytest.fixture
def start() -> Iterator[Start]:
    made = Start()
    yield made
    made.engine.close()


def test_a_pinned_model_is_loaded_with_its_cache(start: Start) -> None:
    assert start.run() == [("echo", 8)]
    record = start.folders.find("echo")
    assert record is not None
    assert record.kv_quantization == 8
    assert not start.redis.exists(pins.PRELOADS)


def test_a_model_that_cannot_be_loaded_is_told_of_and_tried_at_the_next_start(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start.loads.fault = WorkerError("load_failed", "Its weights are broken.")
    for _ in range(preload.MOST_TRIES + 1):
        assert start.run() == []
    assert "Its weights are broken." in caplog.text
    start.loads.fault = None
    assert start.run() == [("echo", 8)]


def test_a_load_that_ends_its_workers_is_not_tried_for_ever(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start.redis.hset(pins.PRELOADS, "echo", preload.MOST_TRIES)  # Each began it and was gone.
    assert start.run() == []
    assert "has ended its workers" in caplog.text
