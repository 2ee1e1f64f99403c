"""The event writer: first and last events are written at once, fast ones between them together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import fakeredis
import pytest

from tests.support.chats import sequence
from wire import keys
from wire.log_entries import Entry, decode, decode_rows, encode
from wire.messages import Delta, Finished, Piece, Run, ToolCallDelta, Warning
from wire.token_log import Append, TokenLog
from worker.jobs import event_writer
from worker.jobs.event_writer import EventWriter
from worker.jobs.held_logs import merged
from worker.sequence import Sequence

PATIENCE_S = 60.0
NEVER_S = 3600.0


class Written:
    """A writer on a Redis of its own, and what it has written."""

    def __init__(self) -> None:
        self.redis: Any = fakeredis.FakeRedis()
        self.ends: queue.SimpleQueue[Sequence] = queue.SimpleQueue()
        self.writer = EventWriter(self.redis, {"mlx": "1"})

    def ended(self, sequence: Sequence) -> None:
        self.ends.put(sequence)

    def taken_over(self, sequence: Sequence) -> None:
        raise AssertionError(sequence.job_id)

    def forgotten(self, sequence: Sequence) -> None:
        raise AssertionError(sequence.job_id)

    def hold(self, job_id: str) -> Sequence:
        self.redis.hset(keys.job(job_id), mapping={"owner": "everyone"})
        attempt, _ = TokenLog(self.redis).begin(job_id)
        chat = sequence(job_id=job_id)
        chat.attempt = attempt
        self.writer.hold(chat, [])
        return chat

    def entries(self, job_id: str) -> list[Entry]:
        return decode_rows(self.redis.xrange(keys.log(job_id)))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    monkeypatch.setattr(event_writer, "LINGER_S", (NEVER_S, NEVER_S))
    made = Written()
    made.writer.start(made)
    yield made
    made.writer.close(PATIENCE_S)


def test_the_first_text_and_the_end_wait_for_nothing_and_what_lies_between_shares_an_event(
    written: Written,
) -> None:
    chat = written.hold("a")
    chat.peak_memory_bytes = 7
    written.writer.put([(chat, Delta("Hello", (1,)))])
    for token, text in enumerate((" there", ",", " you"), start=2):
        written.writer.put([(chat, Delta(text, (token,)))])
    written.writer.put([(chat, Finished("stop"))])
    assert written.ends.get(timeout=PATIENCE_S) is chat
    entries = written.entries("a")
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    deltas = [entry.event for entry in entries[:-1]]
    assert "".join(delta.text for delta in deltas) == "Hello there, you"
    assert [token for delta in deltas for token in delta.token_ids] == [1, 2, 3, 4]
    assert len(deltas) <= 2
    places = [0, *(entry.position for entry in entries[:-1])]
    assert [entry.start for entry in entries[:-1]] == places[:-1]
    assert places[-1] == 4
    assert entries[-1].event == Finished("stop", run=Run({"mlx": "1"}, 7))


def test_positions_go_on_behind_what_an_earlier_attempt_logged(written: Written) -> None:
    chat = written.hold("a")
    logged = [
        decode(encode("a", number, event).encode())
        for number, event in enumerate((Warning("w"), Delta("one two", (1, 2)), Delta(" x", ())), 1)
    ]
    written.writer.hold(chat, logged)
    written.redis.xadd(keys.log("a"), {"e": "1"}, id="1-1")
    written.redis.xadd(keys.log("a"), {"e": "2"}, id="2-1")
    written.redis.xadd(keys.log("a"), {"e": "3"}, id="3-1")
    written.writer.put([(chat, Delta(" three", (3,))), (chat, Finished("stop"))])
    assert written.ends.get(timeout=PATIENCE_S) is chat
    new = decode_rows(written.redis.xrange(keys.log("a"), min="4-0"))
    assert (new[0].sequence, new[0].start, new[0].position) == (4, 3, 4)


def test_a_write_of_an_attempt_that_redis_has_lost_is_none_of_the_next(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first write waits for Redis, which comes back without the attempt; the chat is taken up
    again before the write is tried again."""
    under_way, go_on, append = threading.Event(), threading.Event(), TokenLog.append

    def late(log: TokenLog, step: list[Append]) -> list[int]:
        under_way.set()
        assert go_on.wait(PATIENCE_S)
        return append(log, step)

    monkeypatch.setattr(TokenLog, "append", late)
    lost = written.hold("a")
    written.writer.put([(lost, Delta("one two", (1, 2)))])
    assert under_way.wait(PATIENCE_S)
    written.redis.delete(keys.attempt("a"))
    chat = written.hold("a")
    go_on.set()
    written.writer.put([(chat, Delta("one", (1,))), (chat, Delta(" two three", (2, 3)))])
    written.writer.put([(chat, Finished("stop"))])
    assert written.ends.get(timeout=PATIENCE_S) is chat
    entries = written.entries("a")
    assert "".join(entry.event.text for entry in entries[:-1]) == "one two three"
    assert [(entry.sequence, entry.start, entry.position) for entry in entries[:-1]] == [(1, 0, 3)]


def test_a_log_is_not_held_anew_while_it_is_told_that_it_was_taken_over(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the new attempt, which has the same id, would be let go of."""
    told: queue.SimpleQueue[Sequence] = queue.SimpleQueue()
    go_on = threading.Event()

    def taken_over(sequence: Sequence) -> None:
        told.put(sequence)
        assert go_on.wait(PATIENCE_S)

    monkeypatch.setattr(written, "taken_over", taken_over)
    lost = written.hold("a")
    TokenLog(written.redis).begin("a")
    written.writer.put([(lost, Delta("one", (1,)))])
    assert told.get(timeout=PATIENCE_S) is lost
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(written.hold, "a")
        meanwhile = wait([held], 0.2).done
        go_on.set()
        chat = held.result(PATIENCE_S)
    assert not meanwhile
    written.writer.put([(chat, Delta("one", (1,))), (chat, Finished("stop"))])
    assert written.ends.get(timeout=PATIENCE_S) is chat
    assert told.empty()


def test_a_chat_that_begins_takes_along_what_waits_of_others(written: Written) -> None:
    first, second = written.hold("a"), written.hold("b")
    written.writer.put([(first, Delta("one", (1,)))])
    written.writer.put([(first, Delta(" two", (2,)))])
    written.writer.put([(second, Delta("uno", (1,)))])
    written.writer.put([(second, Finished("stop"))])
    assert written.ends.get(timeout=PATIENCE_S) is second
    assert "".join(entry.event.text for entry in written.entries("a")) == "one two"


def test_flush_writes_pending_events(written: Written) -> None:
    chat = written.hold("a")
    written.writer.put([(chat, Delta("one", (1,)))])
    written.writer.put([(chat, Delta(" two", (2,)))])
    written.writer.flush(PATIENCE_S)
    assert "".join(entry.event.text for entry in written.entries("a")) == "one two"


def test_the_pause_between_writes_grows_from_one_frame_of_a_display_to_two() -> None:
    assert event_writer.pause_s(1, 0) == event_writer.pause_s(16, 0) == 0.016
    assert event_writer.pause_s(24, 0) == pytest.approx(0.024)
    assert event_writer.pause_s(40, 0) == event_writer.pause_s(1000, 0.01) == 0.033


def test_with_many_chats_a_pause_is_twice_as_long_as_the_write_at_most_a_tenth_of_a_second() -> (
    None
):
    assert event_writer.pause_s(1000, 0.04) == pytest.approx(0.08)
    assert event_writer.pause_s(1000, 60) == 0.1
    # The way to Redis may be long for a few, without much to do.
    assert event_writer.pause_s(8, 60) == 0.016
    assert event_writer.pause_s(60, 60) == pytest.approx(0.06)


def test_texts_that_came_while_others_were_written_share_an_event_however_many_chats_run(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_writer, "MOST_AT_ONCE", 4)
    under_way, go_on, append = threading.Event(), threading.Event(), TokenLog.append
    sizes = []

    def slow(log: TokenLog, step: list[Append]) -> list[int]:
        under_way.set()
        assert go_on.wait(PATIENCE_S)
        sizes.append(len(step))
        return append(log, step)

    monkeypatch.setattr(TokenLog, "append", slow)
    chats = [written.hold(f"chat-{number}") for number in range(6)]
    written.writer.put([(chats[0], Delta("one", (1,)))])
    assert under_way.wait(PATIENCE_S)
    written.writer.put([(chat, Delta("one", (1,))) for chat in chats[1:]])
    for token, text in ((2, " two"), (3, " three")):
        written.writer.put([(chat, Delta(text, (token,))) for chat in chats])
    go_on.set()
    written.writer.flush(PATIENCE_S)
    assert sizes == [1, 4, 2]
    for chat in chats:
        texts = [entry.event.text for entry in written.entries(chat.job_id)]
        assert texts == (["one", " two three"] if chat is chats[0] else ["one two three"])


def test_deltas_are_joined_within_a_chat_and_never_across_another_event() -> None:
    one, two = sequence(job_id="a"), sequence(job_id="b")
    call = ToolCallDelta(id="call", name="f", arguments="{}")
    step = [
        (one, Delta("a", (1,), "thought")),
        (two, Delta("x", (7,))),
        (one, Delta("b", (2, 3), "", (call,))),
        (one, Warning("warned")),
        (one, Delta("c", (4,))),
        (two, Delta("y", (8,))),
    ]
    assert merged(step) == [
        (one, Delta("ab", (1, 2, 3), "thought", (call,), (Piece(1, 1, 7), Piece(2, 1, 0, 1)))),
        (two, Delta("xy", (7, 8), pieces=(Piece(1, 1), Piece(1, 1)))),
        (one, Warning("warned")),
        (one, Delta("c", (4,))),
    ]
