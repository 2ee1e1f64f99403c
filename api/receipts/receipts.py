"""What is left of chats that have ended: their records, their ends, and the requests that are kept.

Reads only, but for the count of replays.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from pydantic import BaseModel
from redis.asyncio import Redis

from api.errors import ApiError
from api.jobs.records import JobRecord, JobRecords
from api.jobs.relay import Relay
from api.receipts.comparison import Comparison, compared
from api.registry import RegistryReader
from wire import keys
from wire.messages import ChatJob, Event, Failed, Finished
from wire.receipts import kept_requests, record_fields
from wire.receipts.kept_requests import REPLAYS

_FIELDS = (
    *("model_id", "submitted_ms", record_fields.MODEL_REVISION, record_fields.REQUEST_HASH),
    *(record_fields.WORKERS, record_fields.REPLAY_OF),
)


class Receipt(BaseModel):
    """How a chat was answered.

    ``request_sha256`` is of what was asked but for the seed. ``workers`` took the chat up, in this
    order: each went on where the one before it had come to. ``timings``, ``libraries`` and
    ``peak_memory_bytes``, the most that MLX held in its steps, are the last one's.
    ``replayable``: whether the request is kept. ``replay`` compares the answer of a replay with
    that of the chat which it runs again. What a worker of an earlier release didn't tell is null or
    empty.
    """

    job_id: str
    submitted_at: int
    finish_reason: str
    code: str | None = None
    model_id: str
    model: str
    model_revision: str | None
    request_sha256: str | None
    seed: int | None
    sampling: dict[str, Any] | None
    usage: dict[str, int]
    timings: dict[str, float | int]
    workers: list[str]
    libraries: dict[str, str]
    peak_memory_bytes: int | None
    replayable: bool
    replay_of: str | None
    replay: Comparison | None


class Receipts:
    """The receipts of all chats."""

    def __init__(
        self, redis: Redis, records: JobRecords, relay: Relay, registry: RegistryReader
    ) -> None:
        self._redis = redis
        self._records = records
        self._relay = relay
        self._registry = registry

    async def of(self, job_id: str, owner: str) -> Receipt:
        """The receipt of an owner's chat. Raises ApiError for one that has none."""
        record, events = await self.ended(job_id, owner)
        kept, is_kept = await self._kept(job_id)
        model_id, replay_of = kept["model_id"], kept.get(record_fields.REPLAY_OF)
        original = None if replay_of is None else await self._events(replay_of, owner)
        await self._registry.models()
        return Receipt(
            job_id=job_id,
            submitted_at=int(kept["submitted_ms"]) // 1000,
            model_id=model_id,
            model=self._registry.last_known_name(model_id),
            model_revision=kept.get(record_fields.MODEL_REVISION),
            request_sha256=kept.get(record_fields.REQUEST_HASH),
            seed=None if record.sampling is None else record.sampling["seed"],
            sampling=record.sampling,
            workers=kept.get(record_fields.WORKERS, "").split(),
            replayable=is_kept,
            replay_of=replay_of,
            replay=None if original is None else compared(original, events),
            **_end(events[-1]),
        )

    async def _kept(self, job_id: str) -> tuple[dict[str, str], bool]:
        """The fields of a job's record that are there, and whether its request is kept."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.job(job_id), *_FIELDS)
            pipe.exists(kept_requests.request(job_id))
            stored, is_kept = await pipe.execute()
        found = zip(_FIELDS, stored, strict=True)
        return {name: value.decode() for name, value in found if value is not None}, bool(is_kept)

    async def ended(self, job_id: str, owner: str) -> tuple[JobRecord, list[Event]]:
        """The record and the events of an owner's chat that has ended.

        Raises ApiError ``job_not_found``, ``conflict`` for one that goes on, ``expired``.
        """
        record = await self._records.record(job_id, owner)
        if record is None or record.kind != "chat":
            raise ApiError("job_not_found", "There is no such job.")
        entries = await self._relay.log(job_id)
        if record.state == "ended" and not entries:
            raise ApiError("expired", "The text of this job has expired.")
        if not entries or not entries[-1].ends:
            raise ApiError("conflict", "This chat has not ended yet.")
        return record, [entry.event for entry in entries]

    async def request(self, job_id: str) -> ChatJob:
        """What a chat was asked. Raises ApiError ``request_not_kept``."""
        stored = cast(bytes | None, await self._redis.get(kept_requests.request(job_id)))
        job = None if stored is None else kept_requests.read(job_id, stored)
        if job is None:
            sentence = "The request of this chat is not kept: send it as a new one."
            raise ApiError("request_not_kept", sentence)
        return job

    async def count(self, replayed: Comparison) -> None:
        """Count what came of a replay."""
        await self._redis.hincrby(REPLAYS, replayed.result, 1)

    async def _events(self, job_id: str, owner: str) -> list[Event] | None:
        """The events of a chat that has ended; None if they have expired."""
        try:
            return (await self.ended(job_id, owner))[1]
        except ApiError:
            return None


def _end(end: Event) -> dict[str, Any]:
    assert isinstance(end, (Finished, Failed))
    run = end.run
    return {
        "finish_reason": "error" if isinstance(end, Failed) else end.finish_reason,
        "code": end.code if isinstance(end, Failed) else None,
        "usage": asdict(end.usage),
        "timings": asdict(end.timings),
        "libraries": {} if run is None else run.libraries,
        "peak_memory_bytes": (run.peak_memory_bytes or None) if run is not None else None,
    }
