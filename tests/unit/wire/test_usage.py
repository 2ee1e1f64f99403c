"""The end of a job is added to its owner's usage once."""

from __future__ import annotations

from typing import Any

from tests.unit.wire.one_log import JOB, append
from wire import keys
from wire.messages import Delta, Failed, Finished, Usage
from wire.token_log import ALREADY_THERE, REFUSED, WRITTEN, TokenLog
from wire.usage import Sums, day_of, sums


def used(redis: Any, owner: str = "everyone") -> list[Sums]:
    """All time, then today."""
    names = (keys.usage(owner), keys.usage_day(owner, day_of(redis.time()[0])))
    return [sums(redis.hgetall(name)) for name in names]


def test_an_end_adds_to_its_owners_usage_once_however_often_it_is_written(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "chat"})
    attempt, _ = log.begin(JOB)
    append(log, attempt, 1, Delta("t", (1,)))
    assert used(redis) == [Sums(), Sums()]
    end = Finished("stop", Usage(5, 2, 1))
    assert [append(log, attempt, 2, end) for _ in range(3)] == [
        WRITTEN,
        ALREADY_THERE,
        ALREADY_THERE,
    ]
    assert append(log, attempt, 3, end) == REFUSED
    assert used(redis) == [Sums(1, 5, 2, 1)] * 2
    assert redis.hgetall(keys.ENDED) == {b"stop": b"1"}
    day = keys.usage_day("everyone", day_of(redis.time()[0]))
    assert redis.ttl(keys.usage("everyone")) == -1
    assert 0 < redis.ttl(day) <= keys.USAGE_DAY_LIFETIME_S


def test_a_failed_chat_counts_with_what_it_took_and_an_older_attempt_counts_nothing(
    redis: Any, log: TokenLog
) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "chat", "owner": "ann"})
    first, _ = log.begin(JOB)
    second, _ = log.begin(JOB)
    assert append(log, first, 1, Finished("stop", Usage(9, 9, 9))) == REFUSED
    assert used(redis, "ann") == [Sums(), Sums()]
    assert append(log, second, 1, Failed("engine_failed", "It broke.", Usage(4, 1, 0))) == WRITTEN
    assert used(redis, "ann") == [Sums(1, 4, 1, 0)] * 2


def test_commands_to_models_are_nobodys_usage(redis: Any, log: TokenLog) -> None:
    redis.hset(keys.job(JOB), mapping={"kind": "model"})
    attempt, _ = log.begin(JOB)
    assert append(log, attempt, 1, Finished("stop")) == WRITTEN
    assert used(redis) == [Sums(), Sums()]
