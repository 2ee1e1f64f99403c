"""What an operator asks: is it alive, is it ready, what does it do.

Reads only.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.errors import no_worker
from api.parts import PartsOf

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(parts: PartsOf) -> dict[str, str]:
    """Chats would be worked on: Redis answers and a worker is alive."""
    if not await parts.catalogue.workers():
        raise no_worker()
    return {"status": "ready"}


@router.get("/api/engine/status")
async def status(parts: PartsOf) -> dict[str, Any]:
    """Queues, running jobs, models and memory, by worker and in sum."""
    workers = await parts.catalogue.workers()
    return {
        "queues": await parts.lookup.depths(),
        "queue_limit": parts.settings.queue_limit,
        "running": [job.model_dump() | {"worker": worker.name} for worker in workers for job in worker.running],
        "models": [model.model_dump() | {"worker": worker.name} for worker in workers for model in worker.models],
        "memory": [worker.memory.model_dump() | {"host": worker.host} for worker in workers],
        "workers": [worker.model_dump() for worker in workers],
    }
