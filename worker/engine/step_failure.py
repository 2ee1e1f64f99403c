"""A failed step: which sequences fail, which go on, and with which error."""

from __future__ import annotations

from collections.abc import Callable

from wire.messages import ErrorCode, Failed, LoggedEvent, Timings, Usage
from worker.backends.base import Backend
from worker.errors import WorkerError, invalid_schema
from worker.sequence import Sequence


def rescue(backend: Backend, error: Exception, fail: Callable[[Sequence, Exception], None]) -> None:
    """Fail the likely culprits, start a fresh batch, and put the other sequences back.

    Culprits are the sequences in prefill; without any, those without progress since the last
    failure.
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
    """The error code and message that a client gets for an exception."""
    if isinstance(error, WorkerError):
        return error.code, error.message
    return "engine_failed", f"Generation failed ({type(error).__name__})."


def failed_end(error: Exception, usage: Usage, timings: Timings) -> Failed:
    """The end of a chat or a line of a batch with an exception."""
    param = error.param if isinstance(error, WorkerError) else None
    return Failed(*failure(error), usage, timings, param)


def broken_schema(sequence: Sequence) -> WorkerError | None:
    """The error of an answer that could not be completed within its schema; None for any other."""
    constraint = sequence.constraint
    return invalid_schema(constraint.why) if constraint is not None and constraint.broken else None


def failed(sequence: Sequence, *, code: ErrorCode, message: str) -> list[LoggedEvent]:
    """End a chat with an error, and return the events of that end."""
    return sequence.fail(lambda usage, timings: Failed(code, message, usage, timings))
