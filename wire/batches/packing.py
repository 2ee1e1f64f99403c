"""The prompts of a slice as one compressed value in Redis."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from wire.batches.records import UNREADABLE, BatchLine, LineResult

_COMPRESSION = 1


def pack(lines: Sequence[BatchLine]) -> bytes:
    """The lines of a slice as they are stored. Prompts are text: they shrink to a third or less."""
    return zlib.compress("\n".join(line.model_dump_json() for line in lines).encode(), _COMPRESSION)


def unpack(stored: bytes) -> tuple[list[BatchLine], list[LineResult]]:
    """The lines of a slice, and the results of those that can't be read."""
    lines: list[BatchLine] = []
    unreadable: list[LineResult] = []
    try:
        rows = zlib.decompress(stored).split(b"\n")
    except zlib.error:
        return [], []
    for row in filter(None, rows):
        try:
            lines.append(BatchLine.model_validate_json(row))
        except ValidationError:
            with suppress(ValueError, KeyError, TypeError):
                about = json.loads(row)
                unreadable.append(
                    LineResult(int(about["number"]), str(about["custom_id"]), error=UNREADABLE)
                )
    return lines, unreadable
