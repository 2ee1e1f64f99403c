"""Request bodies as they arrive: how much of one is read, and what happens to the rest.

A body that no route reads is never buffered: an unknown address gets a 404, whatever was sent
there. A route declares what it reads (api.http.body_routes).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.http.data_urls import DataUrls
from api.http.json_limits import LONG

SMALL = LONG
"""Bytes that any route may read; a route that needs more declares it."""
MAX_UPLOAD = 201 << 20
"""A batch of 200 MiB and its multipart framing; it is read as it arrives and never buffered
whole."""
READ_S = 30.0
"""How long a body may take that is read whole, or the next piece of one that is read as it
arrives."""
LINGER_S = 30.0
"""How long the rest of a request is read and discarded after its response: a client that is still
sending would not see the response."""
_MOST_DIGITS = 19


def too_large(why: str = "") -> ApiError:
    return ApiError("too_large", f"The request body is too large{why and f': {why}'}.")


def _compressed() -> ApiError:
    sentence = "Send the body as it is, without Content-Encoding: compressed ones are not read."
    return ApiError("unsupported_media_type", sentence)


def too_slow() -> ApiError:
    return ApiError("bad_request", "The request body took too long to arrive.")


class BodyLimitMiddleware:
    """Gives each request its ``scope["body"]`` and an empty ``scope["taken_out"]``.

    A response that comes before a long body has been read is sent at once and ends the connection:
    the rest of the body is read for a while, and discarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["taken_out"] = DataUrls()
        scope["body"] = body = ArrivingBody(Headers(scope=scope), receive)

        # Not a coroutine of its own: everything that streams goes through here.
        def sent(message: Message) -> Awaitable[None]:
            return send(message) if body.ended else body.answer(message, send)

        if body.ended or Headers(scope=scope).get("content-encoding", "identity") == "identity":
            await self._app(scope, body.receive, sent)
        else:
            await _compressed().response()(scope, body.receive, sent)


class ArrivingBody:
    """One request's body. ``receive`` is what the application gets in place of the server's."""

    def __init__(self, headers: Headers, receive: Receive) -> None:
        self.in_pieces = "transfer-encoding" in headers
        declared = headers.get("content-length", "0")
        readable = declared.isdecimal() and len(declared) <= _MOST_DIGITS
        self.declared = int(declared) if readable else math.inf
        self.ended = not self.in_pieces and self.declared == 0
        self._receive = receive
        self._most = SMALL
        self._patience_s: float | None = None
        self._size = 0
        self._peeked = bytearray()
        self._answered = False

    async def is_long(self) -> bool:
        """Whether it is longer than what any route may read.

        Of one in pieces that much is read to find out.
        """
        if self.in_pieces:
            while not self.ended and len(self._peeked) <= SMALL:
                self._peeked += await self._next()
        return len(self._peeked) > SMALL if self.in_pieces else self.declared > SMALL

    def allow(self, most: int) -> None:
        """Let the application read up to so much, as it arrives.

        Raises ApiError if more is declared.
        """
        if self.declared > most:
            raise too_large()
        self._most, self._patience_s = most, READ_S

    async def whole(self, most: int) -> bytearray:
        """All of it.

        Raises ApiError for one that is too slow or too long, ClientDisconnect if it doesn't end.
        """
        data, self._peeked = self._peeked, bytearray()
        try:
            async with asyncio.timeout(READ_S):
                while not self.ended and len(data) <= most:
                    data += await self._next()
        except TimeoutError:
            raise too_slow() from None
        if len(data) > most:
            raise too_large()
        return data

    async def receive(self) -> Message:
        """The server's next message, as long as the body is within its bounds."""
        if self._peeked:
            body, self._peeked = bytes(self._peeked), bytearray()
            return self._counted(
                {"type": "http.request", "body": body, "more_body": not self.ended}
            )
        if self.ended:
            return await self._receive()
        if self.declared > self._most and not self._answered:
            raise HTTPException(413)
        try:
            async with asyncio.timeout(self._patience_s):
                message = await self._receive()
        except TimeoutError:
            raise too_slow() from None
        self.ended = not message.get("more_body", False)
        return self._counted(message)

    def _counted(self, message: Message) -> Message:
        if self._answered:
            return {**message, "body": b""} if "body" in message else message
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise HTTPException(413)
        return message

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.ended = True
            raise ClientDisconnect
        self.ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def answer(self, message: Message, send: Send) -> None:
        """Send a part of a response while the request is still arriving."""
        self._answered = True
        if self.in_pieces or self.declared > SMALL:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            elif not message.get("more_body", False):
                # A client that waits for an answer has it now, one that writes on can do so.
                await send({**message, "more_body": True})
                await self._discard_rest()
                message = {"type": "http.response.body", "body": b""}
        await send(message)

    async def _discard_rest(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.ended and size <= MAX_UPLOAD:
                    size += len(await self._next())
        except (TimeoutError, ClientDisconnect):
            return
