"""Finding jobs: what is remembered of one, where it is, its place in the queue.

Reads Redis, never writes; knows neither HTTP nor RQ beyond the two names that jobs.py gives.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.asyncio import Redis

from api.jobs import is_job_id, queue_key, rq_job_key
from wire import keys
from wire.log_entries import UNKNOWN, decode_rows, position_after
from wire.versions import FIRST

Standing = Literal["queued", "running", "ended", "gone"]

POSITIONS_S = 0.5
"""How long one look at the queue serves all who ask for a place in it."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is remembered of a job. ``by_tokens``: its readers' cursors count tokens, not events."""

    job_id: str
    owner: str
    kind: Literal["chat", "model"]
    state: Literal["queued", "running", "ended"]
    stream_options: frozenset[str]
    by_tokens: bool


class Lookup:
    """Answers about jobs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._places: dict[str, int] = {}
        self._places_until = 0.0
        self._looking = asyncio.Lock()

    async def record(self, job_id: str, owner: str) -> JobRecord | None:
        """What is remembered of an owner's job; None for an unknown one, and for another owner's."""
        if not is_job_id(job_id):
            return None
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.job(job_id)))
        row = {name.decode(): value.decode() for name, value in stored.items()}
        if "state" not in row or row["owner"] != owner or row["kind"] == "slice":
            return None
        return JobRecord(
            job_id,
            row["owner"],
            "model" if row["kind"] == "model" else "chat",
            cast(Literal["queued", "running", "ended"], row["state"]),
            frozenset(row.get("stream_options", "").split()),
            int(row.get("version", FIRST)) > FIRST,
        )

    async def has_log(self, job_id: str) -> bool:
        """Whether there is anything of a job to read."""
        return bool(await self._redis.exists(keys.log(job_id)))

    async def last_position(self, record: JobRecord) -> int:
        """The id of the last event of a job; 0 when there is none, or no log any more."""
        rows = await self._redis.xrevrange(keys.log(record.job_id), count=2)
        last = decode_rows(reversed(cast(list[Any], rows)))
        if not last or not record.by_tokens:
            return last[-1].sequence if last else 0
        if last[0].start == UNKNOWN and last[0].sequence > 1:
            last = decode_rows(cast(list[Any], await self._redis.xrange(keys.log(record.job_id))))
        return position_after(last)

    async def standing(self, job_id: str) -> Standing:
        """Where a job is. ``gone``: nobody will ever end it, since Redis lost it or somebody deleted it from RQ."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(keys.job(job_id), "state")
            pipe.exists(rq_job_key(job_id))
            state, in_rq = await pipe.execute()
        if state is None or (state == b"queued" and not in_rq):
            return "gone"
        return cast(Standing, state.decode())

    async def position(self, job_id: str) -> int | None:
        """A job's place in the queue, counted from 1; None when it isn't queued."""
        async with self._looking:
            # One look serves all streams that want to know: a search for each would cost a full queue's length.
            if time.monotonic() >= self._places_until:
                self._places_until = time.monotonic() + POSITIONS_S
                ids = cast(list[bytes], await self._redis.lrange(queue_key(keys.CHAT_QUEUE), 0, -1))
                self._places = {value.decode(): place for place, value in enumerate(ids, 1)}
        return self._places.get(job_id)

    async def depths(self) -> dict[str, int]:
        """How many jobs wait, by queue."""
        names = (keys.CHAT_QUEUE, keys.BATCH_QUEUE)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(queue_key(name))
            return dict(zip(names, await pipe.execute(), strict=True))
