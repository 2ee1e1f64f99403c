"""What an operator asks: is it alive, is it ready, what does it do.

Reads only.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from api.auth.caller import CallerOf
from api.errors import RETRY_SOON_S, ApiError, no_worker
from api.http.event_stream import EventStreamResponse
from api.http.head_requests import GetAlone
from api.services import PartsOf
from wire import keys

router = APIRouter(tags=["Operations"])

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.get("/health")
async def health() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: PartsOf) -> dict[str, str]:
    """Chats would be worked on: Redis answers and takes what is written, a worker is alive, and the
    queues aren't suspended."""
    # Read from it alone would be fine with a full disk, or after a failover.
    await parts.clients.waiting.set(keys.READY, 1, ex=keys.READY_LIFETIME_S)
    if not await parts.catalogue.workers():
        raise no_worker()
    if await parts.lookup.suspended():
        raise ApiError(
            "suspended", "The queues are suspended. `rq resume` lets chats run.", RETRY_SOON_S
        )
    return {"status": "ready"}


@router.get("/api/engine/status")
async def status(parts: PartsOf, caller: CallerOf) -> dict[str, Any]:
    """Queues, running and recent jobs, models, memory, workers, and the last five minutes.
    ``you`` is who asks."""
    told = await parts.overview.status()
    return told | {"history": await parts.overview.history(told["now_ms"]), "you": caller.owner}


@router.get(
    "/api/engine/status/events",
    response_class=StreamingResponse,
    responses=_STREAM,
    dependencies=[GetAlone],
)
async def status_events(parts: PartsOf) -> Response:
    """The same as a stream: the history once, then a status every second with the history's last
    rows (``tail``)."""
    watcher = parts.watch.join()
    return EventStreamResponse(watcher, gone=watcher.gone, over=parts.watch.leave)
