"""Looks jobs up: their records, their state, their position in the queue, what holds them up.

Reads Redis, and has a job ended that is over in RQ. Knows nothing of HTTP, and of RQ only names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.asyncio import Redis

from api.jobs.ids import is_job_id
from api.jobs.waiting.queue_look import Held, Place, QueueLook
from wire import keys, sampling_used
from wire.log_entries import UNKNOWN, decode_rows, position_after
from wire.queueing import schedule, turns
from wire.queueing.turns import Tier
from wire.receipts import kept_requests
from wire.rq_jobs import GOING_ON, SUSPENDED, queue_key, rq_job_key
from wire.sampling_used import SamplingUsed
from wire.versions import FIRST

JobState = Literal["queued", "running", "ended", "gone"]


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is remembered of a job. ``by_tokens``: its readers' cursors count tokens, not events.

    ``sampling``: what a chat ran with. ``choices`` are the jobs of all answers to its request, in
    order, if it has several. ``not_before_ms``: when it begins; 0 for at once.
    """

    job_id: str
    owner: str
    kind: Literal["chat", "model"]
    state: Literal["queued", "running", "ended"]
    stream_options: frozenset[str]
    by_tokens: bool
    choices: tuple[str, ...] = ()
    sampling: SamplingUsed | None = None
    not_before_ms: int = 0


class JobRecords:
    """Answers about jobs."""

    def __init__(
        self, redis: Redis, settle: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        """``settle`` ends a job that is over in RQ and has no end in its log."""
        self._redis = redis
        self._settle = settle
        self._look = QueueLook(redis)

    async def record(self, job_id: str, owner: str) -> JobRecord | None:
        """The record of an owner's job, or None."""
        if not is_job_id(job_id):
            return None
        row, status = await self._remembered(job_id)
        if "state" not in row or row["owner"] != owner or row["kind"] == "slice":
            return None
        if await self._settled(job_id, row["state"], status):
            row, _ = await self._remembered(job_id)
        return JobRecord(
            job_id,
            row["owner"],
            "model" if row["kind"] == "model" else "chat",
            cast(Literal["queued", "running", "ended"], row["state"]),
            frozenset(row.get("stream_options", "").split()),
            int(row.get("version", FIRST)) > FIRST,
            tuple(row["choices"].split())
            if "choices" in row
            else await self.choices(row.get("first_choice")),
            sampling_used.read(row.get("sampling")),
            int(row.get(schedule.FIELD, 0)),
        )

    async def choices(self, first_id: str | None) -> tuple[str, ...]:
        """The jobs of all answers to a request, in order, by the first's; empty if it has one."""
        if first_id is None:
            return ()
        stored = cast(bytes | None, await self._redis.hget(keys.job(first_id), "choices"))
        return tuple((stored or b"").decode().split())

    async def run_with(self, job_id: str) -> tuple[SamplingUsed | None, Tier]:
        """The sampling of a chat, if that is known, and its class of service."""
        about = cast(
            list[bytes | None], await self._redis.hmget(keys.job(job_id), "sampling", turns.TIER)
        )
        sampling, tier = (None if kept is None else kept.decode() for kept in about)
        return sampling_used.read(sampling), cast(Tier, tier or "default")

    async def submitted_s(self, job_id: str) -> int | None:
        """When a job was submitted, in seconds since the epoch; None once that is forgotten."""
        kept = cast(bytes | None, await self._redis.hget(keys.job(job_id), "submitted_ms"))
        return None if kept is None else int(kept) // 1000

    async def has_log(self, job_id: str) -> bool:
        """Whether there is anything of a job to read."""
        return bool(await self._redis.exists(keys.log(job_id)))

    async def drop_text(self, job_id: str) -> None:
        """Drop what a job that has ended said."""
        await self._redis.delete(keys.log(job_id))

    async def forget_request(self, job_id: str) -> None:
        """Drop what a chat was asked, also if it has not ended yet."""
        await kept_requests.forget(self._redis, job_id)

    async def last_position(self, record: JobRecord) -> int:
        """The id of the last event of a job; 0 when there is no event, or the log has expired."""
        rows = await self._redis.xrevrange(keys.log(record.job_id), count=2)
        last = decode_rows(reversed(cast(list[Any], rows)))
        if not last or not record.by_tokens:
            return last[-1].sequence if last else 0
        if last[0].start == UNKNOWN and last[0].sequence > 1:
            last = decode_rows(cast(list[Any], await self._redis.xrange(keys.log(record.job_id))))
        return position_after(last)

    async def _remembered(self, job_id: str) -> tuple[dict[str, str], bytes | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.hget(rq_job_key(job_id), "status")
            stored, status = await pipe.execute()
        return {name.decode(): value.decode() for name, value in stored.items()}, status

    async def _settled(self, job_id: str, state: str, status: bytes | None) -> bool:
        """Have a job ended that has no end and is over for RQ. Whether it had to be looked into."""
        if state == "ended" or (status or b"").decode() in GOING_ON or self._settle is None:
            return False
        await self._settle(job_id)
        return True

    async def state(self, job_id: str) -> JobState:
        """The state of a job; ``gone`` if its record has expired, so that nothing can end it."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(keys.job(job_id), "state")
            pipe.hget(rq_job_key(job_id), "status")
            state, status = await pipe.execute()
        if state is None:
            return "gone"
        await self._settled(job_id, state.decode(), status)
        return cast(JobState, state.decode())

    async def held(self, job_id: str) -> Held | None:
        """What a job that has not ended waits for, apart from its turn."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(rq_job_key(job_id), "status", "worker_name")
            pipe.exists(SUSPENDED)
            (status, worker), suspended = await pipe.execute()
        if status != b"started":
            living = await self._look.living()
            return "suspended" if suspended else None if living.there else "no_worker"
        answers = await self._redis.exists(keys.worker_status((worker or b"").decode()))
        return None if answers else "no_worker"

    async def suspended(self) -> bool:
        """Whether `rq suspend` keeps the workers from taking jobs."""
        return bool(await self._redis.exists(SUSPENDED))

    async def place(self, job_id: str) -> Place | None:
        """Where a queued job stands; None for one that isn't queued."""
        return await self._look.place(job_id)

    async def depths(self) -> dict[str, int]:
        """How many jobs wait, by queue."""
        names = (keys.CHAT_QUEUE, keys.BATCH_QUEUE)
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(queue_key(name))
            return dict(zip(names, await pipe.execute(), strict=True))
