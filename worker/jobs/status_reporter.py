"""What a worker reports of itself: its status, history samples, how each chat ended.

Owns the keys that say that this worker lives, and the time of Redis as it counts on between two
looks. Tells counts, times and names, never a text.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError

from wire import clock, disk_cache, keys
from wire.disk_cache import DiskCacheUse
from wire.messages import Failed, Finished
from wire.models import pins, ttls
from wire.settings import Settings
from wire.versions import VERSION
from wire.worker_status import (
    MOST_SHOWN,
    LoadedModel,
    Memory,
    PromptCacheUse,
    RunningJob,
    WorkerStatus,
)
from worker import backends
from worker.disk_cache.disk_cache import DiskCache
from worker.engine.counters import Counters
from worker.models.loaded import LoadedModels
from worker.models.memory import adapter_bytes
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


def running_job(sequence: Sequence) -> RunningJob:
    """A running chat, as the status shows it."""
    timings = sequence.timings
    return RunningJob(
        job_id=sequence.job_id,
        owner=sequence.job.owner,
        model_id=sequence.job.model_id,
        tokens=sequence.position,
        tokens_per_second=timings.tokens_per_second,
        ttft_ms=timings.ttft_ms,
        elapsed_ms=round(sequence.elapsed_ms, 1),
    )


def end_in_numbers(sequence: Sequence, model: Mapping[str, str]) -> dict[str, Any]:
    """How a chat ended, for the log: reason, counts, times. ``model`` is what it says of that."""
    end = sequence.end
    assert isinstance(end, (Finished, Failed))
    reason = (
        {"reason": "error", "code": end.code}
        if isinstance(end, Failed)
        else {"reason": end.finish_reason}
    )
    ids = {"job_id": sequence.job_id, **model, **reason}
    return (
        ids
        | asdict(end.usage)
        | asdict(end.timings)
        | {"elapsed_ms": round(sequence.elapsed_ms, 1)}
    )


class StatusReporter:
    """One a worker. ``read_clock`` and ``publish`` are called every second."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        name: str,
        queue_key: str,
        counters: Counters,
        models: LoadedModels,
        cache: PromptCache,
        disk: DiskCache | None = None,
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._name = name
        self._queue_key = queue_key
        self._machine = name.split(".")[0]
        self._started_ms = int(time.time() * 1000)
        self._folders = json.dumps([str(folder.resolve()) for folder in settings.models])
        self._clock_ms = 0.0
        self._waiting = 0
        self.counters = counters
        self._models, self._cache, self._disk = models, cache, disk
        self._cleared = ""
        self.draining = False

    def end_for_log(self, sequence: Sequence) -> dict[str, Any]:
        """How a chat ended, for the log."""
        return end_in_numbers(sequence, self._models.log_fields(sequence.job.model_id))

    def open(self) -> None:
        """Read the clock of Redis, and count this start."""
        self.read_clock()
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(keys.worker_starts(self._machine))
            pipeline.expire(keys.worker_starts(self._machine), keys.WORKER_STARTS_LIFETIME_S)
            self.counters.restarts = pipeline.execute()[0] - 1

    def read_clock(self) -> bool:
        """Read the time, the queue's length, which models are pinned and how long others may be
        idle. Returns whether Redis still has the models.

        Waiting times are differences of Redis time, which all hosts share; between two reads this
        host's clock continues it.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.llen(self._queue_key)
            pipeline.exists(keys.MODELS)
            pipeline.hkeys(pins.PINNED_MODELS)
            pipeline.hgetall(ttls.MODEL_TTLS)
            time_reply, self._waiting, known, pinned, limits = pipeline.execute()
        self._models.pinned = frozenset(model_id.decode() for model_id in pinned)
        self._models.ttls = ttls.decode(limits)
        self._clock_ms = clock.milliseconds(time_reply) - time.monotonic() * 1000
        return bool(known)

    def now_ms(self) -> float:
        return self._clock_ms + time.monotonic() * 1000

    def publish(self, inside: list[Sequence]) -> None:
        """Renew the status, add to the history; see whether cached prompts are to be deleted."""
        status = self._status(inside)
        sample = self.counters.sample(self._machine, len(inside), self._waiting)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(
                keys.worker_status(self._name),
                status.model_dump_json(),
                ex=keys.WORKER_STATUS_LIFETIME_S,
            )
            pipeline.set(keys.worker_reads(self._name), VERSION, ex=keys.WORKER_STATUS_LIFETIME_S)
            pipeline.set(
                keys.worker_folders(self._name), self._folders, ex=keys.WORKER_STATUS_LIFETIME_S
            )
            pipeline.set(
                disk_cache.use_key(self._name),
                self._disk_use().model_dump_json(),
                ex=keys.WORKER_STATUS_LIFETIME_S,
            )
            for key, told in (
                (keys.worker_loads, self._loads()),
                (ttls.worker_expiries, json.dumps(self._models.expiries)),
            ):
                pipeline.set(key(self._name), told, ex=keys.WORKER_STATUS_LIFETIME_S)
            pipeline.sadd(keys.WORKERS, self._name)
            pipeline.set(keys.WORKER_SEEN, "1", ex=keys.WORKER_SEEN_LIFETIME_S)
            pipeline.expire(keys.worker_starts(self._machine), keys.WORKER_STARTS_LIFETIME_S)
            if sample is not None:
                oldest = int(self.now_ms()) - keys.HISTORY_S * 1000
                pipeline.xadd(
                    keys.HISTORY, {"e": sample.model_dump_json()}, minid=oldest, approximate=False
                )
                pipeline.expire(keys.HISTORY, 2 * keys.HISTORY_S)
            pipeline.get(disk_cache.CLEARED)
            mark = pipeline.execute()[-1]
        if mark is not None:
            self._cleared = mark.decode()
            if self._disk is not None:
                self._disk.clear(self._cleared)

    def _disk_use(self) -> DiskCacheUse:
        if self._disk is None:
            return DiskCacheUse(cleared=self._cleared)
        return self._disk.use()

    def note_rate(self, seconds: float) -> None:
        """Record how long a chat took: the API computes Retry-After from it."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.lpush(keys.RECENT_RATE, f"{seconds:.3f}")
                pipeline.ltrim(keys.RECENT_RATE, 0, keys.RECENT_RATE_LENGTH - 1)
                pipeline.execute()
        except RedisError:
            return  # Only Retry-After depends on it.

    def close(self) -> None:
        """Take this worker off the list of workers."""
        of_worker = (
            *(keys.worker_status, keys.worker_reads),
            *(keys.worker_folders, keys.worker_loads, disk_cache.use_key),
            ttls.worker_expiries,
        )
        self._redis.delete(*(key(self._name) for key in of_worker))
        self._redis.srem(keys.WORKERS, self._name)

    def _loads(self) -> str:
        shares = self._models.load_progress()
        return json.dumps({model_id: round(100 * share, 1) for model_id, share in shares.items()})

    def _loaded_models(self) -> Iterator[LoadedModel]:
        """Models, most recently used first, without their adapters' bytes; then these."""
        resident = self._models.resident()
        for key, backend in resident:
            own = backend.weight_bytes - sum(adapter_bytes(backend).values())
            yield LoadedModel(
                id=key.model_id,
                kv_quantization=key.kv_quantization,
                bytes=own,
                draft_model=key.draft_model,
            )
        for key, backend in resident:
            for adapter, size in adapter_bytes(backend).items():
                yield LoadedModel(id=adapter, kv_quantization=key.kv_quantization, bytes=size)

    def _status(self, inside: list[Sequence]) -> WorkerStatus:
        models, memory, cache = (
            tuple(self._loaded_models()),
            psutil.virtual_memory(),
            self._cache,
        )
        return WorkerStatus(
            name=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_ms=self._started_ms,
            beat_ms=int(self.now_ms()),
            slots=self._settings.slots,
            draining=self.draining,
            running=tuple(running_job(sequence) for sequence in inside[:MOST_SHOWN]),
            running_total=len(inside),
            models=models,
            active_model=models[0].id if models else None,
            memory=Memory(
                percent=memory.percent,
                available_bytes=memory.available,
                mlx_bytes=backends.mlx_bytes(self._settings),
            ),
            prompt_cache=PromptCacheUse(
                bytes=cache.nbytes,
                entries=len(cache),
                prompt_tokens=cache.prompt_tokens,
                cached_tokens=cache.cached_tokens,
            ),
            work=self.counters.work(),
        )
