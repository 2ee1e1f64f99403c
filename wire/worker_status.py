"""What a worker says about itself every second, under a key that dies a few seconds after it does.

Bounded in size, however many chats run. Knows names, shapes and units; holds no text of any chat.
"""

from __future__ import annotations

from typing import Literal

from wire.messages import TolerantRecord
from wire.versions import added


class RunningJob(TolerantRecord):
    """A job inside the engine. Times in milliseconds; ``ttft_ms`` is 0 before the first token."""

    job_id: str
    owner: str = ""
    model_id: str
    tokens: int
    tokens_per_second: float
    ttft_ms: float
    elapsed_ms: float


class LoadedModel(TolerantRecord):
    """A model in memory; ``bytes`` are its weights, with those of its draft model: ``draft_model``
    is the id of that."""

    id: str
    kv_quantization: Literal[4, 8] | None
    bytes: int
    draft_model: str = added("", since=4, refines=True)


class Memory(TolerantRecord):
    """The machine's memory: percent used and bytes available, beside the bytes that MLX holds."""

    percent: float
    available_bytes: int
    mlx_bytes: int


class PromptCacheUse(TolerantRecord):
    """The prompt cache: its content, and prompt tokens requested and found since the start."""

    bytes: int
    entries: int
    prompt_tokens: int
    cached_tokens: int


BUCKETS: dict[str, tuple[float, ...]] = {
    "ttft": (
        0.005,
        0.01,
        0.02,
        0.04,
        0.06,
        0.08,
        0.1,
        0.25,
        0.5,
        0.75,
        1,
        2.5,
        5,
        7.5,
        10,
        20,
        40,
        80,
        160,
        640,
    ),
    "inter_token": (
        0.001,
        0.0025,
        0.005,
        0.01,
        0.025,
        0.05,
        0.075,
        0.1,
        0.15,
        0.2,
        0.3,
        0.4,
        0.5,
        0.75,
        1,
        2.5,
        5,
        10,
    ),
    "queue": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
    "prefill": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    "request": (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 60, 120, 300, 900, 3600),
    "load": (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600),
}
"""Upper bounds of the histograms of :class:`Totals`, seconds, each included; beyond the last is
one bucket more."""


class Histogram(TolerantRecord):
    """A histogram: the observations in each bucket, and the sum of all in seconds."""

    counts: tuple[int, ...] = ()
    sum: float = 0.0


class Totals(TolerantRecord):
    """What a worker has done since it started.

    ``restarts`` counts starts of earlier workers on its data folder.

    ``generation_tokens`` are those of chats, ``batch_tokens`` those of batches' prompts.
    ``draft_tokens`` were guessed and fed for both, ``accepted_tokens`` of them were right.
    ``texts`` have become vectors or scores, and had ``text_tokens`` together.
    """

    restarts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0
    batch_tokens: int = 0
    draft_tokens: int = added(0, since=4, refines=True)
    accepted_tokens: int = added(0, since=4, refines=True)
    texts: int = added(0, since=4, refines=True)
    text_tokens: int = added(0, since=4, refines=True)
    ttft: Histogram = Histogram()
    inter_token: Histogram = Histogram()
    queue: Histogram = Histogram()
    prefill: Histogram = Histogram()
    request: Histogram = Histogram()
    load: Histogram = Histogram()


class Sample(TolerantRecord):
    """One worker's last second or so, for the history.

    ``ttft_ms`` is the sum over ``first_tokens`` chats.

    ``waiting`` are the chats in the queue, which all workers share.
    """

    machine: str
    seconds: float
    tokens: int
    running: int
    waiting: int
    first_tokens: int
    ttft_ms: float


MOST_SHOWN = 100
"""Running jobs that a status tells of one by one; ``running_total`` counts all."""


class WorkerStatus(TolerantRecord):
    """One worker process.

    ``active_model`` is the model used last; ``models`` are most recently used first.

    ``beat_ms`` is the Redis time of the status, in milliseconds. ``running`` are the oldest of
    ``running_total`` jobs.
    """

    name: str
    host: str
    pid: int
    started_ms: int
    slots: int
    draining: bool
    beat_ms: int = 0
    running: tuple[RunningJob, ...]
    running_total: int = 0
    models: tuple[LoadedModel, ...]
    active_model: str | None
    memory: Memory
    prompt_cache: PromptCacheUse
    work: Totals = Totals()

    @property
    def machine(self) -> str:
        """The part of a name that all processes on one machine and data folder share."""
        return self.name.split(".")[0]
