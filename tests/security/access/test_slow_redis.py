"""Keys while Redis answers late or not at all."""

from __future__ import annotations

import asyncio

import pytest

from api.auth import key_store
from api.auth.key_store import KeyStore
from tests.support.fake_api import connections, fake_redis
from wire.access.api_keys import API_KEYS


def test_whether_there_are_keys_is_waited_for_once_and_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Redis that hangs: what a request asks it afterwards takes its time as well."""
    monkeypatch.setattr(key_store, "_PATIENCE_S", 0.1)
    asked: list[str] = []
    now = [0.0]

    async def run() -> list[bool]:
        clients, answers = connections(fake_redis()), asyncio.Event()

        async def exists(name: str) -> int:
            asked.append(name)
            await answers.wait()
            return 1

        store = KeyStore(clients.waiting, there=False, clock=lambda: now[0])
        monkeypatch.setattr(clients.waiting, "exists", exists)
        found = [await store.any()]
        now[0] += 0.1
        found.append(await store.any())
        answers.set()
        assert store._asking is not None
        await store._asking
        found.append(await store.any())
        await clients.close()
        return found

    assert asyncio.run(run()) == [False, False, True]
    assert asked == [API_KEYS]
