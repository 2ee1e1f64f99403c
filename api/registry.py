"""What the workers have put into Redis about themselves and about models, read for answers.

Reads only, in one round trip each; knows neither HTTP nor the queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import cast

from pydantic import ValidationError
from redis.asyncio import Redis

from api.errors import RETRY_WHEN_FULL_S, ApiError, unknown_model
from wire import disk_cache, keys, model_registry
from wire.disk_cache import DiskCacheUse
from wire.model_registry import ModelRecord, Task
from wire.models import pins
from wire.models.pins import Pin
from wire.settings import BadSetting
from wire.versions import FIRST, VERSION
from wire.worker_status import LoadedModel, WorkerStatus

DEFAULT_MODEL = "default"
"""The name of the default model, unless a model has this name."""
_ALIAS = re.compile(r"([^=]{1,255})=([^=*?]{1,255})")


class ModelAliases:
    """Which models names stand for that no model has. The first one that fits counts.

    A name may have ``*`` for any characters; what it stands for may be ``default``. An alias of the
    name ``default`` says which model the default one is.
    """

    def __init__(self, aliases: Iterable[str] = ()) -> None:
        """Each is ``name=model``. Raises BadSetting, which names the setting, for what is not."""
        self._aliases: list[tuple[str, str]] = []
        for alias in aliases:
            matched = _ALIAS.fullmatch(alias)
            if matched is None:
                raise BadSetting(f"MLXQ_MODEL_ALIASES: {alias!r} is not NAME=MODEL")
            self._aliases.append((matched[1], matched[2]))

    def __bool__(self) -> bool:
        return bool(self._aliases)

    def meant(self, requested: str | None, records: Sequence[ModelRecord]) -> str | None:
        """The name that a request means by one; its own, if a model has it or nothing is known."""
        name = requested or DEFAULT_MODEL
        if model_registry.find(records, name) is not None:
            return requested
        return next(
            (model for pattern, model in self._aliases if fnmatchcase(name, pattern)), requested
        )


NO_ALIASES = ModelAliases()


def names_no_model(requested: str | None) -> bool:
    """Whether a request leaves it to the service which model answers."""
    return not requested or requested == DEFAULT_MODEL


_AS_SENT = {
    "prompt_ids": "prompt",
    "continue_final": "continue_final_message",
    "template_options": "chat_template_kwargs",
    "thinking_budget": "thinking_token_budget",
    "prompt_logprobs": "logprobs",
    "pooling": "embeddings and scores",
    "asked": "url",
    "keep_alive_s": "keep_alive",
}
"""Fields of a job that are called otherwise in requests."""


def workers_outdated(field: str) -> ApiError:
    """A request that needs a field of the job which some running worker's release doesn't know."""
    name = _AS_SENT.get(field, field)
    message = (
        f"A worker of an older release is running, and it can't honour {name}. Try again "
        f"once it is updated."
    )
    return ApiError("workers_outdated", message, RETRY_WHEN_FULL_S, param=name)


_INSTEAD = {
    ("chat", "embed"): "This model makes vectors of texts and answers no chats: send texts to "
    "/v1/embeddings, or ask another model.",
    ("chat", "rerank"): "This model ranks documents and answers no chats: send them to /v1/rerank, "
    "or ask another model.",
    ("embed", "chat"): "This model answers chats and makes no vectors: ask an embedding model.",
    ("embed", "rerank"): "This model ranks documents and makes no vectors: ask an embedding model.",
    ("rerank", "chat"): "This model answers chats and ranks no documents: ask a reranker or an "
    "embedding model.",
}
"""What to do about a model that is for something else: by what is asked, and what it is for."""


def servable(model: ModelRecord | None, param: str, task: Task | None = "chat") -> ModelRecord:
    """The model that was found for a request's field; ``task`` None: whatever it is for.

    Raises ApiError if it can't be served."""
    if model is None:
        raise unknown_model(param=param)
    if not model.downloaded:
        raise ApiError("model_not_found", "This model has not been downloaded yet.", param=param)
    if model.problem:
        raise ApiError("load_failed", model.problem, param=param)
    if task is not None and task not in model.tasks:
        raise ApiError("unsupported", _INSTEAD[task, model.tasks[0]], param=param)
    return model


class RegistryReader:
    """The models and the living workers. ``aliases`` are other names of models, below ``/v1``.

    ``default_model`` is the name of the default model; without one it is chosen for each owner.
    """

    def __init__(
        self, redis: Redis, aliases: ModelAliases = NO_ALIASES, default_model: str = ""
    ) -> None:
        self.aliases = aliases
        self._default_model = default_model
        self._redis = redis
        self._stored: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        self._models: list[ModelRecord] = []

    async def models(self) -> list[ModelRecord]:
        """The registered models by name; decoded again only when they have changed."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.MODELS)
            pipe.hgetall(keys.MODEL_SAMPLING)
            return self._decoded(*await pipe.execute())

    async def find(self, requested: str) -> ModelRecord | None:
        """The model with this id, name or repository name."""
        return model_registry.find(await self.models(), requested)

    def last_known_name(self, model_id: str) -> str:
        """A model's name as of the last look at the registry, from any thread; else its id."""
        return next((one.name for one in self._models if one.id == model_id), model_id)

    async def meant(self, requested: str | None) -> str | None:
        """The name that a request below ``/v1`` means, behind an alias."""
        if not self.aliases:
            return requested
        return self.aliases.meant(requested, await self.models())

    async def active(self) -> tuple[ModelRecord, LoadedModel] | None:
        """The model that a worker used last, and how it is loaded."""
        workers = await self.workers()
        records = {record.id: record for record in await self.models()}
        in_memory = loaded(workers)
        for worker in workers:
            record = records.get(worker.active_model or "")
            if record is not None and record.id in in_memory:
                return record, in_memory[record.id]
        return None

    async def default(self, owner: str, task: Task = "chat") -> ModelRecord | None:
        """The default model for an owner of chats: the configured one; else the one that the
        owner's last chat was for, while it is loaded; else the first by name.

        A demo model only where there is no other, and never an adapter. None if there is no model.
        For another task the first by name that is for it.
        """
        records = await self.models()
        if task != "chat":
            fit = (r for r in records if r.downloaded and task in r.tasks and not r.adapter_path)
            return next(fit, None)
        if self._default_model:
            named = model_registry.find(records, self._default_model)
            return named if named is not None and named.downloaded else None
        last = cast(bytes | None, await self._redis.hget(keys.LAST_MODELS, owner))
        ready = [r for r in records if r.downloaded and "chat" in r.tasks and not r.adapter_path]
        ready = [record for record in ready if not record.demo] or ready
        used = next((r for r in ready if last is not None and r.id == last.decode()), None)
        if used is not None and used.id in loaded(await self.workers()):
            return used
        return next(iter(ready), None)

    async def pinned(self) -> dict[str, Pin]:
        """The pinned models by id, also those that aren't there now."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(pins.PINNED_MODELS))
        return pins.decode(stored)

    async def loading(self) -> dict[str, float]:
        """The models that workers are loading, by id: percent of their weights in memory."""
        told = await self.of_workers(keys.worker_loads)
        return {k: float(v) for one in told.values() if one for k, v in json.loads(one).items()}

    async def disk_caches(self) -> dict[str, DiskCacheUse]:
        """The cached prompts on disk by worker; none of a worker of an earlier release."""
        told = await self.of_workers(disk_cache.use_key)
        return {name: DiskCacheUse.model_validate_json(one) for name, one in told.items() if one}

    async def created(self) -> dict[str, int]:
        """The dates of models' files by model id, seconds since the epoch; some may be missing."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.MODEL_CREATED))
        return {model_id.decode(): int(value) for model_id, value in stored.items()}

    async def find_to_serve(
        self, requested: str | None, owner: str, task: Task = "chat"
    ) -> tuple[ModelRecord | None, bool]:
        """The same for an owner's request that may name none, and whether a worker was seen.

        Raises ApiError when the configured default model is needed and isn't there.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.MODELS)
            pipe.hgetall(keys.MODEL_SAMPLING)
            pipe.exists(keys.WORKER_SEEN)
            stored, sampling, seen = await pipe.execute()
        record = model_registry.find(self._decoded(stored, sampling), requested or DEFAULT_MODEL)
        if record is None and names_no_model(requested):
            record = await self.default(owner, task)
            if record is None and task != "chat":
                sentence = "There is no model that can do this: get an embedding model."
                raise ApiError("model_not_found", sentence, param="model")
            if record is None and self._default_model:
                message = "The default model, which MLXQ_DEFAULT_MODEL names, is not there."
                raise ApiError("model_not_found", message, param="model")
        return record, bool(seen)

    async def workers(self) -> list[WorkerStatus]:
        """The workers that were alive a few seconds ago, by name."""
        told = await self.of_workers(keys.worker_status)
        return [status for one in told.values() if one for status in read_status(one)]

    async def oldest_version(self) -> int:
        """The lowest record version of running workers; this release's if none runs."""
        names = await self._worker_names()
        redis_keys = [
            name(worker) for worker in names for name in (keys.worker_status, keys.worker_reads)
        ]
        values = await self._values(redis_keys)
        alive = [
            reads
            for status, reads in zip(values[::2], values[1::2], strict=True)
            if status is not None
        ]
        return min((FIRST if reads is None else int(reads) for reads in alive), default=VERSION)

    async def silent_workers(self) -> list[str]:
        """The workers that have not responded for some seconds: frozen, or dead."""
        told = await self.of_workers(keys.worker_status)
        return [name for name, value in told.items() if value is None]

    async def worker_seen(self) -> bool:
        """Whether a worker ran within the last minute: one that restarts takes up queued jobs."""
        return bool(await self._redis.exists(keys.WORKER_SEEN))

    async def of_workers(self, key: Callable[[str], str]) -> dict[str, bytes | None]:
        """What each worker tells under a key of its own; None of one that tells nothing."""
        names = await self._worker_names()
        return dict(zip(names, await self._values([key(name) for name in names]), strict=True))

    async def _worker_names(self) -> list[str]:
        members = cast(set[bytes], await self._redis.smembers(keys.WORKERS))
        return sorted(name.decode() for name in members)

    async def _values(self, names: list[str]) -> list[bytes | None]:
        """The values of Redis keys; MGET refuses an empty list."""
        return cast(list[bytes | None], await self._redis.mget(names)) if names else []

    def _decoded(
        self, stored: dict[bytes, bytes], sampling: dict[bytes, bytes]
    ) -> list[ModelRecord]:
        if (stored, sampling) != self._stored:
            self._stored = stored, sampling
            self._models = model_registry.decode(stored.values(), sampling)
        return list(self._models)


def read_status(value: bytes) -> list[WorkerStatus]:
    """A worker's status; none of a worker of another version that reports unknown fields."""
    try:
        return [WorkerStatus.model_validate_json(value)]
    except ValidationError:
        return []


def loaded(workers: list[WorkerStatus]) -> dict[str, LoadedModel]:
    """The models in some worker's memory, by id."""
    return {model.id: model for worker in workers for model in worker.models}


def public_name(record: ModelRecord, records: list[ModelRecord]) -> str:
    """The name that people know a model by, unless it is another's as well."""
    for name in (record.repository, record.name):
        if name and model_registry.find(records, name) is record:
            return name
    return record.id
