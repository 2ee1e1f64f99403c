"""A stored response as it stands: from its record and its job's log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, cast

from fastapi import Depends

from api.auth.caller import Caller, CallerOf
from api.chat.readers import ChatReaders
from api.deps import service
from api.errors import ApiError
from api.jobs.queue import JobQueue
from api.responses.answer.events import Events
from api.responses.answer.output_items import Json
from api.responses.fields import FIELDS
from api.responses.stored.record import ResponseRecord
from api.responses.stored.store import ResponseStore, job_of
from wire.messages import Event, is_terminal


@dataclass(frozen=True, slots=True)
class Found:
    """A stored response: its job, its record, and the events that its log becomes."""

    job_id: str
    record: ResponseRecord
    events: Events


class StoredResponses:
    """Finds a caller's responses."""

    def __init__(
        self,
        store: Annotated[ResponseStore, service(ResponseStore)],
        readers: Annotated[ChatReaders, service(ChatReaders)],
        jobs: Annotated[JobQueue, service(JobQueue)],
        caller: CallerOf,
    ) -> None:
        self.store, self.readers, self.jobs = store, readers, jobs
        self.caller: Caller = caller

    async def find(self, response_id: str, *, hidden_thinking: bool = False) -> Found:
        """Raises ApiError for one that isn't there, or is another's."""
        record = await self.store.get(response_id, self.caller.owner)
        job_id, records = job_of(response_id), self.readers.records
        wanted = record.including(hidden_thinking=hidden_thinking)
        created_at = await records.submitted_s(job_id) or 0
        sampling, _ = await records.run_with(job_id)
        return Found(job_id, record, wanted.events(job_id, created_at, sampling, FIELDS))

    async def now(self, found: Found) -> Json:
        """The response as it stands."""
        # In this order: what ends between the two has its end in the log.
        state = await self.readers.records.state(found.job_id)
        logged = await self.logged(found.job_id)
        if logged and is_terminal(logged[-1]):
            return found.events.whole(logged)
        if state in ("ended", "gone"):
            error = ApiError("job_lost", "This job was lost. Send it again.")
            return cast(Json, found.events.failed(error)[0]["response"])
        status: Literal["queued", "in_progress"] = (
            "queued" if state == "queued" and not logged else "in_progress"
        )
        return found.events.so_far(logged, status)

    async def logged(self, job_id: str) -> list[Event]:
        """All that a job's log holds."""
        return [entry.event for entry in await self.readers.relay.log(job_id)]


StoredOf = Annotated[StoredResponses, Depends(StoredResponses)]
