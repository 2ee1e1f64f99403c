"""An engine on the echo backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chats import Loads, Reader
from worker.backends.echo import ECHO_MODEL
from worker.engine.context import EngineContext
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def engine(reader: Reader, loads: Loads) -> Iterator[Engine]:
    find = {"echo": ECHO_MODEL}.get
    models = LoadedModels(find, loads, budget=1 << 30, available=lambda: 1 << 30)
    running = Engine(models, reader, context=EngineContext(lambda: 91.4))
    running.start()
    yield running
    running.close()
