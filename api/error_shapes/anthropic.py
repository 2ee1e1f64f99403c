"""Errors as Anthropic's clients read them: which requests get them, their statuses, their bodies.

Knows codes and sentences; ``api.errors`` decides which shape an answer has.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import Scope

from wire.messages import ErrorCode

MESSAGES = "/v1/messages"
VERSION_HEADER = "anthropic-version"
"""What Anthropic's clients send, also to addresses that OpenAI's have as well."""
OVERLOADED = 529

_STATUS: dict[ErrorCode, int] = {
    "invalid_request": 400,
    "prompt_too_long": 400,
    "invalid_image": 400,
    "load_failed": 400,
    "unsupported_model": 400,
    "template_failed": 400,
    "bad_prompt": 400,
    "redis_unavailable": OVERLOADED,
    "redis_full": OVERLOADED,
    "no_worker": OVERLOADED,
    "workers_outdated": OVERLOADED,
    "suspended": OVERLOADED,
    "job_lost": OVERLOADED,
    "insufficient_memory": OVERLOADED,
    "insufficient_disk": OVERLOADED,
    "hub_unreachable": OVERLOADED,
    "webhook_failed": OVERLOADED,
}
"""What has another status here. A full queue stays 429: it is what a limit of ours says, and the
client comes back when Retry-After has passed."""
Kind = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
]
_KINDS: dict[int, Kind] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    410: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
_TOO_LONG = re.compile(r"maximum context length is (\d+) tokens.* resulted in (?:at least )?(\d+)")
_INDEX = re.compile(r"\[(\d+)\]")
_MOST = 640
"""Bytes of a sentence in JSON: with the rest a body is less than 1 KB."""


_THREAD = "thread"
"""The field that asks for a conversation that is kept here. The clients' tool runners send it and,
told that it can't be had, send the whole conversation each turn."""
_NO_THREADS = {"error_code": "thread_unsupported_request", "unsupported": [_THREAD]}


class AnthropicError(BaseModel):
    """``details`` is there where clients act by it."""

    type: Kind
    message: str
    details: dict[str, Any] | None = None


class AnthropicErrorBody(BaseModel):
    """The error body of ``/v1/messages``, and below ``/v1`` for who sends
    ``anthropic-version``."""

    type: Literal["error"]
    error: AnthropicError
    request_id: str | None


ANTHROPIC_RESPONSES: dict[int | str, dict[str, Any]] = {
    kind: {"model": AnthropicErrorBody} for kind in (422, "4XX", "5XX")
}


def is_anthropic(scope: Scope) -> bool:
    """Whether a request is for Anthropic's API."""
    path: str = scope.get("path", "")
    if path == MESSAGES or path.startswith(f"{MESSAGES}/"):
        return True
    return path.startswith("/v1/") and VERSION_HEADER in Headers(scope=scope)


def status_of(code: ErrorCode, usual: int) -> int:
    """The status of a code, which elsewhere is ``usual``."""
    return _STATUS.get(code, usual)


def body(
    code: ErrorCode, status: int, message: str, param: str | None, request_id: str | None
) -> dict[str, Any]:
    """The body of an error with a status of Anthropic's. ``param`` is a field in OpenAI's
    writing."""
    if code == "prompt_too_long":
        message = _too_long(message)
    elif param is not None:
        place = _INDEX.sub(r".\1", param)
        message = f"{place}: {message}"
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {"type": kind, "message": _short(message)}
    if param == _THREAD:
        error["details"] = _NO_THREADS
    return {"type": "error", "error": error, "request_id": request_id}


def _too_long(message: str) -> str:
    """In Anthropic's words, by which agents know that they have to shorten a conversation."""
    found = _TOO_LONG.search(message)
    numbers = "" if found is None else f": {found[2]} tokens > {found[1]} maximum"
    return f"prompt is too long{numbers}. {message}"


def _short(message: str) -> str:
    while len(json.dumps(message)) > _MOST:
        message = message[: len(message) * 7 // 8] + "…"
    return message
