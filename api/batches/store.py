"""What Redis keeps of batches: their records, prompts and results, within a budget of bytes and for
a limited time.

Prompts are stored a slice a key, compressed, so that neither writing nor reading a batch ever holds
much of it. Knows neither HTTP nor RQ.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from redis.asyncio import Redis
from redis.client import Pipeline

from api.batches.index import newest
from api.batches.quota import BatchQuota
from api.jobs.ids import is_job_id
from wire import clock, keys
from wire.batches import ENDED_STATES, BatchState, LineResult
from wire.webhooks import outbox
from wire.webhooks.outbox import ASKED, NOTE_END

_AT_ONCE = 500
"""Commands in one round trip."""
# KEYS: total, bytes a batch, then prompts that will not run. ARGV: batch id.
_DROP = """
local freed = 0
for i = 3, #KEYS do
  freed = freed + redis.call('STRLEN', KEYS[i])
  redis.call('DEL', KEYS[i])
end
redis.call('DECRBY', KEYS[1], freed)
redis.call('HINCRBY', KEYS[2], ARGV[1], 0 - freed)
return freed
"""
# KEYS: batch, open slices, open batches. ARGV: batch id, how it ends, now in ms. Answers whether
# there was anything to end. With no slice in the queue or with a worker, it has ended with this.
_CUT = (
    NOTE_END
    + """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
if redis.call('SCARD', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[1], 'state', ARGV[2], 'ended_ms', ARGV[3])
  redis.call('ZREM', KEYS[3], ARGV[1])
  note_end(KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], 'state', 'cancelling', 'ends_as', ARGV[2])
end
return 1
"""
)


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What is known of a batch.

    Times are Redis' in milliseconds, 0 for what has not happened; tokens are sums.

    ``details`` are the uploader's own: kept and given back.
    """

    id: str
    owner: str
    model_id: str
    state: BatchState
    created_ms: int
    expires_ms: int
    started_ms: int = 0
    ended_ms: int = 0
    total: int = 0
    done: int = 0
    failed: int = 0
    slices: int = 0
    pieces: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    details: Mapping[str, Any] | None = None

    @property
    def public_id(self) -> str:
        """Its id as its owner knows it: a batch of OpenAI's API has one that begins so."""
        return str((self.details or {}).get("public_id", self.id))

    @property
    def ended(self) -> bool:
        return self.state in ENDED_STATES

    @property
    def ends_by_ms(self) -> int:
        """When it ends with what it has then; 0 for never."""
        return int((self.details or {}).get("ends_by_ms", 0))

    @property
    def not_before_ms(self) -> int:
        """When it begins; 0 for at once."""
        return int((self.details or {}).get("not_before_ms", 0))


_NUMBERS = [item.name for item in fields(BatchRecord) if item.type == "int"]


def _decode(batch_id: str, stored: Mapping[bytes, bytes]) -> BatchRecord | None:
    row = {name.decode(): value.decode() for name, value in stored.items()}
    if "state" not in row:
        return None
    known: dict[str, Any] = {name: int(row.get(name, 0)) for name in _NUMBERS}
    known |= {
        "owner": row["owner"],
        "model_id": row["model_id"],
        "details": json.loads(row["details"]),
    }
    return BatchRecord(batch_id, state=cast(BatchState, row["state"]), **known)


class BatchStore:
    """The batches in Redis. ``lifetime_s`` counts from a batch's acceptance on."""

    def __init__(self, redis: Redis, *, quota: BatchQuota, lifetime_s: float) -> None:
        self._redis = redis
        self.quota = quota
        self.lifetime_ms = int(lifetime_s * 1000)
        self._drop = redis.register_script(_DROP)
        self._cut = redis.register_script(_CUT)

    async def now_ms(self) -> int:
        return await clock.now_ms_async(self._redis)

    # --- an upload --------------------------------------------------------------------------------

    async def open(
        self, batch_id: str, owner: str, model_id: str, details: Mapping[str, Any] | None
    ) -> BatchRecord:
        """Begin an upload; what it stores expires unless the upload is committed."""
        now = await self.now_ms()
        record = BatchRecord(
            batch_id, owner, model_id, "uploading", now, now + self.lifetime_ms, details=details
        )
        about: dict[Any, Any] = {"owner": owner, "model_id": model_id, "state": record.state}
        about[ASKED] = outbox.of_batch(record.public_id)
        about |= {
            "details": json.dumps(details),
            "created_ms": now,
            "expires_ms": record.expires_ms,
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.batch(batch_id), mapping=about)
            pipe.expire(keys.batch(batch_id), keys.UPLOAD_LIFETIME_S)
            await pipe.execute()
        return record

    async def put_prompts(
        self, batch_id: str, number: int, packed: bytes, prompts: int, results: int
    ) -> None:
        """Store one slice: its prompts, their number, and how many results its piece will have.

        Raises ApiError ``batches_full`` when there is no room.
        """
        await self.quota.reserve(batch_id, len(packed))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.batch_input(batch_id, number), packed, ex=keys.UPLOAD_LIFETIME_S)
            pipe.hset(keys.batch_plan(batch_id), str(number), f"{prompts} {results}")
            pipe.expire(keys.batch_plan(batch_id), keys.UPLOAD_LIFETIME_S)
            await pipe.execute()

    async def put_refused(self, batch_id: str, number: int, refused: Iterable[LineResult]) -> None:
        """Store the results of lines that can't be run, with the slice that they belong to."""
        rows: dict[Any, Any] = {str(result.number): result.encode() for result in refused}
        await self.quota.reserve(batch_id, sum(map(len, rows.values())))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(keys.batch_output(batch_id, number), mapping=rows)
            pipe.expire(keys.batch_output(batch_id, number), keys.UPLOAD_LIFETIME_S)
            await pipe.execute()

    async def keep(self, record: BatchRecord) -> None:
        """Give what an upload stored the lifetime of its batch."""
        names = [keys.batch_plan(record.id)]
        names += [keys.batch_input(record.id, number) for number in range(record.slices)]
        names += [keys.batch_output(record.id, number) for number in range(record.pieces)]
        for start in range(0, len(names), _AT_ONCE):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names[start : start + _AT_ONCE]:
                    pipe.pexpireat(name, record.expires_ms)
                await pipe.execute()

    def accept(self, record: BatchRecord, pipe: Pipeline) -> None:
        """Add to a transaction what makes an upload a batch."""
        name, ended = keys.batch(record.id), record.ended
        counts: dict[Any, Any] = {
            "state": record.state,
            "total": record.total,
            "failed": record.failed,
        }
        counts |= {"slices": record.slices, "pieces": record.pieces}
        pipe.hset(name, mapping=counts | ({"ended_ms": record.created_ms} if ended else {}))
        pipe.pexpireat(name, record.expires_ms)
        pipe.zadd(keys.batches(record.owner), {record.id: record.created_ms})
        if ended:
            outbox.note_end(pipe, outbox.of_batch(record.public_id), record.owner, record.state)
        else:
            pipe.zadd(keys.BATCHES_OPEN, {record.id: record.expires_ms})
            pipe.set(keys.batch_fed(record.id), 1, pxat=record.expires_ms)
            pipe.sadd(keys.batch_slices(record.id), 0)
            pipe.pexpireat(keys.batch_slices(record.id), record.expires_ms)

    async def accept_alone(self, record: BatchRecord) -> None:
        """Accept a batch of which nothing has to run."""
        async with self._redis.pipeline(transaction=True) as pipe:
            self.accept(record, cast(Pipeline, pipe))
            await pipe.execute()

    async def abandon(self, batch_id: str, slices: int, pieces: int) -> None:
        """Drop an upload that came to nothing."""
        names = [keys.batch(batch_id), keys.batch_plan(batch_id)]
        names += [keys.batch_input(batch_id, number) for number in range(slices)]
        names += [keys.batch_output(batch_id, number) for number in range(pieces)]
        for start in range(0, len(names), _AT_ONCE):
            await self._redis.delete(*names[start : start + _AT_ONCE])
        await self.quota.release(batch_id)

    # --- reading ----------------------------------------------------------------------------------

    async def record(self, batch_id: str, owner: str) -> BatchRecord | None:
        """An owner's accepted batch, or None."""
        if not is_job_id(batch_id):
            return None
        record = _decode(
            batch_id, cast(dict[bytes, bytes], await self._redis.hgetall(keys.batch(batch_id)))
        )
        return (
            None
            if record is None or record.owner != owner or record.state == "uploading"
            else record
        )

    async def all(self, owner: str, most: int) -> list[BatchRecord]:
        """An owner's batches, newest first."""
        return await newest(self._redis, keys.batches(owner), keys.batch, _decode, most)

    async def results(self, record: BatchRecord) -> AsyncIterator[bytes]:
        """The results so far, one a line, in the order of the upload; slice by slice."""
        for number in range(record.pieces):
            rows = cast(
                dict[bytes, bytes], await self._redis.hgetall(keys.batch_output(record.id, number))
            )
            if rows:
                yield b"".join(rows[line] + b"\n" for line in sorted(rows, key=int))

    # --- the end ----------------------------------------------------------------------------------

    async def cut(self, record: BatchRecord, ends_as: BatchState) -> bool:
        """End a batch early; what is finished is kept. Whether there was anything to end."""
        names = [keys.batch(record.id), keys.batch_slices(record.id), keys.BATCHES_OPEN]
        if not await self._cut(keys=names, args=[record.id, ends_as, await self.now_ms()]):
            return False
        fed = int(cast(bytes | None, await self._redis.get(keys.batch_fed(record.id))) or 0)
        unused = [keys.batch_input(record.id, number) for number in range(fed, record.slices)]
        for start in range(0, len(unused), _AT_ONCE):
            some = [keys.BATCH_BYTES_TOTAL, keys.BATCH_BYTES, *unused[start : start + _AT_ONCE]]
            await self._drop(keys=some, args=[record.id])
        return True

    async def open_slices(self, batch_id: str) -> list[int]:
        """The slices that are in the queue or with a worker."""
        return sorted(
            int(n)
            for n in cast(set[bytes], await self._redis.smembers(keys.batch_slices(batch_id)))
        )

    async def open_batches(self) -> list[BatchRecord]:
        """The batches that have not ended, of all owners."""
        ids = [
            raw.decode()
            for raw in cast(list[bytes], await self._redis.zrange(keys.BATCHES_OPEN, 0, -1))
        ]
        records = [
            _decode(name, cast(Any, await self._redis.hgetall(keys.batch(name)))) for name in ids
        ]
        expired = [name for name, record in zip(ids, records, strict=True) if record is None]
        if expired:
            await self._redis.zrem(keys.BATCHES_OPEN, *expired)
        return [record for record in records if record is not None]

    async def to_feed(self, record: BatchRecord) -> list[int]:
        """Slices that should be in the queue, according to the batch's own records."""
        there = await self.open_slices(record.id)
        fed = int(cast(bytes | None, await self._redis.get(keys.batch_fed(record.id))) or 0)
        if not there and record.state in ("queued", "running") and fed < record.slices:
            return [fed]
        return there
