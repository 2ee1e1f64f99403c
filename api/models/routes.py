"""The model routes: what there is, what is loaded, and commands that a worker carries out.

A command is a job like a chat; its log's end is the answer. Knows nothing of model folders.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from api.auth.caller import CallerOf
from api.deps import JsonOnly, service
from api.errors import ApiError, unknown_model
from api.jobs.ids import new_job_id
from api.jobs.model_commands import ModelCommands
from api.models import views
from api.models.pins import ModelPins
from api.models.ttls import ModelTtls, unload_times
from api.models.views import ActiveModel, ActiveView, EngineModel, model_view
from api.registry import RegistryReader, loaded
from wire.messages import ModelCommand
from wire.model_registry import ModelRecord
from wire.models.pins import Pin

PREFIX, OLD_PREFIX = "/api/engine/models", "/models"
DEPRECATED_SINCE = "@1796083200"
"""Since when the old addresses are deprecated, as the header Deprecation writes it (RFC 9745):
1 December 2026."""
RegistryOf = Annotated[RegistryReader, service(RegistryReader)]
CommandsOf = Annotated[ModelCommands, service(ModelCommands)]
PinsOf = Annotated[ModelPins, service(ModelPins)]
TtlsOf = Annotated[ModelTtls, service(ModelTtls)]

_LISTED_BEFORE = (
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

current = APIRouter(dependencies=[JsonOnly])
earlier = APIRouter()
commands = APIRouter(dependencies=[JsonOnly])


def _answers(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What a worker's answer to a command looks like."""
    return {200: {"model": model}}


@current.get("", summary="List models")
async def models(registry: RegistryOf, ttls: TtlsOf, caller: CallerOf) -> list[EngineModel]:
    """All registered models and downloads, by name; ``default`` marks the caller's default."""
    in_memory, default = loaded(await registry.workers()), await registry.default(caller.owner)
    default_id = None if default is None else default.id
    pinned, loading = await registry.pinned(), await registry.loading()
    limits, expiries = await ttls.all(), await unload_times(registry)
    return [
        model_view(
            record,
            in_memory.get(record.id),
            default_id,
            pinned=record.id in pinned,
            load_progress=loading.get(record.id),
            ttl=limits.get(record.id),
            unloads_in_s=expiries.get(record.id),
        )
        for record in await registry.models()
    ]


@earlier.get("", summary="List models")
async def models_before(registry: RegistryOf) -> list[dict[str, Any]]:
    """All registered models; ``download_progress`` is 0 to 1 here."""
    in_memory = loaded(await registry.workers())
    return [
        {name: getattr(record, name) for name in _LISTED_BEFORE}
        | model_view(record, in_memory.get(record.id)).model_dump(
            include={"sampling_defaults", "loaded", "kv_quantization"}
        )
        for record in await registry.models()
    ]


@commands.get("/active", summary="The model used last")
async def active(registry: RegistryOf) -> ActiveView:
    """The model that a worker used last; null while none is loaded."""
    used_last = await registry.active()
    if used_last is None:
        return ActiveView(model=None)
    record, in_memory = used_last
    row = record.model_dump(include=set(ActiveModel.model_fields))
    return ActiveView(
        model=ActiveModel.model_validate(row | {"kv_quantization": in_memory.kv_quantization})
    )


@commands.post("/load", responses=_answers(views.Loaded), summary="Load a model")
async def load(
    body: views.LoadRequest, commands: CommandsOf, pins: PinsOf, ttls: TtlsOf
) -> dict[str, Any]:
    """Have a worker load a model, or load it again with another KV quantisation or draft model.

    The answer comes once it is loaded; meanwhile the list of models tells how far it is. 409: it is
    in use; 422: it can't be run; 507: there is not enough memory, which is checked before.
    """
    record = await _registered(body.model_id, commands)
    kv = body.kv_quantization
    if kv is not None and "chat" not in record.tasks:
        sentence = "This model has no key-value cache: leave kv_quantization out."
        raise ApiError("unsupported", sentence, param="kv_quantization")
    if body.ttl is not None and body.ttl >= 0:
        await _check_ttl(body, record, commands)
    draft = "" if body.draft_model is None else (await _draft_of(body.draft_model, commands)).id
    command = ModelCommand(
        job_id=new_job_id(),
        action="load",
        model_id=record.id,
        kv_quantization=kv,
        draft_model=draft or None,
    )
    pin = Pin(kv_quantization=kv, draft_model=draft)
    async with pins.loading(record.id, pin, anew=body.pin):
        answer = await commands.run(command)
    await ttls.put(record.id, body.ttl)
    return answer


@commands.post("/unload", responses=_answers(views.Unloaded), summary="Unload a model")
async def unload(
    commands: CommandsOf, pins: PinsOf, body: views.UnloadRequest | None = None
) -> dict[str, Any]:
    """Unload a model; all of them if none is named. It is no longer pinned then. 409: it is in
    use."""
    requested = None if body is None else body.model_id
    model_id = None if requested is None else (await _registered(requested, commands)).id
    command = ModelCommand(job_id=new_job_id(), action="unload", model_id=model_id)
    answer = await commands.run(command)
    named = [] if model_id is None else [model_id]
    await pins.remove(*named, *answer.get("models", ()))
    return answer


@current.post("/unpin", responses=_answers(views.Unpinned), summary="Unpin a model")
async def unpin(body: views.ModelRequest, commands: CommandsOf, pins: PinsOf) -> views.Unpinned:
    """Let a pinned model be unloaded to make room again. It stays loaded until then."""
    record = await _registered(body.model_id, commands)
    await pins.remove(record.id)
    return views.Unpinned(status="unpinned", model_id=record.id)


@commands.post("/register", responses=_answers(views.Registered), summary="Name a model folder")
async def register(body: views.RegisterRequest, commands: CommandsOf) -> dict[str, Any]:
    """Register a folder below the configured model folders under a name. The name is kept."""
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="register", name=body.name, path=body.path)
    )


@commands.post("/scan", responses=_answers(views.Scanned), summary="Scan the model folders")
async def scan(commands: CommandsOf) -> dict[str, Any]:
    """Look through the configured model folders again."""
    return await commands.run(ModelCommand(job_id=new_job_id(), action="scan"))


@commands.post("/download", responses=_answers(views.Downloading), summary="Download a model")
async def download(body: views.DownloadRequest, commands: CommandsOf) -> dict[str, Any]:
    """Begin to download a model from the hub, by its repository's name.

    The answer comes as the download begins; the list of models tells how far it is. One that was
    interrupted goes on where it was. 507: the disk can't hold it.
    """
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="download", model_id=body.model_id)
    )


@current.post("/download/cancel", responses=_answers(views.Cancelled), summary="Cancel a download")
async def cancel_download(body: views.ModelRequest, commands: CommandsOf) -> dict[str, Any]:
    """End a download early. What was fetched is kept: downloading the model again goes on there.

    404: no download of this name is under way.
    """
    return await commands.run(
        ModelCommand(job_id=new_job_id(), action="cancel_download", model_id=body.model_id)
    )


@commands.post("/delete", responses=_answers(views.Deleted), summary="Delete a model")
async def delete(body: views.ModelRequest, commands: CommandsOf, pins: PinsOf) -> dict[str, Any]:
    """Delete a model that was downloaded here, or what is there of a download that failed.

    Other models are refused with 403; one in use, or being downloaded, with 409.
    """
    record = await _registered(body.model_id, commands)
    command = ModelCommand(job_id=new_job_id(), action="delete", model_id=record.id)
    answer = await commands.run(command)
    await pins.remove(record.id)
    return answer


async def _registered(requested: str, commands: ModelCommands) -> ModelRecord:
    record = await commands.registry.find(requested)
    if record is None:
        raise unknown_model()
    return record


async def _check_ttl(body: views.LoadRequest, record: ModelRecord, commands: ModelCommands) -> None:
    """Raises ApiError for a limit that can't be honoured."""
    if body.ttl == 0:
        sentence = "A model that is loaded stays for a while: send more than 0."
        raise ApiError("invalid_request", sentence, param="ttl")
    if record.base_id:
        sentence = "An adapter stays as long as its base: send ttl for that."
        raise ApiError("unsupported", sentence, param="ttl")
    if body.pin or record.id in await commands.registry.pinned():
        sentence = "A pinned model stays in memory: leave ttl out, or unpin it."
        raise ApiError("unsupported", sentence, param="ttl")


async def _draft_of(requested: str, commands: ModelCommands) -> ModelRecord:
    record = await commands.registry.find(requested)
    if record is None:
        sentence = "No draft model of this name is registered."
        raise ApiError("model_not_found", sentence, param="draft_model")
    return record


async def _deprecated(response: Response) -> None:
    response.headers["Deprecation"] = DEPRECATED_SINCE
    response.headers["Link"] = f'<{PREFIX}>; rel="successor-version"'


def _router() -> APIRouter:
    """The routes at their addresses, and at those of earlier releases for one release more."""
    both = APIRouter(tags=["Models"])
    for part in (current, commands):
        both.include_router(part, prefix=PREFIX)
    for part in (earlier, commands):
        both.include_router(
            part, prefix=OLD_PREFIX, deprecated=True, dependencies=[Depends(_deprecated)]
        )
    return both


router = _router()
