"""Builds a worker: every part once, each given what it works with."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from wire import keys
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends, preload, warm_up
from worker.backends.base import Backend
from worker.backends.echo import ECHO_MODEL
from worker.disk_cache.disk_cache import DiskCache
from worker.disk_cache.folder import Folder
from worker.disk_cache.store import Store
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext
from worker.engine.counters import Counters
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.jobs.batch_feed import BatchFeed
from worker.jobs.batch_runner import BatchRunner
from worker.jobs.beat import Beat
from worker.jobs.cancel_watcher import CancelWatcher
from worker.jobs.chat_runner import ChatRunner
from worker.jobs.command_runner import CommandRunner
from worker.jobs.crashes.crash_marks import CrashMarks
from worker.jobs.crashes.recovery import Recovery
from worker.jobs.deadlines import Deadlines
from worker.jobs.event_writer import EventWriter
from worker.jobs.job_runner import JobRunner, Runners
from worker.jobs.model_commands import ModelCommands
from worker.jobs.model_publisher import ModelPublisher
from worker.jobs.routing.router import Router
from worker.jobs.rq_worker.chat_worker import ChatWorker
from worker.jobs.rq_worker.meta import RqMeta
from worker.jobs.status_reporter import StatusReporter
from worker.models.folders import ModelFolders
from worker.models.load import LoadProgress
from worker.models.loaded import LoadedModels
from worker.prompt_cache import PromptCache

log = logging.getLogger(__name__)
LineEnds = queue.SimpleQueue[BatchSequence | None]


def assemble(settings: Settings, redis: Redis, rq_redis: Redis, name: str) -> ChatWorker:
    """A worker with its threads started, ready for ``work()``.

    RQ changes the time-outs of its client, so ``rq_redis`` is its own. Raises FolderRefused.
    """
    queues = [
        Queue(queue_name, connection=rq_redis, serializer=JSONSerializer)
        for queue_name in (keys.CHAT_QUEUE, keys.BATCH_QUEUE)
    ]
    worker = ChatWorker(queues, name=name, connection=rq_redis, serializer=JSONSerializer)
    counters, cache = Counters(backends.peak_memory(settings)), backends.new_prompt_cache(settings)
    writer, marks = EventWriter(redis, backends.versions(settings)), CrashMarks(redis)
    line_ends, deadlines = LineEnds(), Deadlines(settings.job_timeout_s)
    folders, context = _model_folders(settings), EngineContext(_memory_percent)
    models = _loaded_models(settings, folders, cache, counters)
    disk = _disk_cache(settings, cache, context)
    engine = _engine(settings, models, counters, writer, marks, line_ends, context, disk)
    reporter = StatusReporter(redis, settings, name, queues[0].key, counters, models, cache, disk)
    router = _router(settings, redis, name, models, cache, reporter.now_ms)
    rq_meta, cancels = RqMeta(redis, queues[0].key), CancelWatcher(redis, engine.cancel)
    publisher = ModelPublisher(redis, folders, settings.data / "models")
    beat = Beat(settings, engine, deadlines, publisher, reporter, rq_meta, router)
    commands = ModelCommands(folders, models, engine, publisher.downloads)
    runners = Runners(
        ChatRunner(engine, writer, cancels, deadlines, reporter, worker, router),
        BatchRunner(redis, engine, line_ends, worker, reporter.now_ms, settings.slots),
        CommandRunner(redis, commands, beat.publish_models, worker),
    )
    runner = JobRunner(redis, worker, runners, BatchFeed(queues[1]), marks, reporter, rq_meta)
    recovery = Recovery(redis, queues, name, lambda other: _machine(other) == _machine(name))
    worker.equip(runner, recovery, beat, settings, router)
    reporter.open()
    publisher.scan()
    pinned = preload.pinned(redis, folders)
    publisher.publish()  # with how they are loaded
    runners.open()
    engine.start()
    warm_up.start(engine, cache, [record for record in folders.all() if record.demo])
    preload.start(redis, engine, pinned)
    return worker


def _memory_percent() -> float:
    """How much of this machine's memory is used."""
    return float(psutil.virtual_memory().percent)


def _machine(name: str) -> str:
    """The part of a worker's name that all processes on a data folder have in common."""
    return name.split(".")[0]


def _model_folders(settings: Settings) -> ModelFolders:
    window = {"context_window": settings.echo_context_window}
    return ModelFolders(
        settings.models,
        ECHO_MODEL.model_copy(update=window) if settings.backend == "echo" else None,
        downloaded=settings.data / "models",
        registered=settings.data / "registered-models.json",
        with_defaults=settings.generation_config == "auto",
        with_demos=bool(settings.demo_models),
    )


def _disk_cache(settings: Settings, cache: PromptCache, context: EngineContext) -> DiskCache | None:
    """None if it is switched off. Raises FolderRefused."""
    cap, budget = int(settings.disk_cache_gb * 1e9), settings.prompt_cache_mb << 20
    if not cap or not budget or settings.backend == "echo":
        return None
    folder = Folder(Path(settings.disk_cache or settings.data / "prompt-cache"))
    store = Store(folder, cap, settings.disk_cache_hours * 3600)
    return DiskCache(store, cache, budget, context.post)


def _router(
    settings: Settings,
    redis: Redis,
    name: str,
    models: LoadedModels,
    cache: PromptCache,
    now_ms: Callable[[], float],
) -> Router | None:
    """None if it is switched off."""
    if settings.cache_aware_routing == "off":
        return None
    cache.observer = router = Router(redis, name, settings.slots, models, now_ms)
    return router


def _loaded_models(
    settings: Settings, folders: ModelFolders, cache: PromptCache, counters: Counters
) -> LoadedModels:
    progress = LoadProgress()
    return LoadedModels(
        folders.find,
        _opener(settings, cache, counters, progress, folders.find),
        budget=settings.memory_mb << 20 or psutil.virtual_memory().total * 3 // 4,
        available=lambda: int(psutil.virtual_memory().available),
        progress=progress,
    )


def _opener(
    settings: Settings,
    cache: PromptCache,
    counters: Counters,
    progress: LoadProgress,
    find: Callable[[str], ModelRecord | None],
) -> Callable[[ModelRecord], Backend]:
    """What loads a model, tells how far it is, and counts the time that takes."""

    def open_backend(record: ModelRecord) -> Backend:
        began = time.monotonic()
        report = partial(progress.report, record.id)
        draft = find(record.draft_model) if record.draft_model else None
        if record.draft_model and draft is None:
            raise WorkerError(
                "model_not_found",
                "The draft model is not registered any more.",
                param="draft_model",
            )
        backend = backends.open_backend(record, settings, cache, report, draft=draft)
        counters.loaded(seconds := time.monotonic() - began)
        log.info("model loaded", extra={**record.log_fields, "seconds": round(seconds, 3)})
        return backend

    return open_backend


def _engine(
    settings: Settings,
    models: LoadedModels,
    counters: Counters,
    writer: EventWriter,
    marks: CrashMarks,
    line_ends: LineEnds,
    context: EngineContext,
    disk: DiskCache | None,
) -> Engine:
    prompts = BatchScheduler(
        models,
        slots=settings.slots,
        share=settings.batch_share / 100,
        context=context,
        counters=counters,
        on_end=line_ends.put,
        on_suspect=marks.enter,
        on_clear=marks.leave,
    )
    engine = Engine(
        models,
        writer.put,
        context=context,
        counters=counters,
        prompts=prompts,
        on_suspect=marks.enter,
        before_close=(lambda _: None) if disk is None else disk.close,
        model_ttl_s=settings.model_ttl_s,
    )
    if disk is not None:
        disk.start(lambda: engine.busy)
    return engine
