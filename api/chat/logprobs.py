"""Log-probabilities as the chat routes are asked for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.errors import ApiError
from api.schemas import INTEGRAL
from wire.messages import MOST_LOGPROBS

Likeliest = Annotated[int, Field(ge=0, le=MOST_LOGPROBS), INTEGRAL]


def likeliest(logprobs: bool | None, top_logprobs: int | None) -> int | None:
    """How many of the likeliest tokens a chat asks for at each position; None: no log-probabilities
    at all. Raises ApiError for likeliest tokens without log-probabilities."""
    if not logprobs and top_logprobs:
        raise ApiError(
            "invalid_request", "top_logprobs needs logprobs to be true.", param="top_logprobs"
        )
    return top_logprobs or 0 if logprobs else None
