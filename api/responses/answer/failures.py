"""How failures are told inside a response: codes that agents look for, and sentences.

Before a response begins they are HTTP statuses (api.errors), but for clients that read them in the
stream alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from api.errors import ApiError
from api.responses.answer.output_items import Json

TOO_LONG, RATE_LIMIT, INVALID = "context_length_exceeded", "rate_limit_exceeded", "invalid_prompt"
QUOTA = "insufficient_quota"
READS_STREAM = "originator"
"""The header by which Codex introduces itself. It reads these codes inside a stream alone, and
takes an HTTP status for the end of the turn."""
_TOLD_IN_STREAM = (TOO_LONG, RATE_LIMIT, QUOTA)


def code_of(error: ApiError) -> str:
    """The error's code in a response: OpenAI's where it has one, else ours."""
    if error.code == "prompt_too_long":
        return TOO_LONG
    if error.code == "quota_exceeded":
        return QUOTA
    if error.openai_status == 429:
        return RATE_LIMIT
    return INVALID if error.openai_status == 400 else error.code


def told(error: ApiError) -> Json:
    """The error of a failed response."""
    message = error.message
    if code_of(error) == RATE_LIMIT and error.retry_after is not None:
        # The words in which agents look for the time.
        message = f"{message} Please try again in {error.retry_after}s."
    return {"code": code_of(error), "message": message}


def is_told_in_stream(error: ApiError, headers: Mapping[str, str]) -> bool:
    """Whether a client reads a refusal in the stream that it asked for, and nowhere else."""
    return READS_STREAM in headers and code_of(error) in _TOLD_IN_STREAM
