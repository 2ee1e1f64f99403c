"""Readers of the token log: a position means the same text, whoever wrote the log and however
tokens are grouped in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.jobs.relay import Relay
from wire import keys
from wire.log_entries import UNKNOWN, Entry, decode, encode
from wire.messages import Delta, Event, Finished, Piece, Warning

JOB = "0" * 32
WORDS = [f"w{n} " for n in range(12)]
END = Finished("stop")


def delta(first: int, behind: int) -> Delta:
    """The tokens from one position up to another, as one event."""
    words = WORDS[first:behind]
    pieces = tuple(Piece(1, len(word)) for word in words) if len(words) > 1 else ()
    return Delta("".join(words), tuple(range(first, behind)), pieces=pieces)


def log(*groups: int, end: bool = False, positions: bool = True) -> list[Entry]:
    """A log of so many tokens an event."""
    entries, place = [], 0
    for number, size in enumerate(groups, 1):
        event = delta(place, place + size)
        entries.append(decode(encode(JOB, number, event, place if positions else UNKNOWN).encode()))
        place += size
    if end:
        entries.append(decode(encode(JOB, len(groups) + 1, END).encode()))
    return entries


def line(entry: Entry) -> str:
    marks = f"{int(entry.ends)}"
    if entry.start != UNKNOWN:
        marks = f"0:{entry.start}:{entry.position}"
    return f"{entry.job_id}\t{entry.sequence}\t{entry.kind}\t{marks}\t{entry.frame}\t{entry.more.decode()}"


class OneLog:
    """One job's log, which a test writes and rewrites, and readers of it."""

    def __init__(self) -> None:
        self.redis = FakeAsyncRedis()
        self.relay = Relay(self.redis)
        self.got: list[tuple[int, str]] = []

    def reader(self, cursor: int = 0, *, by_tokens: bool = True) -> Reader:
        return self.relay.attach(JOB, cursor, replay=True, by_tokens=by_tokens)

    async def store(self, entries: list[Entry], attempt: int = 1) -> None:
        """Replace the log."""
        await self.redis.delete(keys.log(JOB))
        for entry in entries:
            await self.redis.xadd(
                keys.log(JOB), {"e": line(entry)}, id=f"{entry.sequence}-{attempt}"
            )

    async def read(self, reader: Reader) -> list[tuple[int, str]]:
        """Read until there is nothing more: ids and texts."""
        texts = []
        while (entries := await reader.batch(0.01)) or reader._behind:
            texts += [(e.position, getattr(e.event, "text", "")) for e in entries]
        return texts


def with_one_log(check: Callable[[OneLog], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await check(OneLog())

    asyncio.run(run())


def text(texts: list[tuple[int, str]]) -> str:
    return "".join(word for _, word in texts)


@pytest.mark.parametrize("cursor", range(13))
@pytest.mark.parametrize("groups", [(1,) * 12, (12,), (1, 2, 3, 4, 2), (5, 1, 6)])
def test_what_follows_a_cursor_is_the_same_text_however_tokens_are_grouped(
    cursor: int, groups: tuple[int, ...]
) -> None:
    async def check(it: OneLog) -> None:
        await it.store(log(*groups, end=True))
        texts = await it.read(it.reader(cursor))
        assert text(texts) == "".join(WORDS[cursor:])
        assert texts[-1] == (13, "")

    with_one_log(check)


@pytest.mark.parametrize("kept", range(5))
@pytest.mark.parametrize("anew", [(1,) * 12, (12,), (3, 3, 3, 3), (2, 4, 6)])
@pytest.mark.parametrize("noticed", [True, False])
def test_a_reader_goes_on_where_it_was_when_the_log_is_written_anew_in_other_groups(
    kept: int, anew: tuple[int, ...], noticed: bool
) -> None:
    async def check(it: OneLog) -> None:
        await it.store(log(1, 2, 3, 1))
        reader = it.reader()
        texts = await it.read(reader)
        assert text(texts) == "".join(WORDS[:7])
        before = (1, 2, 3, 1)[:kept]
        rest, left = [], 12 - sum(before)
        for size in (*anew, *(1,) * 12):
            rest.append(min(size, left))
            left -= rest[-1]
        written = [size for size in (*before, *rest) if size]
        await it.store(log(*written, end=True), attempt=2)
        reader.look_again(in_doubt=noticed)
        texts += await it.read(reader)
        # Unnoticed, a log that was rewritten to fewer entries looks like one without new entries.
        if noticed or len(written) > 4:
            assert text(texts) == "".join(WORDS)
            assert texts[-1] == (13, "")
        assert [place for place, _ in texts] == sorted(place for place, _ in texts)

    with_one_log(check)


def test_a_live_reader_gets_the_rest_of_an_event_that_it_has_seen_half() -> None:
    async def check(it: OneLog) -> None:
        reader = it.reader(5)
        for entry in log(3, 4, 5, end=True):
            reader.put(entry)
        await it.store(log(3, 4, 5, end=True))
        texts = await it.read(reader)
        assert texts == [(7, "w5 w6 "), (12, "".join(WORDS[7:])), (13, "")]

    with_one_log(check)


def test_a_reader_ahead_of_the_log_waits_and_hears_of_an_end_before_its_place() -> None:
    async def check(it: OneLog) -> None:
        await it.store(log(3))
        reader = it.reader(9)
        assert await it.read(reader) == []
        await it.store(log(3, 2, end=True))
        reader.look_again()
        assert await it.read(reader) == [(9, "")]
        assert reader.ended

    with_one_log(check)


def test_a_warning_stands_at_its_place_and_comes_again_only_from_there() -> None:
    async def check(it: OneLog) -> None:
        entries = [decode(encode(JOB, 1, Warning("careful")).encode())]
        entries += [entry._replace(sequence=entry.sequence + 1) for entry in log(2, end=True)]
        await it.store(entries)
        assert await it.read(it.reader()) == [(0, "careful"), (2, "w0 w1 "), (3, "")]
        assert await it.read(it.reader(1)) == [(2, "w1 "), (3, "")]

    with_one_log(check)


def test_the_log_of_a_worker_of_the_first_release_is_counted() -> None:
    async def check(it: OneLog) -> None:
        await it.store(log(1, 1, 3, 1, end=True, positions=False))
        assert await it.read(it.reader(2)) == [(5, "w2 w3 w4 "), (6, "w5 "), (7, "")]

    with_one_log(check)


def test_a_job_that_the_first_release_took_in_has_cursors_that_count_events() -> None:
    async def check(it: OneLog) -> None:
        await it.store(log(1, 3, 2, end=True))
        assert await it.read(it.reader(1, by_tokens=False)) == [
            (2, "w1 w2 w3 "),
            (3, "w4 w5 "),
            (4, ""),
        ]

    with_one_log(check)


@pytest.mark.parametrize(
    ("entries", "last"),
    [
        ([], 0),
        (log(3, 4, end=True), 8),
        (log(3, 4, end=True, positions=False), 8),
        (log(end=True), 1),
    ],
)
def test_the_last_position_of_an_ended_job_tells_whether_anything_is_left(
    entries: list[Event], last: int
) -> None:
    async def check(it: OneLog) -> None:
        await it.store(entries)
        await it.redis.hset(
            keys.job(JOB), mapping={"owner": "o", "kind": "chat", "state": "ended", "version": "2"}
        )
        lookup = JobRecords(it.redis)
        record = await lookup.record(JOB, "o")
        assert record is not None
        assert record.by_tokens
        assert await lookup.last_position(record) == last

    with_one_log(check)
