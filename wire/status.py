"""What a worker says about itself every second, under a key that dies a few seconds after it does."""

from __future__ import annotations

from typing import Literal

from wire.messages import Record


class RunningJob(Record):
    """A job inside the engine. Times in milliseconds; ``ttft_ms`` is 0 before the first token."""

    job_id: str
    model_id: str
    tokens: int
    tokens_per_second: float
    ttft_ms: float
    elapsed_ms: float


class LoadedModel(Record):
    """A model in memory; ``bytes`` are its weights."""

    id: str
    kv_quantization: Literal[4, 8] | None
    bytes: int


class Memory(Record):
    """The machine's memory: percent used and bytes available, beside the bytes that MLX holds."""

    percent: float
    available_bytes: int
    mlx_bytes: int


class PromptCacheUse(Record):
    """The prompt cache: what it holds, and prompt tokens asked for and found in it since the start."""

    bytes: int
    entries: int
    prompt_tokens: int
    cached_tokens: int


class WorkerStatus(Record):
    """One worker process. ``active_model`` is the model used last; ``models`` are most recently used first."""

    name: str
    host: str
    pid: int
    started_ms: int
    slots: int
    draining: bool
    running: tuple[RunningJob, ...]
    models: tuple[LoadedModel, ...]
    active_model: str | None
    memory: Memory
    prompt_cache: PromptCacheUse
