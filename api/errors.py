"""Every answer that is an error: the one table from named codes to HTTP statuses.

An error body is at most 1 KB, names what was wrong and never holds what was sent. Below ``/v1`` it
has OpenAI's shape or Anthropic's. Knows nothing of jobs or streams.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from fastapi import Response
from pydantic import BaseModel
from redis.exceptions import RedisError, ResponseError
from starlette.types import Receive, Scope, Send

from api import error_locations
from api.error_shapes import anthropic, openai
from api.error_shapes.anthropic import is_anthropic
from wire import redis_refusals
from wire.messages import ErrorCode

_log = logging.getLogger(__name__)

STATUS: dict[ErrorCode, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "access_required": 403,
    "not_found": 404,
    "job_not_found": 404,
    "model_not_found": 404,
    "batch_not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "load_conflict": 409,
    "model_changed": 409,
    "expired": 410,
    "request_not_kept": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "unsupported": 400,
    "invalid_schema": 400,
    "prompt_too_long": 422,
    "invalid_image": 422,
    "load_failed": 422,
    "unsupported_model": 422,
    "template_failed": 422,
    "bad_prompt": 422,
    "queue_full": 429,
    "quota_exceeded": 429,
    "images_full": 429,
    "batches_full": 429,
    "busy": 429,
    "internal_error": 500,
    "engine_failed": 500,
    "tool_call_unreadable": 500,
    "gave_up_after_crashes": 500,
    "job_unreadable": 500,
    "hub_unreachable": 502,
    "webhook_failed": 502,
    "redis_unavailable": 503,
    "redis_full": 503,
    "no_worker": 503,
    "workers_outdated": 503,
    "suspended": 503,
    "job_lost": 503,
    "job_timeout": 504,
    "insufficient_memory": 507,
    "insufficient_disk": 507,
}
OPENAI_PREFIX = "/v1"
REQUEST_ID = "mlxq.request_id"
"""Where a request below ``/v1`` has its id in its scope: its job's, once there is one."""
BODY_LIMIT = 1024
RETRY_SOON_S = 2
RETRY_WHEN_FULL_S = 30
_NAME_LIMIT = 64
_LINE_LIMIT = 200
_BODY = ("body",)
"""How pydantic's places begin in a request; those in a line of a batch begin with a field."""
_ELSEWHERE = (("query",), ("path",), ("header",), ("cookie",))
"""How FastAPI begins the places of what isn't in a body."""


class ErrorBody(BaseModel):
    """The error body as the OpenAPI schema describes it."""

    detail: str
    code: ErrorCode
    errors: list[str]


RESPONSES: dict[int | str, dict[str, Any]] = {
    kind: {"model": ErrorBody} for kind in (422, "4XX", "5XX")
}


class OpenAiError(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorBody(BaseModel):
    """The same for what is below ``/v1``."""

    error: OpenAiError


OPENAI_RESPONSES: dict[int | str, dict[str, Any]] = {
    kind: {"model": OpenAiErrorBody} for kind in (422, "4XX", "5XX")
}


class ApiError(Exception):
    """A refused request: a code of the table, a sentence, and when to try again.

    ``errors`` are lines about single fields; ``param`` is the field that OpenAI's shape names.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        retry_after: int | None = None,
        errors: Iterable[str] = (),
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.errors = tuple(errors)
        self.param = param
        self._headers = dict(headers or {})

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The HTTP answer, in the shape of the API that the request was for."""
        extra = self._headers | dict(headers or {})
        if self.retry_after is not None:
            extra["Retry-After"] = str(self.retry_after)
        return _Answer(self, extra)

    def body(self) -> bytes:
        """The native shape. Error lines that don't fit into the body's limit are left out."""
        lines = list(self.errors)
        while True:
            # ASCII only: a lone surrogate in a field's name has no UTF-8.
            body = json.dumps({"detail": self.message, "code": self.code, "errors": lines}).encode(
                "ascii"
            )
            if len(body) <= BODY_LIMIT or not lines:
                return body
            lines.pop()

    def openai(self) -> dict[str, Any]:
        """OpenAI's shape."""
        # elsewhere it is ``param``
        details = self.errors[:1] if self.code == "invalid_request" else ()
        message = " ".join([self.message, *details])
        return openai.body(self.code, self.openai_status, message, self.param)

    def anthropic(self, request_id: str | None) -> dict[str, Any]:
        """Anthropic's shape."""
        message = self.message
        if self.code == "invalid_request" and self.errors:
            message = self.errors[0].partition(": ")[2]
        return anthropic.body(self.code, self.anthropic_status, message, self.param, request_id)

    @property
    def anthropic_status(self) -> int:
        return anthropic.status_of(self.code, status_of(self.code))

    @property
    def openai_status(self) -> int:
        return openai.status_of(self.code, status_of(self.code))


class _Answer(Response):
    """An error on its way out.

    Only then is it known which API it is for, whatever part of the application refuses.
    """

    def __init__(self, error: ApiError, headers: Mapping[str, str]) -> None:
        super().__init__(error.body(), status_of(error.code), headers, "application/json")
        self._error, self._extra = error, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error
        if is_anthropic(scope):
            body, status = error.anthropic(scope.get(REQUEST_ID)), error.anthropic_status
        elif is_openai(scope):
            body, status = error.openai(), error.openai_status
        else:
            await super().__call__(scope, receive, send)
            return
        answer = Response(json.dumps(body), status, self._extra, "application/json")
        await answer(scope, receive, send)


def status_of(code: str) -> int:
    """The HTTP status of a code; 500 for a code of a later release."""
    return STATUS.get(cast(ErrorCode, code), 500)


def is_openai(scope: Scope) -> bool:
    """Whether a request is for an API of others; see :func:`is_anthropic`."""
    path: str = scope.get("path", "")
    return path == OPENAI_PREFIX or path.startswith(f"{OPENAI_PREFIX}/")


def no_worker() -> ApiError:
    return ApiError(
        "no_worker", "No worker is running. Start one, or try again soon.", RETRY_SOON_S
    )


def unknown_model(param: str | None = None) -> ApiError:
    message = "No model of this id or name is registered. `mlxq list` shows those that are."
    return ApiError("model_not_found", message, param=param)


def from_redis(error: RedisError) -> ApiError:
    """What a failed Redis command means to a client."""
    kind = redis_refusals.kind(error)
    if kind in redis_refusals.PASSING:
        _log.warning("Redis refuses commands: %s", kind)
    elif isinstance(error, ResponseError):
        _log.error("Redis refused a command: %s", kind, exc_info=error)
        return ApiError("internal_error", "Something went wrong here.")
    if kind in redis_refusals.FULL:
        return ApiError(
            "redis_full", "The queue's storage is full. Try again later.", RETRY_WHEN_FULL_S
        )
    return ApiError(
        "redis_unavailable", "The queue cannot be reached. Try again soon.", RETRY_SOON_S
    )


def from_validation(
    errors: Iterable[Mapping[str, Any]],
    shape: type[BaseModel] | None = None,
    body: Any = None,
) -> ApiError:
    """A refused shape.

    Only pydantic's sentences and the names of fields are shown, never a value.

    With the ``shape`` of the body, and what was sent as it, the fields are those that a client
    finds there.
    """
    rows = list(errors)
    if any(row["type"] == "json_invalid" for row in rows):
        return ApiError("bad_request", "The body is not valid JSON.")
    places = [_place(row["loc"], shape, body) for row in rows[:8]]
    lines = [
        _line(place, error_locations.sentence(row))
        for place, row in zip(places, rows, strict=False)
    ]
    # Several members of a union report the same of the same field.
    return ApiError(
        "invalid_request",
        "The request is not valid.",
        errors=dict.fromkeys(lines),
        param=_param(
            places[0] if rows[0]["loc"][:1] in (_BODY, *_ELSEWHERE) else (*_BODY, *places[0])
        ),
    )


def _place(
    loc: Sequence[str | int], shape: type[BaseModel] | None, body: Any
) -> Sequence[str | int]:
    if shape is None or loc[:1] in _ELSEWHERE:
        return loc
    head = 1 if loc[:1] == _BODY else 0
    return (*loc[:head], *error_locations.fields(loc[head:], shape, body))


def _param(place: Sequence[str | int]) -> str | None:
    """A field as OpenAI names it: ``messages[0].content``."""
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in place[1:])
    return text.lstrip(".")[:_NAME_LIMIT] or None


def _line(place: Sequence[str | int], message: str) -> str:
    details = " -> ".join(str(part)[:_NAME_LIMIT] for part in place)
    return f"{details}: {message}"[:_LINE_LIMIT]
