"""The model routes: what there is, what is loaded, and commands that a worker carries out.

A command is a job like a chat; its log's end is the answer. Knows nothing of model folders.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AfterValidator, Field

from api.deps import JsonOnly, service
from api.errors import unknown_model
from api.jobs.ids import new_job_id
from api.jobs.model_commands import ModelCommands
from api.registry import RegistryReader, loaded
from api.schemas import Body, ModelId, whole
from wire.messages import ModelCommand
from wire.model_registry import ModelRecord

router = APIRouter(prefix="/models", tags=["Models"], dependencies=[JsonOnly])

RegistryOf = Annotated[RegistryReader, service(RegistryReader)]
CommandsOf = Annotated[ModelCommands, service(ModelCommands)]

_LISTED = (
    "id",
    "name",
    "path",
    "size",
    "architecture",
    "context_window",
    "is_vision",
    "takes_tools",
    "reasoning_efforts",
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
async def models(registry: RegistryOf) -> list[dict[str, Any]]:
    """All registered models."""
    in_memory = loaded(await registry.workers())
    return [_listed(record, in_memory) for record in await registry.models()]


def _listed(record: ModelRecord, in_memory: dict[str, Any]) -> dict[str, Any]:
    now = in_memory.get(record.id)
    row = {name: getattr(record, name) for name in _LISTED}
    return row | {
        "sampling_defaults": record.sampling_defaults.given(),
        "loaded": now is not None,
        "kv_quantization": record.kv_quantization if now is None else now.kv_quantization,
    }


@router.get("/active")
async def active(registry: RegistryOf) -> dict[str, Any]:
    """The model that a worker used last."""
    used_last = await registry.active()
    if used_last is None:
        return {"model": None}
    record, in_memory = used_last
    row = {name: getattr(record, name) for name in _ACTIVE}
    return {"model": row | {"kv_quantization": in_memory.kv_quantization}}


@router.post("/load")
async def load(body: LoadRequest, commands: CommandsOf) -> dict[str, Any]:
    """Have a worker load a model, or load it again with another KV quantisation."""
    record = await _registered(body.model_id, commands)
    kv = body.kv_quantization
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="load", model_id=record.id, kv_quantization=kv)
    )


@router.post("/unload")
async def unload(commands: CommandsOf, body: UnloadRequest | None = None) -> dict[str, Any]:
    """Unload a model; the one used last if none is named."""
    requested = None if body is None else body.model_id
    model_id = None if requested is None else (await _registered(requested, commands)).id
    return await commands.run(ModelCommand(job_id=new_job_id(), action="unload", model_id=model_id))


@router.post("/register")
async def register(body: RegisterRequest, commands: CommandsOf) -> dict[str, Any]:
    """Register a folder below the configured model folders."""
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="register", name=body.name, path=body.path)
    )


@router.post("/scan")
async def scan(commands: CommandsOf) -> dict[str, Any]:
    """Look through the configured model folders again."""
    return await commands.run(ModelCommand(job_id=new_job_id(), action="scan"))


@router.post("/download")
async def download(body: ModelRequest, commands: CommandsOf) -> dict[str, Any]:
    """Begin to download a model from the hub, by its repository's name."""
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="download", model_id=body.model_id)
    )


@router.post("/delete")
async def delete(body: ModelRequest, commands: CommandsOf) -> dict[str, Any]:
    """Delete a model that was downloaded here."""
    record = await _registered(body.model_id, commands)
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="delete", model_id=record.id)
    )


async def _registered(requested: str, commands: ModelCommands) -> ModelRecord:
    record = await commands.registry.find(requested)
    if record is None:
        raise unknown_model()
    return record
