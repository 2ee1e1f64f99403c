"""Models known to the service, as records in Redis. Workers write them; the API reads them.

Knows names and shapes; looking into model folders is the worker's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import ValidationError
from redis import Redis

from wire import keys
from wire.messages import TolerantRecord


class ModelRecord(TolerantRecord):
    """One model.

    ``size`` is bytes on disk, ``context_window`` tokens, ``download_progress`` 0 to 1.

    ``revision`` is a hash of the model's files: a job goes on only with the model it began with.
    ``takes_tools``: its chat template knows of tools. ``kv_quantization`` is in bits, and is how
    the model is loaded next time when it isn't loaded now.
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
    kv_quantization: Literal[4, 8] | None = None
    repository: str | None = None
    revision: str
    deletable: bool = False
    takes_tools: bool = False


def decode(values: Iterable[bytes]) -> list[ModelRecord]:
    """The records in a stored hash, by name. One that this release can't read hides no other."""
    return sorted(
        (record for value in values for record in _decoded(value)), key=lambda r: (r.name, r.id)
    )


def _decoded(value: bytes) -> list[ModelRecord]:
    try:
        return [ModelRecord.model_validate_json(value)]
    except ValidationError:
        return []


def find(records: Iterable[ModelRecord], wanted: str) -> ModelRecord | None:
    """The record that an id, a name or a repository name stands for; an id wins over a name."""
    rows = list(records)
    for field in ("id", "name", "repository"):
        for record in rows:
            if getattr(record, field) == wanted:
                return record
    return None


class Registry:
    """The worker's side of the registry; the API reads through :func:`decode` and :func:`find`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put(self, record: ModelRecord, created: int = 0) -> None:
        """Write a record, and when the model's files were created, in seconds since the epoch."""
        if created:
            self._redis.hset(keys.MODEL_CREATED, record.id, created)
        self._redis.hset(keys.MODELS, record.id, record.model_dump_json())

    def remove(self, model_id: str) -> None:
        self._redis.hdel(keys.MODELS, model_id)
        self._redis.hdel(keys.MODEL_CREATED, model_id)
