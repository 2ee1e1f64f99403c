"""Answers every failure of the application in the one format of api.errors."""

from __future__ import annotations

import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api import error_locations
from api.errors import ApiError, from_redis, from_validation
from wire.messages import ErrorCode

_SENTENCES: dict[int, tuple[ErrorCode, str]] = {
    400: ("bad_request", "The request could not be read."),
    404: ("not_found", "There is nothing at this address. The page /docs lists all there are."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", "The request body is too large."),
    415: ("unsupported_media_type", "Send JSON, with the header Content-Type: application/json."),
}

_OLLAMAS = re.compile(
    r"/api/(chat|generate|tags|show|ps|pull|push|create|copy|delete|embed|embeddings|version)"
)
_ELSEWHERES = re.compile(
    r"/v1/(messages/batches|complete|(audio|images|videos|moderations|uploads|assistants|threads"
    r"|vector_stores|fine_tuning|conversations|containers|evals|realtime)(?=/|$)).*"
)
"""What other services have below ``/v1``, by the beginnings of its addresses."""
_LACKS_V1 = "This address is below /v1 here: OpenAI's clients want a base URL that ends in /v1."
_MISTAKEN = (
    (
        re.compile(r"/v1/v1(/.*)?"),
        "The address has /v1 twice. Anthropic's clients want a base URL without it, OpenAI's one "
        "that ends in it.",
    ),
    (
        _OLLAMAS,
        "Ollama's API is not served here. Use OpenAI's below /v1 or Anthropic's, or this service's "
        "own below /api/engine; the page /docs lists all addresses.",
    ),
    (
        _ELSEWHERES,
        "This part of OpenAI's or Anthropic's API is not served here. The page /docs lists all "
        "addresses.",
    ),
)
"""What clients ask for that were given another base URL, or made for another service."""


def _nothing_at(request: Request) -> str:
    """The sentence for an address without a route."""
    path = request.url.path
    below = {**request.scope, "path": f"/v1{path}"}
    if any(route.matches(below)[0] is not Match.NONE for route in request.app.routes):
        return _LACKS_V1
    hints = (sentence for pattern, sentence in _MISTAKEN if pattern.fullmatch(path))
    return next(hints, _SENTENCES[404][1])


def install(app: FastAPI) -> None:
    """Answer every failure of the application in the one format."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def wrong_shape(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        body_field = getattr(request.scope.get("route"), "body_field", None)
        shape = (
            None
            if body_field is None
            else error_locations.shape_of(body_field.field_info.annotation)
        )
        return from_validation(error.errors(), shape, error.body).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, sentence = _SENTENCES.get(error.status_code, _SENTENCES[400])
        if error.status_code == 404:
            sentence = _nothing_at(request)
        return ApiError(code, sentence).response(error.headers)

    async def redis(_: Request, error: Exception) -> Response:
        assert isinstance(error, RedisError)
        return from_redis(error).response()

    async def unexpected(_: Request, error: Exception) -> Response:
        # The server's log gets the traceback: Starlette raises the exception again after this
        # answer.
        del error
        return ApiError("internal_error", "Something went wrong here.").response()

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, wrong_shape)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RedisError, redis)
    app.add_exception_handler(Exception, unexpected)
