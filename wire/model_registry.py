"""Models known to the service, as records in Redis. Workers write them; the API reads them.

Knows names and shapes; looking into model folders is the worker's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, ValidationError
from redis import Redis

from wire import keys
from wire.messages import TolerantRecord
from wire.models import lookup
from wire.versions import added


class SamplingDefaults(TolerantRecord):
    """What a model's own ``generation_config.json`` says for requests that don't; None: nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def given(self) -> dict[str, float]:
        """Those that it has."""
        return self.model_dump(exclude_none=True)


Task = Literal["chat", "embed", "rerank"]
NO_DEFAULTS = SamplingDefaults()
_SAMPLING = tuple(SamplingDefaults.model_fields)


class _Others(SamplingDefaults):
    """What is stored beside a record."""

    prompt_revision: str | None = None
    demo: bool = False
    reasoning_efforts: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ("chat",)
    dimensions: int = 0
    shorter_dimensions: tuple[int, ...] | None = None
    base_id: str = ""
    adapter_path: str = ""
    problem: str = ""
    draft_model: str = ""


class ModelRecord(TolerantRecord):
    """One model.

    ``size`` is bytes on disk, ``context_window`` tokens, ``download_progress`` 0 to 1.

    ``download_speed`` is bytes per second and ``download_eta`` seconds to go, None unless a
    download is under way and they are known. ``download_error`` is the sentence that says why the
    last download ended; what it had fetched is kept, and the next one resumes it.

    ``revision`` is a hash of the model's files: a job goes on only with the model it began with.
    ``prompt_revision`` is one of those that make its prompts; a worker of an earlier release tells
    none. ``takes_tools``: its chat template knows of tools. ``reasoning_efforts`` are
    the values of ``reasoning_effort`` that it tells apart. ``kv_quantization`` is in bits, and is
    how the model is loaded next time when it isn't loaded now; so is ``draft_model``, the id of the
    small model that guesses for it, if one does, of ``draft_size`` bytes on disk. ``demo``: it came
    with the service.
    ``tasks``: what it is for. ``dimensions`` is how many numbers its vectors have, 0 for a model
    that makes none; ``shorter_dimensions`` are how many they can be cut to: any number if the list
    is empty, none without a list.

    An adapter has a record of its own, ``base+adapter``, which is its base's but for ids, size and
    ``adapter_path``, its folder; ``base_id`` is empty if its base isn't here. ``problem`` is the
    sentence that says why it can't be served.
    """

    id: str
    name: str
    path: str
    size: int
    architecture: str
    context_window: int
    is_vision: bool
    downloaded: bool = True
    downloading: bool = False
    download_progress: float = 1.0
    download_speed: float | None = added(None, since=4, refines=True)
    download_eta: float | None = added(None, since=4, refines=True)
    download_error: str | None = added(None, since=4, refines=True)
    kv_quantization: Literal[4, 8] | None = None
    repository: str | None = None
    revision: str
    prompt_revision: str = ""
    deletable: bool = False
    takes_tools: bool = False
    demo: bool = Field(default=False, exclude=True)
    reasoning_efforts: tuple[str, ...] = Field(default=(), exclude=True)
    sampling_defaults: SamplingDefaults = Field(default=NO_DEFAULTS, exclude=True)
    tasks: tuple[Task, ...] = Field(default=("chat",), exclude=True)
    dimensions: int = Field(default=0, exclude=True)
    shorter_dimensions: tuple[int, ...] | None = Field(default=None, exclude=True)
    base_id: str = Field(default="", exclude=True)
    adapter_path: str = Field(default="", exclude=True)
    problem: str = Field(default="", exclude=True)
    draft_model: str = Field(default="", exclude=True)
    draft_size: int = Field(default=0, exclude=True)

    def with_draft(self, draft: ModelRecord | None) -> ModelRecord:
        """The same model, to be loaded with another one, or none, guessing for it."""
        draft_id, size = ("", 0) if draft is None else (draft.id, draft.size)
        return self.model_copy(update={"draft_model": draft_id, "draft_size": size})

    @property
    def loaded_size(self) -> int:
        """Bytes on disk of all that is loaded with it."""
        return self.size + self.draft_size

    @property
    def cache_key(self) -> tuple[str, str, int | None]:
        """What its cached prompts belong to: no other revision can use them, nor the same model
        with its cache quantised otherwise."""
        return self.id, self.revision, self.kv_quantization

    @property
    def capabilities(self) -> list[str]:
        """What it can do, in words for clients."""
        named = {"chat": "chat", "embed": "embeddings", "rerank": "rerank"}
        more = {"vision": self.is_vision, "tools": self.takes_tools and "chat" in self.tasks}
        return [*(named[task] for task in self.tasks), *(name for name, has in more.items() if has)]

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line says of it."""
        return {"model": self.name, "model_id": self.id}

    @property
    def names(self) -> tuple[str | None, ...]:
        """What it can be asked for by."""
        return self.id, self.name, self.repository


def decode(
    values: Iterable[bytes], sampling: Mapping[bytes, bytes] | None = None
) -> list[ModelRecord]:
    """The records in a stored hash, by name, with what is stored of them in another, ``sampling``.
    One that this release can't read hides no other."""
    found = (record for value in values for record in _decoded(value))
    told = (_with_others(record, sampling or {}) for record in found)
    return sorted(told, key=lambda r: (r.name, r.id))


def _with_others(record: ModelRecord, sampling: Mapping[bytes, bytes]) -> ModelRecord:
    """The record with the fields that an earlier release would not read in it."""
    stored = sampling.get(record.id.encode())
    if stored is None:
        return record
    try:
        others = _Others.model_validate_json(stored)
    except ValidationError:
        return record
    own = SamplingDefaults.model_validate(others.model_dump(include=set(_SAMPLING)))
    beside = {
        "sampling_defaults": own,
        "prompt_revision": others.prompt_revision or "",
        "reasoning_efforts": others.reasoning_efforts,
        "demo": others.demo,
        "tasks": others.tasks,
        "dimensions": others.dimensions,
        "shorter_dimensions": others.shorter_dimensions,
        "base_id": others.base_id,
        "adapter_path": others.adapter_path,
        "problem": others.problem,
        "draft_model": others.draft_model,
    }
    return record.model_copy(update=beside)


def _decoded(value: bytes) -> list[ModelRecord]:
    try:
        return [ModelRecord.model_validate_json(value)]
    except ValidationError:
        return []


def find(records: Iterable[ModelRecord], wanted: str) -> ModelRecord | None:
    """The record that a name stands for."""
    return lookup.find(records, wanted, getattr)


class Registry:
    """The worker's side of the registry; the API reads through :func:`decode` and :func:`find`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put(self, record: ModelRecord, created: int = 0) -> None:
        """Write a record, and when the model's files were created, in seconds since the epoch."""
        if created:
            self._redis.hset(keys.MODEL_CREATED, record.id, created)
        beside = {
            "prompt_revision": record.prompt_revision,
            "reasoning_efforts": record.reasoning_efforts,
            "demo": record.demo,
            "dimensions": record.dimensions,
            "base_id": record.base_id,
            "adapter_path": record.adapter_path,
            "problem": record.problem,
            "draft_model": record.draft_model,
        }
        others = record.sampling_defaults.given() | {k: v for k, v in beside.items() if v}
        if record.tasks != ("chat",):
            others |= {"tasks": record.tasks, "shorter_dimensions": record.shorter_dimensions}
        if others:
            self._redis.hset(keys.MODEL_SAMPLING, record.id, json.dumps(others))
        else:
            self._redis.hdel(keys.MODEL_SAMPLING, record.id)
        stored = record.model_dump_json(exclude={"prompt_revision"})
        self._redis.hset(keys.MODELS, record.id, stored)

    def remove(self, model_id: str) -> None:
        self._redis.hdel(keys.MODELS, model_id)
        self._redis.hdel(keys.MODEL_CREATED, model_id)
        self._redis.hdel(keys.MODEL_SAMPLING, model_id)
