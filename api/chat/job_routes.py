"""One chat: its whole text so far, its state, its position in the queue, and how it ended.

Reads only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.auth.caller import CallerOf
from api.chat.readers import ChatReaders
from api.deps import service
from api.errors import ApiError
from api.jobs.waiting.queue_look import Held
from wire.log_entries import position_after
from wire.messages import Delta, Failed, Finished, Warning

router = APIRouter(prefix="/api/engine/jobs", tags=["Chat"])


class JobView(BaseModel):
    """What ``GET /api/engine/jobs/{job_id}`` returns.

    ``reasoning`` is the model's thinking, where the chat asked to have it apart from ``text``.
    ``last_event_id`` is the cursor after both. ``sampling`` is what was used, defaults and seed
    included, but for the stop texts. ``held`` says why a job that has not ended makes
    no progress: the queues are suspended, or no worker responds; ``wait_s`` about how many seconds
    a queued one will wait for its turn. ``choices`` are the jobs of all
    answers to its request, in order, if that asked for several. ``receipt`` is the address of the
    receipt of one that has ended.
    """

    job_id: str
    state: Literal["queued", "running", "ended"]
    position: int | None
    held: Held | None
    wait_s: float | None = None
    not_before: float | None = None
    text: str
    reasoning: str
    warnings: list[str]
    last_event_id: int
    sampling: dict[str, Any] | None
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    timings: dict[str, float | int] | None = None
    code: str | None = None
    error: str | None = None
    choices: list[str] = []
    receipt: str | None = None


@router.get("/{job_id}")
async def job(
    job_id: str, readers: Annotated[ChatReaders, service(ChatReaders)], caller: CallerOf
) -> JobView:
    """A chat's whole text so far, its state and its end."""
    record = await readers.records.record(job_id, caller.owner)
    if record is None or record.kind != "chat":
        raise ApiError("job_not_found", "There is no such job.")
    entries = await readers.relay.log(job_id)
    if record.state == "ended" and not entries:
        raise ApiError("expired", "The text of this job has expired.")
    events = [entry.event for entry in entries]
    deltas = [event for event in events if isinstance(event, Delta)]
    end = _end(events[-1]) if entries and entries[-1].ends else {}
    queued = None if end else await readers.records.place(job_id)
    position = None if queued is None else queued.position
    held = await readers.records.held(job_id) if queued is None and not end else None
    return JobView(
        job_id=job_id,
        # By the log, which may have got its end since the record was read; back in the queue, it
        # isn't running.
        state="ended" if end else "queued" if position is not None else record.state,
        position=position,
        held=held if queued is None else queued.held,
        wait_s=None if queued is None else queued.wait_s,
        not_before=record.not_before_ms / 1000 or None,
        text="".join(delta.text for delta in deltas),
        reasoning="".join(delta.reasoning for delta in deltas),
        warnings=[event.text for event in events if isinstance(event, Warning)],
        choices=list(record.choices),
        last_event_id=position_after(entries) if record.by_tokens else len(entries),
        sampling=record.sampling,
        receipt=f"{router.prefix}/{job_id}/receipt" if end else None,
        **end,
    )


def _end(event: object) -> dict[str, Any]:
    assert isinstance(event, (Finished, Failed))
    fields: dict[str, Any] = {"usage": asdict(event.usage), "timings": asdict(event.timings)}
    if isinstance(event, Failed):
        return fields | {"finish_reason": "error", "code": event.code, "error": event.message}
    return fields | {"finish_reason": event.finish_reason}
