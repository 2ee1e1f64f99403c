"""Access control: checks the Host header, the origin, and the key or session of every request.

Runs before every route, mounted applications included, and reads no body. Knows nothing of jobs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import quote

from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import roles
from api.auth.api_keys import ApiKey
from api.auth.caller import Caller
from api.auth.key_ring import KeyRing
from api.auth.revocation import until_revoked
from api.auth.sessions import COOKIE, Sessions
from api.deps import find_service
from api.errors import ApiError, from_redis
from api.http.host_names import HostNames
from wire.settings import Settings

LOGIN_PATH = "/login"
_OPEN_BODY = 4096
"""Longest body, in bytes, of a request without a key."""
_NEAR = HostNames(
    [
        "host.docker.internal",
        "gateway.docker.internal",
        "host.containers.internal",
        "host.lima.internal",
        "*.local",
    ]
)
"""Names by which containers and local networks reach this machine; none of them can be registered
(docs/security.md)."""
_KEY_HEADERS = ("x-api-key", "api-key")
"""Where Anthropic's and Azure's clients put a key."""


class AuthMiddleware:
    """Lets a request through with its caller noted, or answers it."""

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: Iterable[str]) -> None:
        """``open_paths`` need no key; one that ends in a slash opens all below it."""
        self._app = app
        self._open = frozenset(open_paths)
        self._open_below = tuple(path for path in self._open if path.endswith("/"))
        self._origins = frozenset(settings.cors_origins)
        self._hosts = (HostNames([settings.host, *settings.allowed_hosts]), _NEAR)
        self._names_hosts = bool(settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http" and (refusal := await self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        elif scope["type"] == "http":
            key: ApiKey | None = scope.get("api_key")
            if key is not None and key.stored_id is not None:
                send = until_revoked(send, key.stored_id, find_service(scope["app"], KeyRing).store)
            await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        try:
            await self._check_host(scope, headers)
            same_page = self._check_origin(scope["method"], headers)
            if scope["path"] in self._open or scope["path"].startswith(self._open_below):
                if _ring(scope).may_be_required:
                    _check_short(headers)
                return None
            if not await _ring(scope).required():
                return None
            return await self._check_caller(scope, headers, same_page)
        except ApiError as refused:
            return refused.response(
                {"WWW-Authenticate": "Bearer"} if refused.code == "unauthorized" else None
            )
        except RedisError as failed:
            return from_redis(failed).response()

    async def _check_host(self, scope: Scope, headers: Headers) -> None:
        """Refuse host names that aren't the service's own: a defence against DNS rebinding."""
        hosts = headers.getlist("host")
        if len(hosts) == 1 and self._goes_by(_without_port(hosts[0])):
            return
        # A page that rebinds its name to this machine has no key and no cookie: with keys any name
        # will do.
        if len(hosts) != 1 or self._names_hosts or not await _ring(scope).required():
            raise ApiError(
                "bad_request", "The Host header names another service. See MLXQ_ALLOWED_HOSTS."
            )

    def _goes_by(self, name: str) -> bool:
        return _is_loopback(name) or any(name in hosts for hosts in self._hosts)

    def _check_origin(self, method: str, headers: Headers) -> bool:
        """Whether the request comes from one of our own pages.

        A foreign page may not change anything.
        """
        origin = headers.get("origin")
        ours = (
            headers.get("sec-fetch-site") == "same-origin"
            if origin is None
            else _same(origin, headers["host"])
        )
        if (
            method not in roles.READS
            and not ours
            and origin is not None
            and origin not in self._origins
        ):
            raise ApiError(
                "forbidden", "Pages of this origin may not use the service. See MLXQ_CORS_ORIGINS."
            )
        return ours

    async def _check_caller(
        self, scope: Scope, headers: Headers, same_page: bool
    ) -> Response | None:
        sent_key = _sent_key(headers)
        if sent_key is not None:
            key = await _ring(scope).find(sent_key)
        else:
            key = await self._by_cookie(scope, headers)
            # A browser adds the cookie to requests of any page.
            if key is not None and scope["method"] not in roles.READS and not same_page:
                raise ApiError(
                    "forbidden",
                    "A signed-in browser may do this from the service's own pages only.",
                )
        if key is not None:
            _check_role(key, scope)
            scope["caller"], scope["api_key"] = Caller(key.owner, key.roles), key
            return None
        if (
            scope["method"] == "GET"
            and sent_key is None
            and "text/html" in headers.get("accept", "")
        ):
            return RedirectResponse(f"{LOGIN_PATH}?next={quote(scope['path'], safe='/')}", 303)
        raise ApiError(
            "unauthorized",
            "Send a valid API key: the header Authorization: Bearer <key>, or X-Api-Key.",
        )

    async def _by_cookie(self, scope: Scope, headers: Headers) -> ApiKey | None:
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if token is None:
            return None
        return await find_service(scope["app"], Sessions).key_of(token, _ring(scope))


def _ring(scope: Scope) -> KeyRing:
    return find_service(scope["app"], KeyRing)


def _check_role(key: ApiKey, scope: Scope) -> None:
    role = roles.needed(scope["method"], scope["path"])
    if not roles.allows(key.roles, role):
        raise ApiError("forbidden", f"This needs an API key with the role {role}.")


def _sent_key(headers: Headers) -> bytes | None:
    """The key that a request brings in a header; None without one.

    Raises ApiError for several that differ.
    """
    brought = {value.strip() for name in _KEY_HEADERS for value in headers.getlist(name)}
    for value in headers.getlist("authorization"):
        scheme, _, key = value.partition(" ")
        # Another scheme may be a proxy's. Where nothing else is, it is a wrong key.
        if scheme.lower() == "bearer":
            brought.add(key.strip())
    if len(brought) > 1:
        message = "Different API keys in Authorization, X-Api-Key or Api-Key: send one."
        raise ApiError("bad_request", message)
    if not brought and "authorization" in headers:
        return b""
    return next((key.encode("latin-1") for key in brought), None)


def _check_short(headers: Headers) -> None:
    declared = headers.get("content-length", "0")
    too_long = not declared.isdecimal() or len(declared) > 9 or int(declared) > _OPEN_BODY
    if too_long or "transfer-encoding" in headers:
        raise ApiError("too_large", "The request body is too large.")


def _without_port(host: str) -> str:
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(origin: str, host: str) -> bool:
    """Whether an origin is the address of the request; a proxy may have changed the scheme."""
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and authority.lower() == host.lower()
