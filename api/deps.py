"""What routes depend on: the services of this process by their types, and a body declared as JSON.

Knows no service, so that every route can ask here for the few that it uses.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from fastapi import Depends, Request

from api.errors import ApiError

T = TypeVar("T")


def find_service(app: Any, kind: type[T]) -> T:
    """A service of a running application, for code that isn't a route."""
    return cast(T, app.state.services[kind])


def service(kind: type[Any]) -> Any:
    """A route's way to a service: ``Annotated[Chats, service(Chats)]``."""

    # A coroutine: FastAPI would run a plain function on a thread, for each request.
    async def find(request: Request) -> Any:
        return find_service(request.app, kind)

    return Depends(find)


async def _json_only(request: Request) -> None:
    """Refuse a body that isn't declared as JSON: any page can send a form without preflight."""
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    has_body = (
        request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    )
    if has_body and declared != "application/json":
        raise ApiError(
            "unsupported_media_type", "Send JSON, with the header Content-Type: application/json."
        )


JsonOnly = Depends(_json_only)
