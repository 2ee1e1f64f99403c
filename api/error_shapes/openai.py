"""Errors as OpenAI's clients read them: statuses and bodies. Knows codes and sentences."""

from __future__ import annotations

from typing import Any

from wire.messages import ErrorCode

_STATUS: dict[ErrorCode, int] = {
    "invalid_request": 400,
    "prompt_too_long": 400,
    "invalid_image": 400,
    "template_failed": 400,
    "bad_prompt": 400,
}
"""OpenAI's clients know a bad request as 400."""
_CODES: dict[ErrorCode, str] = {
    "prompt_too_long": "context_length_exceeded",
    "unauthorized": "invalid_api_key",
    "quota_exceeded": "insufficient_quota",
}
"""Codes that programs look for under OpenAI's names."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def status_of(code: ErrorCode, usual: int) -> int:
    """The status of a code, which elsewhere is ``usual``."""
    return _STATUS.get(code, usual)


def body(code: ErrorCode, status: int, message: str, param: str | None) -> dict[str, Any]:
    """The body of an error with a status of OpenAI's."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    name = _CODES.get(code, code)
    return {"error": {"message": message, "type": kind, "param": param, "code": name}}
