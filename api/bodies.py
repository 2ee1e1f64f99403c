"""Request bodies: how long one may be, how many bytes of them are held at once, and how many values.

What is refused here is never parsed. Knows addresses, and of what stands in a body only how much it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError
from api.long_json import LONG, MOST_VALUES, values_in
from api.taken_out import TakenOut, take_out

if TYPE_CHECKING:
    from api.parts import Parts

MAX_BODY = 64 << 20
"""Two images of 20 MB in base64, and room for their conversation."""
MAX_UPLOAD = 201 << 20
"""A batch of 200 MiB and what may stand around it; it is read as it arrives and never held."""
BATCHES = "/api/engine/batches"
UPLOADS = frozenset({BATCHES, "/v1/files"})
"""Where a body that isn't JSON may be as long as that."""
CHATS = frozenset({"/api/engine/chat", "/v1/chat/completions", "/v1/completions"})
"""Where JSON may be long, as in a batch; elsewhere it has no reason to be more than small."""
MOST_BATCH_VALUES = 500_000
"""50,000 prompts with an id and some settings each."""
MAX_TEXT = 6 << 20
"""What a body may hold beside its images: a million characters, each written as an escape; no model takes as many."""
SMALL = LONG
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
        most = MAX_BODY if scope["path"] in CHATS or scope["path"] == BATCHES else SMALL
        if not declared.isdecimal() or len(declared) > 19 or int(declared) > most:
            await _refuse(_too_large(), scope, receive, send)
            return
        in_pieces = "transfer-encoding" in headers
        if not in_pieces and int(declared) <= SMALL:
            await self._app(scope, _limited(receive), send)
            return
        body = _Arriving(receive)
        with contextlib.suppress(_Disconnected):
            if in_pieces and await body.read(SMALL):
                await self._app(scope, _replayed(bytes(body.data), receive), send)
            elif most == SMALL:
                await _refuse(_too_large(), scope, receive, send)
            else:
                await self._counted(scope, send, most if in_pieces else int(declared), body)

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
            parts: Parts = scope["app"].state.parts
            most = MOST_BATCH_VALUES if scope["path"] == BATCHES else MOST_VALUES
            rest = await parts.long_json.run(_judged, await _whole(body), taken, most)
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


def _too_large(why: str = "") -> ApiError:
    return ApiError("too_large", f"The request body is too large{why and f': {why}'}.")


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


async def _whole(body: _Arriving) -> bytearray:
    """Read the body to its end. Raises ApiError for one that is too slow or too long."""
    try:
        async with asyncio.timeout(READ_S):
            ended = await body.read(MAX_BODY)
    except TimeoutError:
        raise ApiError("bad_request", "The request body took too long to arrive.") from None
    if not ended:
        raise _too_large()
    data, body.data = body.data, bytearray()
    return data


def _judged(data: bytearray, taken: TakenOut, most_values: int) -> bytes:
    """The body without its images. Raises ApiError for one that is too much."""
    rest = take_out(data, taken)
    if sum(map(len, rest)) > MAX_TEXT:
        raise _too_large(f"beside its images it may have {MAX_TEXT >> 20} MiB")
    joined = b"".join(rest)
    if values_in(joined, most_values) > most_values:
        raise _too_large(f"it may hold {most_values} values")
    return joined


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
