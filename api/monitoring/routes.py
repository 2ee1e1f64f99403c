"""What an operator asks: is it alive, is it ready, what does it do.

Reads only.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from api.auth.caller import Caller, CallerOf
from api.deps import service
from api.errors import RETRY_SOON_S, ApiError, no_worker
from api.http.event_stream import EventStreamResponse
from api.http.head_requests import GetAlone
from api.jobs.records import JobRecords
from api.monitoring.overview import StatusReader, shown_to
from api.monitoring.status_stream import StatusStream
from api.redis_client import Clients
from api.registry import RegistryReader
from wire import keys

router = APIRouter(tags=["Operations"])

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.get("/health")
async def health() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(
    clients: Annotated[Clients, service(Clients)],
    registry: Annotated[RegistryReader, service(RegistryReader)],
    records: Annotated[JobRecords, service(JobRecords)],
) -> dict[str, str]:
    """Ready for chats: Redis accepts writes, a worker runs, the queues aren't suspended."""
    # Read from it alone would be fine with a full disk, or after a failover.
    await clients.waiting.set(keys.READY, 1, ex=keys.READY_LIFETIME_S)
    if not await registry.workers():
        raise no_worker()
    if await records.suspended():
        raise ApiError(
            "suspended", "The queues are suspended. `rq resume` lets chats run.", RETRY_SOON_S
        )
    return {"status": "ready"}


@router.get("/api/engine/status")
async def status(
    reader: Annotated[StatusReader, service(StatusReader)], caller: CallerOf
) -> dict[str, Any]:
    """Queues, running and recent jobs, models, memory, workers, and the last five minutes.

    ``you`` is who asks. Jobs and batches of others are shown to the role admin alone.
    """
    row = shown_to(_limited_to(caller), await reader.status())
    return row | {"history": await reader.history(row["now_ms"]), "you": caller.owner}


@router.get(
    "/api/engine/status/events",
    response_class=StreamingResponse,
    responses=_STREAM,
    dependencies=[GetAlone],
)
async def status_events(
    stream: Annotated[StatusStream, service(StatusStream)], caller: CallerOf
) -> Response:
    """The same as a stream: the history once, then a status with its last rows every second."""
    viewer = stream.join(_limited_to(caller))
    return EventStreamResponse(viewer, gone=viewer.gone, over=stream.leave)


def _limited_to(caller: Caller) -> str | None:
    """Whose jobs alone a caller may see; None: everybody's."""
    return None if caller.sees_others else caller.owner
