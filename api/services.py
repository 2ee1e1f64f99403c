"""The services of an API process: builds each once, starts and stops them.

What they do is theirs. Routes get at them by their types, through api.deps.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from fastapi import FastAPI

from api.auth.api_keys import ApiKeys
from api.auth.key_ring import KeyRing
from api.auth.key_store import KeyStore
from api.auth.sessions import Sessions
from api.batches.file_store import FileStore
from api.batches.intake import BatchIntake
from api.batches.quota import BatchQuota
from api.chat.disconnects import DisconnectWatcher
from api.chat.json_schema import Schemas
from api.chat.prompt_limit import PromptLimit
from api.chat.readers import ChatReaders
from api.chat.request import WithoutTemplate
from api.chat.submit import Chats
from api.deps import find_service
from api.http.body_routes import BodyBudget
from api.http.host_names import HostNames
from api.http.json_limits import JsonReader
from api.images.fetch import ImageFetcher
from api.images.intake import ImageIntake
from api.images.urls import TOO_LARGE
from api.jobs.model_commands import ModelCommands
from api.jobs.queue import JobQueue
from api.jobs.records import JobRecords
from api.jobs.relay import Relay
from api.models.pins import ModelPins
from api.models.ttls import ModelTtls
from api.monitoring.overview import StatusReader
from api.monitoring.status_stream import StatusStream
from api.openai.batches.batch_lines import ENDPOINTS
from api.openai.batches.file_batches import FileBatches
from api.openai.batches.result_files import ResultFiles
from api.openai.pooling.lines import POOLING_LINES
from api.periodic import end
from api.receipts.receipts import Receipts
from api.redis_client import Clients
from api.registry import ModelAliases, RegistryReader
from api.responses.batch_lines import RESPONSE_LINES, RESPONSES
from api.responses.stored.store import ResponseStore
from api.serving.token_counter import TokenCounter
from api.webhooks.deliveries import Deliveries
from api.webhooks.dispatcher import Dispatcher
from api.webhooks.endpoints import EndpointStore
from api.webhooks.sender import Sender
from wire.settings import Settings

_PERIODIC: tuple[type[Any], ...] = (
    *(DisconnectWatcher, ImageIntake, BatchIntake, FileBatches),
    *(TokenCounter, Dispatcher),
)
_CLOSED: tuple[type[Any], ...] = (ImageIntake, Schemas, TokenCounter)


def build_services(
    settings: Settings, clients: Clients, known: ApiKeys, stored_keys: bool | None
) -> dict[type[Any], Any]:
    """The services by their types, none of them started."""
    redis, aliases = clients.waiting, ModelAliases(settings.model_aliases)
    registry, relay = RegistryReader(redis, aliases, settings.default_model), Relay(redis)
    kept_s = int(settings.rq_history_hours * 3600)
    limits = settings.queue_limit, settings.key_queue_limit
    jobs = JobQueue(clients, registry, *limits, kept_s, settings.replay_mb << 20)
    records = JobRecords(redis, jobs.settle)
    disconnects = DisconnectWatcher(redis, relay, jobs)
    tools = cast(WithoutTemplate, settings.tools_without_template)
    json_reader, prompt_limit, schemas = JsonReader(), PromptLimit(), Schemas()
    fetcher = ImageFetcher(HostNames(settings.image_hosts), TOO_LARGE)
    images = ImageIntake(clients.blocking, settings.images_mb << 20, fetcher)
    quota, lifetime_s = BatchQuota(redis, settings.batch_mb << 20), settings.batch_hours * 3600
    batches = BatchIntake(redis, jobs, schemas, quota=quota, lifetime_s=lifetime_s)
    files = FileStore(redis, quota=quota, lifetime_s=lifetime_s)
    endpoints = {**ENDPOINTS, **POOLING_LINES, RESPONSES: RESPONSE_LINES}
    file_batches = FileBatches(redis, batches, files, registry, endpoints, tools)
    responses = ResponseStore(
        redis, settings.responses_mb << 20, enabled=settings.store_responses == "on"
    )
    deliveries = Deliveries(redis, EndpointStore(redis))
    sender = Sender(HostNames(settings.webhook_hosts))
    status = StatusReader(redis, registry, records, batches.store, settings.queue_limit)
    services = (
        *(clients, registry, relay, jobs, records, disconnects),
        *(json_reader, prompt_limit, schemas, images, TokenCounter(images), BodyBudget()),
        Chats(registry, jobs, relay, images, prompt_limit, json_reader, tools),
        ChatReaders(records, relay, disconnects, settings.keepalive_s),
        Receipts(redis, records, relay, registry),
        *(ModelCommands(registry, jobs, relay, records), ModelPins(redis), ModelTtls(redis)),
        *(batches, files, file_batches, ResultFiles(registry, files, file_batches)),
        responses,
        *(deliveries, Dispatcher(redis, deliveries, sender)),
        *(status, StatusStream(status), Sessions(redis)),
        KeyRing(settings, known, KeyStore(redis, stored_keys)),
    )
    return {type(one): one for one in services}


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Run the relay's subscription and the periodic tasks with the application."""
    relay = find_service(app, Relay)
    await relay.start()
    tasks = [
        asyncio.create_task(find_service(app, kind).run(), name=kind.__name__) for kind in _PERIODIC
    ]
    try:
        yield
    finally:
        await end(*tasks)
        await relay.stop()
        for kind in _CLOSED:
            find_service(app, kind).close()
        await find_service(app, Clients).close()


def warm_up(app: FastAPI) -> None:
    """Start what would hold up the first request that needs it."""
    find_service(app, Schemas).warm_up()


def end_streams(app: FastAPI) -> None:
    """Let every stream end where it is; clients resume at another process or the next one."""
    find_service(app, Relay).close()
    find_service(app, StatusStream).close()
