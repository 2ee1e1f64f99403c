"""Batches from uploaded files: a file is imported into its batch in the background.

A file batch records the file, and why there is no batch if the import fails. Everything else is in
the batch, which has the same id. Knows no HTTP and no format of lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.batches.file_store import FileRecord, FileStore
from api.batches.intake import BatchIntake
from api.batches.lines import LineParser
from api.batches.store import BatchRecord
from api.chat.request import WithoutTemplate
from api.errors import ApiError
from api.jobs.ids import is_job_id, new_job_id
from api.openai.batches.batch_lines import Endpoints
from api.periodic import end, repeat
from api.registry import RegistryReader
from wire import keys
from wire.webhooks import outbox

ImportState = Literal["validating", "accepted", "failed"]

PREFIX = "batch_"
WINDOW_S = 24 * 3600
"""What is not done by then is not done: the only window that OpenAI's API has."""
LOOK_S = 5.0
MOST_ORDERS = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileBatch:
    """A file to be run as a batch. Times are Redis time in milliseconds, 0 for "not yet".

    ``metadata`` is the caller's.
    """

    id: str
    owner: str
    endpoint: str
    file_id: str
    metadata: dict[str, str] | None
    created_ms: int
    ends_by_ms: int
    not_before_ms: int = 0
    state: ImportState = "validating"
    ended_ms: int = 0
    cancelling_ms: int = 0
    code: str = ""
    message: str = ""
    hidden: tuple[str, ...] = ()

    @property
    def public_id(self) -> str:
        """The id that clients know."""
        return PREFIX + self.id


class FileBatches:
    """The file batches in Redis. ``endpoints`` are what they can be for."""

    def __init__(
        self,
        redis: Redis,
        batches: BatchIntake,
        files: FileStore,
        registry: RegistryReader,
        endpoints: Endpoints,
        without_template: WithoutTemplate = "generic",
    ) -> None:
        self.endpoints = endpoints
        self._redis = redis
        self._without_template = without_template
        self._batches = batches
        self._files = files
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(
        self,
        owner: str,
        endpoint: str,
        file: FileRecord,
        metadata: dict[str, str] | None,
        not_before_ms: int = 0,
    ) -> FileBatch:
        """Create a batch from a file, which is imported in the background.

        Raises ApiError for one that would begin when it ends.
        """
        now, batch_id = await self._batches.store.now_ms(), new_job_id()
        expires = now + self._batches.store.lifetime_ms
        ends_by = min(now + WINDOW_S * 1000, expires)
        if not_before_ms >= ends_by:
            sentence = "The batch would end before it begins: it has 24 hours."
            raise ApiError("invalid_request", sentence, param="not_before")
        file_batch = FileBatch(
            batch_id, owner, endpoint, file.id, metadata, now, ends_by, not_before_ms
        )
        about: dict[Any, Any] = {
            "owner": owner,
            "endpoint": endpoint,
            "file_id": file.id,
            "state": file_batch.state,
        }
        about |= {"metadata": json.dumps(metadata), "created_ms": now, "ends_by_ms": ends_by}
        about["not_before_ms"] = not_before_ms
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.order(batch_id), mapping=about)
            pipe.pexpireat(keys.order(batch_id), expires)
            pipe.zadd(keys.orders(owner), {batch_id: now})
            pipe.sadd(keys.ORDERS_OPEN, batch_id)
            pipe.set(keys.order_lease(batch_id), 1, ex=keys.ORDER_LEASE_S)
            await pipe.execute()
        self._begin(file_batch)
        return file_batch

    async def find(self, batch_id: str, owner: str) -> tuple[FileBatch, BatchRecord | None] | None:
        """An owner's file batch and its batch, once there is one."""
        file_batch = await self._get(batch_id) if is_job_id(batch_id) else None
        return (
            (file_batch, await self._batch(file_batch))
            if file_batch is not None and file_batch.owner == owner
            else None
        )

    async def all(self, owner: str) -> list[tuple[FileBatch, BatchRecord | None]]:
        """An owner's file batches and their batches, newest first."""
        ids = cast(list[bytes], await self._redis.zrevrange(keys.orders(owner), 0, MOST_ORDERS - 1))
        rows = [(raw, await self._get(raw.decode())) for raw in ids]
        if expired := [raw for raw, file_batch in rows if file_batch is None]:
            await self._redis.zrem(keys.orders(owner), *expired)
        return [
            (file_batch, await self._batch(file_batch))
            for _, file_batch in rows
            if file_batch is not None
        ]

    async def cancel(self, file_batch: FileBatch) -> None:
        """End a file batch early; what is finished is kept. One that has ended stays as it is."""
        now = await self._batches.store.now_ms()
        await self._redis.hsetnx(keys.order(file_batch.id), "cancelling_ms", str(now))
        if (batch := await self._batch(file_batch)) is not None:
            await self._batches.cancel(batch)
        # Otherwise the process that imports its file sees the mark once the batch exists.

    async def hide(self, file_batch: FileBatch, kind: str) -> None:
        """Hide a result file from its owner; it expires with its batch."""
        await self._redis.hset(keys.order(file_batch.id), f"hidden_{kind}", "1")

    def results(self, batch: BatchRecord) -> AsyncIterator[bytes]:
        return self._batches.store.results(batch)

    async def _get(self, batch_id: str) -> FileBatch | None:
        stored = cast(dict[bytes, bytes], await self._redis.hgetall(keys.order(batch_id)))
        return _decode(batch_id, stored)

    async def _batch(self, file_batch: FileBatch) -> BatchRecord | None:
        return await self._batches.store.record(file_batch.id, file_batch.owner)

    # --- reading files in -------------------------------------------------------------------------

    async def run(self) -> None:
        """Continue the imports of processes that died, until cancelled."""
        try:
            await repeat(LOOK_S, self._look, "looking after file batches")
        finally:
            await end(*self._tasks)

    async def _look(self) -> None:
        for raw in cast(set[bytes], await self._redis.smembers(keys.ORDERS_OPEN)):
            batch_id = raw.decode()
            if not await self._redis.set(
                keys.order_lease(batch_id), 1, nx=True, ex=keys.ORDER_LEASE_S
            ):
                continue
            file_batch = await self._get(batch_id)
            if file_batch is None or file_batch.state != "validating":
                await self._redis.srem(keys.ORDERS_OPEN, batch_id)
                continue
            if await self._batch(file_batch) is None:
                # What the other one had stored would count twice.
                await self._batches.store.abandon(batch_id, 0, 0)
            self._begin(file_batch)

    def _begin(self, file_batch: FileBatch) -> None:
        task = asyncio.create_task(self._import_file(file_batch), name="file import")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _import_file(self, file_batch: FileBatch) -> None:
        """Import a file into its batch, and record the outcome."""
        try:
            batch = await self._batch(file_batch) or await self._imported(file_batch)
            await self._record_end(file_batch, "accepted")
            marked = await self._redis.hget(keys.order(file_batch.id), "cancelling_ms")
            if marked is not None:
                await self._batches.cancel(batch)
        except ApiError as refused:
            if refused.code in ("redis_unavailable", "busy"):
                return  # The lease expires, and a process tries again.
            line = refused.errors[0] if refused.errors else refused.message
            await self._record_end(file_batch, "failed", code=refused.code, message=line)
        except RedisError as error:
            _log.warning(
                "the file of a batch could not be imported (%s); it is tried again",
                type(error).__name__,
            )
        except asyncio.CancelledError:
            await asyncio.shield(self._redis.delete(keys.order_lease(file_batch.id)))
            raise
        except Exception:
            _log.exception("the file of a batch could not be imported")
            await self._record_end(
                file_batch, "failed", code="internal_error", message="Something went wrong here."
            )

    async def _imported(self, file_batch: FileBatch) -> BatchRecord:
        file = await self._files.record(file_batch.file_id, file_batch.owner)
        if file is None:
            raise ApiError("not_found", "The input file has been deleted.", param="input_file_id")
        models, version = await self._registry.models(), await self._registry.oldest_version()
        default = await self._registry.default(file_batch.owner)
        rules = LineParser(
            models,
            self.endpoints[file_batch.endpoint].read,
            version=version,
            default_model=default,
            aliases=self._registry.aliases,
            model_field="model",
            without_template=self._without_template,
        )
        details = {
            "ends_by_ms": file_batch.ends_by_ms,
            "public_id": file_batch.public_id,
            "not_before_ms": file_batch.not_before_ms,
        }
        pieces = self._leased(file_batch, self._files.content(file))
        return await self._batches.accept(
            file_batch.owner, pieces, rules, details=details, batch_id=file_batch.id
        )

    async def _leased(
        self, file_batch: FileBatch, pieces: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        async for piece in pieces:
            await self._redis.expire(keys.order_lease(file_batch.id), keys.ORDER_LEASE_S)
            yield piece

    async def _record_end(self, file_batch: FileBatch, state: ImportState, **more: str) -> None:
        about = {"state": state, "ended_ms": str(await self._batches.store.now_ms())} | more
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.order(file_batch.id), mapping=cast(dict[Any, Any], about))
            pipe.srem(keys.ORDERS_OPEN, file_batch.id)
            if state == "failed":
                outbox.note_end(
                    pipe, outbox.of_batch(file_batch.public_id), file_batch.owner, state
                )
            pipe.delete(keys.order_lease(file_batch.id))
            await pipe.execute()


def _decode(batch_id: str, stored: Mapping[bytes, bytes]) -> FileBatch | None:
    row = {name.decode(): value.decode() for name, value in stored.items()}
    if "owner" not in row or "created_ms" not in row:
        return None
    numbers = {
        name: int(row.get(name, 0))
        for name in ("created_ms", "ends_by_ms", "not_before_ms", "ended_ms", "cancelling_ms")
    }
    return FileBatch(
        batch_id,
        row["owner"],
        row["endpoint"],
        row["file_id"],
        json.loads(row["metadata"]),
        state=cast(ImportState, row["state"]),
        code=row.get("code", ""),
        message=row.get("message", ""),
        hidden=tuple(name.removeprefix("hidden_") for name in row if name.startswith("hidden_")),
        **numbers,
    )
