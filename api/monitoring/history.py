"""The last minutes and the last jobs, from what workers and token logs write to Redis: chart rows.

Continues from where it read last. Knows nothing of HTTP; holds no text of any chat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from pydantic import ValidationError
from redis.asyncio import Redis

from wire import keys
from wire.log_entries import decode
from wire.messages import Failed, Finished
from wire.worker_status import Sample

ROW_S = 2
"""Seconds in one row: workers report every second or a little later, so each is in every row."""
_APART_MS = 5000
"""Clocks of one Redis are never so far apart."""
Rows = list[dict[str, Any]]
Stored = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(slots=True)
class _Row:
    """Sums of samples, by machine: (tokens, seconds, running, samples)."""

    machines: dict[str, list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    )
    waiting: int = 0
    first_tokens: int = 0
    ttft_ms: float = 0.0

    def add(self, sample: Sample) -> None:
        sums = self.machines[sample.machine]
        for index, value in enumerate((sample.tokens, sample.seconds, sample.running, 1)):
            sums[index] += value
        self.waiting = max(self.waiting, sample.waiting)
        self.first_tokens += sample.first_tokens
        self.ttft_ms += sample.ttft_ms

    def row(self, at_s: int) -> dict[str, Any]:
        return {
            "at": at_s,
            "tokens_per_second": round(
                sum(tokens / max(s, 0.001) for tokens, s, _, _ in self.machines.values()), 1
            ),
            "running": round(
                sum(running / count for _, _, running, count in self.machines.values())
            ),
            "waiting": self.waiting,
            "ttft_ms": round(self.ttft_ms / self.first_tokens, 1) if self.first_tokens else None,
        }


class History:
    """One a process. Rows are empty where no worker reported."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._last = "0-0"
        self._rows: dict[int, _Row] = defaultdict(_Row)
        self._ended: dict[bytes, dict[str, Any]] = {}

    async def rows(self, now_ms: int) -> Rows:
        """The last minutes, oldest first. ``at`` is Redis time in seconds."""
        oldest = now_ms - keys.HISTORY_S * 1000
        if _order(self._last)[0] > now_ms + _APART_MS:  # Another Redis, with another clock.
            self._last = "0-0"
            self._rows.clear()
        after = max(self._last, f"{oldest}-0", key=_order)
        for row_id, fields in cast(Stored, await self._redis.xrange(keys.HISTORY, min=f"({after}")):
            if _order(row_id.decode()) <= _order(self._last):
                continue  # Somebody else has asked meanwhile.
            self._last = row_id.decode()
            try:
                sample = Sample.model_validate_json(fields[b"e"])
            except (ValidationError, KeyError):
                continue  # A worker of another version.
            self._rows[_order(self._last)[0] // 1000 // ROW_S * ROW_S].add(sample)
        for at in [at for at in self._rows if at * 1000 < oldest]:
            del self._rows[at]
        return [self._rows[at].row(at) for at in sorted(self._rows)]

    async def recent(self) -> Rows:
        """The jobs that ended last, newest first."""
        stored = cast(Stored, await self._redis.xrevrange(keys.RECENT, count=keys.RECENT_LENGTH))
        new = [fields[b"job"].decode() for row_id, fields in stored if row_id not in self._ended]
        owners = await self._owners(new)
        self._ended = {
            row_id: self._ended.get(row_id) or _ended(row_id, fields, owners)
            for row_id, fields in stored
        }
        return list(self._ended.values())

    async def _owners(self, job_ids: list[str]) -> dict[str, str]:
        """Whose jobs these are; their records are kept as long as their texts."""
        if not job_ids:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(keys.job(job_id), "owner")
            found = cast(list[bytes | None], await pipe.execute())
        return {
            job_id: owner.decode()
            for job_id, owner in zip(job_ids, found, strict=True)
            if owner is not None
        }


def _order(row_id: str) -> tuple[int, int]:
    at, _, number = row_id.partition("-")
    return int(at), int(number)


def _ended(row_id: bytes, fields: dict[bytes, bytes], owners: Mapping[str, str]) -> dict[str, Any]:
    event = decode(fields[b"e"]).event
    assert isinstance(event, (Finished, Failed))
    job_id = fields[b"job"].decode()
    return {
        "job_id": job_id,
        "owner": owners.get(job_id),
        "model_id": fields[b"model"].decode(),
        "queue": fields[b"queue"].decode(),
        "ended_ms": _order(row_id.decode())[0],
        "finish_reason": "error" if isinstance(event, Failed) else event.finish_reason,
        "code": event.code if isinstance(event, Failed) else None,
        **asdict(event.usage),
        **asdict(event.timings),
    }
