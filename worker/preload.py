"""Loads the pinned models when a worker starts, beside everything else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import partial
from typing import cast

from redis import Redis

from wire.model_registry import ModelRecord
from wire.models import pins
from wire.models.pins import Pin
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.models.folders import ModelFolders, with_kv

log = logging.getLogger(__name__)
MOST_TRIES = 3
"""A model whose load has ended so many workers is left to whoever asks for it: else no worker would
come up any more."""


def pinned(redis: Redis, folders: ModelFolders) -> list[ModelRecord]:
    """The pinned models that are here, recorded with the key-value cache and the draft model that
    they are loaded with."""
    stored = cast(dict[bytes, bytes], redis.hgetall(pins.PINNED_MODELS))
    found = [(folders.find(model_id), pin) for model_id, pin in pins.decode(stored).items()]
    records = [
        record
        if record.adapter_path  # It is loaded into its base, whichever way that is.
        else with_kv(record, pin.kv_quantization).with_draft(_draft(folders, pin))
        for record, pin in found
        if record is not None
    ]
    for record in records:
        folders.put(record)
    return records


def _draft(folders: ModelFolders, pin: Pin) -> ModelRecord | None:
    draft = folders.find(pin.draft_model) if pin.draft_model else None
    if pin.draft_model and draft is None:
        log.warning("the draft model of a pinned model isn't here: it is loaded without")
    return draft


def start(redis: Redis, engine: Engine, records: Iterable[ModelRecord]) -> threading.Thread:
    """Load models on a thread of its own, one after another. What fails is a warning in the log."""
    arguments = (redis, engine, list(records))
    thread = threading.Thread(target=_run, args=arguments, name="preload", daemon=True)
    thread.start()
    return thread


def _run(redis: Redis, engine: Engine, records: Iterable[ModelRecord]) -> None:
    for record in records:
        try:
            if redis.hincrby(pins.PRELOADS, record.id, 1) > MOST_TRIES:
                log.error("a pinned model has ended its workers", extra=record.log_fields)
                continue
            try:
                engine.call(partial(engine.load, record)).result().result()
            except WorkerError as error:
                log.warning("a pinned model was not loaded: %s", error, extra=record.log_fields)
            redis.hdel(pins.PRELOADS, record.id)
        except Exception:  # Redis is away: a chat will load the model.
            log.warning("a pinned model was not loaded", exc_info=True, extra=record.log_fields)
