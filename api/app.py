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

from api import error_handlers, errors, pages
from api.anthropic import routes as messages
from api.auth import key_routes, login
from api.auth.api_keys import admitted
from api.auth.key_ring import always_required
from api.auth.middleware import LOGIN_PATH, AuthMiddleware
from api.batches import routes as batches
from api.chat import job_routes
from api.chat import routes as chat
from api.description import describe
from api.http.body_limits import BodyLimitMiddleware
from api.http.head_requests import HeadMiddleware
from api.http.host_names import HostNames
from api.http.request_metrics import RequestMetrics, RequestMetricsMiddleware
from api.http.security_headers import SecurityHeadersMiddleware
from api.models import prompt_cache
from api.models import routes as models
from api.monitoring import metrics, usage_routes
from api.monitoring import routes as monitoring
from api.monitoring.rq_dashboard import dashboard, never_unpickle
from api.openai import chat_routes, model_routes, response_schemas
from api.openai.batches import batch_routes, file_routes
from api.openai.pooling import routes as pooling_routes
from api.receipts import routes as receipts
from api.redis_client import Clients, connect
from api.registry import ModelAliases
from api.responses import response_schemas as responses_schemas
from api.responses import routes as responses
from api.responses.stored import routes as stored_responses
from api.services import build_services, running
from api.webhooks import routes as webhooks
from wire.settings import Settings

DASHBOARD = "/rq"


_KEYS: dict[str, dict[str, str]] = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "X-Api-Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "Api-Key": {"type": "apiKey", "in": "header", "name": "Api-Key"},
}
"""The ways to send a key, one of them at a time."""
_PUBLIC = ("/health", "/ready")
"""Routes of the description that need no key."""
_OPEN_PATHS = (*_PUBLIC, "/favicon.ico", LOGIN_PATH, f"{pages.STATIC}/")


class _App(FastAPI):
    """An application with safe headers on every response and API keys in its schema."""

    needs_keys = False

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            described["components"]["securitySchemes"] = _KEYS
            described["components"]["schemas"] |= response_schemas.components()
            described["components"]["schemas"] |= responses_schemas.components()
            describe.complete(described)
            if self.needs_keys:
                described["security"] = [{name: []} for name in _KEYS]
                for path in _PUBLIC:
                    described["paths"][path]["get"]["security"] = []
        return super().openapi()

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeadersMiddleware(super().build_middleware_stack(), DASHBOARD)


def _include(app: FastAPI, rq_pages: ASGIApp | None) -> None:
    openais = (chat_routes, pooling_routes, model_routes, file_routes, batch_routes)
    routers = (
        chat,
        batches,
        job_routes,
        receipts,
        models,
        prompt_cache,
        *openais,
        responses,
        stored_responses,
        messages,
        monitoring,
        usage_routes,
        metrics,
        pages,
        login,
        key_routes,
        webhooks,
    )
    for router in (part.router for part in routers):
        app.include_router(router)
    app.mount(pages.STATIC, pages.Files())
    if rq_pages is not None:
        app.mount(DASHBOARD, rq_pages)


def _check(settings: Settings) -> None:
    """Raises BadSetting."""
    for name in ("allowed_hosts", "image_hosts", "webhook_hosts"):
        HostNames(getattr(settings, name), f"MLXQ_{name.upper()}")
    ModelAliases(settings.model_aliases)


def create_app(
    settings: Settings, clients: Clients | None = None, *, stored_keys: bool | None = False
) -> FastAPI:
    """The application for a Redis that ``settings`` names, or for given clients.

    ``stored_keys``: whether it has API keys; None if that isn't known. Raises BadSetting.
    """
    known = admitted(settings, stored=bool(stored_keys))
    _check(settings)
    never_unpickle()
    rq_pages = dashboard(settings.redis_url, DASHBOARD) if settings.redis_url else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        redis = clients or connect(settings.redis_url)
        app.state.services = build_services(settings, redis, known, stored_keys)
        lag = asyncio.create_task(traffic.watch_loop(), name="lag")
        if rq_pages is not None:
            rq_pages.start()
        async with running(app):
            yield
        lag.cancel()
        if rq_pages is not None:
            rq_pages.stop()

    # The usual documentation pages load scripts from elsewhere: /docs is one of our own.
    app = _App(
        title="MLX chat queue",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=errors.RESPONSES,
    )
    app.needs_keys = always_required(settings, known) or bool(stored_keys)
    app.state.traffic = traffic = RequestMetrics()
    error_handlers.install(app)
    _include(app, rq_pages)
    _add_middleware(app, settings, traffic)
    return app


def _add_middleware(app: FastAPI, settings: Settings, traffic: RequestMetrics) -> None:
    """From the inside out."""
    app.add_middleware(AuthMiddleware, settings=settings, open_paths=_OPEN_PATHS)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(HeadMiddleware)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            # OpenAI's client adds a dozen of its own. None of them grants access: a page must have
            # a key to send one.
            allow_headers=["*"],
            expose_headers=[
                "X-Job-Id",
                "Retry-After",
                "X-Request-Id",
                "Request-Id",
                "X-Warning",
                "X-Ignored-Fields",
                "X-Cancelled",
                "X-Priority",
                "X-Queue-Position",
                "X-Queue-Wait",
            ],
        )
    app.add_middleware(RequestMetricsMiddleware, traffic=traffic)
