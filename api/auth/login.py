"""Browser login: a key is sent once, and a cookie that doesn't hold it stands for it from then on.

Plain forms, so that it works without scripts. Sessions are stored by api.auth.sessions.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.requests import cookie_parser

from api.auth.caller import CallerOf
from api.auth.key_ring import KeyRing
from api.auth.middleware import LOGIN_PATH
from api.auth.sessions import COOKIE, Sessions
from api.deps import service
from wire import keys
from wire.access.api_keys import Role

router = APIRouter(tags=["Sign-in"])

KeysOf = Annotated[KeyRing, service(KeyRing)]
SessionsOf = Annotated[Sessions, service(Sessions)]

_PAGE = (Path(__file__).parents[1] / "static" / "login.html").read_text(encoding="utf-8")
_WRONG = '<p class="notice error" role="alert">Unknown API key.</p>'


class Session(BaseModel):
    """What ``GET /api/engine/session`` returns: the caller's name and roles, whether keys are
    needed."""

    owner: str
    keys: bool
    roles: list[Role]


@router.get("/api/engine/session")
async def session(caller: CallerOf, ring: KeysOf) -> Session:
    """The name under which this caller's chats are kept."""
    return Session(owner=caller.owner, keys=await ring.required(), roles=list(caller.roles))


@router.get(LOGIN_PATH, response_class=HTMLResponse, include_in_schema=False)
async def form(ring: KeysOf, goes_on: Annotated[str, Query(alias="next")] = "/") -> Response:
    """The page that asks for a key."""
    return _page(goes_on) if await ring.required() else RedirectResponse("/", 303)


@router.post(LOGIN_PATH, response_class=HTMLResponse, include_in_schema=False)
async def sign_in(request: Request, ring: KeysOf, sessions: SessionsOf) -> Response:
    """Begin a session with the key of the form, and go on to where the browser came from."""
    fields = parse_qs(
        (await request.body()).decode("latin-1"),
        max_num_fields=10,
        encoding="utf-8",
        errors="surrogateescape",
    )
    goes_on = fields.get("next", ["/"])[0]
    key = await ring.find(fields.get("key", [""])[0].strip().encode(errors="surrogateescape"))
    if key is None:
        return _page(goes_on, _WRONG, 401)
    answer = RedirectResponse(_local(goes_on), 303)
    answer.set_cookie(
        COOKIE,
        await sessions.begin(key),
        max_age=keys.SESSION_LIFETIME_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout", include_in_schema=False)
async def sign_out(request: Request, sessions: SessionsOf) -> Response:
    """End the browser's session."""
    await sessions.end(cookie_parser(request.headers.get("cookie", "")).get(COOKIE, ""))
    answer = RedirectResponse(LOGIN_PATH, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _page(goes_on: str, note: str = "", status: int = 200) -> Response:
    return HTMLResponse(
        _PAGE.replace("{next}", html.escape(_local(goes_on))).replace("{note}", note), status
    )


def _local(address: str) -> str:
    """A place on this service: a browser reads two slashes, or a backslash, as another host."""
    plain = address.isascii() and address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"
