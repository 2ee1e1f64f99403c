"""The default model: one rule for the list, native chats, OpenAI's routes and batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import fakeredis
import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from api.errors import ApiError
from api.registry import RegistryReader
from tests.support.api_support import MODEL, announce, status
from wire import keys
from wire.model_registry import Registry
from wire.worker_status import LoadedModel

DEMO = MODEL.model_copy(update={"id": "demo", "name": "a-demo", "repository": None, "demo": True})
OTHER = MODEL.model_copy(update={"id": "other", "name": "Zeta", "repository": None})
COMING = MODEL.model_copy(update={"id": "coming", "name": "Aa", "downloaded": False})


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    redis = fakeredis.FakeRedis(server=server)
    announce(redis, status(models=()))
    for record in (DEMO, OTHER, COMING):
        Registry(redis).put(record)
    return server


@pytest.fixture
def chosen(server: FakeServer) -> Callable[..., str | None]:
    def choose(owner: str = keys.EVERYONE, default_model: str = "") -> str | None:
        async def ask() -> str | None:
            redis = FakeAsyncRedis(server=server)
            record = await RegistryReader(redis, default_model=default_model).default(owner)
            return None if record is None else record.id

        return asyncio.run(ask())

    return choose


def load(server: FakeServer, *ids: str) -> None:
    rows = tuple(LoadedModel(id=one, kv_quantization=None, bytes=1) for one in ids)
    announce(fakeredis.FakeRedis(server=server), status(models=rows))


def test_the_first_that_is_no_demo_then_the_demo(
    server: FakeServer, chosen: Callable[..., str | None]
) -> None:
    assert chosen() == MODEL.id  # "Tiny Chat" comes before "Zeta", and "a-demo" is a demo.
    registry = Registry(fakeredis.FakeRedis(server=server))
    registry.remove(MODEL.id)
    assert chosen() == OTHER.id
    registry.remove(OTHER.id)
    assert chosen() == DEMO.id
    registry.remove(DEMO.id)
    assert chosen() is None  # one that is being downloaded can't answer


def test_each_caller_keeps_its_own_while_it_is_loaded(
    server: FakeServer, chosen: Callable[..., str | None]
) -> None:
    redis = fakeredis.FakeRedis(server=server)
    redis.hset(keys.LAST_MODELS, mapping={"ann": OTHER.id, "bob": DEMO.id})
    assert chosen("ann") == chosen("bob") == MODEL.id
    load(server, OTHER.id, DEMO.id)
    assert [chosen("ann"), chosen("new")] == [OTHER.id, MODEL.id]
    assert chosen("bob") == MODEL.id  # who has tried a demo model, and then got a real one
    redis.hset(keys.LAST_MODELS, "ann", "gone")
    assert chosen("ann") == MODEL.id


def test_of_demo_models_alone_the_one_used_last_stays(
    server: FakeServer, chosen: Callable[..., str | None]
) -> None:
    redis = fakeredis.FakeRedis(server=server)
    registry = Registry(redis)
    another = DEMO.model_copy(update={"id": "demo-2", "name": "b-demo"})
    registry.put(another)
    load(server, another.id)
    for record in (MODEL, OTHER):
        registry.remove(record.id)
    redis.hset(keys.LAST_MODELS, mapping={"ann": DEMO.id, "bob": another.id})
    assert [chosen("ann"), chosen("bob"), chosen("new")] == [DEMO.id, another.id, DEMO.id]


def test_the_setting_wins_and_is_not_replaced_where_its_model_is_missing(
    server: FakeServer, chosen: Callable[..., str | None]
) -> None:
    load(server, DEMO.id)
    fakeredis.FakeRedis(server=server).hset(keys.LAST_MODELS, keys.EVERYONE, DEMO.id)
    assert chosen(default_model="Zeta") == OTHER.id
    assert chosen(default_model="Aa") is None
    reader = RegistryReader(FakeAsyncRedis(server=server), default_model="nothing")
    with pytest.raises(ApiError, match="MLXQ_DEFAULT_MODEL"):
        asyncio.run(reader.find_to_serve(None, keys.EVERYONE))
