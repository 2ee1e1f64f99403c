"""What operators see: the status with its history and recent jobs, and one read of Redis a second
for all viewers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis import Redis
from starlette.testclient import TestClient

from api.batches.quota import BatchQuota
from api.batches.store import BatchStore
from api.jobs.records import JobRecords
from api.monitoring import status_stream as watching
from api.monitoring.history import ROW_S, History
from api.monitoring.overview import StatusReader
from api.monitoring.status_stream import StatusStream
from api.registry import RegistryReader
from tests.support.api_support import MODEL, LogWriter, announce, status
from wire import keys
from wire.messages import Failed, Usage
from wire.worker_status import Sample

NOW_MS = 1_700_000_000_000


def overview(server: FakeServer) -> StatusReader:
    redis = FakeAsyncRedis(server=server)
    store = BatchStore(redis, quota=BatchQuota(redis, 1), lifetime_s=1)
    return StatusReader(redis, RegistryReader(redis), JobRecords(redis), store, 1000)


def sample(redis: Redis, at_ms: int, **fields: Any) -> None:
    """Add to the history what a worker adds every second."""
    known = {
        "machine": "a",
        "seconds": 1.0,
        "tokens": 0,
        "running": 0,
        "waiting": 0,
        "first_tokens": 0,
        "ttft_ms": 0,
    }
    redis.xadd(keys.HISTORY, {"e": Sample(**(known | fields)).model_dump_json()}, id=f"{at_ms}-*")


def end(redis: Redis, job_id: str, *, queue: str = "chat") -> None:
    redis.hset(
        keys.job(job_id),
        mapping={"kind": "chat", "model_id": MODEL.id, "queue": queue, "owner": "everyone"},
    )
    LogWriter(redis, job_id).finish()


def rows(server: FakeServer, now_ms: int = NOW_MS) -> list[dict[str, Any]]:
    return asyncio.run(History(FakeAsyncRedis(server=server)).rows(now_ms))


def test_workers_of_one_moment_add_up_and_one_workers_samples_are_averaged(
    server: FakeServer, redis: Redis
) -> None:
    sample(redis, NOW_MS, machine="a", tokens=10, running=2, waiting=5)
    sample(redis, NOW_MS + 1000, machine="a", tokens=30, running=4, waiting=3)
    sample(redis, NOW_MS + 1000, machine="b", tokens=100, seconds=2.0, running=1)
    [row] = rows(server)
    assert row["at"] == NOW_MS // 1000
    assert row["tokens_per_second"] == 20 + 50
    assert (row["running"], row["waiting"]) == (4, 5)


def test_time_to_the_first_token_is_a_mean_over_chats_and_nothing_without_any(
    server: FakeServer, redis: Redis
) -> None:
    sample(redis, NOW_MS, first_tokens=1, ttft_ms=10)
    sample(redis, NOW_MS, machine="b", first_tokens=3, ttft_ms=90)
    sample(redis, NOW_MS + ROW_S * 1000)
    assert [row["ttft_ms"] for row in rows(server)] == [25.0, None]


def test_the_history_reads_on_where_it_was_and_forgets_what_is_old(
    server: FakeServer, redis: Redis
) -> None:
    async def read() -> list[list[int]]:
        history = History(FakeAsyncRedis(server=server))
        sample(redis, NOW_MS)
        first = await history.rows(NOW_MS)
        sample(redis, NOW_MS + 200_000)
        second = await history.rows(NOW_MS + 200_000)
        third = await history.rows(NOW_MS + 400_000)
        return [[row["at"] - NOW_MS // 1000 for row in rows] for rows in (first, second, third)]

    assert asyncio.run(read()) == [[0], [0, 200], [200]]


def test_two_who_ask_at_once_count_nothing_twice(server: FakeServer, redis: Redis) -> None:
    class Slow(FakeAsyncRedis):
        async def xrange(self, *args: Any, **kwargs: Any) -> Any:
            found = await super().xrange(*args, **kwargs)
            await asyncio.sleep(0)
            return found

    async def read() -> list[int]:
        history = History(Slow(server=server))
        await asyncio.gather(*(history.rows(NOW_MS) for _ in range(5)))
        return [row.first_tokens for row in history._rows.values()]

    sample(redis, NOW_MS, first_tokens=1, ttft_ms=10)
    assert asyncio.run(read()) == [1]


def test_another_redis_with_an_earlier_clock_is_read_from_its_start(
    server: FakeServer, redis: Redis
) -> None:
    async def read() -> list[list[float]]:
        history = History(FakeAsyncRedis(server=server))
        sample(redis, NOW_MS, tokens=1)
        first = await history.rows(NOW_MS)
        redis.delete(keys.HISTORY)
        sample(redis, NOW_MS - 3_600_000, tokens=2)
        second = await history.rows(NOW_MS - 3_600_000)
        return [[row["tokens_per_second"] for row in rows] for rows in (first, second)]

    assert asyncio.run(read()) == [[1.0], [2.0]]


def test_a_sample_of_another_version_is_left_out(server: FakeServer, redis: Redis) -> None:
    redis.xadd(keys.HISTORY, {"e": '{"colour": "red"}'}, id=f"{NOW_MS}-0")
    sample(redis, NOW_MS, tokens=3)
    assert [row["tokens_per_second"] for row in rows(server)] == [3.0]


def test_recent_jobs_are_the_last_ones_newest_first_with_their_timings(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    for number in range(keys.RECENT_LENGTH + 3):
        end(redis, f"{number:032x}")
    redis.hset(
        keys.job("f" * 32),
        mapping={"kind": "chat", "model_id": "gone", "queue": "chat", "owner": "everyone"},
    )
    LogWriter(redis, "f" * 32).write(Failed("engine_failed", "It broke.", Usage(1, 2, 0)))
    answer = client.get("/api/engine/status").json()
    failed, last, *_ = recent = answer["recent"]
    assert len(recent) == keys.RECENT_LENGTH
    assert (failed["finish_reason"], failed["code"], failed["model"]) == (
        "error",
        "engine_failed",
        "gone",
    )
    assert (last["job_id"], last["finish_reason"], last["model"]) == (
        f"{52:032x}",
        "stop",
        MODEL.name,
    )
    assert (
        last["completion_tokens"],
        last["ttft_ms"],
        last["queue_ms"],
        last["tokens_per_second"],
    ) == (2, 4, 1, 50)
    assert answer["ended"] == {"stop": 53, "error:engine_failed": 1}


def test_the_status_says_who_asks_how_old_heartbeats_are_and_how_many_run(
    client: TestClient, redis: Redis
) -> None:
    seconds, _ = redis.time()
    announce(redis, status("a.1", beat_ms=(seconds - 3) * 1000, running_total=7))
    answer = client.get("/api/engine/status").json()
    assert answer["you"] == "everyone"
    assert answer["running_total"] == 7
    assert 2000 <= answer["workers"][0]["heartbeat_age_ms"] < 60_000
    assert answer["running"][0]["model"] == MODEL.name


def test_the_status_has_the_model_folders_of_workers_that_tell_them(
    client: TestClient, redis: Redis
) -> None:
    announce(redis, status("a.1"))
    announce(redis, status("b.1"))  # of an earlier release
    redis.set(keys.worker_folders("a.1"), '["/models", "/more"]')
    workers = client.get("/api/engine/status").json()["workers"]
    told = {row["name"]: row["model_folders"] for row in workers}
    assert told == {"a.1": ["/models", "/more"], "b.1": []}


def read_events(chunk: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in chunk.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_all_who_watch_share_one_look_and_it_ends_with_the_last(
    server: FakeServer, redis: Redis
) -> None:
    announce(redis)
    sample(redis, NOW_MS)

    async def run() -> None:
        watch = StatusStream(overview(server))
        readers = [aiter(watch.join()) for _ in range(20)]
        first = await asyncio.gather(*(anext(reader) for reader in readers))
        assert (len(set(first)), watch.looks) == (1, 1)
        assert [name for name, _ in read_events(first[0])] == ["history", "status"]
        second = await asyncio.gather(*(anext(reader) for reader in readers))
        assert (len(set(second)), watch.looks) == (1, 2)
        [(name, data)] = read_events(second[0])
        assert (name, "tail" in data, "history" in data) == ("status", True, False)
        task = watch._task
        for _ in readers:
            watch.leave()
        assert task is not None
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_redis_away_is_an_event_and_the_stream_goes_on(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVERY_S", 0.1)

    async def run() -> None:
        watch = StatusStream(overview(server))
        reader = aiter(watch.join())
        await anext(reader)
        server.connected = False
        assert [name for name, _ in read_events(await anext(reader))] == ["away"]
        server.connected = True
        assert [name for name, _ in read_events(await anext(reader))] == ["status"]
        watch.close()
        assert [chunk async for chunk in reader] == []
        watch.leave()

    asyncio.run(run())


def test_a_reader_who_left_ends_with_the_next_look(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVERY_S", 0.1)

    async def run() -> None:
        watch = StatusStream(overview(server))
        watcher = watch.join()
        reader = aiter(watcher)
        await anext(reader)
        watcher.gone()
        assert [chunk async for chunk in reader] == []
        watch.leave()

    asyncio.run(run())
