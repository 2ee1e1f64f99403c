"""The application: routes, limits and what starts and stops with it.

Puts things together and decides nothing about chats.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors, models, native, operations
from api.dashboard import dashboard, never_unpickle
from api.errors import ApiError
from api.parts import assemble, running
from api.redis_client import Clients, connect
from wire.settings import Settings

MAX_BODY = 64 << 20
"""Two images of 20 MB in base64, and room for their conversation."""
DASHBOARD = "/rq"


def create_app(settings: Settings, clients: Clients | None = None) -> FastAPI:
    """The application for a Redis that ``settings`` names, or for given clients."""
    never_unpickle()
    pages = dashboard(settings.redis_url, DASHBOARD) if settings.redis_url else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = assemble(settings, clients or connect(settings.redis_url))
        app.state.parts = parts
        if pages is not None:
            pages.start()
        async with running(parts):
            yield
        if pages is not None:
            pages.stop()

    # The usual documentation pages load scripts from elsewhere: better none than blank ones.
    app = FastAPI(title="MLX chat queue", lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors.RESPONSES)
    errors.install(app)
    for router in (native.router, models.router, operations.router):
        app.include_router(router)
    if pages is not None:
        app.mount(DASHBOARD, pages)
    app.add_middleware(_BodyLimit)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["X-Job-Id", "Retry-After"],
        )
    return app


class _BodyLimit:
    """Refuses a long body: by its declared length, unread, and else where it passes the limit.

    In place of the framework's ``max_body_size``, whose answer isn't in our format.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and len(declared) < 20 and int(declared) <= MAX_BODY:
            await self._app(scope, _limited(receive), send)
            return
        refused = ApiError("too_large", "The request body is too large.")
        await refused.response({"Connection": "close"})(scope, receive, send)


def _limited(receive: Receive) -> Receive:
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413)
        return message

    return limited
