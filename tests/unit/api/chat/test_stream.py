"""A stream without events checks whether the job can still end; an end that was read stays one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisAway

from api.chat import stream as streams
from api.chat.stream import Stream, StreamOptions
from api.jobs.reader import Reader
from api.jobs.records import JobState
from api.jobs.relay import Relay
from api.openai.responses import ChatAnswer
from api.openai.streaming import ChunkStream
from api.serving.reading import Collected
from wire.log_entries import Entry, decode, encode
from wire.messages import Delta, Event, Failed, Finished

JOB = "a" * 32
TEXT, END = Delta("Hello", (1,)), Finished("stop")
LOOK_AGAIN_S = 0.02


def entry(number: int, event: Event) -> Entry:
    return decode(encode(JOB, number, event).encode())


class Log:
    """A log whose events are not published. With ``ends_as_asked`` it ends while the job's state is
    read."""

    def __init__(self, *, ends_as_asked: bool) -> None:
        self.entries: list[Entry] = []
        self.looks = 0
        self.away = False
        self._ends = ends_as_asked

    async def xrange(self, _: str, min: str, count: int) -> list[Any]:
        if self.away:
            raise RedisAway
        after = int(min.split("-")[0])
        rows = [one for one in self.entries if one.sequence >= after][:count]
        return [(b"", {b"e": encode(JOB, one.sequence, one.event).encode()}) for one in rows]

    async def state(self, _: str) -> JobState:
        self.looks += 1
        if self._ends and not self.entries:
            self.entries = [entry(1, TEXT), entry(2, END)]
        return "ended" if self._ends else "running"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_AGAIN_S", LOOK_AGAIN_S)


def reader_of(log: Log) -> tuple[Relay, Reader]:
    relay = Relay(log)  # type: ignore[arg-type]
    return relay, relay.attach(JOB, replay=False)


def native(reader: Reader, log: Log) -> Stream:
    return Stream(reader, log, StreamOptions(frozenset(), 60.0), "queued")  # type: ignore[arg-type]


def in_chunks(reader: Reader, log: Log) -> Stream:
    return ChunkStream(reader, log, 60.0, ChatAnswer(JOB, 1, "m", "f"))  # type: ignore[arg-type]


def collected(reader: Reader, log: Log) -> Collected:
    return Collected(reader, log)  # type: ignore[arg-type]


async def all_of(stream: Stream) -> str:
    return b"".join([chunk async for chunk in stream]).decode()


def test_an_answer_whose_end_arrives_during_the_look_is_collected_whole() -> None:
    async def run() -> list[Event]:
        log = Log(ends_as_asked=True)
        waiting = collected(reader_of(log)[1], log)
        await waiting.collect()
        return waiting.events

    assert asyncio.run(run()) == [TEXT, END]


@pytest.mark.parametrize("kind", [native, in_chunks])
def test_a_stream_whose_end_arrives_during_the_look_ends_well(
    kind: Callable[[Reader, Log], Stream],
) -> None:
    async def run() -> str:
        log = Log(ends_as_asked=True)
        return await all_of(kind(reader_of(log)[1], log))

    stream = asyncio.run(run())
    assert "Hello" in stream
    assert "expired" not in stream
    assert stream.count('"done": true') + stream.count("[DONE]") == 1


def test_a_log_that_can_not_be_read_during_the_look_has_not_expired() -> None:
    async def run() -> list[Event]:
        log = Log(ends_as_asked=True)
        log.away = True
        waiting = collected(reader_of(log)[1], log)
        reading = asyncio.create_task(waiting.collect())
        while log.looks < 2 and not reading.done():
            await asyncio.sleep(0.005)
        log.away = False
        await reading
        return waiting.events

    assert asyncio.run(run()) == [TEXT, END]


@pytest.mark.parametrize(("events", "looks"), [(100, 0), (0, 1)])
def test_an_answer_that_goes_on_is_not_looked_after(
    monkeypatch: pytest.MonkeyPatch, events: int, looks: int
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])  # Also that of the loop.

    async def run() -> int:
        log = Log(ends_as_asked=False)
        relay, reader = reader_of(log)
        reading = asyncio.create_task(collected(reader, log).collect())
        for number in range(1, 101):
            now[0] += LOOK_AGAIN_S / 20
            if number <= events:
                reader.put(entry(number, Delta("x", (1,))))
            for _ in range(5):  # It is read.
                await asyncio.sleep(0)
        assert relay.open == 1
        reader.put(entry(events + 1, END))
        await reading
        return log.looks

    assert min(asyncio.run(run()), 1) == looks


def test_a_job_that_has_ended_without_a_log_has_expired() -> None:
    async def run() -> list[Event]:
        log = Log(ends_as_asked=False)
        log.state = _ended  # type: ignore[method-assign]
        waiting = collected(reader_of(log)[1], log)
        await waiting.collect()
        return waiting.events

    [end] = asyncio.run(run())
    assert isinstance(end, Failed)
    assert end.code == "expired"


async def _ended(_: str) -> JobState:
    return "ended"
