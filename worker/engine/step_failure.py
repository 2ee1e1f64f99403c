"""Answers that can't go on: who fails, who goes on, and in which words."""

from __future__ import annotations

from collections.abc import Callable

from wire.messages import ErrorCode
from worker.backends.base import Backend
from worker.errors import WorkerError, invalid_schema
from worker.sequence import Sequence


def rescue(backend: Backend, error: Exception, fail: Callable[[Sequence, Exception], None]) -> None:
    """Fail the likely culprits, start a fresh batch, and put their neighbours back.

    Culprits are the sequences that have no token yet; without those, the ones that got no further
    since the last time.
    """
    inside, suspects = backend.sequences(), set(backend.prefilling())
    backend.reset()
    for sequence in inside:
        stuck = not suspects and sequence.rescued_at == sequence.position
        if sequence in suspects or stuck:
            fail(sequence, error)
            continue
        sequence.rescued_at = sequence.position
        try:
            backend.add(sequence)
        except Exception as again:
            fail(sequence, again)


def failure(error: Exception) -> tuple[ErrorCode, str]:
    """The code and the sentence that a client gets for an exception."""
    if isinstance(error, WorkerError):
        return error.code, error.message
    return "engine_failed", f"Generation failed ({type(error).__name__})."


def broken_schema(sequence: Sequence) -> WorkerError | None:
    """The error of an answer that ended because its schema could be followed no further."""
    held = sequence.constraint
    return invalid_schema(held.why) if held is not None and held.broken else None
