"""What this process itself sees: requests by route and status, and how late its event loop runs.

Knows routes as templates only: no path, query or header of a request becomes a label.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TICK_S = 0.5
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_START_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """The counters of one API process; they start at zero with it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mlxq_http_requests",
            "HTTP requests answered by this API process.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._start = Histogram(
            "mlxq_http_response_start_seconds",
            "Time from a request to the first byte of its answer.",
            ("route",),
            buckets=_START_BUCKETS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "mlxq_event_loop_lag_seconds",
            "How late this API process' event loop came round, looked at twice a second.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request whose response has begun."""
        route = route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, route, status).inc()
        self._start.labels(route).observe(seconds)

    async def watch_loop(self) -> None:
        """Measure the loop's lag until cancelled."""
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._lag.observe(max(0.0, time.monotonic() - due))


def route_of(scope: Scope) -> str:
    """The template of the route that answered; one name for everything that no route knows."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    # A mounted application, such as the dashboard or the static files: its own paths stay its own.
    mounted: Any = scope.get("root_path") or ""
    return f"{mounted}/*" if mounted else "none"


class RequestMetricsMiddleware:
    """The outermost part of the application: sees every request and the status of its answer."""

    def __init__(self, app: ASGIApp, traffic: RequestMetrics) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        def sent(message: Message) -> Any:
            # Not a coroutine of its own: everything that streams goes through here.
            if message["type"] == "http.response.start":
                self._traffic.answered(scope, message["status"], time.monotonic() - began)
            return send(message)

        await self._app(scope, receive, sent)
