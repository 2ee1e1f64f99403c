"""The token log: numbers without gaps, one writer, one end, and a repeated write changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.wire.one_log import JOB, append, decode_step, stored
from wire import keys
from wire.log_entries import decode_rows, range_after
from wire.messages import Delta, Failed, Finished, Progress, Usage, Warning
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


def test_entries_are_numbered_without_gaps_and_published_as_one_step(
    redis: Any, log: TokenLog
) -> None:
    reader = redis.pubsub(ignore_subscribe_messages=True)
    reader.subscribe(keys.EVENTS_CHANNEL)
    attempt, earlier = log.begin(JOB)
    assert earlier == []
    step = [Append(JOB, "everyone", attempt, n, Delta(f"t{n}", (n,))) for n in (1, 2, 3)]
    assert log.append(step) == [WRITTEN] * 3
    assert [entry.sequence for entry in stored(redis)] == [1, 2, 3]
    messages = [m for m in (reader.get_message(timeout=1) for _ in range(3)) if m]
    assert [entry.sequence for m in messages for entry in decode_step(m["data"])] == [1, 2, 3]
    assert append(log, attempt, 5, Delta("gap", (5,))) == FORGOTTEN
    assert redis.ttl(keys.log(JOB)) > 0
    reader.close()


def test_an_older_attempt_is_refused_from_the_moment_a_new_one_begins(
    redis: Any, log: TokenLog
) -> None:
    first, _ = log.begin(JOB)
    append(log, first, 1, Delta("one", (1,)))
    second, earlier = log.begin(JOB)
    assert second > first
    assert redis.hget(keys.job(JOB), "attempts") == b"2"
    assert [entry.event for entry in earlier] == [Delta("one", (1,))]
    assert append(log, first, 2, Delta("zombie", (2,))) == REFUSED
    assert append(log, second, 2, Delta("two", (2,))) == WRITTEN
    assert append(log, first, 3, Finished("stop")) == REFUSED
    assert [entry.event for entry in stored(redis)] == [Delta("one", (1,)), Delta("two", (2,))]


def test_a_repeated_write_is_reported_as_such_and_changes_nothing(
    redis: Any, log: TokenLog
) -> None:
    attempt, _ = log.begin(JOB)
    assert append(log, attempt, 1, Delta("one", (1,))) == WRITTEN
    assert append(log, attempt, 1, Delta("one", (1,))) == ALREADY_THERE
    assert append(log, attempt, 2, Finished("stop")) == WRITTEN
    assert append(log, attempt, 2, Finished("stop")) == ALREADY_THERE
    assert len(stored(redis)) == 2


def test_nothing_follows_the_end(redis: Any, log: TokenLog) -> None:
    attempt, _ = log.begin(JOB)
    append(log, attempt, 1, Finished("stop"))
    assert append(log, attempt, 2, Delta("more", (1,))) == REFUSED
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
    zombie, _ = log.begin(JOB)
    other, _ = log.begin("other")
    log.begin(JOB)
    step = [
        Append(JOB, "everyone", zombie, 1, Delta("zombie", (1,))),
        Append("other", "everyone", other, 1, Delta("fine", (1,))),
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


def test_progress_stays_behind_a_warning_of_its_job(redis: Any, log: TokenLog) -> None:
    attempt, _ = log.begin(JOB)
    reader = redis.pubsub(ignore_subscribe_messages=True)
    reader.subscribe(keys.EVENTS_CHANNEL)
    events = [Progress("loading"), Warning("It was shortened."), Progress("prefill", 1, 2)]
    numbers = [0, 1, 0]
    step = [Append(JOB, "everyone", attempt, n, e) for n, e in zip(numbers, events, strict=True)]
    assert log.append(step) == [WRITTEN]
    messages = [m for m in (reader.get_message(timeout=1) for _ in range(5)) if m]
    assert [entry.event for m in messages for entry in decode_step(m["data"])] == events
    reader.close()


def test_a_range_after_a_cursor_leaves_out_what_was_seen(redis: Any, log: TokenLog) -> None:
    attempt, _ = log.begin(JOB)
    for n in range(1, 12):
        append(log, attempt, n, Delta(str(n), (n,)))
    rows = redis.xrange(keys.log(JOB), min=range_after(9))
    assert [entry.sequence for entry in decode_rows(rows)] == [10, 11]


def test_a_writer_learns_that_redis_has_lost_its_entries(redis: Any, log: TokenLog) -> None:
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


def test_no_attempt_gets_the_number_of_one_that_redis_has_lost(redis: Any, log: TokenLog) -> None:
    """The first append of the lost attempt is still on its way, and must not be taken for one of
    the new."""
    lost, _ = log.begin(JOB)
    redis.delete(keys.attempt(JOB))
    attempt, earlier = log.begin(JOB)
    assert attempt > lost
    assert earlier == []
    assert append(log, lost, 1, Delta("one two", (1, 2))) == REFUSED
    assert append(log, attempt, 1, Delta("one", (1,))) == WRITTEN


def test_an_attempt_follows_one_that_a_clock_ahead_of_this_one_has_numbered(
    redis: Any, log: TokenLog
) -> None:
    first, _ = log.begin(JOB)
    redis.set(keys.attempt(JOB), first + 3_600_000_000)
    assert log.begin(JOB)[0] == first + 3_600_000_001


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
