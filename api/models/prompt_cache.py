"""Deleting cached prompts: in the memory and on the disks of all workers.

A worker that doesn't run deletes its own when it starts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.deps import service
from api.redis_client import Clients
from api.registry import RegistryReader
from wire import disk_cache

WAIT_S = 5.0
"""Workers look once a second; one that writes to a slow disk may take longer."""
_LOOK_S = 0.1

router = APIRouter(tags=["Models"], prefix="/api/engine/prompt-cache")


class Cleared(BaseModel):
    """Cached prompts that were deleted."""

    status: Literal["deleted", "deleting"] = Field(
        description="`deleting`: some worker hasn't said yet that it is done."
    )
    workers: int = Field(description="How many workers have deleted theirs.")


@router.delete("", summary="Delete cached prompts")
async def clear(
    clients: Annotated[Clients, service(Clients)],
    registry: Annotated[RegistryReader, service(RegistryReader)],
) -> Cleared:
    """Delete the key-value caches of all earlier prompts, of all callers, from every worker's disk,
    and from its memory where it keeps them on disk.

    Running chats go on. A worker that doesn't run deletes its own when it starts.
    """
    mark = secrets.token_hex(16)
    await clients.waiting.set(disk_cache.CLEARED, mark)
    until = time.monotonic() + WAIT_S
    while True:
        marks = [use.cleared for use in (await registry.disk_caches()).values()]
        if all(one == mark for one in marks):
            return Cleared(status="deleted", workers=len(marks))
        if time.monotonic() > until:
            return Cleared(status="deleting", workers=marks.count(mark))
        await asyncio.sleep(_LOOK_S)
