"""Routes with long bodies: limits on their length, on the bytes held at once, and on JSON values.

A route declares its limit with ``takes``; what is refused here is never parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api.deps import find_service
from api.errors import ApiError
from api.http.body_limits import MAX_UPLOAD, SMALL, ArrivingBody, too_large
from api.http.byte_budget import ByteBudget
from api.http.data_urls import DataUrls, take_out
from api.http.json_limits import LONG, MOST_VALUES, JsonReader, values_in

MAX_BODY = 64 << 20
"""Two images of 20 MB in base64, and room for their conversation."""
MOST_BATCH_VALUES = 500_000
"""50,000 prompts with an id and some settings each."""
MOST_TOKEN_IDS = 300_000
"""Of a completion: prompts of token ids for the largest context windows, or many shorter ones."""
MAX_TEXT = 6 << 20
"""What a body may hold besides its images: a million characters, each written as an escape; no
model accepts as many."""
MEDIUM = 2 << 20
ROOM_MEDIUM = 32 << 20
ROOM_LARGE = MAX_BODY
WAIT_S = 5.0
"""How long a body waits, unread, for room."""
RETRY_S = 5

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """``json`` bytes, images included, with ``values`` besides them; ``upload`` bytes of anything
    but JSON."""

    json: int = SMALL
    values: int = MOST_VALUES
    upload: int = 0


CHAT = BodyLimit(MAX_BODY)
COMPLETION = BodyLimit(MAX_BODY, MOST_TOKEN_IDS)
BATCH = BodyLimit(MAX_BODY, MOST_BATCH_VALUES, MAX_UPLOAD)
FILE = BodyLimit(upload=MAX_UPLOAD)
_limits: dict[Callable[..., Any], BodyLimit] = {}


async def _data_urls(request: Request) -> DataUrls:
    urls: DataUrls = request.scope["taken_out"]
    return urls


DataUrlsOf = Annotated[DataUrls, Depends(_data_urls)]
"""The image URLs that were cut out of a request's body."""


def takes(limit: BodyLimit) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route of :class:`LongBodyRoute` takes; one that declares nothing takes
    little."""

    def declared(endpoint: Endpoint) -> Endpoint:
        _limits[endpoint] = limit
        return endpoint

    return declared


class BodyBudget:
    """The bytes that long bodies may occupy.

    Ordinary photographs don't wait for a flood of the largest images.
    """

    def __init__(self) -> None:
        self._medium, self._large = ByteBudget(ROOM_MEDIUM), ByteBudget(ROOM_LARGE)

    async def take(self, size: int) -> Callable[[], None]:
        """Reserve bytes for a body; call the result to release them.

        Raises ApiError after too long a wait.
        """
        budget = self._medium if size <= MEDIUM else self._large
        if not await budget.take(size, WAIT_S):
            raise ApiError("busy", "Too many large requests at once. Try again.", RETRY_S)
        return lambda: budget.give(size)


class LongBodyRoute(APIRoute):
    """A route whose body may be long: it is bounded, and read off the event loop."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        limit = _limits.get(self.endpoint)
        if limit is None:
            return handle
        model = None if self.body_field is None else self.body_field.field_info.annotation
        shape = model if isinstance(model, type) and issubclass(model, BaseModel) else None

        async def handler(request: Request) -> Response:
            body: ArrivingBody = request.scope["body"]
            try:
                if limit.upload and not _is_json(request):
                    body.allow(limit.upload)
                elif limit.json > SMALL and await body.is_long():
                    return await _long(request, body, limit, shape, handle)
            except ClientDisconnect:
                return Response(status_code=400)  # the client has gone
            return await handle(request)

        return handler


def _is_json(request: Request) -> bool:
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return declared in ("application/json", "")


async def _long(
    request: Request,
    body: ArrivingBody,
    limit: BodyLimit,
    shape: type[BaseModel] | None,
    handle: Handler,
) -> Response:
    if body.declared > limit.json:
        raise too_large()
    json_reader = find_service(request.app, JsonReader)
    budget = find_service(request.app, BodyBudget)
    urls: DataUrls = request.scope["taken_out"]
    release = await budget.take(limit.json if body.in_pieces else int(body.declared))
    try:
        data = await body.whole(limit.json)
        rest = await json_reader.run(_checked, data, urls, limit.values)
        parsed: BaseModel | None = None
        if (
            shape is not None
            and len(rest) > LONG
            and "json" in request.headers.get("content-type", "")
        ):
            parsed = await json_reader.read(shape, rest)
        return await handle(_ParsedRequest(request, rest, parsed))
    finally:
        # The answer is there: what was asked has been read, and a stream may go on for an hour.
        urls.clear()
        release()


def _checked(data: bytearray, urls: DataUrls, most_values: int) -> bytes:
    """The body without its images. Raises ApiError for one that is too much."""
    rest = take_out(data, urls)
    if sum(map(len, rest)) > MAX_TEXT:
        raise too_large(f"beside its images it may have {MAX_TEXT >> 20} MiB")
    joined = b"".join(rest)
    if values_in(joined, most_values) > most_values:
        raise too_large(f"it may hold {most_values} values")
    return joined


class _ParsedRequest(Request):
    """A request whose body has been read already, and perhaps validated as the route's model."""

    def __init__(self, request: Request, body: bytes, parsed: BaseModel | None) -> None:
        super().__init__(request.scope, request.receive)
        self._body, self._parsed = body, parsed

    async def json(self) -> Any:
        return await super().json() if self._parsed is None else self._parsed
