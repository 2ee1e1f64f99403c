"""The application: routes, limits and what starts and stops with it.

Puts things together and decides nothing about chats.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import (
    batches,
    errors,
    job_view,
    metrics,
    models,
    native,
    openai,
    openai_batches,
    openai_files,
    operations,
    pages,
)
from api.bodies import Bodies
from api.dashboard import dashboard, never_unpickle
from api.parts import assemble, running
from api.redis_client import Clients, connect
from api.traffic import Counted, Traffic
from wire.settings import Settings

DASHBOARD = "/rq"


def create_app(settings: Settings, clients: Clients | None = None) -> FastAPI:
    """The application for a Redis that ``settings`` names, or for given clients."""
    never_unpickle()
    rq_pages = dashboard(settings.redis_url, DASHBOARD) if settings.redis_url else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = assemble(settings, clients or connect(settings.redis_url))
        app.state.parts = parts
        lag = asyncio.create_task(traffic.watch_loop(), name="lag")
        if rq_pages is not None:
            rq_pages.start()
        async with running(parts):
            yield
        lag.cancel()
        if rq_pages is not None:
            rq_pages.stop()

    # The usual documentation pages load scripts from elsewhere: better none than blank ones.
    app = FastAPI(title="MLX chat queue", lifespan=lifespan, docs_url=None, redoc_url=None, responses=errors.RESPONSES)
    app.state.traffic = traffic = Traffic()
    errors.install(app)
    openais = (openai, openai_files, openai_batches)
    routers = (native, batches, job_view, models, *openais, operations, metrics, pages)
    for router in (part.router for part in routers):
        app.include_router(router)
    app.mount(pages.STATIC, pages.Files())
    if rq_pages is not None:
        app.mount(DASHBOARD, rq_pages)
    app.add_middleware(Bodies)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["X-Job-Id", "Retry-After"],
        )
    app.add_middleware(Counted, traffic=traffic)
    return app
