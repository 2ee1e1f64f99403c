"""Request bodies: how long one may be, how many bytes of them are held at once, and the images taken out of them.

A JSON parser would hold the event loop and several copies for as long as an image is large. So what stands in a long
body as the ``url`` of an image is cut out before anything parses it, and read from where it arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError

MAX_BODY = 64 << 20
"""Two images of 20 MB in base64, and room for their conversation."""
MAX_UPLOAD = 201 << 20
"""A batch of 200 MiB and what may stand around it; it is read as it arrives and never held."""
UPLOADS = frozenset({"/api/engine/batches", "/v1/files"})
"""Where a body that isn't JSON may be as long as that."""
MAX_TEXT = 8 << 20
"""What a body may hold beside its images: longer than the prompt of any model."""
SMALL = 64 << 10
"""Bodies up to this are not counted."""
MEDIUM = 2 << 20
ROOM_MEDIUM = 32 << 20
ROOM_LARGE = MAX_BODY
WAIT_S = 5.0
"""How long a body waits, unread, for room."""
READ_S = 30.0
"""How long a body that has room may take to arrive."""
DRAIN_S = 30.0
"""How long the rest of a refused upload is read: a client that still sends would not see the answer."""
RETRY_S = 5
_LONG = 32 << 10
_MOST_TAKEN = 64
_START = b'"data:image'
_KEY = re.compile(rb'"url"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}$')
_PLACE = "data:taken/"


class TakenOut:
    """The long image URLs of one request, cut out of its body. What stands there in place of each leads to it."""

    def __init__(self) -> None:
        self._urls: list[memoryview] = []

    def add(self, url: memoryview) -> str:
        self._urls.append(url)
        return f"{_PLACE}{len(self._urls) - 1}"

    def get(self, place: str) -> memoryview | None:
        """The URL that a place leads to; None for one that leads nowhere, such as a URL."""
        number = place.removeprefix(_PLACE)
        if number == place or not number.isdecimal() or len(number) > 2 or int(number) >= len(self._urls):
            return None
        return self._urls[int(number)]

    def all(self) -> list[memoryview]:
        """Every URL, in the order of the body."""
        return list(self._urls)

    def clear(self) -> None:
        self._urls.clear()


class Room:
    """Bytes that may be held at once. Who asks first gets first."""

    def __init__(self, size: int) -> None:
        self.free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, limit_s: float) -> bool:
        """Whether there was room within the time."""
        if not self._waiting and size <= self.free:
            self.free -= size
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await asyncio.wait_for(asyncio.shield(turn), limit_s)
        except TimeoutError:
            if turn.done():
                return True
            turn.cancel()
            self._serve()
            return False
        except BaseException:
            if turn.done():
                self.give(size)
            turn.cancel()
            self._serve()
            raise
        return True

    def give(self, size: int) -> None:
        self.free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self.free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)


class Bodies:
    """The outermost part of the application that sees bodies. Answers 413, 429 and, for slow ones, 400."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Long prompts and ordinary photographs don't wait for a flood of the largest images.
        self._medium, self._large = Room(ROOM_MEDIUM), Room(ROOM_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["taken_out"] = TakenOut()
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "0")
        if _is_upload(scope, headers) and declared.isdecimal() and len(declared) < 12 and int(declared) <= MAX_UPLOAD:
            await self._app(scope, _in_time(receive), send)
            return
        if not declared.isdecimal() or len(declared) > 19 or int(declared) > MAX_BODY:
            await _refuse(ApiError("too_large", "The request body is too large."), scope, receive, send)
            return
        size = MAX_BODY if "transfer-encoding" in headers else int(declared)
        if size <= SMALL:
            await self._app(scope, _limited(receive), send)
            return
        body = _Arriving(receive)
        with contextlib.suppress(_Disconnected):
            if "transfer-encoding" in headers and await body.read(SMALL):
                await self._app(scope, _replayed(bytes(body.data), receive), send)
            else:
                await self._counted(scope, send, size, body)

    async def _counted(self, scope: Scope, send: Send, size: int, body: _Arriving) -> None:
        room = self._medium if size <= MEDIUM else self._large
        if not await room.take(size, WAIT_S):
            # Read to its end, or the client would see a broken connection in place of the answer.
            await body.discard()
            busy = ApiError("busy", "Too many large requests at once. Try again.", RETRY_S)
            await _refuse(busy, scope, body.receive, send)
            return
        taken: TakenOut = scope["taken_out"]
        held = True

        def drop() -> None:
            nonlocal held
            taken.clear()
            if held:
                held = False
                room.give(size)

        async def sent(message: Message) -> None:
            # The answer begins: what was asked has been read, and a stream may go on for an hour.
            drop()
            await send(message)

        try:
            rest = await _rest(body, taken)
            await self._app(scope, _replayed(rest, body.receive), sent)
        except ApiError as refused:
            await _refuse(refused, scope, body.receive, sent)
        finally:
            drop()


class _Disconnected(Exception):
    """The client has gone before its body was there."""


def _is_upload(scope: Scope, headers: Headers) -> bool:
    json = headers.get("content-type", "").split(";")[0].strip().lower() in ("application/json", "")
    return scope["path"] in UPLOADS and scope["method"] == "POST" and not json


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await error.response({"Connection": "close"})(scope, receive, send)


class _Arriving:
    """A body as it arrives."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.data = bytearray()
        self._ended = False

    async def read(self, most: int) -> bool:
        """Whether the body ends before it is longer than ``most``."""
        while not self._ended and len(self.data) <= most:
            self.data += await self._next()
        return len(self.data) <= most

    async def discard(self) -> None:
        """Take what is left of it and keep nothing."""
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_S):
                while not self._ended and taken <= MAX_BODY:
                    taken += len(await self._next())

    async def _next(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        self._ended = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


async def _rest(body: _Arriving, taken: TakenOut) -> bytes:
    """Read the body and cut the images out of it. Raises ApiError for one that is too slow or too long."""
    try:
        async with asyncio.timeout(READ_S):
            whole = await body.read(MAX_BODY)
    except TimeoutError:
        raise ApiError("bad_request", "The request body took too long to arrive.") from None
    if not whole:
        raise ApiError("too_large", "The request body is too large.")
    data, body.data = body.data, bytearray()
    rest = await asyncio.to_thread(take_out, data, taken)
    if len(rest) > MAX_TEXT:
        raise ApiError("too_large", "The request body is too large: beside its images it may have 8 MiB.")
    return rest


def take_out(body: bytearray, taken: TakenOut) -> bytes:
    """The body with its long image URLs replaced by places in ``taken``. A view of the body stays with each.

    Only a string that follows the key "url" is cut out; any other, such as a message that begins like one, is a text.
    A quote with a backslash before it is inside a string, and no other quote has one before it.
    """
    view, done, at = memoryview(body), 0, 0
    pieces: list[memoryview | bytes] = []
    for _ in range(_MOST_TAKEN):
        at = body.find(_START, at)
        end = body.find(b'"', at + 1) if at >= 0 else -1
        if end < 0:
            break
        url = view[at + 1 : end]
        if len(url) >= _LONG and _KEY.search(bytes(view[max(0, at - 24) : at])):
            if body.find(b"\\", at, end) >= 0:
                # Some encoders write a slash with a backslash.
                url = memoryview(bytes(url).replace(b"\\/", b"/"))
            pieces += [view[done : at + 1], taken.add(url).encode("ascii")]
            done = end
        at = end
    return b"".join([*pieces, view[done:]])


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that has been read already; after it come the connection's own messages."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed


def _limited(receive: Receive) -> Receive:
    """A body that may be longer than it was declared."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > SMALL:
            raise HTTPException(413)
        return message

    return limited


def _in_time(receive: Receive) -> Receive:
    """A body of any length that must keep coming."""

    ended = False

    async def in_time() -> Message:
        nonlocal ended
        try:
            async with asyncio.timeout(None if ended else READ_S):
                message = await receive()
        except TimeoutError:
            raise ApiError("bad_request", "The request body took too long to arrive.") from None
        ended = not message.get("more_body", False)
        return message

    return in_time


async def drain(arriving: AsyncIterator[bytes]) -> None:
    """Read the rest of an upload that is refused, and keep nothing of it."""
    try:
        async with asyncio.timeout(DRAIN_S):
            async for _ in arriving:
                pass
    except (TimeoutError, ApiError, ClientDisconnect, RuntimeError):
        return
