"""A question for the process that counts prompts: a job, its model and its pictures; and the
answer, a number of tokens or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wire.messages import ChatJob, ErrorCode, Record
from wire.model_registry import ModelRecord


class _Head(Record):
    """What comes before the pictures, whose names and lengths are in ``images``."""

    model: ModelRecord
    job: ChatJob
    images: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CountQuestion:
    """How many tokens the prompt of ``job`` has. ``images`` are its pictures' bytes by SHA-256."""

    model: ModelRecord
    job: ChatJob
    images: Mapping[str, bytes]

    def packed(self) -> bytes:
        lengths = tuple((sha256, len(data)) for sha256, data in self.images.items())
        head = _Head(model=self.model, job=self.job, images=lengths).model_dump_json().encode()
        return b"\n".join([head, b"".join(self.images.values())])

    @classmethod
    def unpacked(cls, payload: bytes) -> CountQuestion:
        """Raises ValueError for what is no question."""
        line, _, rest = payload.partition(b"\n")
        head = _Head.model_validate_json(line)
        images, start = {}, 0
        for sha256, length in head.images:
            images[sha256] = rest[start : start + length]
            start += length
        return cls(head.model, head.job, images)


class CountAnswer(Record):
    """The number of tokens, or the ``code`` of an error with its ``message``; ``param`` is the
    field at fault, if it is one."""

    tokens: int = 0
    code: ErrorCode | None = None
    message: str = ""
    param: str | None = None
