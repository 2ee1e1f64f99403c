"""Result files of an OpenAI batch, generated from the batch when they are read."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from api.auth.caller import Caller
from api.batches.file_store import FileStore
from api.batches.store import BatchRecord
from api.errors import ApiError
from api.openai.batches.batch_lines import ResultLines
from api.openai.batches.file_batches import FileBatch, FileBatches
from api.registry import RegistryReader, public_name
from wire import keys

Kind = Literal["output", "errors"]

_ID = re.compile(f"{keys.FILE_ID}([0-9a-f]{{32}})-(output|errors)")


@dataclass(frozen=True, slots=True)
class ResultFile:
    """The good results of a batch, or the others."""

    kind: Kind
    file_batch: FileBatch
    batch: BatchRecord
    source: ResultFiles

    @property
    def id(self) -> str:
        return f"{keys.FILE_ID}{self.file_batch.id}-{self.kind}"

    async def view(self) -> dict[str, Any]:
        """Its metadata. Its length is computed by writing it."""
        size = 0
        async for piece in self.content():
            size += len(piece)
        return {
            "id": self.id,
            "object": "file",
            "bytes": size,
            "created_at": (self.batch.ended_ms or self.batch.created_ms) // 1000,
            "expires_at": self.batch.expires_ms // 1000,
            "filename": f"batch_{self.file_batch.id}_{self.kind}.jsonl",
            "purpose": "batch_output",
            "status": "processed",
            "status_details": None,
        }

    async def content(self) -> AsyncIterator[bytes]:
        """Its lines, a slice of the batch at a time."""
        records = await self.source.registry.models()
        models = {record.id: (public_name(record, records), record.revision) for record in records}
        ended = (self.batch.ended_ms or self.batch.created_ms) // 1000
        endpoint = self.source.batches.endpoints[self.file_batch.endpoint]
        lines = ResultLines(self.file_batch.id, endpoint, ended, models)
        seen: set[str] = set()
        async for piece in self.source.batches.results(self.batch):
            rows = [json.loads(row) for row in piece.splitlines()]
            seen.update(row["custom_id"] for row in rows if self._unfinished)
            good = self.kind == "output"
            yield _jsonl(lines.line(row) for row in rows if ("error" not in row) == good)
        if self._unfinished:
            async for piece in self._expired(lines, seen):
                yield piece

    @property
    def _unfinished(self) -> bool:
        """Whether lines that never ran belong here: their window was over."""
        return self.kind == "errors" and self.batch.state == "expired"

    async def _expired(self, lines: ResultLines, seen: set[str]) -> AsyncIterator[bytes]:
        """The lines without a result, as in the uploaded file; none if that was deleted."""
        file = await self.source.files.record(self.file_batch.file_id, self.file_batch.owner)
        number, rest = 0, b""
        async for piece in self.source.files.content(file) if file is not None else _nothing():
            *whole, rest = (rest + piece).split(b"\n")
            numbered = list(enumerate(whole, number + 1))
            number += len(whole)
            yield _jsonl(
                lines.expired(name, n)
                for n, row in numbered
                if (name := _name(row)) and name not in seen
            )
        if (name := _name(rest)) and name not in seen:
            yield _jsonl([lines.expired(name, number + 1)])


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _name(row: bytes) -> str | None:
    try:
        name = json.loads(row)["custom_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _jsonl(rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def kinds(file_batch: FileBatch, batch: BatchRecord | None) -> list[Kind]:
    """The result files of a batch: once the batch has ended, and only those that hold something."""
    if batch is None or not batch.ended:
        return []
    remaining = batch.total - batch.done - batch.failed
    there: list[Kind] = ["output"] if batch.done else []
    if batch.failed or (remaining and batch.state == "expired"):
        there.append("errors")
    return [kind for kind in there if kind not in file_batch.hidden]


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """What reading results needs."""

    registry: RegistryReader
    files: FileStore
    batches: FileBatches

    async def find(self, file_id: str, caller: Caller) -> ResultFile | None:
        """The result file of this id, if it is the caller's and exists."""
        match = _ID.fullmatch(file_id)
        if match is None:
            return None
        kind = cast(Kind, match[2])
        pair = await self.batches.find(match[1], caller.owner)
        if pair is None or kind not in kinds(*pair):
            return None
        file_batch, batch = pair
        assert batch is not None, "kinds() knows files of batches alone"
        return ResultFile(kind, file_batch, batch, self)


def missing_batch() -> ApiError:
    return ApiError("batch_not_found", "There is no such batch.", param="batch_id")
