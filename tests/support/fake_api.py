"""The API over a Redis in memory."""

from __future__ import annotations

from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from fastapi import FastAPI
from redis import Redis

from api.app import create_app
from api.redis_client import Clients
from wire.settings import Settings


def fake_redis() -> FakeRedis:
    """A connection to a new, empty Redis."""
    return FakeRedis(server=FakeServer())


def server_of(redis: Redis) -> FakeServer:
    server: FakeServer = redis.connection_pool.connection_kwargs["server"]
    return server


def connections(redis: Redis) -> Clients:
    """The API's connections, asynchronous and blocking, to the server of ``redis``."""
    server = server_of(redis)
    return Clients(FakeAsyncRedis(server=server), FakeRedis(server=server))


def fake_api(redis: Redis, settings: Settings | None = None) -> FastAPI:
    return create_app(settings or Settings(), connections(redis))
