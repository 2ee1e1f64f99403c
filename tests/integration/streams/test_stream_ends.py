"""Streams whose chat is stopped, lost, deleted or left by its last reader."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import httpx2

from api.chat.disconnects import DisconnectWatcher
from api.deps import find_service
from api.jobs.queue import JobQueue
from api.jobs.relay import Relay
from api.monitoring.status_stream import StatusStream
from api.redis_client import connect
from api.registry import RegistryReader
from tests.integration.streams.served_api import CHAT, USAGE, Running, rq_noise
from tests.support.api_support import LIMIT_S, QUEUE, announce, wait_for
from wire import keys


def test_stopping_a_queued_chat_ends_its_stream(api: Running) -> None:
    stream, other = api.chat(**USAGE), api.chat()
    assert httpx2.post(
        f"{api.url}{CHAT}/stop", json={"job_id": stream.job_id}, timeout=LIMIT_S
    ).json() == {"status": "stopped"}
    [(sequence, frame)] = stream.rest()
    assert (sequence, frame["done"], frame["finish_reason"]) == (1, True, "cancelled")
    assert api.redis.lrange(QUEUE, 0, -1) == [other.job_id.encode()]
    api.writer(other.job_id).finish()
    other.rest()
    assert (
        httpx2.post(
            f"{api.url}{CHAT}/stop", json={"job_id": stream.job_id}, timeout=LIMIT_S
        ).status_code
        == 200
    )


def test_stop_without_a_body_stops_all_chats(api: Running) -> None:
    streams = [api.chat() for _ in range(3)]
    assert httpx2.post(f"{api.url}{CHAT}/stop", timeout=LIMIT_S).status_code == 200
    assert all(stream.rest() == [(1, {"text": "", "done": True})] for stream in streams)


def test_a_job_that_redis_lost_ends_with_an_error(api: Running) -> None:
    stream = api.chat()
    began = time.monotonic()
    api.redis.flushall()
    [(_, frame)] = stream.rest()
    assert (frame["done"], frame["code"]) == (True, "job_lost")
    assert time.monotonic() - began < 10


@rq_noise
def test_a_queued_job_deleted_from_the_dashboard_ends_with_an_error(api: Running) -> None:
    stream = api.chat()
    assert httpx2.delete(f"{api.url}/rq/job/{stream.job_id}", timeout=LIMIT_S).status_code == 200
    assert stream.rest()[-1][1]["code"] == "job_lost"


def attend(api: Running, enough: Callable[[], object]) -> None:
    """Run a fast disconnect watcher beside the server's own until the condition holds."""

    async def run() -> None:
        clients = connect(api.redis_url)
        jobs = JobQueue(clients, find_service(api.app, RegistryReader), 10)
        task = asyncio.create_task(
            DisconnectWatcher(clients.waiting, find_service(api.app, Relay), jobs, 0.05, 2.0).run()
        )
        deadline = time.monotonic() + LIMIT_S
        while not enough() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task], timeout=LIMIT_S)
        await clients.close()

    asyncio.run(run())


def test_a_chat_without_readers_is_stopped_and_others_are_not(api: Running) -> None:
    left, kept, read = api.chat(), api.chat(on_disconnect="continue"), api.chat()
    for stream in (left, kept):
        stream.close()
        api.streams.remove(stream)
    wait_for(lambda: len(find_service(api.app, Relay).jobs()) == 1)
    api.redis.zadd(keys.ABANDONED_AFTER, {left.job_id: 1}, xx=True)
    attend(api, lambda: api.redis.exists(keys.cancel(left.job_id)))
    assert api.redis.exists(keys.cancel(left.job_id))
    assert not api.redis.exists(keys.cancel(kept.job_id))
    assert not api.redis.exists(keys.cancel(read.job_id))


def test_a_reader_who_comes_back_is_in_time(api: Running) -> None:
    stream = api.chat()
    api.redis.zadd(keys.ABANDONED_AFTER, {stream.job_id: 1}, xx=True)
    api.events(stream.job_id)
    score: Any = api.redis.zscore(keys.ABANDONED_AFTER, stream.job_id)
    assert score > 1


def test_a_status_stream_ends_with_its_client_and_nobody_looks_any_more(api: Running) -> None:
    announce(api.redis)
    with httpx2.Client(timeout=LIMIT_S, verify=False) as client:
        for _ in range(2):
            with client.stream("GET", f"{api.url}/api/engine/status/events") as answer:
                lines = answer.iter_lines()
                names = [line for line in itertools.islice(lines, 7) if line.startswith("event: ")]
                assert names == ["event: history", "event: status", "event: status"]
                assert find_service(api.app, StatusStream).watched
            wait_for(lambda: not find_service(api.app, StatusStream).watched)
