"""The tasks this worker runs, and nothing else: a job that names any other function is refused unread.

Turns an RQ job's arguments into a chat, a model command or a slice of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from wire import keys
from wire.batches import BatchSlice
from wire.log_entries import Entry
from wire.messages import ChatJob, Delta, ModelCommand
from wire.versions import FIRST, VERSION
from worker.errors import WorkerError
from worker.sequence import Sequence

Work = ChatJob | ModelCommand | BatchSlice
_TASKS: dict[str, type[ChatJob] | type[ModelCommand] | type[BatchSlice]] = {
    keys.CHAT_TASK: ChatJob,
    keys.MODEL_TASK: ModelCommand,
    keys.BATCH_TASK: BatchSlice,
}


def read(function: str | None, kwargs: dict[str, Any] | None) -> Work:
    """The work that an RQ job asks for.

    Raises WorkerError for a function that isn't on the list (anybody who can write to Redis can name any), and for
    arguments that aren't of the task's shape. The message echoes neither.
    """
    record = _TASKS.get(function or "")
    if record is None:
        raise WorkerError("job_unreadable", "This worker has no such task.")
    arguments = kwargs or {}
    try:
        return record.model_validate(arguments.get("job"))
    except ValidationError:
        raise WorkerError("job_unreadable", _why(arguments.get("version"))) from None


def _why(version: object) -> str:
    if isinstance(version, int) and version > VERSION:
        return "The job is of a later release than the worker that got it. Update the worker."
    return "The job's arguments are not of the task's shape."


def sequence(
    job: ChatJob, attempt: int, logged: list[Entry], now_ms: float, images: Mapping[str, bytes] | None = None
) -> Sequence:
    """The chat as the engine takes it, going on behind what an earlier attempt has logged."""
    emitted = [token for entry in logged if isinstance(event := entry.event, Delta) for token in event.token_ids]
    queue_ms = max(0.0, now_ms - job.submitted_ms)
    return Sequence(job, attempt=attempt, emitted=tuple(emitted), queue_ms=queue_ms, images=images)


def chat(job: dict[str, Any], version: int = FIRST) -> None:
    """The name under which chats are queued; the worker reads the job and never calls this."""
    raise NotImplementedError("chats are run by worker.rq_worker.ChatWorker, not by a plain RQ worker")


def model_command(job: dict[str, Any], version: int = FIRST) -> None:
    """The name under which model commands are queued; the worker reads the job and never calls this."""
    raise NotImplementedError("model commands are run by worker.rq_worker.ChatWorker, not by a plain RQ worker")


def batch_slice(job: dict[str, Any], version: int = FIRST) -> None:
    """The name under which slices of batches are queued; the worker reads the job and never calls this."""
    raise NotImplementedError("batch prompts are run by worker.rq_worker.ChatWorker, not by a plain RQ worker")
