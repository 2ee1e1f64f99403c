"""The status of the whole service, however many workers and API processes there are.

One read serves all viewers. Reads only; knows neither HTTP nor RQ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from api.batches.store import BatchRecord, BatchStore
from api.jobs.records import JobRecords
from api.jobs.waiting.tier_counts import TierCounts, tier_counts
from api.models.views import percent
from api.monitoring.history import History, Rows
from api.registry import RegistryReader
from wire import clock, keys
from wire.disk_cache import DiskCacheUse
from wire.model_registry import ModelRecord
from wire.receipts.kept_requests import REPLAYS, REQUESTS_TOTAL
from wire.routing.told import ROUTED
from wire.webhooks.names import COUNTS, ENDPOINTS, due
from wire.webhooks.outbox import OUTBOX
from wire.worker_status import WorkerStatus

_DOWNLOAD = (
    "id",
    "name",
    "repository",
    "size",
    "downloading",
    "download_speed",
    "download_eta",
    "download_error",
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A look at Redis.

    ``now_ms`` is its time; ``ended`` counts jobs by how they ended (see the token log),
    ``webhooks`` deliveries, those that wait among them; ``disk_caches`` are by worker. ``routed``
    counts chats by how their worker was found, ``replays`` by what came of them, ``tiers`` those
    that have not ended by class of service; ``kept_requests`` are bytes.
    """

    now_ms: int
    workers: list[WorkerStatus]
    waiting: dict[str, int]
    ended: dict[str, int]
    webhooks: dict[str, int]
    disk_caches: dict[str, DiskCacheUse]
    routed: dict[str, int]
    replays: dict[str, int]
    kept_requests: int
    tiers: TierCounts

    def age_ms(self, worker: WorkerStatus) -> int:
        """The age of a worker's last report."""
        return max(0, self.now_ms - worker.beat_ms)


class StatusReader:
    """One a process."""

    def __init__(
        self,
        redis: Redis,
        registry: RegistryReader,
        records: JobRecords,
        batches: BatchStore,
        queue_limit: int,
    ) -> None:
        self._redis = redis
        self._registry = registry
        self._records = records
        self._batches = batches
        self._queue_limit = queue_limit
        self._history = History(redis)

    async def snapshot(self) -> Snapshot:
        """The counts alone."""
        workers, waiting = await self._registry.workers(), await self._records.depths()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(keys.ENDED)
            pipe.hgetall(COUNTS)
            pipe.hgetall(ROUTED)
            pipe.hgetall(REPLAYS)
            pipe.get(REQUESTS_TOTAL)
            time, ended, delivered, routed, replays, kept = await pipe.execute()
        now_ms, webhooks = int(clock.milliseconds(time)), _counts(delivered)
        webhooks["waiting"] = await self._webhooks_waiting()
        disks = await self._registry.disk_caches()
        return Snapshot(
            *(now_ms, newest(workers), waiting, _counts(ended), webhooks, disks, _counts(routed)),
            *(_counts(replays), int(kept or 0), await tier_counts(self._redis)),
        )

    async def _webhooks_waiting(self) -> int:
        endpoints = cast(list[bytes], await self._redis.hkeys(ENDPOINTS))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xlen(OUTBOX)
            for endpoint in endpoints:
                pipe.zcard(due(endpoint.decode()))
            return sum(await pipe.execute())

    async def status(self) -> dict[str, Any]:
        """What the status page shows, without the history."""
        snapshot = await self.snapshot()
        records = await self._registry.models()
        names = ModelNames(records)
        workers = snapshot.workers
        return {
            "now_ms": snapshot.now_ms,
            "suspended": await self._records.suspended(),
            "silent_workers": await self._registry.silent_workers(),
            "queues": snapshot.waiting,
            "queue_limit": self._queue_limit,
            "waiting_by_tier": snapshot.tiers.waiting,
            "running_by_tier": snapshot.tiers.running,
            "running": [
                job.model_dump() | {"worker": worker.name, "model": names.name(job.model_id)}
                for worker in workers
                for job in worker.running
            ],
            "running_total": sum(worker.running_total for worker in workers),
            "recent": [
                job | {"model": names.name(job["model_id"])} for job in await self._history.recent()
            ],
            "batches": [
                _batch(record) | {"model": names.name(record.model_id)}
                for record in await self._batches.open_batches()
            ],
            "ended": snapshot.ended,
            "models": [
                model.model_dump() | {"worker": worker.name, "name": names.name(model.id)}
                for worker in workers
                for model in worker.models
            ],
            "downloads": [_download(record) for record in records if not record.downloaded],
            "memory": [worker.memory.model_dump() | {"host": worker.host} for worker in workers],
            "workers": [
                _worker_row(worker, snapshot) | {"model_folders": folders}
                for worker, folders in zip(workers, await self._folders(workers), strict=True)
            ],
        }

    async def _folders(self, workers: list[WorkerStatus]) -> list[list[str]]:
        """The model folders of each worker; none of one of an earlier release."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.get(keys.worker_folders(worker.name))
            return [json.loads(stored) if stored else [] for stored in await pipe.execute()]

    async def history(self, now_ms: int) -> Rows:
        """The last minutes."""
        return await self._history.rows(now_ms)


def shown_to(owner: str | None, status: dict[str, Any]) -> dict[str, Any]:
    """A status without the jobs and batches of others than an owner; None may see all."""
    if owner is None:
        return status
    own = {
        name: [row for row in status[name] if row["owner"] == owner]
        for name in ("running", "recent", "batches")
    }
    return status | own


class ModelNames:
    """The names of models by their ids."""

    def __init__(self, records: Iterable[ModelRecord]) -> None:
        self._names = {record.id: record.name for record in records}

    def name(self, model_id: str) -> str:
        """A name for people; of a model that isn't there any more, what is left of its id."""
        if model_id in self._names:
            return self._names[model_id]
        return f"removed model ({model_id[:8]})" if _UUID.fullmatch(model_id) else model_id


def newest(workers: list[WorkerStatus]) -> list[WorkerStatus]:
    """The newest worker of each machine and data folder: a killed one's status lives on."""
    by_machine: dict[str, WorkerStatus] = {}
    for worker in workers:
        other = by_machine.get(worker.machine)
        if other is None or (other.beat_ms, other.started_ms) < (worker.beat_ms, worker.started_ms):
            by_machine[worker.machine] = worker
    return list(by_machine.values())


def _worker_row(worker: WorkerStatus, snapshot: Snapshot) -> dict[str, Any]:
    work = worker.work
    counts = {
        "restarts": work.restarts,
        "prompt_tokens": work.prompt_tokens,
        "cached_tokens": work.cached_tokens,
        "generation_tokens": work.generation_tokens,
        "batch_tokens": work.batch_tokens,
    }
    row = worker.model_dump(exclude={"running", "work", "beat_ms"})
    disk = snapshot.disk_caches.get(worker.name, DiskCacheUse())
    others = {
        "heartbeat_age_ms": snapshot.age_ms(worker),
        "disk_cache": disk.model_dump(exclude={"cleared"}) if disk.folder else None,
    }
    return row | counts | others


def _download(record: ModelRecord) -> dict[str, Any]:
    """A download under way, or one that ended early and can be resumed; progress in percent."""
    row = {name: getattr(record, name) for name in _DOWNLOAD}
    return row | {"download_progress": percent(record)}


def _counts(stored: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in stored.items()}


def _batch(record: BatchRecord) -> dict[str, Any]:
    counts = {"total": record.total, "done": record.done, "failed": record.failed}
    return {
        "id": record.id,
        "owner": record.owner,
        "status": record.state,
        "created_ms": record.created_ms,
    } | counts
