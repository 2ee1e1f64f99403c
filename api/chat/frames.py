"""The frames of an answer's tokens as the native API sends them, with what a client asked for."""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Annotated, Any

from pydantic import Field

from api.errors import ApiError
from api.schemas import INTEGRAL
from wire.log_entries import Entry
from wire.messages import MOST_LOGPROBS, Delta

WITH_LOGPROBS = "logprobs"
WITH_REASONING = "reasoning"
"""The stream options of a chat that asked for more than text."""
MORE = frozenset({WITH_LOGPROBS, WITH_REASONING})
Likeliest = Annotated[int, Field(ge=0, le=MOST_LOGPROBS), INTEGRAL]


def likeliest(logprobs: bool | None, top_logprobs: int | None) -> int | None:
    """How many of the likeliest tokens a chat asks for at each position; None: no log-probabilities
    at all. Raises ApiError for likeliest tokens without log-probabilities."""
    if not logprobs and top_logprobs:
        raise ApiError(
            "invalid_request", "top_logprobs needs logprobs to be true.", param="top_logprobs"
        )
    return top_logprobs or 0 if logprobs else None


def framed(entry: Entry, wanted: Set[str]) -> bytes:
    """The frame of an entry, as it is stored unless it has something more that was asked for.

    Tokens that were logged together share a frame: one may end the thinking and begin the text.
    """
    if entry.kind != "delta" or not wanted:
        return entry.data
    event, more = entry.event, dict[str, Any]()
    assert isinstance(event, Delta)
    if WITH_REASONING in wanted and event.reasoning:
        more["reasoning"] = event.reasoning
    if WITH_LOGPROBS in wanted and event.logprobs:
        more["logprobs"] = [one.view() for one in event.logprobs]
    return json.dumps(json.loads(entry.data) | more).encode("ascii") if more else entry.data
