"""The application: routes, limits and what starts and stops with it.

Puts things together and decides nothing about chats.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api import (
    batches,
    errors,
    job_view,
    metrics,
    models,
    native,
    openai,
    openai_batches,
    openai_described,
    openai_files,
    operations,
    pages,
    sign_in,
    usage,
)
from api.api_keys import admitted
from api.bodies import Bodies
from api.dashboard import dashboard, never_unpickle
from api.gate import Gate
from api.head import Head
from api.headers import SafeHeaders
from api.host_names import HostNames
from api.parts import assemble, running
from api.redis_client import Clients, connect
from api.traffic import Counted, Traffic
from wire.settings import Settings

DASHBOARD = "/rq"


_KEYS: dict[str, dict[str, str]] = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "X-Api-Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "Api-Key": {"type": "apiKey", "in": "header", "name": "Api-Key"},
}
"""The ways to send a key, one of them at a time."""
_OPEN = ("/health", "/ready")


class _App(FastAPI):
    """An application whose every answer has safe headers, and whose description says who may ask."""

    wants_keys = False

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            described["components"]["securitySchemes"] = _KEYS
            described["components"]["schemas"] |= openai_described.components()
            if self.wants_keys:
                described["security"] = [{name: []} for name in _KEYS]
                for path in _OPEN:
                    described["paths"][path]["get"]["security"] = []
        return super().openapi()

    def build_middleware_stack(self) -> ASGIApp:
        return SafeHeaders(super().build_middleware_stack(), DASHBOARD)


def _include(app: FastAPI, rq_pages: ASGIApp | None) -> None:
    openais = (openai, openai_files, openai_batches)
    routers = (native, batches, job_view, models, *openais, operations, usage, metrics, pages, sign_in)
    for router in (part.router for part in routers):
        app.include_router(router)
    app.mount(pages.STATIC, pages.Files())
    if rq_pages is not None:
        app.mount(DASHBOARD, rq_pages)


def create_app(settings: Settings, clients: Clients | None = None) -> FastAPI:
    """The application for a Redis that ``settings`` names, or for given clients. Raises BadSetting."""
    known = admitted(settings)
    for name in ("allowed_hosts", "image_hosts"):
        HostNames(getattr(settings, name), f"MLXQ_{name.upper()}")
    never_unpickle()
    rq_pages = dashboard(settings.redis_url, DASHBOARD) if settings.redis_url else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = assemble(settings, clients or connect(settings.redis_url), known)
        app.state.parts = parts
        lag = asyncio.create_task(traffic.watch_loop(), name="lag")
        if rq_pages is not None:
            rq_pages.start()
        async with running(parts):
            yield
        lag.cancel()
        if rq_pages is not None:
            rq_pages.stop()

    # The usual documentation pages load scripts from elsewhere: /docs is one of our own.
    app = _App(title="MLX chat queue", lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors.RESPONSES)
    app.wants_keys = bool(known)
    app.state.traffic = traffic = Traffic()
    errors.install(app)
    _include(app, rq_pages)
    # From the inside out.
    app.add_middleware(Gate, settings=settings, known=known)
    app.add_middleware(Bodies)
    app.add_middleware(Head)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            # OpenAI's client adds a dozen of its own. None of them opens anything: a key is sent by who has it.
            allow_headers=["*"],
            expose_headers=["X-Job-Id", "Retry-After", "X-Request-Id", "X-Warning", "X-Ignored-Fields", "X-Cancelled"],
        )
    app.add_middleware(Counted, traffic=traffic)
    return app
