"""Security headers of every response: a browser may do no more than the pages need.

Knows nothing of what is answered.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.error_shapes.anthropic import is_anthropic
from api.errors import REQUEST_ID, is_openai

_PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_DASHBOARD = (
    # Its pages are full of scripts, handlers and styles inside them; nothing comes from elsewhere
    # or goes there.
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri "
    "'none'"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send the sign-in form with the Origin "null", and it would be
    # refused as foreign.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Raw = list[tuple[bytes, bytes]]


def _raw(policy: str) -> Raw:
    headers = _ALWAYS | {"Content-Security-Policy": policy}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


class SecurityHeadersMiddleware:
    """Outermost of all, so that it covers every answer, that to an exception too."""

    def __init__(self, app: ASGIApp, dashboard: str) -> None:
        self._app = app
        self._dashboard = dashboard
        self._for_pages, self._for_dashboard = _raw(_PAGES), _raw(_DASHBOARD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        inside = path == self._dashboard or path.startswith(self._dashboard + "/")
        more = self._for_dashboard if inside else self._for_pages
        if openai := is_openai(scope):
            scope[REQUEST_ID] = uuid.uuid4().hex

        # Not a coroutine: a stream has thousands of pieces, and each would pay for it.
        def sent(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *more]
                if openai:
                    request_id = scope[REQUEST_ID].encode("ascii")
                    # OpenAI's clients log the one, Anthropic's the other.
                    message["headers"].append((b"x-request-id", request_id))
                    if is_anthropic(scope):
                        message["headers"].append((b"request-id", request_id))
            return send(message)

        await self._app(scope, receive, sent)
