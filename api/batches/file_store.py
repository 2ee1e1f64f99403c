"""Uploaded files in Redis: kept in compressed pieces, within the room of batches and for as long as
those.

Neither writing nor reading ever holds more than a piece. Knows neither HTTP nor what is in a file.
"""

from __future__ import annotations

import asyncio
import re
import uuid
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from api.batches.index import newest
from api.batches.quota import BatchQuota
from api.errors import ApiError
from wire import clock, keys

MOST_BYTES = 200 << 20
MOST_FILES = 10_000
PIECE_BYTES = 1 << 20
_COMPRESSION = 1
_ID = re.compile(f"{keys.FILE_ID}[0-9a-f]{{32}}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What is known of a file. Times are Redis' in milliseconds."""

    id: str
    owner: str
    filename: str
    purpose: str
    created_ms: int
    expires_ms: int
    bytes: int = 0
    pieces: int = 0


class FileStore:
    """The files in Redis. ``lifetime_s`` is the longest that one is kept."""

    def __init__(self, redis: Redis, *, quota: BatchQuota, lifetime_s: float) -> None:
        self._redis = redis
        self._quota = quota
        self._lifetime_s = lifetime_s

    async def begin(self, owner: str) -> FileWriter:
        """Begin an upload; what it stores expires unless the upload is finished."""
        file_id = f"{keys.FILE_ID}{uuid.uuid4().hex}"
        await self._redis.set(keys.file(file_id), "", ex=keys.UPLOAD_LIFETIME_S)
        return FileWriter(self._redis, self._quota, file_id, owner)

    async def finish(
        self, writer: FileWriter, filename: str, purpose: str, lifetime_s: float | None
    ) -> FileRecord:
        """Make an upload a file, which all can read from now on."""
        await writer.flush()
        now = await clock.now_ms_async(self._redis)
        expires = now + int(min(lifetime_s or self._lifetime_s, self._lifetime_s) * 1000)
        about: dict[Any, Any] = {"owner": writer.owner, "filename": filename, "purpose": purpose}
        about |= {
            "created_ms": now,
            "expires_ms": expires,
            "bytes": writer.bytes,
            "pieces": writer.pieces,
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(keys.file(writer.id))
            pipe.hset(keys.file(writer.id), mapping=about)
            for name in [
                keys.file(writer.id),
                *(keys.file_piece(writer.id, n) for n in range(writer.pieces)),
            ]:
                pipe.pexpireat(name, expires)
            pipe.zadd(keys.files(writer.owner), {writer.id: now})
            await pipe.execute()
        return FileRecord(
            writer.id, writer.owner, filename, purpose, now, expires, writer.bytes, writer.pieces
        )

    async def record(self, file_id: str, owner: str) -> FileRecord | None:
        """An owner's finished file, or None."""
        if not _ID.fullmatch(file_id) or await self._redis.type(keys.file(file_id)) != b"hash":
            return None
        record = _decode(
            file_id, cast(dict[bytes, bytes], await self._redis.hgetall(keys.file(file_id)))
        )
        return record if record is not None and record.owner == owner else None

    async def all(self, owner: str) -> list[FileRecord]:
        """An owner's files, newest first."""
        return await newest(self._redis, keys.files(owner), keys.file, _decode, MOST_FILES)

    async def content(self, record: FileRecord) -> AsyncIterator[bytes]:
        """The file, a piece at a time. Raises ApiError ``not_found`` if it is deleted meanwhile."""
        for number in range(record.pieces):
            piece = cast(bytes | None, await self._redis.get(keys.file_piece(record.id, number)))
            if piece is None:
                raise ApiError("not_found", "The file has been deleted.")
            yield await asyncio.to_thread(zlib.decompress, piece)

    async def delete(self, record: FileRecord) -> None:
        await self._redis.zrem(keys.files(record.owner), record.id)
        await self._drop(record.id, record.pieces)

    async def abandon(self, writer: FileWriter) -> None:
        """Drop an upload that came to nothing."""
        await self._drop(writer.id, writer.pieces + 1)

    async def _drop(self, file_id: str, pieces: int) -> None:
        await self._redis.delete(
            keys.file(file_id), *(keys.file_piece(file_id, number) for number in range(pieces))
        )
        await self._quota.release(file_id)


class FileWriter:
    """One upload: incoming data is cut into pieces and stored."""

    def __init__(self, redis: Redis, quota: BatchQuota, file_id: str, owner: str) -> None:
        self._redis, self._quota = redis, quota
        self.id, self.owner = file_id, owner
        self.bytes = self.pieces = 0
        self._held = bytearray()

    async def write(self, data: bytes) -> None:
        """Raises ApiError ``too_large``, and ``batches_full`` when there is no room."""
        self.bytes += len(data)
        if self.bytes > MOST_BYTES:
            raise ApiError("too_large", f"A file has at most {MOST_BYTES >> 20} MiB.", param="file")
        self._held += data
        if len(self._held) >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Store what is held."""
        if not self._held:
            return
        piece = await asyncio.to_thread(zlib.compress, bytes(self._held), _COMPRESSION)
        self._held.clear()
        await self._quota.reserve(self.id, len(piece))
        await self._redis.set(
            keys.file_piece(self.id, self.pieces), piece, ex=keys.UPLOAD_LIFETIME_S
        )
        self.pieces += 1


def _decode(file_id: str, stored: dict[bytes, bytes]) -> FileRecord | None:
    row = {name.decode(): value.decode() for name, value in stored.items()}
    if "owner" not in row:
        return None
    numbers = {name: int(row[name]) for name in ("created_ms", "expires_ms", "bytes", "pieces")}
    return FileRecord(file_id, row["owner"], row["filename"], row["purpose"], **numbers)
