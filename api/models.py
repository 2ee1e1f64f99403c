"""The model routes: what there is, what is loaded, and commands that a worker carries out.

A command is a job like a chat; its log's end is the answer. Knows nothing of model folders.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Field

from api.errors import RETRY_SOON_S, ApiError, no_worker
from api.jobs.ids import new_job_id
from api.jobs.relay import LOOK_AGAIN_S, Reader
from api.registry import loaded
from api.schemas import Body, ModelId, whole
from api.services import JsonOnly, Parts, PartsOf
from wire.messages import Failed, Finished, ModelCommand
from wire.model_registry import ModelRecord

router = APIRouter(prefix="/models", tags=["Models"], dependencies=[JsonOnly])

_LISTED = (
    "id",
    "name",
    "path",
    "size",
    "architecture",
    "context_window",
    "is_vision",
    "downloaded",
    "downloading",
    "download_progress",
)
_ACTIVE = ("id", "name", "path", "architecture", "context_window", "is_vision")


class LoadRequest(Body):
    model_id: ModelId
    kv_quantization: Literal[4, 8] | None = None


class UnloadRequest(Body):
    """Without a model id the model used last is meant."""

    model_id: ModelId | None = None


class ModelRequest(Body):
    model_id: ModelId


class RegisterRequest(Body):
    name: ModelId
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(whole)]


@router.get("")
async def models(parts: PartsOf) -> list[dict[str, Any]]:
    """All registered models."""
    in_memory = loaded(await parts.catalogue.workers())
    return [_listed(record, in_memory) for record in await parts.catalogue.models()]


def _listed(record: ModelRecord, in_memory: dict[str, Any]) -> dict[str, Any]:
    now = in_memory.get(record.id)
    row = {name: getattr(record, name) for name in _LISTED}
    return row | {
        "loaded": now is not None,
        "kv_quantization": record.kv_quantization if now is None else now.kv_quantization,
    }


@router.get("/active")
async def active(parts: PartsOf) -> dict[str, Any]:
    """The model that a worker used last."""
    found = await parts.catalogue.active()
    if found is None:
        return {"model": None}
    record, in_memory = found
    row = {name: getattr(record, name) for name in _ACTIVE}
    return {"model": row | {"kv_quantization": in_memory.kv_quantization}}


@router.post("/load")
async def load(body: LoadRequest, parts: PartsOf) -> dict[str, Any]:
    """Have a worker load a model, or load it again with another KV quantisation."""
    record = await _known(body.model_id, parts)
    kv = body.kv_quantization
    return await _run(
        ModelCommand(job_id=new_job_id(), action="load", model_id=record.id, kv_quantization=kv),
        parts,
    )


@router.post("/unload")
async def unload(parts: PartsOf, body: UnloadRequest | None = None) -> dict[str, Any]:
    """Have a worker forget a model; the one used last if none is named."""
    wanted = None if body is None else body.model_id
    model_id = None if wanted is None else (await _known(wanted, parts)).id
    return await _run(ModelCommand(job_id=new_job_id(), action="unload", model_id=model_id), parts)


@router.post("/register")
async def register(body: RegisterRequest, parts: PartsOf) -> dict[str, Any]:
    """Register a folder below the configured model folders."""
    return await _run(
        ModelCommand(job_id=new_job_id(), action="register", name=body.name, path=body.path), parts
    )


@router.post("/scan")
async def scan(parts: PartsOf) -> dict[str, Any]:
    """Look through the configured model folders again."""
    return await _run(ModelCommand(job_id=new_job_id(), action="scan"), parts)


@router.post("/download")
async def download(body: ModelRequest, parts: PartsOf) -> dict[str, Any]:
    """Begin to download a model from the hub, by its repository's name."""
    return await _run(
        ModelCommand(job_id=new_job_id(), action="download", model_id=body.model_id), parts
    )


@router.post("/delete")
async def delete(body: ModelRequest, parts: PartsOf) -> dict[str, Any]:
    """Delete a model that was downloaded here."""
    record = await _known(body.model_id, parts)
    return await _run(ModelCommand(job_id=new_job_id(), action="delete", model_id=record.id), parts)


async def _known(wanted: str, parts: Parts) -> ModelRecord:
    record = await parts.catalogue.find(wanted)
    if record is None:
        raise ApiError("model_not_found", "No model of this id or name is registered.")
    return record


async def _run(command: ModelCommand, parts: Parts) -> dict[str, Any]:
    """Queue a command, wait for its end, and answer with it."""
    if not await parts.catalogue.worker_seen():
        raise no_worker()
    reader = parts.relay.attach(command.job_id, replay=False)
    try:
        await parts.jobs.submit_command(command)
        end = await _end(reader, parts)
    finally:
        reader.detach()
    if isinstance(end, Failed):
        raise ApiError(end.code, end.message)
    return end.result or {}


async def _end(reader: Reader, parts: Parts) -> Finished | Failed:
    while not reader.closed:
        for entry in await reader.batch(LOOK_AGAIN_S):
            event = entry.event
            if isinstance(event, (Finished, Failed)):
                return event
        if await parts.lookup.standing(reader.job_id) == "gone":
            raise ApiError("job_lost", "The command was lost. Send it again.", RETRY_SOON_S)
        reader.look_again()
    raise ApiError(
        "job_lost", "The service is restarting; the command may still be carried out.", RETRY_SOON_S
    )
