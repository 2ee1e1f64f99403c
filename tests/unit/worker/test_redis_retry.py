"""Retries of Redis commands wait longer each time, up to a limit, however long Redis is away."""

from __future__ import annotations

import pytest
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as Away

from worker.redis_retry import retry_until_answered


class Outage:
    """Redis away for some calls."""

    def __init__(self, calls: int) -> None:
        self.remaining = calls
        self.waits: list[float] = []

    def __call__(self) -> str:
        if self.remaining:
            self.remaining -= 1
            raise Away
        return "answer"


def test_waits_double_up_to_the_longest_and_an_outage_may_last_for_hours() -> None:
    outage = Outage(5_000)
    backoff = ExponentialBackoff(base=0.1, cap=1.0)
    answer = retry_until_answered(outage, backoff, lambda _: None, outage.waits.append)
    assert answer == "answer"
    assert outage.waits[:6] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert (len(outage.waits), outage.waits[-1]) == (5_000, 1.0)


def test_whoever_waits_may_give_up() -> None:
    def give_up(error: Exception) -> None:
        raise TimeoutError from error

    with pytest.raises(TimeoutError):
        retry_until_answered(Outage(1), ExponentialBackoff(), give_up)
