"""Backends run models. MLX is imported in here and nowhere else, and only for the backends that
need it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from wire.model_registry import ModelRecord
from wire.receipts.release import DISTRIBUTION, release
from wire.settings import Settings
from worker.backends import mlx_import
from worker.backends.base import Backend
from worker.backends.echo_cache import PromptReuse, TokenCounts
from worker.backends.libraries import library_of
from worker.prompt_cache import Cache, CacheOperations, Checkpoint, PromptCache

_LIBRARIES = ("mlx", "mlx-lm", "mlx-vlm")


def load_libraries(settings: Settings) -> None:
    """Import the libraries of the configured backend. Raises LibraryError when the installation is
    broken."""
    if settings.backend != "echo":
        mlx_import.import_libraries()


def open_backend(
    record: ModelRecord,
    settings: Settings,
    cache: PromptCache,
    report: Callable[[float], None] = lambda _: None,
    *,
    draft: ModelRecord | None = None,
) -> Backend:
    """Load a model with the backend for its record, and beside it the draft model that is recorded
    for it. Raises WorkerError if it can't be loaded.

    ``report`` is told, from time to time, which share of its weights is in memory, 0 to 1.
    """
    if settings.backend == "echo":
        return _echo(record, settings, cache)
    load_libraries(settings)
    if "chat" not in record.tasks:
        from worker.backends.pooling import encoder

        return encoder.open_model(record, report)
    sizes = {
        "slots": settings.slots,
        "prefill_step": settings.prefill_step,
        "num_draft_tokens": settings.num_draft_tokens,
    }
    if not is_text_model(record):
        from worker.backends import vlm

        return vlm.open_model(record, cache=cache, report=report, **sizes)
    from worker.backends import lm

    return lm.open_model(record, cache=cache, report=report, draft=draft, **sizes)


def _echo(record: ModelRecord, settings: Settings, cache: PromptCache) -> Backend:
    delay_s = settings.echo_delay_ms / 1000
    if "chat" not in record.tasks:
        from worker.backends.pooling.backend import PoolingBackend
        from worker.backends.pooling.echo import EchoPooling

        return PoolingBackend(EchoPooling(delay_s, record.context_window))
    from worker.backends.echo import EchoBackend

    reuse = PromptReuse(cache, record) if settings.echo_prompt_cache else None
    return EchoBackend(delay_s, settings.prefill_step, record.context_window, reuse)


def is_text_model(record: ModelRecord) -> bool:
    """Whether a model is run by mlx_lm: only such models have draft models, and are some."""
    library = library_of(record.architecture, record.is_vision)
    return "chat" in record.tasks and library == "mlx_lm"


def new_prompt_cache(settings: Settings) -> PromptCache:
    """An empty prompt cache of the configured size."""
    budget = settings.prompt_cache_mb << 20
    if settings.backend != "echo":
        return PromptCache(budget, _KvCacheOperations())
    return PromptCache(budget if settings.echo_prompt_cache else 0, TokenCounts())


class _KvCacheOperations:
    """Those of kv_cache, which is imported with MLX when they are first needed."""

    def is_cuttable(self, cache: Cache) -> bool:
        return self._module().is_cuttable(cache)

    def cut(self, cache: Cache, dropped: int, checkpoint: Checkpoint | None) -> Cache:
        return self._module().cut(cache, dropped, checkpoint)

    def checkpoint(self, cache: Cache) -> Checkpoint:
        return self._module().checkpoint(cache)

    def nbytes(self, cache: Cache | Checkpoint) -> int:
        return self._module().nbytes(cache)

    @staticmethod
    def _module() -> CacheOperations:
        from worker.backends.batching import kv_cache

        return kv_cache


def mlx_bytes(settings: Settings) -> int:
    """Bytes that MLX holds, weights and caches together."""
    if settings.backend == "echo":
        return 0
    import mlx.core as mx

    return int(mx.get_active_memory())


def peak_memory(settings: Settings) -> Callable[[], int]:
    """What reads the most bytes that MLX has held since it was last called."""
    if settings.backend == "echo":
        return lambda: 0
    import mlx.core as mx

    def read() -> int:
        peak = int(mx.get_peak_memory())
        mx.reset_peak_memory()
        return peak

    return read


def versions(settings: Settings) -> dict[str, str]:
    """The versions of this service and of the libraries that make its answers, by name."""
    found = {DISTRIBUTION: release()}
    for name in () if settings.backend == "echo" else _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
