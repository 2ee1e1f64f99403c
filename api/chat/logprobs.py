"""Log-probabilities as the chat routes are asked for them, and as their frames have them."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from api.errors import ApiError
from api.schemas import INTEGRAL
from wire.log_entries import Entry
from wire.messages import MOST_LOGPROBS, Delta

FRAMES_WITH_LOGPROBS = "logprobs"
"""The stream option of a chat that asked for them."""
Likeliest = Annotated[int, Field(ge=0, le=MOST_LOGPROBS), INTEGRAL]


def likeliest(logprobs: bool | None, top_logprobs: int | None) -> int | None:
    """How many of the likeliest tokens a chat asks for at each position; None: no log-probabilities
    at all. Raises ApiError for likeliest tokens without log-probabilities."""
    if not logprobs and top_logprobs:
        raise ApiError(
            "invalid_request", "top_logprobs needs logprobs to be true.", param="top_logprobs"
        )
    return top_logprobs or 0 if logprobs else None


def framed(entry: Entry) -> bytes:
    """The frame of a delta with its tokens' log-probabilities, if it has any."""
    event = entry.event
    if not isinstance(event, Delta) or not event.logprobs:
        return entry.data
    told = {"logprobs": [one.view() for one in event.logprobs]}
    return json.dumps(json.loads(entry.data) | told).encode("ascii")
