"""What the routes of models take and return, as the API's description shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from api.schemas import Body, KeepAlive, ModelId, whole
from wire.model_registry import ModelRecord
from wire.worker_status import LoadedModel

KvBits = Literal[4, 8] | None
Named = Annotated[ModelId, Field(description="An id, a name or a repository's name.")]


class LoadRequest(Body):
    """Which model to load, and how."""

    model_id: Named
    kv_quantization: KvBits = Field(
        default=None,
        description="Bits of the key-value cache; null: not quantised. A model that is loaded "
        "with another value is loaded again.",
    )
    draft_model: Named | None = Field(
        default=None,
        description="A small model of the same vocabulary that guesses for this one, which checks "
        "several tokens in one step then: the answers stay the same. A model that is loaded with "
        "another one, or none, is loaded again.",
    )
    pin: bool = Field(
        default=False,
        description="Also pin it: no worker unloads it to make room, and workers load it when they "
        "start. False leaves it pinned or not, as it is.",
    )

    ttl: KeepAlive | None = Field(
        default=None,
        description="How long it stays in memory once it is idle: seconds, or a duration such as "
        "10m; -1: until its memory is needed; null: as the service is set. Not for a pinned model.",
    )


class UnloadRequest(Body):
    """Without a model id, all models of the worker are meant."""

    model_id: Named | None = None


class ModelRequest(Body):
    """Which model is meant."""

    model_id: Named


class DownloadRequest(Body):
    """Which model to fetch."""

    model_id: ModelId = Field(
        description="A repository of the hub, owner/name, or the name of a packaged model: smollm2."
    )


class RegisterRequest(Body):
    """A folder and the name that it gets."""

    name: ModelId = Field(description="The name under which requests will ask for it.")
    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(whole)] = Field(
        description="A folder with a config.json, below one of the configured model folders."
    )
    url: Any = Field(default=None, description="Ignored: nothing is fetched to register a model.")


class EngineModel(BaseModel):
    """One model, with what is loaded of it and how far its download is."""

    id: str = Field(
        description="Its id. A model that was downloaded here keeps it, others get another "
        "with other files."
    )
    name: str = Field(description="The name that people know it by.")
    path: str = Field(description="Its folder on the worker's machine.")
    local_path: str | None = Field(
        description="The same once the whole model is there; null before that."
    )
    repository: str | None = Field(description="Its name on the hub, owner/name, where known.")
    base_id: str | None = Field(
        description="Of a LoRA adapter, the id of the model that it changes; else null."
    )
    problem: str | None = Field(
        description="Why an adapter that was found can't be used, as a sentence; else null."
    )
    size: int = Field(description="Bytes of its weights on disk; of a download, all its bytes.")
    architecture: str = Field(description="`model_type` of its config.json.")
    context_window: int = Field(description="Tokens; 0 while it isn't known.")
    is_vision: bool = Field(description="Whether it sees images.")
    takes_tools: bool = Field(description="Whether its chat template knows of tools.")
    capabilities: list[str] = Field(
        description="What it is for: chat, embeddings, rerank; of a chat model vision and tools."
    )
    dimensions: int | None = Field(
        description="How many numbers a vector of it has; null for a model that makes none."
    )
    reasoning_efforts: list[str] = Field(
        description="The values of `reasoning_effort` that its chat template tells apart."
    )
    sampling_defaults: dict[str, float] = Field(
        description="What its generation_config.json says for requests that leave it out."
    )
    downloaded: bool = Field(description="Whether its files are all there.")
    downloading: bool = Field(description="Whether it is being downloaded now.")
    download_progress: float = Field(description="Percent of its bytes that are there: 0 to 100.")
    download_speed: float | None = Field(
        description="Bytes per second of a download; null if none is running."
    )
    download_eta: float | None = Field(
        description="Seconds until a download is done; null if that isn't known."
    )
    download_error: str | None = Field(
        description="Why the last download ended early, as a sentence; it can be resumed."
    )
    default: bool = Field(
        description="Whether it is the one for requests of this caller that name none."
    )
    demo: bool = Field(description="Whether it came with the service, and knows little.")
    deletable: bool = Field(description="Whether it was downloaded here and may be deleted.")
    loaded: bool = Field(description="Whether a worker has it in memory.")
    load_progress: float | None = Field(
        description="While it is being loaded, percent of its weights' bytes that have been read "
        "into memory: 0 to 100; its tokeniser is read, and it is tried out, after that. null if "
        "it is not being loaded."
    )
    pinned: bool = Field(
        description="Whether it is pinned: no worker unloads it to make room, and workers load it "
        "when they start."
    )
    ttl: float | None = Field(
        description="How long it stays in memory once it is idle, seconds, as it was loaded; -1: "
        "until its memory is needed; null: as the service is set."
    )
    unloads_in_s: float | None = Field(
        description="Seconds until it is unloaded if nobody uses it; null: it has no limit, is in "
        "use, or isn't loaded."
    )
    kv_quantization: KvBits = Field(
        description="Bits of its key-value cache, as it is loaded or was last; null: full."
    )
    draft_model: str | None = Field(
        description="Id of the draft model that it is loaded with, or was last; null: none."
    )


def model_view(
    record: ModelRecord,
    now: LoadedModel | None,
    default_id: str | None = None,
    *,
    pinned: bool = False,
    load_progress: float | None = None,
    ttl: float | None = None,
    unloads_in_s: float | None = None,
) -> EngineModel:
    """The view of a record. ``now`` is how it is loaded, None if it isn't; ``default_id`` is the
    default model's; ``load_progress`` is in percent, None if it isn't being loaded; ``ttl`` and
    ``unloads_in_s`` are None without a limit."""
    folder = record.adapter_path or record.path
    return EngineModel(
        **{name: getattr(record, name) for name in _AS_RECORDED},
        path=folder,
        local_path=folder if record.downloaded and folder else None,
        base_id=record.base_id or None,
        problem=record.problem or None,
        sampling_defaults=record.sampling_defaults.given(),
        capabilities=record.capabilities,
        dimensions=record.dimensions or None,
        download_progress=percent(record),
        default=record.id == default_id,
        loaded=now is not None,
        load_progress=load_progress,
        pinned=pinned,
        ttl=ttl,
        unloads_in_s=unloads_in_s,
        kv_quantization=record.kv_quantization if now is None else now.kv_quantization,
        draft_model=(record.draft_model if now is None else now.draft_model) or None,
    )


_AS_RECORDED = sorted(
    set(EngineModel.model_fields)
    & set(ModelRecord.model_fields)
    - {"sampling_defaults", "download_progress", "kv_quantization", "draft_model", "dimensions"}
    - {"path", "base_id", "problem"}
)


def percent(record: ModelRecord) -> float:
    """How much of a model is there, 0 to 100, with one digit behind the point."""
    return round(100 * min(1.0, max(0.0, record.download_progress)), 1)


class ActiveModel(BaseModel):
    """The model that was used last."""

    id: str = Field(description="Its id.")
    name: str = Field(description="Its name.")
    path: str = Field(description="Its folder on the worker's machine.")
    architecture: str = Field(description="`model_type` of its config.json.")
    context_window: int = Field(description="Tokens.")
    is_vision: bool = Field(description="Whether it sees images.")
    kv_quantization: KvBits = Field(description="Bits of its key-value cache; null: full.")


class ActiveView(BaseModel):
    """The model that a worker used last."""

    model: ActiveModel | None = Field(description="null while none is loaded.")


class Loaded(BaseModel):
    """A model that is in memory now."""

    status: Literal["loaded"]
    model_id: str = Field(description="Its id, whatever name was asked for.")
    context_window: int = Field(description="Tokens.")
    architecture: str = Field(description="`model_type` of its config.json.")
    is_vision: bool = Field(description="Whether it sees images.")


class Unloaded(BaseModel):
    """The models that are no longer in memory."""

    status: Literal["unloaded"]
    models: list[str] = Field(description="Their ids; empty if none was loaded.")


class Unpinned(BaseModel):
    """A model that is not pinned (any more)."""

    status: Literal["unpinned"]
    model_id: str = Field(description="Its id.")


class Registered(BaseModel):
    """The folder's new name."""

    status: Literal["registered"]
    model_id: str = Field(description="The model's id.")
    name: str = Field(description="The name that it has now.")


class Scanned(BaseModel):
    """The model folders were read."""

    status: Literal["scanned"]
    models: int = Field(description="How many models there are.")


class Downloading(BaseModel):
    """A download that has begun; `GET /api/engine/models` tells how far it is."""

    status: Literal["downloading"]
    model_id: str = Field(description="The id under which the list shows it meanwhile.")
    name: str = Field(description="The name that it will have.")
    size: int = Field(description="Bytes.")


class Cancelled(BaseModel):
    """A download that was ended early."""

    status: Literal["cancelled"]
    model_id: str = Field(description="The id that it had in the list.")


class Deleted(BaseModel):
    """A model whose files are gone."""

    status: Literal["deleted"]
    model_id: str = Field(description="The id that it had.")
