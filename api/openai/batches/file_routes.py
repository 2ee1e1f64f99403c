"""OpenAI's file routes: prompts of batches are uploaded here, and their results read.

Results are no files of their own: they are written out of a batch whenever they are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from api.auth.caller import Caller, CallerOf
from api.batches.file_store import FileRecord, FileStore, FileWriter
from api.deps import service
from api.error_shapes.anthropic import is_anthropic
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.http.body_routes import FILE, LongBodyRoute, takes
from api.http.multipart import Field, FileBegins
from api.http.multipart import parts as parts_of_form
from api.openai.batches.result_files import ResultFile, ResultFiles
from api.openai.pagination import page


async def _of_openai(request: Request) -> None:
    """Anthropic's client has files at the same addresses, with other fields. Raises ApiError."""
    if is_anthropic(request.scope):
        raise ApiError(
            "not_found", "Anthropic's Files API is not served here: send images in the messages."
        )


router = APIRouter(
    dependencies=[Depends(_of_openai)],
    prefix=f"{OPENAI_PREFIX}/files",
    tags=["OpenAI"],
    responses=OPENAI_RESPONSES,
    route_class=LongBodyRoute,
)

StoreOf = Annotated[FileStore, service(FileStore)]
ResultsOf = Annotated[ResultFiles, service(ResultFiles)]

PURPOSE = "batch"
MOST_NAME = 255
_EXPIRY_S = (3600, 30 * 24 * 3600)
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


class FileView(BaseModel):
    """A file in OpenAI's shape. Times are whole seconds since the epoch."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: None


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"]
    data: list[FileView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """What the deletion of a file returns."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


@router.post("", openapi_extra=_FORM, response_model=FileView)
@takes(FILE)
async def upload(request: Request, store: StoreOf, caller: CallerOf) -> dict[str, Any]:
    """Upload a JSONL file of prompts, with purpose ``batch``."""
    kind = request.headers.get("content-type", "")
    try:
        record = await _stored(kind, request.stream(), store, caller)
    except ClientDisconnect:
        raise ApiError("bad_request", "The upload was broken off.") from None
    return _view(record)


async def _stored(
    kind: str, arriving: AsyncIterator[bytes], store: FileStore, caller: Caller
) -> FileRecord:
    fields: dict[str, str] = {}
    filename, writer = "", None
    try:
        async for part in parts_of_form(kind, arriving):
            if isinstance(part, Field):
                fields[part.name] = part.value
            elif isinstance(part, FileBegins):
                if part.name != "file" or writer is not None:
                    raise ApiError(
                        "invalid_request", "One file is wanted, in the field file.", param="file"
                    )
                filename, writer = part.filename, await store.begin(caller.owner)
            elif writer is not None:
                await writer.write(part)
        return await _finished(fields, filename, writer, store)
    except BaseException:
        if writer is not None:
            await store.abandon(writer)
        raise


async def _finished(
    fields: dict[str, str], filename: str, writer: FileWriter | None, store: FileStore
) -> FileRecord:
    if fields.get("purpose") != PURPOSE:
        raise ApiError("invalid_request", "The purpose must be batch.", param="purpose")
    if writer is None or not writer.bytes:
        raise ApiError("invalid_request", "The file is missing or empty.", param="file")
    after = fields.get("expires_after[seconds]")
    if after is not None and not (
        after.isdecimal() and _EXPIRY_S[0] <= int(after[:9]) <= _EXPIRY_S[1]
    ):
        raise ApiError(
            "invalid_request",
            "A file expires after 3600 to 2592000 seconds.",
            param="expires_after",
        )
    name = filename.replace("\\", "/").rpartition("/")[2][:MOST_NAME] or "file.jsonl"
    return await store.finish(writer, name, PURPOSE, None if after is None else float(after))


Order = Literal["asc", "desc"]


@router.get("", response_model=FileList)
async def files(
    store: StoreOf,
    caller: CallerOf,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
) -> dict[str, Any]:
    """The caller's uploaded files. Results are found through their batches."""
    records = [
        record for record in await store.all(caller.owner) if purpose in (None, record.purpose)
    ]
    return page(records if order == "desc" else records[::-1], after, limit, _view)


@router.get("/{file_id}", response_model=FileView)
async def file(
    file_id: str, store: StoreOf, results: ResultsOf, caller: CallerOf
) -> dict[str, Any]:
    """What is known of a file."""
    stored = await _find(file_id, store, results, caller)
    return _view(stored) if isinstance(stored, FileRecord) else await stored.view()


@router.get("/{file_id}/content", response_class=StreamingResponse, responses=_CONTENT)
async def content(file_id: str, store: StoreOf, results: ResultsOf, caller: CallerOf) -> Response:
    """The file itself."""
    stored = await _find(file_id, store, results, caller)
    pieces = store.content(stored) if isinstance(stored, FileRecord) else stored.content()
    return StreamingResponse(pieces, media_type="application/octet-stream")


@router.delete("/{file_id}", response_model=FileDeleted)
async def delete(
    file_id: str, store: StoreOf, results: ResultsOf, caller: CallerOf
) -> dict[str, Any]:
    """Delete a file. A batch that was made of it goes on."""
    stored = await _find(file_id, store, results, caller)
    if isinstance(stored, FileRecord):
        await store.delete(stored)
    else:
        await results.batches.hide(stored.file_batch, stored.kind)
    return {"id": file_id, "object": "file", "deleted": True}


async def _find(
    file_id: str, store: FileStore, results: ResultFiles, caller: Caller
) -> FileRecord | ResultFile:
    stored = await store.record(file_id, caller.owner) or await results.find(file_id, caller)
    if stored is None:
        raise ApiError("not_found", "There is no such file.", param="file_id")
    return stored


def _view(record: FileRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_ms // 1000,
        "expires_at": record.expires_ms // 1000,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": None,
    }
