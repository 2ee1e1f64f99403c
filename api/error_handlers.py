"""Answers every failure of the application in the one format of api.errors."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from api import error_locations
from api.errors import ApiError, from_redis, from_validation
from wire.messages import ErrorCode

_SENTENCES: dict[int, tuple[ErrorCode, str]] = {
    400: ("bad_request", "The request could not be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", "The request body is too large."),
    415: ("unsupported_media_type", "Send JSON, with the header Content-Type: application/json."),
}


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

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, sentence = _SENTENCES.get(error.status_code, _SENTENCES[400])
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
