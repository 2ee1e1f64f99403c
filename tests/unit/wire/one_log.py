"""The token log of one job."""

from __future__ import annotations

from typing import Any

from wire import keys
from wire.log_entries import Entry, decode, decode_rows, lines
from wire.messages import Event
from wire.token_log import Append, TokenLog

JOB = "a-job"


def append(log: TokenLog, attempt: int, number: int, event: Event) -> int:
    return log.append([Append(JOB, "everyone", attempt, number, event)])[0]


def decode_step(message: bytes) -> list[Entry]:
    """The entries of one published message."""
    return [decode(line) for _, line in lines(message)]


def stored(redis: Any) -> list[Entry]:
    return decode_rows(redis.xrange(keys.log(JOB)))
