"""Reads an upload as it arrives: splits it into lines, validates and stores them in slices.

Memory is bounded whatever the upload's length: a block of lines, a slice, and a number for each
custom_id. The work is done on threads. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from codecs import BOM_UTF8
from collections.abc import AsyncIterable, Iterator
from dataclasses import dataclass, replace

from api.batches.lines import LineParser, parse_line
from api.batches.store import BatchRecord, BatchStore
from api.errors import ApiError
from wire.batches import SLICE_BYTES, SLICE_LINES, BatchLine, BatchState, LineResult, pack

MOST_LINES = 50_000
MOST_BYTES = 200 << 20
MOST_LINE = 1 << 20
"""A longer line fails alone: no prompt of a model that runs here is as long."""
_BLOCK_LINES = 64
_BLOCK_BYTES = 256 << 10
_REFUSED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Prompts:
    """A full slice: the first ``prompts`` of ``results`` lines have to be run."""

    number: int
    packed: bytes
    prompts: int
    results: int


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Lines that can't be run, and the slice that they belong to."""

    number: int
    results: list[LineResult]


class _SliceBuilder:
    """Lines on their way into slices. Runs on one thread at a time."""

    def __init__(self, parser: LineParser) -> None:
        self._parser = parser
        self._seen: dict[int, int] = {}
        self._lines: list[BatchLine] = []
        self._bytes = 0
        self._refused: list[LineResult] = []
        self._refused_in_slice = 0
        self.slices = self.total = self.failed = self.line = 0

    def block(self, rows: list[bytes | None]) -> list[_Prompts | _Refusals]:
        """What to store after these lines; None stands for a line that was too long to keep."""
        return [full for row in rows for full in self._add(row)]

    def rest(self) -> list[_Prompts | _Refusals]:
        """What is left at the end."""
        return [*self._flush(), *(self._close() if self._lines else ())]

    def _add(self, row: bytes | None) -> Iterator[_Prompts | _Refusals]:
        self.line += 1
        if row is not None and self.line == 1:
            row = row.removeprefix(BOM_UTF8)  # Editors on Windows begin files so.
        if row is not None and not row.strip():
            return
        self.total += 1
        if self.total > MOST_LINES:
            raise ApiError("too_large", f"A batch has at most {MOST_LINES} lines.")
        if row is None:
            error = ("too_large", f"The line is longer than {MOST_LINE >> 20} MiB.")
            parsed: BatchLine | LineResult = LineResult(self.line, None, error=error)  # type: ignore[arg-type]
        else:
            parsed = parse_line(row, self.line, self._parser)
        self._check_custom_id(parsed.custom_id)
        if isinstance(parsed, LineResult):
            self.failed += 1
            self._refused.append(parsed)
            if len(self._refused) >= _REFUSED_AT_ONCE:
                yield from self._flush()
            return
        self._lines.append(parsed)
        self._bytes += len(row or b"")
        if len(self._lines) >= SLICE_LINES or self._bytes >= SLICE_BYTES:
            yield from self._flush()
            yield from self._close()

    def _check_custom_id(self, custom_id: str | None) -> None:
        if custom_id is None:
            return
        text = custom_id.encode(errors="surrogatepass")
        name = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        before = self._seen.setdefault(name, self.line)
        if before != self.line:
            message = (
                f"Line {self.line} has the custom_id of line {before}; each must have its own."
            )
            raise ApiError(
                "invalid_request",
                message,
                errors=[f"line {self.line} -> custom_id: used in line {before}"],
            )

    def _flush(self) -> Iterator[_Refusals]:
        if self._refused:
            refused, self._refused = self._refused, []
            self._refused_in_slice += len(refused)
            yield _Refusals(self.slices, refused)

    def _close(self) -> Iterator[_Prompts]:
        lines, self._lines, self._bytes = self._lines, [], 0
        yield _Prompts(self.slices, pack(lines), len(lines), len(lines) + self._refused_in_slice)
        self.slices += 1
        self._refused_in_slice = 0

    @property
    def pieces(self) -> int:
        """Slices, and one more for refused lines that no slice follows."""
        return self.slices + (self._refused_in_slice > 0)


class UploadReader:
    """One upload into a batch that was opened in the store."""

    def __init__(self, store: BatchStore, record: BatchRecord, parser: LineParser) -> None:
        self._store = store
        self._record = record
        self._slices = _SliceBuilder(parser)
        self._rest = bytearray()
        self._too_long = False
        self._size = 0
        self._block: list[bytes | None] = []
        self._block_bytes = 0

    async def read_all(self, pieces: AsyncIterable[bytes]) -> BatchRecord:
        """Store everything that comes, and what it makes of the record.

        Raises ApiError for an upload that is refused as a whole; what was stored of it is dropped.
        """
        try:
            async for piece in pieces:
                await self._feed(piece)
            await self._line(bytes(self._rest))
            await self._parse()
            await self._put(await asyncio.to_thread(self._slices.rest))
            return self._uploaded()
        except BaseException:
            await asyncio.shield(
                self._store.abandon(
                    self._record.id, self._slices.slices + 1, self._slices.pieces + 1
                )
            )
            raise

    def _uploaded(self) -> BatchRecord:
        slices = self._slices
        if not slices.total:
            raise ApiError("invalid_request", "The batch has no lines.")
        counts = replace(self._record, total=slices.total, failed=slices.failed)
        state: BatchState = "queued" if slices.slices else "completed"
        return replace(counts, slices=slices.slices, pieces=slices.pieces, state=state)

    async def _feed(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise ApiError("too_large", f"An upload has at most {MOST_BYTES >> 20} MiB.")
        first, *more = piece.split(b"\n")
        self._lengthen(first)
        for start in more:
            await self._line(bytes(self._rest))
            self._rest.clear()
            self._too_long = False
            self._lengthen(start)

    def _lengthen(self, part: bytes) -> None:
        if len(self._rest) + len(part) > MOST_LINE:
            self._too_long = True
            self._rest.clear()
        if not self._too_long:
            self._rest += part

    async def _line(self, row: bytes) -> None:
        self._block.append(None if self._too_long else row)
        self._block_bytes += len(row)
        if len(self._block) >= _BLOCK_LINES or self._block_bytes >= _BLOCK_BYTES:
            await self._parse()

    async def _parse(self) -> None:
        rows, self._block, self._block_bytes = self._block, [], 0
        await self._put(await asyncio.to_thread(self._slices.block, rows))

    async def _put(self, full: list[_Prompts | _Refusals]) -> None:
        for item in full:
            if isinstance(item, _Prompts):
                await self._store.put_prompts(
                    self._record.id, item.number, item.packed, item.prompts, item.results
                )
            else:
                await self._store.put_refused(self._record.id, item.number, item.results)
