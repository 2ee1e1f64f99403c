"""The processes that open images: at most two, started with the first image.

Blocking, for threads. Knows what a child answers and nothing of requests or Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wire.processes.pool import ChildPool, Died, Limits
from wire.processes.pool import Refused as ImageRefused

__all__ = ["ImagePool", "ImageRefused", "Picture"]

CHILDREN = 2
COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("decoder_process.py")))
LIMIT_S = 30.0
"""Time for one image. The largest allowed take two or three seconds, and ten times as long on a
machine that is busy: that must not be the client's fault."""
IMAGES_EACH = 200
"""A child is replaced after this many images, whatever a decoder may have leaked."""
MEMORY = 1 << 30
"""A child that occupies more is killed. On Linux its own limit comes first; macOS enforces none
on address space."""
MOST_ANSWER = 16 << 20
"""A picture of the stored size takes 12.6 MB when it can't be compressed at all."""
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """A clean PNG and its size in pixels."""

    width: int
    height: int
    data: bytes


_KIND = "image"
"""The kind of request; the child recognises image formats by itself."""


def _picture(head: dict[str, Any], data: bytes) -> Picture:
    if not data.startswith(_PNG):
        raise Died
    return Picture(int(head["width"]), int(head["height"]), data)


class ImagePool(ChildPool[Picture]):
    """Opens images in processes of their own, as many at once as threads call, which may be two."""

    def __init__(self, command: Sequence[str] = COMMAND, limit_s: float = LIMIT_S) -> None:
        super().__init__(command, Limits(limit_s, MEMORY, MOST_ANSWER, IMAGES_EACH), _picture)

    def open(self, payload: memoryview) -> Picture:
        """The picture in a base64 payload. Raises ImageRefused.

        Raises OSError when no process can be started.
        """
        return self.ask(_KIND, payload)
