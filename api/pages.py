"""The HTML pages: chat at ``/``, models, ``/status``, the API's reference at ``/docs``.

Files only; what a page shows it asks for over the API like any other client. Knows nothing of
chats, models or keys.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = "/static"
MODELS = "/manage/models"
FOLDER = Path(__file__).parent / "static"
# Asked for again each time and answered with 304 mostly: after an update no page runs with half of
# the old files.
_FRESH = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def chat_page() -> FileResponse:
    """The chat page."""
    return page("index.html")


@router.get(MODELS)
async def models_page() -> FileResponse:
    """The models page. Not at ``/models``: that is a deprecated route of the API."""
    return page("models.html")


@router.get("/status")
async def status_page() -> FileResponse:
    """The status page."""
    return page("status.html")


@router.get("/docs")
async def docs_page() -> FileResponse:
    """The reference of the API."""
    return page("docs.html")


def page(name: str) -> FileResponse:
    """One of the HTML files."""
    return FileResponse(FOLDER / name, media_type="text/html; charset=utf-8", headers=_FRESH)


class Files(StaticFiles):
    """What the pages load."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers.update(_FRESH)
        return answer
