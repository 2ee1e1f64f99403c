"""An API whose chats with images go to a fake worker, and the batch scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.support import picture_files as files
from tests.support.api_support import MODEL, FakeWorker, announce
from tests.support.fake_api import fake_api, fake_redis
from tests.support.image_support import ImageApi
from tests.support.lanes import Lanes
from wire.model_registry import Registry


@pytest.fixture(scope="module")
def image_api_running() -> Iterator[ImageApi]:
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(MODEL.model_copy(update={"is_vision": True}))
    with TestClient(fake_api(redis)) as client, FakeWorker(redis).running() as worker:
        api = ImageApi(client, worker, redis)
        # so that the first test's image doesn't wait for a process to start
        api.kept(files.plain())
        yield api


@pytest.fixture
def images(image_api_running: ImageApi) -> ImageApi:
    image_api_running.worker.settle()
    image_api_running.worker.seen.clear()
    return image_api_running


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes()
    yield made
    made.close()
