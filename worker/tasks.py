"""The tasks this worker runs: a job that names any other function is refused unread.

Turns an RQ job's arguments into a chat, a model command or a slice of a batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from rq import Retry
from rq.exceptions import DeserializationError
from rq.job import Job

from wire import keys
from wire.batches import BatchSlice
from wire.log_entries import Entry
from wire.messages import ChatJob, Delta, ModelCommand
from wire.versions import FIRST, VERSION
from worker.errors import WorkerError
from worker.sequence import Sequence

log = logging.getLogger("rq.worker")
PAUSE_S = 1.0
_ANY_NUMBER = 1 << 31
Work = ChatJob | ModelCommand | BatchSlice
_TASKS: dict[str, type[ChatJob] | type[ModelCommand] | type[BatchSlice]] = {
    keys.CHAT_TASK: ChatJob,
    keys.MODEL_TASK: ModelCommand,
    keys.BATCH_TASK: BatchSlice,
}


def read(job: Job) -> Work:
    """The work that an RQ job asks for.

    Raises WorkerError for a function that isn't on the list (anybody who can write to Redis can
    name any), and for arguments that aren't of the task's shape, or another job's. The message
    echoes neither.
    """
    record = _TASKS.get(name(job) or "")
    if record is None:
        raise WorkerError("job_unreadable", "This worker has no such task.")
    arguments = _arguments(job)
    try:
        work = record.model_validate(arguments.get("job"))
    except ValidationError:
        raise WorkerError("job_unreadable", _why(arguments.get("version"))) from None
    if work.job_id != job.id:
        raise WorkerError("job_unreadable", "The job's arguments are another job's.")
    return work


def _arguments(job: Job) -> dict[str, Any]:
    """The arguments of an RQ job; none if they can't be read."""
    try:
        return job.kwargs if isinstance(job.kwargs, dict) else {}
    except (DeserializationError, ValueError, TypeError):
        return {}


def _why(version: object) -> str:
    if isinstance(version, int) and version > VERSION:
        return "The job is of a later release than the worker that got it. Update the worker."
    return "The job's arguments are not of the task's shape."


def name(job: Job) -> str | None:
    """The function that an RQ job names; None if that can't be read."""
    try:
        return job.func_name if isinstance(job.func_name, str) else None
    except (DeserializationError, ValueError, TypeError):
        return None


def sequence(
    job: ChatJob,
    attempt: int,
    logged: list[Entry],
    now_ms: float,
    images: Mapping[str, bytes] | None = None,
) -> Sequence:
    """The chat for the engine, continuing what an earlier attempt has logged."""
    deltas = [event for entry in logged if isinstance(event := entry.event, Delta)]
    return Sequence(
        job,
        attempt=attempt,
        emitted=tuple(token for delta in deltas for token in delta.token_ids),
        queue_ms=max(0.0, now_ms - job.submitted_ms),
        images=images,
        echoed=any(delta.prompt is not None for delta in deltas),
    )


# --- on a plain RQ worker -------------------------------------------------------------------------


def chat(job: dict[str, Any], version: int = FIRST) -> Retry:  # noqa: ARG001 (the task's shape)
    """The function that queued chats name.

    ChatWorker never calls this; a plain RQ worker that popped a chat gives it back.
    """
    return _given_back("Chats are")


def model_command(job: dict[str, Any], version: int = FIRST) -> Retry:  # noqa: ARG001 (the task's shape)
    """The same for model commands."""
    return _given_back("Model commands are")


def batch_slice(job: dict[str, Any], version: int = FIRST) -> Retry:  # noqa: ARG001 (the task's shape)
    """The same for slices of batches."""
    return _given_back("Batches are")


def _given_back(what: str) -> Retry:
    """RQ puts a job that answers so back at the front of its queue, as it was."""
    log.warning(
        "%s run by `python -m worker`, not by this RQ worker: the job goes back to its queue", what
    )
    # Without this service's worker a plain one would pop the job again at once, and again.
    time.sleep(PAUSE_S)
    return Retry(max=_ANY_NUMBER, enqueue_at_front=True)
