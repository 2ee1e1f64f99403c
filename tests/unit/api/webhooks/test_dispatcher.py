"""Deliveries: by one process, in order, again under the same id until they are accepted or three
days have passed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from redis import Redis
from redis.exceptions import RedisError

from api.http.host_names import HostNames
from api.webhooks.deliveries import Deliveries
from api.webhooks.dispatcher import FIRST_PAUSE_S, LONGEST_PAUSE_S, TRIED_FOR_S, Dispatcher, pause_s
from api.webhooks.endpoints import Endpoint, EndpointStore
from api.webhooks.events import EVENT_TYPES, EventType
from api.webhooks.sender import Sender
from tests.support.fake_api import connections
from tests.support.web_support import PUBLIC
from wire.webhooks import outbox
from wire.webhooks.names import COUNTS, LEASE, delivery, due
from wire.webhooks.outbox import OUTBOX


class Bench:
    """A dispatcher over a fake Redis and a fake Internet."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clients = connections(redis)
        self.requests: list[httpx2.Request] = []
        self.status: Callable[[httpx2.Request], int] = lambda _: 200
        self.dispatcher = self.another()
        self.endpoints = self.dispatcher.deliveries.endpoints

    def another(self) -> Dispatcher:
        """The dispatcher of another process."""
        waiting = self.clients.waiting
        transport = httpx2.MockTransport(self._answer)
        sender = Sender(HostNames(), self._resolve, transport)
        return Dispatcher(waiting, Deliveries(waiting, EndpointStore(waiting)), sender)

    async def _resolve(self, _: str) -> list[str]:
        return [PUBLIC]

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(self.status(request), headers={"location": "https://127.0.0.1/"})

    async def endpoint(
        self, owner: str = "ann", types: tuple[EventType, ...] = EVENT_TYPES, **more: Any
    ) -> Endpoint:
        name = more.pop("host", "hook")
        url = f"https://{name}.example/{owner}"
        return await self.endpoints.add(owner, name, url, types, all_keys=more.get("all", False))

    def ends(self, about: str = "response resp_1", owner: str = "ann", how: str = "stop") -> None:
        outbox.note_end(self.redis, about, owner, how)

    async def look(self, dispatcher: Dispatcher | None = None) -> None:
        """A round, and all that it begins to send."""
        one = dispatcher or self.dispatcher
        await one.look()
        while one._sending:
            await asyncio.sleep(0.001)

    def told(self) -> list[tuple[str, str]]:
        bodies = [json.loads(request.content) for request in self.requests]
        return [(body["type"], body["data"]["id"]) for body in bodies]

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]

    def counts(self) -> dict[str, int]:
        stored: Any = self.redis.hgetall(COUNTS)
        return {name.decode(): int(value) for name, value in stored.items()}

    def make_due(self, endpoint: Endpoint) -> None:
        waiting: Any = self.redis.zrange(due(endpoint.id), 0, -1)
        for raw in waiting:
            self.redis.zadd(due(endpoint.id), {raw: 0})


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def run(bench: Bench, test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await test()
        finally:
            await bench.clients.close()

    asyncio.run(whole())


def test_an_end_is_told_to_the_endpoints_that_want_it_without_any_text(bench: Bench) -> None:
    async def test() -> None:
        await bench.endpoint(host="all")
        await bench.endpoint(host="batches", types=("batch.completed",))
        await bench.endpoint(owner="bob", host="bobs")
        await bench.endpoint(owner="root", host="roots", all=True)
        bench.ends()
        await bench.look()
        hosts = sorted(request.headers["host"] for request in bench.requests)
        assert hosts == ["all.example", "roots.example"]
        assert len(set(bench.ids())) == 2
        body = json.loads(bench.requests[0].content)
        assert set(body) == {"object", "id", "type", "created_at", "data"}
        assert (body["object"], body["data"]) == ("event", {"id": "resp_1"})
        assert len({json.loads(r.content)["id"] for r in bench.requests}) == 1
        assert bench.counts() == {"delivered": 2}
        assert not bench.redis.keys("mlxq:webhook:*")
        assert not bench.redis.xlen(OUTBOX)

    run(bench, test)


@pytest.mark.parametrize("status", [301, 307, 400, 410, 500])
def test_what_is_not_accepted_is_sent_again_under_its_id_and_no_redirect_is_followed(
    bench: Bench, status: int
) -> None:
    async def test() -> None:
        endpoint = await bench.endpoint()
        bench.ends()
        bench.status = lambda _: status
        await bench.look()
        assert [request.url.host for request in bench.requests] == [PUBLIC]
        waiting: Any = bench.redis.zrange(due(endpoint.id), 0, -1, withscores=True)
        [(_, at)] = waiting
        ahead_s = at / 1000 - bench.redis.time()[0]  # type: ignore[index]
        assert 0.7 * FIRST_PAUSE_S < ahead_s < 1.3 * FIRST_PAUSE_S + 1
        await bench.look()
        assert len(bench.requests) == 1
        bench.make_due(endpoint)
        bench.status = lambda _: 204
        await bench.look()
        assert len(bench.requests) == 2
        assert len(set(bench.ids())) == 1
        assert bench.counts() == {"delivered": 1}

    run(bench, test)


def test_pauses_grow_up_to_a_bound_and_after_three_days_it_is_given_up(bench: Bench) -> None:
    assert [pause_s(n) for n in (1, 2, 3)] == [5, 20, 80]
    assert pause_s(8) == pause_s(10_000) == LONGEST_PAUSE_S

    async def test() -> None:
        endpoint = await bench.endpoint()
        old = bench.redis.time()[0] - TRIED_FOR_S + 1  # type: ignore[index]
        entry = {"of": "chat 1", "owner": "ann", "how": "stop"}
        bench.redis.xadd(OUTBOX, entry, id=f"{old * 1000}-0")  # type: ignore[arg-type]
        bench.status = lambda _: 503
        await bench.look()
        assert bench.counts() == {"failed": 1}
        assert not bench.redis.exists(due(endpoint.id))

    run(bench, test)


def test_one_process_sends_and_another_takes_over_under_the_same_ids(bench: Bench) -> None:
    async def test() -> None:
        endpoint, other = await bench.endpoint(), bench.another()
        bench.ends()
        bench.status = lambda _: 500
        await bench.look()
        bench.make_due(endpoint)
        await bench.look(other)
        assert len(bench.requests) == 1
        bench.redis.delete(LEASE)  # It expires, where its holder was killed.
        await bench.look(other)
        assert len(bench.requests) == 2
        assert len(set(bench.ids())) == 1
        bench.make_due(endpoint)
        await bench.look()
        assert len(bench.requests) == 2

    run(bench, test)


def test_what_was_sent_and_not_recorded_is_sent_again_under_its_id(bench: Bench) -> None:
    async def test() -> None:
        endpoint = await bench.endpoint()
        bench.ends()
        entry: Any = bench.redis.xrange(OUTBOX)
        await bench.look()
        # As if the process had been killed before it wrote any of this down.
        bench.redis.delete(OUTBOX)
        bench.redis.xadd(OUTBOX, entry[0][1], id=entry[0][0])
        await bench.look()
        assert len(bench.requests) == 2
        assert len(set(bench.ids())) == 1
        assert not bench.redis.exists(due(endpoint.id))

    run(bench, test)


def test_an_endpoint_that_answers_nothing_holds_up_no_other(bench: Bench) -> None:
    async def test() -> None:
        await bench.endpoint(host="dead")
        await bench.endpoint(host="well")
        for number in range(3):
            bench.ends(f"chat {number}")

        def status(request: httpx2.Request) -> int:
            if request.headers["host"] == "dead.example":
                raise httpx2.ConnectError("refused")
            return 200

        bench.status = status
        await bench.look()
        hosts = [request.headers["host"] for request in bench.requests]
        assert (hosts.count("well.example"), hosts.count("dead.example")) == (3, 1)
        assert bench.counts() == {"delivered": 3}

    run(bench, test)


def test_a_removed_endpoint_takes_its_deliveries_along(bench: Bench) -> None:
    async def test() -> None:
        endpoint = await bench.endpoint()
        bench.ends()
        bench.status = lambda _: 500
        await bench.look()
        deliveries = bench.dispatcher.deliveries
        bench.make_due(endpoint)
        [waiting] = await deliveries.due_now(endpoint, 9)
        await deliveries.remove(endpoint)
        await deliveries.put_off(endpoint, waiting, 1)  # its try ends after that
        assert not bench.redis.exists(due(endpoint.id), delivery(waiting.id))
        await bench.look()
        assert len(bench.requests) == 1

    run(bench, test)


def test_beyond_the_bound_new_ends_are_given_up_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.deliveries.MOST_WAITING", 3)

    async def test() -> None:
        endpoint = await bench.endpoint()
        far = 1 << 60
        bench.redis.zadd(due(endpoint.id), {str(n): far for n in range(4)})
        bench.ends()
        await bench.look()
        assert (bench.requests, bench.counts()) == ([], {"failed": 1})

    run(bench, test)


def test_without_redis_a_round_is_tried_again(bench: Bench, server: Any) -> None:
    async def test() -> None:
        await bench.endpoint()
        bench.ends()
        server.connected = False
        with pytest.raises(RedisError):
            await bench.look()
        server.connected = True
        await bench.look()
        assert bench.told() == [("response.completed", "resp_1")]

    run(bench, test)
