"""Orders: an uploaded file is to be run as a batch. The file is read into the batch in the
background.

An order knows what no batch knows of itself: the file, and why there is no batch. Everything else
is the batch's, which has the order's id. Knows no HTTP and no shape of lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.batches.file_store import FileRecord, FileStore
from api.batches.intake import BatchIntake
from api.batches.lines import LineParser
from api.batches.store import BatchRecord
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.jobs.ids import is_job_id, new_job_id
from api.periodic import repeat
from api.registry import RegistryReader
from wire import keys

OrderState = Literal["validating", "accepted", "failed"]
Readers = Mapping[str, Callable[[dict[str, Any]], tuple[str | None, ChatSpec]]]

WINDOW_S = 24 * 3600
"""What is not done by then is not done: the only window that OpenAI's API has."""
LOOK_S = 5.0
MOST_ORDERS = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileBatch:
    """What was ordered. Times are Redis' in milliseconds, 0 for what has not happened.
    ``metadata`` is the caller's."""

    id: str
    owner: str
    endpoint: str
    file_id: str
    metadata: dict[str, str] | None
    created_ms: int
    ends_by_ms: int
    state: OrderState = "validating"
    ended_ms: int = 0
    cancelling_ms: int = 0
    code: str = ""
    message: str = ""
    hidden: tuple[str, ...] = ()


class FileBatches:
    """The orders in Redis. ``readers`` turn a line of a file into a prompt, by endpoint."""

    def __init__(
        self,
        redis: Redis,
        batches: BatchIntake,
        files: FileStore,
        registry: RegistryReader,
        readers: Readers,
    ) -> None:
        self._redis = redis
        self._batches = batches
        self._files = files
        self._registry = registry
        self._readers = readers
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(
        self, owner: str, endpoint: str, file: FileRecord, metadata: dict[str, str] | None
    ) -> FileBatch:
        """Order a batch of what is in a file; it is read in the background."""
        now, order_id = await self._batches.store.now_ms(), new_job_id()
        expires = now + self._batches.store.lifetime_ms
        ends_by = min(now + WINDOW_S * 1000, expires)
        order = FileBatch(order_id, owner, endpoint, file.id, metadata, now, ends_by)
        about: dict[Any, Any] = {
            "owner": owner,
            "endpoint": endpoint,
            "file_id": file.id,
            "state": order.state,
        }
        about |= {"metadata": json.dumps(metadata), "created_ms": now, "ends_by_ms": ends_by}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.order(order_id), mapping=about)
            pipe.pexpireat(keys.order(order_id), expires)
            pipe.zadd(keys.orders(owner), {order_id: now})
            pipe.sadd(keys.ORDERS_OPEN, order_id)
            pipe.set(keys.order_lease(order_id), 1, ex=keys.ORDER_LEASE_S)
            await pipe.execute()
        self._begin(order)
        return order

    async def order(self, order_id: str, owner: str) -> tuple[FileBatch, BatchRecord | None] | None:
        """An owner's order and its batch, once there is one."""
        batch_record = await self._get(order_id) if is_job_id(order_id) else None
        return (
            (batch_record, await self._batch(batch_record))
            if batch_record is not None and batch_record.owner == owner
            else None
        )

    async def all(self, owner: str) -> list[tuple[FileBatch, BatchRecord | None]]:
        """An owner's orders and their batches, newest first."""
        ids = cast(list[bytes], await self._redis.zrevrange(keys.orders(owner), 0, MOST_ORDERS - 1))
        batch_record = [(raw, await self._get(raw.decode())) for raw in ids]
        if expired := [raw for raw, order in batch_record if order is None]:
            await self._redis.zrem(keys.orders(owner), *expired)
        return [(order, await self._batch(order)) for _, order in batch_record if order is not None]

    async def cancel(self, order: FileBatch) -> None:
        """End an order early; what is finished is kept. One that has ended stays as it is."""
        now = await self._batches.store.now_ms()
        await self._redis.hsetnx(keys.order(order.id), "cancelling_ms", str(now))
        if (batch := await self._batch(order)) is not None:
            await self._batches.cancel(batch)
        # Otherwise whoever reads its file in sees the mark once the batch is there.

    async def hide(self, order: FileBatch, kind: str) -> None:
        """Take a file of results away from the caller's sight; it goes with its batch."""
        await self._redis.hset(keys.order(order.id), f"hidden_{kind}", "1")

    def results(self, batch: BatchRecord) -> AsyncIterator[bytes]:
        return self._batches.store.results(batch)

    async def _get(self, order_id: str) -> FileBatch | None:
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.order(order_id)))
        return _decode(order_id, stored)

    async def _batch(self, order: FileBatch) -> BatchRecord | None:
        return await self._batches.store.record(order.id, order.owner)

    # --- reading files in -------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up what a process that died was reading in, until cancelled."""
        try:
            await repeat(LOOK_S, self._look, "looking after file batches")
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        for raw in cast(set[bytes], await self._redis.smembers(keys.ORDERS_OPEN)):
            order_id = raw.decode()
            if not await self._redis.set(
                keys.order_lease(order_id), 1, nx=True, ex=keys.ORDER_LEASE_S
            ):
                continue
            order = await self._get(order_id)
            if order is None or order.state != "validating":
                await self._redis.srem(keys.ORDERS_OPEN, order_id)
                continue
            if await self._batch(order) is None:
                # What the other one had stored would count twice.
                await self._batches.store.abandon(order_id, 0, 0)
            self._begin(order)

    def _begin(self, order: FileBatch) -> None:
        task = asyncio.create_task(self._import_file(order), name="order")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _import_file(self, order: FileBatch) -> None:
        """Read an order's file into its batch, and note what came of it."""
        try:
            batch = await self._batch(order) or await self._accepted(order)
            await self._ended(order, "accepted")
            marked = await self._redis.hget(keys.order(order.id), "cancelling_ms")
            if marked is not None:
                await self._batches.cancel(batch)
        except ApiError as refused:
            if refused.code in ("redis_unavailable", "busy"):
                return  # The lease runs out, and somebody tries again.
            line = refused.errors[0] if refused.errors else refused.message
            await self._ended(order, "failed", code=refused.code, message=line)
        except RedisError as error:
            _log.warning(
                "the file of an order could not be read in (%s); it is tried again",
                type(error).__name__,
            )
        except asyncio.CancelledError:
            await asyncio.shield(self._redis.delete(keys.order_lease(order.id)))
            raise
        except Exception:
            _log.exception("the file of an order could not be read in")
            await self._ended(
                order, "failed", code="internal_error", message="Something went wrong here."
            )

    async def _accepted(self, order: FileBatch) -> BatchRecord:
        file = await self._files.record(order.file_id, order.owner)
        if file is None:
            raise ApiError("not_found", "The input file has been deleted.", param="input_file_id")
        models, version = await self._registry.models(), await self._registry.oldest_version()
        default = await self._registry.default()
        rules = LineParser(
            models, self._readers[order.endpoint], version=version, default_model=default
        )
        details = {"ends_by_ms": order.ends_by_ms}
        pieces = self._leased(order, self._files.content(file))
        return await self._batches.accept(
            order.owner, pieces, rules, details=details, batch_id=order.id
        )

    async def _leased(self, order: FileBatch, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            await self._redis.expire(keys.order_lease(order.id), keys.ORDER_LEASE_S)
            yield piece

    async def _ended(self, order: FileBatch, state: OrderState, **more: str) -> None:
        about = {"state": state, "ended_ms": str(await self._batches.store.now_ms())} | more
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.order(order.id), mapping=cast(dict[Any, Any], about))
            pipe.srem(keys.ORDERS_OPEN, order.id)
            pipe.delete(keys.order_lease(order.id))
            await pipe.execute()


def _decode(order_id: str, stored: Mapping[bytes, bytes]) -> FileBatch | None:
    row = {name.decode(): value.decode() for name, value in stored.items()}
    if "owner" not in row or "created_ms" not in row:
        return None
    numbers = {
        name: int(row.get(name, 0))
        for name in ("created_ms", "ends_by_ms", "ended_ms", "cancelling_ms")
    }
    return FileBatch(
        order_id,
        row["owner"],
        row["endpoint"],
        row["file_id"],
        json.loads(row["metadata"]),
        state=cast(OrderState, row["state"]),
        code=row.get("code", ""),
        message=row.get("message", ""),
        hidden=tuple(name.removeprefix("hidden_") for name in row if name.startswith("hidden_")),
        **numbers,
    )
