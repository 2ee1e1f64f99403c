"""Every answer that is an error: the one table from named codes to HTTP statuses, and the handlers that use it.

An error body is at most 1 KB, names what was wrong and never holds what was sent. Knows nothing of jobs or streams.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from starlette.exceptions import HTTPException

from wire.messages import ErrorCode

_log = logging.getLogger(__name__)

STATUS: dict[ErrorCode, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "job_not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "load_conflict": 409,
    "model_changed": 409,
    "expired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "prompt_too_long": 422,
    "invalid_image": 422,
    "load_failed": 422,
    "template_failed": 422,
    "bad_prompt": 422,
    "queue_full": 429,
    "images_full": 429,
    "busy": 429,
    "internal_error": 500,
    "engine_failed": 500,
    "gave_up_after_crashes": 500,
    "redis_unavailable": 503,
    "redis_full": 503,
    "no_worker": 503,
    "job_lost": 503,
    "job_timeout": 504,
    "insufficient_memory": 507,
    "insufficient_disk": 507,
}
BODY_LIMIT = 1024
RETRY_SOON_S = 2
RETRY_WHEN_FULL_S = 30
_NAME_LIMIT = 64
_LINE_LIMIT = 200
_SENTENCES: dict[int, tuple[ErrorCode, str]] = {
    400: ("bad_request", "The request could not be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", "The request body is too large."),
    415: ("unsupported_media_type", "Send JSON, with the header Content-Type: application/json."),
}


class ErrorBody(BaseModel):
    """What the API's description says of errors."""

    detail: str
    code: ErrorCode
    errors: list[str]


RESPONSES: dict[int | str, dict[str, Any]] = {kind: {"model": ErrorBody} for kind in (422, "4XX", "5XX")}


class ApiError(Exception):
    """A request that is refused: a code of the table, a sentence, and when trying again makes sense."""

    def __init__(
        self, code: ErrorCode, message: str, retry_after: int | None = None, errors: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.errors = tuple(errors)

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The HTTP answer. Error lines that don't fit into the body's limit are left out."""
        lines = list(self.errors)
        body = self._body(lines)
        while len(body) > BODY_LIMIT and lines:
            lines.pop()
            body = self._body(lines)
        extra = dict(headers or {})
        if self.retry_after is not None:
            extra["Retry-After"] = str(self.retry_after)
        return Response(body, STATUS[self.code], extra, "application/json")

    def _body(self, lines: list[str]) -> bytes:
        # ASCII only: a lone surrogate in a field's name has no UTF-8.
        return json.dumps({"detail": self.message, "code": self.code, "errors": lines}).encode("ascii")


def no_worker() -> ApiError:
    return ApiError("no_worker", "No worker is running. Start one, or try again soon.", RETRY_SOON_S)


def from_redis(error: RedisError) -> ApiError:
    """What a failed Redis command means to a client."""
    if isinstance(error, OutOfMemoryError) or str(error).startswith("OOM "):
        return ApiError("redis_full", "The queue's storage is full. Try again later.", RETRY_WHEN_FULL_S)
    if isinstance(error, ResponseError):
        _log.error("Redis refused a command: %s", type(error).__name__, exc_info=error)
        return ApiError("internal_error", "Something went wrong here.")
    return ApiError("redis_unavailable", "The queue cannot be reached. Try again soon.", RETRY_SOON_S)


def from_validation(errors: Iterable[Mapping[str, Any]]) -> ApiError:
    """A refused shape. Only pydantic's own sentences and the names of fields are told, never a value."""
    rows = list(errors)
    if any(row["type"] == "json_invalid" for row in rows):
        return ApiError("bad_request", "The body is not valid JSON.")
    lines = [_line(row) for row in rows[:8]]
    return ApiError("invalid_request", "The request is not valid.", errors=lines)


def _line(row: Mapping[str, Any]) -> str:
    place = " -> ".join(str(part)[:_NAME_LIMIT] for part in row["loc"])
    return f"{place}: {row['msg']}"[:_LINE_LIMIT]


def install(app: FastAPI) -> None:
    """Answer every failure of the application in the one format."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def wrong_shape(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return from_validation(error.errors()).response()

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, sentence = _SENTENCES.get(error.status_code, _SENTENCES[400])
        return ApiError(code, sentence).response(error.headers)

    async def redis(_: Request, error: Exception) -> Response:
        assert isinstance(error, RedisError)
        return from_redis(error).response()

    async def unexpected(_: Request, error: Exception) -> Response:
        # The server's log gets the traceback: Starlette raises the exception again after this answer.
        del error
        return ApiError("internal_error", "Something went wrong here.").response()

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, wrong_shape)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RedisError, redis)
    app.add_exception_handler(Exception, unexpected)
