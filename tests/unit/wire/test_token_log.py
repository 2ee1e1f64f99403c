"""The token log's promises: numbers without gaps, one writer, one end, and a repeated write
changes nothing."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest

from wire import keys
from wire.log_entries import (
    UNKNOWN,
    Entry,
    decode,
    decode_rows,
    encode,
    lines,
    position_after,
    range_after,
)
from wire.messages import Delta, Event, Failed, Finished, Piece, Progress, ToolCall, Usage, Warning
from wire.token_log import (
    ALREADY_THERE,
    FORGOTTEN,
    REFUSED,
    WRITTEN,
    Append,
    JobEnded,
    JobGone,
    TokenLog,
)
from wire.usage import Sums, day_of, sums

JOB = "a-job"


@pytest.fixture
def redis() -> Any:
    server = fakeredis.FakeRedis()
    server.hset(keys.job(JOB), mapping={"owner": "everyone"})
    server.zadd(keys.live("everyone"), {JOB: 1})
    return server


@pytest.fixture
def log(redis: Any) -> TokenLog:
    return TokenLog(redis)


def append(log: TokenLog, attempt: int, number: int, event: Event) -> int:
    return log.append([Append(JOB, "everyone", attempt, number, event)])[0]


def decode_step(message: bytes) -> list[Entry]:
    """The entries of one published message."""
    return [decode(line) for _, line in lines(message)]


def stored(redis: Any) -> list[Entry]:
    return decode_rows(redis.xrange(keys.log(JOB)))


@pytest.mark.parametrize(
    "event",
    [
        Delta("Größe \N{SNOWMAN}\n", (1, 2, 3)),
        Warning("High memory usage (91%). Generation may be slow."),
        Progress("prefill", 3, 9),
        Finished("length", Usage(1, 2, 3)),
        Finished("stop", result={"status": "loaded"}),
        Failed("engine_failed", "It broke.", Usage(4, 5, 6)),
    ],
)
def test_an_event_comes_back_as_it_went_in(event: Event) -> None:
    (entry,) = decode_step(encode(JOB, 7, event).encode())
    assert entry.event == event
    assert (entry.job_id, entry.sequence) == (JOB, 7)


def test_the_frame_of_a_delta_is_the_contracts() -> None:
    (entry,) = decode_step(encode(JOB, 1, Delta("Hello", (5,))).encode())
    assert json.loads(entry.frame) == {"text": "Hello", "done": False}


def test_entries_are_numbered_without_gaps_and_published_as_one_step(
    redis: Any, log: TokenLog
) -> None:
    reader = redis.pubsub(ignore_subscribe_messages=True)
    reader.subscribe(keys.EVENTS_CHANNEL)
    attempt, earlier = log.begin(JOB)
    assert (attempt, earlier) == (1, [])
    step = [Append(JOB, "everyone", 1, n, Delta(f"t{n}", (n,))) for n in (1, 2, 3)]
    assert log.append(step) == [WRITTEN] * 3
    assert [entry.sequence for entry in stored(redis)] == [1, 2, 3]
    messages = [m for m in (reader.get_message(timeout=1) for _ in range(3)) if m]
    assert [entry.sequence for m in messages for entry in decode_step(m["data"])] == [1, 2, 3]
    assert append(log, 1, 5, Delta("gap", (5,))) == FORGOTTEN
    assert redis.ttl(keys.log(JOB)) > 0
    reader.close()


def test_an_older_attempt_is_refused_from_the_moment_a_new_one_begins(
    redis: Any, log: TokenLog
) -> None:
    log.begin(JOB)
    append(log, 1, 1, Delta("one", (1,)))
    attempt, earlier = log.begin(JOB)
    assert attempt == 2
    assert [entry.event for entry in earlier] == [Delta("one", (1,))]
    assert append(log, 1, 2, Delta("zombie", (2,))) == REFUSED
    assert append(log, 2, 2, Delta("two", (2,))) == WRITTEN
    assert append(log, 1, 3, Finished("stop")) == REFUSED
    assert [entry.event for entry in stored(redis)] == [Delta("one", (1,)), Delta("two", (2,))]


def test_a_repeated_write_is_told_it_was_there_and_changes_nothing(
    redis: Any, log: TokenLog
) -> None:
    log.begin(JOB)
    assert append(log, 1, 1, Delta("one", (1,))) == WRITTEN
    assert append(log, 1, 1, Delta("one", (1,))) == ALREADY_THERE
    assert append(log, 1, 2, Finished("stop")) == WRITTEN
    assert append(log, 1, 2, Finished("stop")) == ALREADY_THERE
    assert len(stored(redis)) == 2


def test_nothing_follows_the_end(redis: Any, log: TokenLog) -> None:
    log.begin(JOB)
    append(log, 1, 1, Finished("stop"))
    assert append(log, 1, 2, Delta("more", (1,))) == REFUSED
    with pytest.raises(JobEnded):
        log.begin(JOB)
    assert redis.zcard(keys.live("everyone")) == 0
    assert redis.hget(keys.job(JOB), "state") == b"ended"


def test_a_job_that_redis_does_not_know_has_no_log(redis: Any, log: TokenLog) -> None:
    with pytest.raises(JobGone):
        log.begin("unknown")
    assert not redis.exists(keys.attempt("unknown"))


def test_one_refused_job_does_not_hold_back_the_others_of_its_step(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job("other"), mapping={"owner": "everyone"})
    log.begin(JOB)
    log.begin("other")
    log.begin(JOB)
    step = [
        Append(JOB, "everyone", 1, 1, Delta("zombie", (1,))),
        Append("other", "everyone", 1, 1, Delta("fine", (1,))),
    ]
    assert log.append(step) == [REFUSED, WRITTEN]


def test_progress_is_published_and_not_kept(redis: Any, log: TokenLog) -> None:
    reader = redis.pubsub(ignore_subscribe_messages=True)
    reader.subscribe(keys.EVENTS_CHANNEL)
    assert log.append([Append(JOB, "everyone", 1, 0, Progress("loading"))]) == []
    messages = [m for m in (reader.get_message(timeout=1) for _ in range(3)) if m]
    assert [entry.event for m in messages for entry in decode_step(m["data"])] == [
        Progress("loading")
    ]
    assert stored(redis) == []
    reader.close()


def test_a_range_after_a_cursor_leaves_out_what_was_seen(redis: Any, log: TokenLog) -> None:
    log.begin(JOB)
    for n in range(1, 12):
        append(log, 1, n, Delta(str(n), (n,)))
    rows = redis.xrange(keys.log(JOB), min=range_after(9))
    assert [entry.sequence for entry in decode_rows(rows)] == [10, 11]


def test_a_writer_is_told_when_redis_has_forgotten_what_it_wrote(redis: Any, log: TokenLog) -> None:
    attempt, _ = log.begin(JOB)
    assert [append(log, attempt, number, Delta("x", (1,))) for number in (1, 2, 3)] == [WRITTEN] * 3
    redis.xtrim(keys.log(JOB), maxlen=0)
    assert append(log, attempt, 4, Delta("x", (1,))) == FORGOTTEN
    redis.delete(keys.attempt(JOB))
    assert append(log, attempt, 4, Delta("x", (1,))) == FORGOTTEN
    redis.set(keys.attempt(JOB), attempt - 1)
    assert append(log, attempt, 1, Delta("x", (1,))) == FORGOTTEN
    redis.delete(keys.job(JOB), keys.attempt(JOB))
    assert append(log, attempt, 4, Delta("x", (1,))) == REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'quotes " and \\ back',
        "\u2028 line\n\ttab",
        "\N{SNOWMAN}\N{GRINNING FACE}",
        "\x00\x1f",
    ],
)
def test_a_delta_is_written_as_json_would(text: str) -> None:
    frame = json.dumps({"text": text, "done": False})
    assert encode("job", 3, Delta(text, (1, 22))) == f"job\t3\tdelta\t0\t{frame}\t[1,22]"


@pytest.mark.parametrize("text", ["a\tb\nc", "\u2028\x85\x1e", '"\t"'])
def test_no_text_can_be_taken_for_the_end_of_an_entry(text: str) -> None:
    step = "\n".join(
        encode("job", n, event) for n, event in ((1, Delta(text, (1,))), (2, Warning(text)))
    )
    assert [entry.event for entry in decode_step(step.encode())] == [
        Delta(text, (1,)),
        Warning(text),
    ]


def test_an_end_is_counted_and_noted_once_however_often_it_is_written(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "chat", "queue": "chat", "model_id": "m"})
    attempt, _ = log.begin(JOB)
    append(log, attempt, 1, Delta("a text", (1,)))
    end = Failed("engine_failed", "a sentence", Usage(5, 1))
    assert [append(log, attempt, 2, end) for _ in range(3)] == [
        WRITTEN,
        ALREADY_THERE,
        ALREADY_THERE,
    ]
    assert redis.hgetall(keys.ENDED) == {b"error:engine_failed": b"1"}
    [(_, noted)] = redis.xrange(keys.RECENT)
    assert (noted[b"job"], noted[b"model"], noted[b"queue"]) == (JOB.encode(), b"m", b"chat")
    assert decode_step(noted[b"e"])[0].event == end
    assert b"a text" not in b"".join(noted.values())


def test_a_model_command_is_no_recent_job(redis: Any, log: TokenLog) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "model", "queue": "chat", "model_id": "m"})
    attempt, _ = log.begin(JOB)
    append(log, attempt, 1, Finished("stop", result={"status": "loaded"}))
    assert not redis.exists(keys.ENDED, keys.RECENT)


def used(redis: Any, owner: str = "everyone") -> list[Sums]:
    """All time, then today."""
    names = (keys.usage(owner), keys.usage_day(owner, day_of(redis.time()[0])))
    return [sums(redis.hgetall(name)) for name in names]


def test_an_end_adds_to_its_owners_usage_once_however_often_it_is_written(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "chat"})
    log.begin(JOB)
    append(log, 1, 1, Delta("t", (1,)))
    assert used(redis) == [Sums(), Sums()]
    end = Finished("stop", Usage(5, 2, 1))
    assert [append(log, 1, 2, end) for _ in range(3)] == [WRITTEN, ALREADY_THERE, ALREADY_THERE]
    assert append(log, 1, 3, end) == REFUSED
    assert used(redis) == [Sums(1, 5, 2, 1)] * 2
    assert redis.hgetall(keys.ENDED) == {b"stop": b"1"}
    day = keys.usage_day("everyone", day_of(redis.time()[0]))
    assert redis.ttl(keys.usage("everyone")) == -1
    assert 0 < redis.ttl(day) <= keys.USAGE_DAY_LIFETIME_S


def test_a_failed_chat_counts_with_what_it_took_and_an_older_attempt_counts_nothing(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "chat", "owner": "ann"})
    log.begin(JOB)
    log.begin(JOB)
    assert append(log, 1, 1, Finished("stop", Usage(9, 9, 9))) == REFUSED
    assert used(redis, "ann") == [Sums(), Sums()]
    assert append(log, 2, 1, Failed("engine_failed", "It broke.", Usage(4, 1, 0))) == WRITTEN
    assert used(redis, "ann") == [Sums(1, 4, 1, 0)] * 2


def test_commands_to_models_are_nobodys_usage(redis: Any, log: TokenLog) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "model"})
    log.begin(JOB)
    assert append(log, 1, 1, Finished("stop")) == WRITTEN
    assert used(redis) == [Sums(), Sums()]


MERGED = Delta(
    "Größe one!",
    (1, 2, 3, 4, 5),
    "thought",
    (ToolCall(id="c", name="f", arguments="{}"),),
    (Piece(1, 5, 3), Piece(2, 4, 4), Piece(2, 0, 0, 1), Piece(0, 1)),
)


def at(event: Event, start: int) -> Entry:
    return decode(encode(JOB, 4, event, start).encode())


def test_a_delta_is_stored_with_its_place_in_tokens_and_what_is_held_back_to_the_end_has_one() -> (
    None
):
    assert at(Delta("ab", (1, 22)), 7)[-2:] == (7, 9)
    assert at(Delta("rest", ()), 9)[-2:] == (9, 10)
    assert at(MERGED, 10)[-2:] == (10, 16)
    assert at(MERGED, 10).event == MERGED
    assert encode(JOB, 4, Delta("a", (1,)), 7).split("\t")[3] == "0:7:8"


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (10, MERGED),
        (11, (" one!", "ught", 1)),
        (12, (" one!", "ught", 1)),  # Inside a piece: all of it is to come.
        (13, ("!", "", 1)),
        (15, ("!", "", 0)),
    ],
)
def test_a_delta_is_cut_where_a_client_has_seen_it(seen: int, left: Any) -> None:
    rest = at(MERGED, 10).rest(seen)
    event = rest.event
    assert isinstance(event, Delta)
    if isinstance(left, Delta):
        left = (left.text, left.reasoning, len(left.tool_calls))
    assert (event.text, event.reasoning, len(event.tool_calls)) == left
    assert rest.position == 16
    assert json.loads(rest.data) == {"text": event.text, "done": False}


@pytest.mark.parametrize(
    ("event", "positions"),
    [
        (Warning("w"), 0),
        (Delta("x", (1, 2, 3)), 3),
        (Delta("x", ()), 1),
        (Delta("x", (1, 2), "thought"), 2),
        (Finished("stop"), 1),
        (Failed("engine_failed", "x"), 1),
    ],
)
def test_the_place_of_what_the_first_release_wrote_is_counted(event: Event, positions: int) -> None:
    entry = decode(encode(JOB, 1, event).encode())
    assert entry.position == UNKNOWN
    assert entry.placed(5)[-2:] == (5, 5 + positions)


def test_the_position_behind_a_log_is_counted_whoever_wrote_it() -> None:
    log = [Warning("w"), Delta("ab", (1, 2)), Delta("c", (3,)), Delta("d", (4,)), Finished("stop")]
    old = [decode(encode(JOB, n, event).encode()) for n, event in enumerate(log, 1)]
    new = [decode(encode(JOB, n, event, 2).encode()) for n, event in enumerate(log[2:3], 3)]
    assert position_after(old) == 5
    assert position_after([*old[:2], *new, *old[3:]]) == 5


def first_release(line: str) -> tuple[Any, ...]:
    """An entry as the first release takes it apart: six fields, and an event without what it
    doesn't know."""
    job_id, sequence, kind, ends, data, more = line.encode().split(b"\t")
    extra = json.loads(more)
    if isinstance(extra, list):
        told = (tuple(extra), "", ())
    else:
        told = (
            tuple(extra["token_ids"]),
            extra["reasoning"],
            tuple(ToolCall(**call) for call in extra["tool_calls"]),
        )
    return (
        job_id.decode(),
        int(sequence),
        kind.decode(),
        ends == b"1",
        json.loads(data)["text"],
        *told,
    )


@pytest.mark.parametrize("event", [MERGED, Delta("a", (1,))])
def test_the_first_release_reads_what_this_one_writes(event: Delta) -> None:
    told = first_release(encode(JOB, 4, event, 10))
    assert told == (
        JOB,
        4,
        "delta",
        False,
        event.text,
        event.token_ids,
        event.reasoning,
        event.tool_calls,
    )
