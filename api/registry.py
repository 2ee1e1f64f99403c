"""What the workers have put into Redis about themselves and about models, read for answers.

Reads only, in one round trip each; knows neither HTTP nor the queue.
"""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError
from redis.asyncio import Redis

from wire import keys, model_registry
from wire.model_registry import ModelRecord
from wire.versions import FIRST, VERSION
from wire.worker_status import LoadedModel, WorkerStatus

DEFAULT_MODEL = "default"
"""The name of the default model, unless a model has this name."""


def names_no_model(requested: str | None) -> bool:
    """Whether a request leaves it to the service which model answers."""
    return not requested or requested == DEFAULT_MODEL


class RegistryReader:
    """The models and the living workers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._stored: dict[bytes, bytes] = {}
        self._models: list[ModelRecord] = []

    async def models(self) -> list[ModelRecord]:
        """The registered models by name; decoded again only when they have changed."""
        return self._decoded(cast(dict[bytes, bytes], await self._redis.hgetall(keys.MODELS)))

    async def find(self, requested: str) -> ModelRecord | None:
        """The model with this id, name or repository name."""
        return model_registry.find(await self.models(), requested)

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

    async def default(self) -> ModelRecord | None:
        """The default model: the one used last, else the first by name that can be served."""
        if (active := await self.active()) is not None:
            return active[0]
        return next((record for record in await self.models() if record.downloaded), None)

    async def created(self) -> dict[str, int]:
        """The dates of models' files by model id, seconds since the epoch; some may be missing."""
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.MODEL_CREATED))
        return {model_id.decode(): int(value) for model_id, value in stored.items()}

    async def find_to_serve(self, requested: str | None) -> tuple[ModelRecord | None, bool]:
        """The same for a request that may name none, and whether a worker was seen."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.MODELS)
            pipe.exists(keys.WORKER_SEEN)
            stored, seen = await pipe.execute()
        record = model_registry.find(self._decoded(stored), requested or DEFAULT_MODEL)
        if record is None and names_no_model(requested):
            record = await self.default()
        return record, bool(seen)

    async def workers(self) -> list[WorkerStatus]:
        """The workers that were alive a few seconds ago, by name."""
        names = await self._worker_names()
        values = await self._values([keys.worker_status(name) for name in names])
        return [status for value in values if value is not None for status in _decode(value)]

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
        names = await self._worker_names()
        values = await self._values([keys.worker_status(name) for name in names])
        return [name for name, value in zip(names, values, strict=True) if value is None]

    async def worker_seen(self) -> bool:
        """Whether a worker ran within the last minute: one that restarts takes up queued jobs."""
        return bool(await self._redis.exists(keys.WORKER_SEEN))

    async def _worker_names(self) -> list[str]:
        members = cast(set[bytes], await self._redis.smembers(keys.WORKERS))
        return sorted(name.decode() for name in members)

    async def _values(self, names: list[str]) -> list[bytes | None]:
        """The values of Redis keys; MGET refuses an empty list."""
        return cast(list[bytes | None], await self._redis.mget(names)) if names else []

    def _decoded(self, stored: dict[bytes, bytes]) -> list[ModelRecord]:
        if stored != self._stored:
            self._stored, self._models = stored, model_registry.decode(stored.values())
        return list(self._models)


def _decode(value: bytes) -> list[WorkerStatus]:
    # A worker of another version may report fields that this one doesn't know: it isn't shown.
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
