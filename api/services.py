"""What an API process is made of, and how routes get at it.

Puts the parts together; what they do is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth.api_keys import ApiKeys
from api.auth.sessions import Sessions
from api.batches.intake import BatchIntake
from api.batches.quota import Budget
from api.chat.disconnects import DisconnectWatcher
from api.chat.json_schema import Schemas
from api.chat.prompt_limit import PromptLimit
from api.errors import ApiError
from api.http.body_routes import BodyBudget
from api.http.data_urls import DataUrls
from api.http.host_names import HostNames
from api.http.json_limits import LongJson
from api.images.fetch import ImageFetcher
from api.images.intake import Images
from api.images.urls import TOO_LARGE
from api.jobs.queue import JobQueue
from api.jobs.records import JobRecords
from api.jobs.relay import Relay
from api.monitoring.overview import StatusReader
from api.monitoring.status_stream import StatusStream
from api.openai.batch_lines import READERS
from api.openai.file_batches import FileBatches
from api.openai.file_store import FileStore
from api.redis_client import Clients
from api.registry import RegistryReader
from wire.settings import Settings

_ROUNDS_END_S = 2.0
"""How long the tasks of a process get to end when it stops."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a route may need."""

    settings: Settings
    clients: Clients
    catalogue: RegistryReader
    jobs: JobQueue
    lookup: JobRecords
    relay: Relay
    attendance: DisconnectWatcher
    overview: StatusReader
    watch: StatusStream
    prompt_size: PromptLimit
    long_json: LongJson
    body_room: BodyBudget
    images: Images
    schemas: Schemas
    batches: BatchIntake
    files: FileStore
    orders: FileBatches
    api_keys: ApiKeys
    sessions: Sessions


def assemble(settings: Settings, clients: Clients, known: ApiKeys) -> Parts:
    """The parts, none of them started."""
    redis = clients.waiting
    catalogue, relay = RegistryReader(redis), Relay(redis)
    kept_s = int(settings.rq_history_hours * 3600)
    jobs = JobQueue(clients, catalogue, settings.queue_limit, settings.key_queue_limit, kept_s)
    attendance = DisconnectWatcher(redis, relay, jobs)
    fetcher = ImageFetcher(HostNames(settings.image_hosts), TOO_LARGE)
    images = Images(clients.blocking, settings.images_mb << 20, fetcher)
    schemas = Schemas()
    budget, lifetime_s = Budget(redis, settings.batch_mb << 20), settings.batch_hours * 3600
    batches = BatchIntake(redis, jobs, schemas, budget=budget, lifetime_s=lifetime_s)
    files = FileStore(redis, budget=budget, lifetime_s=lifetime_s)
    lookup = JobRecords(redis, jobs.settle)
    overview = StatusReader(redis, catalogue, lookup, batches.store, settings.queue_limit)
    return Parts(
        settings=settings,
        clients=clients,
        catalogue=catalogue,
        jobs=jobs,
        lookup=lookup,
        relay=relay,
        attendance=attendance,
        overview=overview,
        watch=StatusStream(overview),
        prompt_size=PromptLimit(),
        long_json=LongJson(),
        body_room=BodyBudget(),
        images=images,
        schemas=schemas,
        batches=batches,
        files=files,
        orders=FileBatches(redis, batches, files, catalogue, READERS),
        api_keys=known,
        sessions=Sessions(redis),
    )


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Listen to events and watch over readers for as long as the application runs."""
    await parts.relay.start()
    rounds = [
        asyncio.create_task(parts.attendance.run(), name="attendance"),
        asyncio.create_task(parts.images.run(), name="images"),
        asyncio.create_task(parts.batches.run(), name="batches"),
        asyncio.create_task(parts.orders.run(), name="orders"),
    ]
    try:
        yield
    finally:
        for task in rounds:
            task.cancel()
        # Bounded: a task that is cancelled as its call to Redis times out may take that for the
        # answer, and go on.
        await asyncio.wait(rounds, timeout=_ROUNDS_END_S)
        await parts.relay.stop()
        parts.jobs.close()
        parts.prompt_size.close()
        parts.long_json.close()
        parts.images.close()
        parts.schemas.close()
        await parts.clients.close()


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _taken_out(request: Request) -> DataUrls:
    taken: DataUrls = request.scope["taken_out"]
    return taken


async def _json_only(request: Request) -> None:
    """Refuse a body that isn't declared as JSON: a form can be sent by any page without the
    browser asking first."""
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    has_body = (
        request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    )
    if has_body and declared != "application/json":
        raise ApiError(
            "unsupported_media_type", "Send JSON, with the header Content-Type: application/json."
        )


# Coroutines: FastAPI would run plain functions on threads, three switches for each request.
PartsOf = Annotated[Parts, Depends(_parts)]
TakenOf = Annotated[DataUrls, Depends(_taken_out)]
JsonOnly = Depends(_json_only)
