"""OpenAI's batch routes: an uploaded file is run as a batch.

Thin: the batch is one like any other.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.auth.caller import Caller, CallerOf
from api.batches.file_store import FileRecord, FileStore
from api.batches.store import BatchRecord
from api.chat.request import NotBefore
from api.deps import JsonOnly, service
from api.errors import OPENAI_PREFIX, OPENAI_RESPONSES, ApiError
from api.jobs.queue import JobQueue
from api.openai import other_fields
from api.openai.batches.file_batches import PREFIX, FileBatch, FileBatches
from api.openai.batches.result_files import kinds, missing_batch
from api.openai.pagination import page
from api.openai.response_schemas import Batch, BatchList
from api.openai.responses import input_and_output
from api.schemas import Text
from api.serving.fields import Harmless, named, unknown
from api.serving.open_body import Open
from wire import keys
from wire.messages import Usage

router = APIRouter(
    prefix=f"{OPENAI_PREFIX}/batches",
    tags=["OpenAI"],
    dependencies=[JsonOnly],
    responses=OPENAI_RESPONSES,
)

BatchesOf = Annotated[FileBatches, service(FileBatches)]

WINDOW = "24h"
MOST_METADATA = 16
_REFUSED: dict[str, Harmless] = {"output_expires_after": lambda value: value is None}
_LINE = re.compile(r"line (\d+)")
Pair = tuple[FileBatch, BatchRecord | None]
Key = Annotated[Text, Field(max_length=64)]
Value = Annotated[Text, Field(max_length=512)]


class BatchBody(Open):
    """``POST /v1/batches``."""

    input_file_id: Text
    endpoint: Text
    completion_window: Text
    metadata: Annotated[dict[Key, Value], Field(max_length=MOST_METADATA)] | None = None
    not_before: NotBefore | None = None


@router.post("", response_model=Batch)
async def create(
    body: BatchBody,
    files: Annotated[FileStore, service(FileStore)],
    file_batches: BatchesOf,
    jobs: Annotated[JobQueue, service(JobQueue)],
    caller: CallerOf,
    response: Response,
) -> dict[str, Any]:
    """Run the prompts of an uploaded file."""
    other_fields.refuse(body.others, _REFUSED)
    if ignored := unknown(body.others, _REFUSED):
        response.headers["X-Ignored-Fields"] = named(ignored)
    if body.endpoint not in file_batches.endpoints:
        offered = ", ".join(file_batches.endpoints)
        raise ApiError("unsupported", f"Batches are offered for {offered}.", param="endpoint")
    if body.completion_window != WINDOW:
        raise ApiError(
            "invalid_request", f"The completion window must be {WINDOW}.", param="completion_window"
        )
    file = await files.record(body.input_file_id, caller.owner)
    if not isinstance(file, FileRecord):
        raise ApiError("not_found", "There is no such file.", param="input_file_id")
    await jobs.check_quota(caller.owner)
    created = await file_batches.create(
        caller.owner, body.endpoint, file, body.metadata, body.not_before or 0
    )
    return view((created, None))


@router.get("", response_model=BatchList)
async def batches(
    file_batches: BatchesOf,
    caller: CallerOf,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """The caller's batches, newest first."""
    return page(await file_batches.all(caller.owner), after, limit, view)


@router.get("/{batch_id}", response_model=Batch)
async def batch(batch_id: str, file_batches: BatchesOf, caller: CallerOf) -> dict[str, Any]:
    """One batch as it stands."""
    return view(await _find(batch_id, file_batches, caller))


@router.post("/{batch_id}/cancel", response_model=Batch)
async def cancel(batch_id: str, file_batches: BatchesOf, caller: CallerOf) -> dict[str, Any]:
    """End a batch early; finished lines are kept. A batch that has ended stays as it is."""
    file_batch, _ = await _find(batch_id, file_batches, caller)
    if file_batch.state != "failed":
        await file_batches.cancel(file_batch)
    return view(await _find(batch_id, file_batches, caller))


async def _find(batch_id: str, file_batches: FileBatches, caller: Caller) -> Pair:
    pair = (
        await file_batches.find(batch_id.removeprefix(PREFIX), caller.owner)
        if batch_id.startswith(PREFIX)
        else None
    )
    if pair is None:
        raise missing_batch()
    return pair


def status(file_batch: FileBatch, batch: BatchRecord | None) -> str:
    """OpenAI's name for how far a batch is.

    Results are ready with its last line: only expiry is ever "finalizing".
    """
    if file_batch.state == "failed":
        return "failed"
    if batch is None:
        return "cancelling" if file_batch.cancelling_ms else "validating"
    if batch.state in ("completed", "cancelled", "expired"):
        return batch.state
    if batch.state == "cancelling":
        return "cancelling" if file_batch.cancelling_ms else "finalizing"
    return "in_progress"


def view(pair: Pair) -> dict[str, Any]:
    """A batch in OpenAI's shape.

    Times are whole seconds since the epoch; null is what hasn't happened.
    """
    file_batch, batch = pair
    state = status(file_batch, batch)
    ended: dict[str, int | None] = {
        f"{name}_at": None for name in ("completed", "failed", "expired", "cancelled")
    }
    if f"{state}_at" in ended:
        ended[f"{state}_at"] = _seconds(file_batch.ended_ms if batch is None else batch.ended_ms)
    files = {kind: f"{keys.FILE_ID}{file_batch.id}-{kind}" for kind in kinds(file_batch, batch)}
    line = _LINE.match(file_batch.message)
    failure = {
        "code": file_batch.code,
        "message": file_batch.message,
        "param": None,
        "line": int(line[1]) if line else None,
    }
    return ended | {
        "id": file_batch.public_id,
        "object": "batch",
        "endpoint": file_batch.endpoint,
        "errors": {"object": "list", "data": [failure]} if state == "failed" else None,
        "input_file_id": file_batch.file_id,
        "completion_window": WINDOW,
        "status": state,
        "output_file_id": files.get("output"),
        "error_file_id": files.get("errors"),
        "created_at": _seconds(file_batch.created_ms),
        "in_progress_at": _seconds(batch.started_ms if batch is not None else 0),
        "expires_at": _seconds(file_batch.ends_by_ms),
        "finalizing_at": ended["completed_at"],
        "cancelling_at": _seconds(file_batch.cancelling_ms),
        "request_counts": _counts(batch),
        "usage": _usage(batch),
        "metadata": file_batch.metadata,
    }


def _seconds(milliseconds: int) -> int | None:
    return milliseconds // 1000 or None


def _counts(batch: BatchRecord | None) -> dict[str, int]:
    if batch is None:
        return {"total": 0, "completed": 0, "failed": 0}
    return {"total": batch.total, "completed": batch.done, "failed": batch.failed}


def _usage(batch: BatchRecord | None) -> dict[str, Any] | None:
    if batch is None:
        return None
    return input_and_output(
        Usage(
            batch.prompt_tokens,
            batch.completion_tokens,
            batch.cached_tokens,
            batch.reasoning_tokens,
        )
    )
