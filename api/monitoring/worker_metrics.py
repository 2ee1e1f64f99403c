"""The metrics that each worker reports: what there is, and where it stands in the worker's record.

Names follow the field's habits, as vLLM's do; ``docs/metrics.md`` says what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wire.worker_status import WorkerStatus


@dataclass(frozen=True, slots=True)
class OfWorkers:
    """A number that each worker reports, labelled with its machine's name."""

    name: str
    text: str
    value: Callable[[WorkerStatus], float]
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram that each worker reports; ``field`` is its name in the worker's record."""

    name: str
    text: str
    field: str


@dataclass(frozen=True, slots=True)
class OfDiskCaches:
    """A number of each worker's cached prompts on disk, where there is one."""

    name: str
    text: str
    field: str
    counts: bool = False


DISK_CACHES = (
    OfDiskCaches("mlxq_disk_cache_bytes", "Disk space of cached prompts.", "bytes"),
    OfDiskCaches("mlxq_disk_cache_entries", "Cached prompts on disk.", "entries"),
    OfDiskCaches("mlxq_disk_cache_hits", "Those that were read for a prompt.", "hits", True),
    OfDiskCaches("mlxq_disk_cache_read_bytes", "Bytes read of them.", "bytes_read", True),
    OfDiskCaches("mlxq_disk_cache_written_bytes", "Bytes written of them.", "bytes_written", True),
    OfDiskCaches(
        "mlxq_disk_cache_bad_entries", "Files that could not be used.", "bad_entries", True
    ),
)
GAUGES = (
    OfWorkers("mlxq_num_requests_running", "Chats inside the engine.", lambda w: w.running_total),
    OfWorkers("mlxq_slots", "Chats that the worker can run at once.", lambda w: w.slots),
    OfWorkers(
        "mlxq_worker_draining", "1 while the worker takes nothing more.", lambda w: w.draining
    ),
    OfWorkers(
        "mlxq_prompt_cache_bytes",
        "Memory of prompts kept over turns.",
        lambda w: w.prompt_cache.bytes,
    ),
    OfWorkers(
        "mlxq_prompt_cache_entries", "Prompts kept over turns.", lambda w: w.prompt_cache.entries
    ),
    OfWorkers(
        "mlxq_mlx_memory_bytes",
        "Memory that MLX holds: weights and caches.",
        lambda w: w.memory.mlx_bytes,
    ),
    OfWorkers(
        "mlxq_memory_available_bytes",
        "Memory that the machine has left.",
        lambda w: w.memory.available_bytes,
    ),
)
COUNTERS = (
    OfWorkers(
        "mlxq_prompt_tokens", "Prompt tokens of chats.", lambda w: w.work.prompt_tokens, True
    ),
    OfWorkers(
        "mlxq_prompt_tokens_cached",
        "Those found in the prompt cache.",
        lambda w: w.work.cached_tokens,
        True,
    ),
    OfWorkers(
        "mlxq_generation_tokens",
        "Tokens generated for chats.",
        lambda w: w.work.generation_tokens,
        True,
    ),
    OfWorkers(
        "mlxq_batch_generation_tokens",
        "Tokens generated for batches.",
        lambda w: w.work.batch_tokens,
        True,
    ),
    OfWorkers("mlxq_texts", "Texts that became vectors or scores.", lambda w: w.work.texts, True),
    OfWorkers("mlxq_text_tokens", "Tokens of these texts.", lambda w: w.work.text_tokens, True),
    OfWorkers(
        "mlxq_draft_tokens",
        "Tokens that were guessed, and computed beside others.",
        lambda w: w.work.draft_tokens,
        True,
    ),
    OfWorkers(
        "mlxq_draft_tokens_accepted",
        "Those that were right.",
        lambda w: w.work.accepted_tokens,
        True,
    ),
    OfWorkers(
        "mlxq_worker_restarts",
        "Starts of a worker on its machine after the first.",
        lambda w: w.work.restarts,
    ),
)
TIMES = (
    Times(
        "mlxq_time_to_first_token_seconds", "From a chat's submission to its first token.", "ttft"
    ),
    Times("mlxq_inter_token_latency_seconds", "Between two tokens of a chat.", "inter_token"),
    Times(
        "mlxq_request_queue_time_seconds",
        "From a chat's submission until a worker took it up.",
        "queue",
    ),
    Times(
        "mlxq_request_prefill_time_seconds",
        "From a chat's admission to its first token.",
        "prefill",
    ),
    Times("mlxq_e2e_request_latency_seconds", "From a chat's submission to its end.", "request"),
    Times("mlxq_model_load_time_seconds", "Loading a model.", "load"),
)
