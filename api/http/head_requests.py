"""HEAD wherever there is GET: the same response without its body. Not for streams."""

from __future__ import annotations

import asyncio

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError

_ASKED = "asked_for_head"


class HeadMiddleware:
    """Asks the application for GET, and sends the head of what it answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # A copy: the server relies on the method that it read.
        asked: Scope = {**scope, "method": "GET", _ASKED: True}
        answered = asyncio.Event()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope.update(
                    {name: asked[name] for name in ("route", "root_path") if name in asked}
                )
                await send(message)
            elif not answered.is_set():
                answered.set()
                await send({"type": "http.response.body", "body": b""})

        async def received() -> Message:
            if answered.is_set():
                return {"type": "http.disconnect"}  # A long answer need not be made to its end.
            return await receive()

        await self._app(asked, received, sent)


def refuse_head(request: Request) -> None:
    """Raises ApiError for a HEAD of what only a GET is answered with."""
    if request.scope.get(_ASKED):
        message = "This address does not take that method."
        raise ApiError("method_not_allowed", message, headers={"Allow": "GET"})


async def _get_alone(request: Request) -> None:
    refuse_head(request)


GetAlone = Depends(_get_alone)
"""For a stream: HEAD would attach a reader that reads nothing."""
