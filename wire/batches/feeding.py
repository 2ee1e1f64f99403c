"""Whether the next slice of a batch may be queued, so that each one is queued once."""

from __future__ import annotations

from typing import cast

from redis.client import Pipeline

from wire import keys
from wire.access import quota
from wire.batches.records import BatchSlice


def may_feed(pipe: Pipeline, work: BatchSlice, rq_job: str) -> bool:
    """Whether a slice should be queued and isn't; if so, a transaction that records it has begun.

    A batch whose owner has used up the day's tokens waits for the next day.

    ``rq_job`` is the Redis name of its RQ job. The caller adds the job and executes; WatchError
    means that another process did so first.
    """
    fed_name, open_name = keys.batch_fed(work.batch_id), keys.batch_slices(work.batch_id)
    pipe.watch(rq_job, fed_name)  # type: ignore[no-untyped-call]
    fed = int(cast(bytes | None, pipe.get(fed_name)) or 0)
    state, slices, expires = cast(
        list[bytes | None], pipe.hmget(keys.batch(work.batch_id), "state", "slices", "expires_ms")
    )
    if (
        expires is None
        or state not in (b"queued", b"running", b"cancelling")
        or work.number >= int(slices or 0)
    ):
        return False
    new = work.number == fed
    # One that was cancelled, deleted or failed in RQ is in no queue and with no worker.
    there = pipe.hget(rq_job, "status") in (b"queued", b"started")
    if there or work.number > fed or (not new and not pipe.sismember(open_name, str(work.number))):
        return False
    allowance = quota.read(quota.ask(pipe, work.owner)) if new else None
    if allowance is not None and allowance.left <= 0:
        return False
    pipe.multi()
    if new:
        pipe.incr(fed_name)
    pipe.sadd(open_name, work.number)
    pipe.pexpireat(open_name, int(expires))
    return True
