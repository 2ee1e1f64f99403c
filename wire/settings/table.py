"""Every setting of the service, in one table for the environment, the flags and ``--help``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wire.settings.field import setting

LOCAL_DATA = Path(".mlxq")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings with units, defaults and ranges; each is ``MLXQ_<NAME>`` and ``--<name>``."""

    host: str = setting("127.0.0.1", "address the API listens on")
    port: int = setting(8000, "port the API listens on; 0 takes a free one", 0, 65535)
    data: Path = setting(
        LOCAL_DATA, "data folder: queue, models, logs; unset: ./.mlxq, else the user's"
    )
    models: tuple[Path, ...] = setting((), "folders of models, separated by the path separator")
    redis_url: str = setting("", "Redis to use in place of the embedded one; REDIS_URL is read too")
    default_model: str = setting(
        "", "model for requests that name none; unset: the one last used, else the first"
    )
    demo_models: int = setting(1, "whether the shipped demo models are served; 0: no", 0, 1)
    model_aliases: tuple[str, ...] = setting(
        (),
        "other names of models below /v1, NAME=MODEL with commas; * in a name stands for any "
        "characters: claude-*=demo-chat",
    )
    backend: str = setting(
        "mlx", "what generates text; echo needs no weights and is for tests", of="mlx|echo"
    )
    generation_config: str = setting(
        "auto",
        "whether a model's generation_config.json has the sampling that a request leaves out; "
        "ignore: never",
        of="auto|ignore",
    )
    tools_without_template: str = setting(
        "generic",
        "tools for a model whose chat template has no place for them. generic: told as text in the "
        "prompt; ignore: left out, with a warning; refuse",
        of="generic|ignore|refuse",
    )
    slots: int = setting(32, "chats that one worker generates at once", 1, 1024)
    prefill_step: int = setting(
        128,
        "prompt tokens of a chat that are read at once, between steps of the running streams",
        16,
        8192,
    )
    num_draft_tokens: int = setting(
        0,
        "tokens guessed ahead in a step, where that is measured to be faster; 0: none, or 3 with a "
        "draft model",
        0,
        63,
    )
    prompt_cache_mb: int = setting(1024, "memory for cached prompts, MiB", 0, 1 << 20)
    disk_cache: str = setting(
        "", "folder of cached prompts on disk, one worker's; unset: prompt-cache in the data folder"
    )
    disk_cache_gb: float = setting(
        4.0,
        "disk space for cached prompts, GB, and how much may be written in an hour; 0: none is",
        0,
        65536,
    )
    disk_cache_hours: float = setting(
        72, "how long a cached prompt stays on disk after it was written, hours", 1, 8760
    )
    memory_mb: int = setting(
        0, "memory for model weights, MiB; 0: three quarters of the machine's", 0, 1 << 24
    )
    cache_aware_routing: str = setting(
        "on",
        "whether a chat goes to the worker that holds most of its prompt, if several share a Redis",
        of="on|off",
    )
    model_ttl_s: float = setting(
        -1,
        "how long a model that nobody uses stays in memory, seconds; -1: until its memory is "
        "needed",
        -1,
        365 * 24 * 3600,
    )
    job_timeout_s: int = setting(3600, "longest run of one chat, seconds", 1, 86400)
    drain_s: float = setting(
        30.0, "time for running chats to end when the worker must stop, seconds", 0, 600
    )
    hang_s: float = setting(
        60.0, "an engine that makes no step for this long is replaced, seconds", 1, 3600
    )
    queue_limit: int = setting(
        1000, "chats that may wait; beyond it a request gets 429", 1, 1_000_000
    )
    rq_history_hours: float = setting(
        24, "how long RQ's pages show an ended job, without prompt, hours; 0: not at all", 0, 8760
    )
    images_mb: int = setting(
        512, "memory of Redis for images of chats; beyond it a request gets 429, MiB", 16, 1 << 20
    )
    image_hosts: tuple[str, ...] = setting(
        (),
        "hosts from which images may be fetched by https, or *.name, with commas; none: only "
        "data: URLs",
    )
    webhook_hosts: tuple[str, ...] = setting(
        (), "hosts of webhooks that may be private or plain http, or *.name, with commas"
    )
    batch_mb: int = setting(
        1024,
        "memory of Redis for batches, files and results; beyond it an upload gets 429, MiB",
        16,
        1 << 20,
    )
    batch_hours: float = setting(
        168, "how long a batch and its results are kept after it was accepted, hours", 1, 8760
    )
    batch_share: int = setting(
        5,
        "share of time for batch prompts under any number of chats, percent; 0: none",
        0,
        50,
    )
    store_responses: str = setting(
        "on", "whether responses of /v1/responses may be stored", of="on|off"
    )
    responses_mb: int = setting(
        256,
        "memory of Redis for stored responses and their conversations; beyond it the oldest are "
        "dropped, MiB",
        16,
        1 << 20,
    )
    replay_mb: int = setting(
        64,
        "memory of Redis for requests of ended chats, which can be run again for a day; beyond it "
        "the oldest are dropped, MiB; 0: none are kept",
        0,
        1 << 20,
    )
    api_keys_file: str = setting("", "file of API keys, a name:key or name:sha256:digest a line")
    api_keys: tuple[str, ...] = setting((), "API keys, name:key, separated by commas", secret=True)
    require_keys: str = setting(
        "auto", "when keys are required. auto: once there is one; on: always", of="auto|on"
    )
    key_queue_limit: int = setting(
        200, "chats of one key that may wait or run; beyond it a request gets 429", 1, 1_000_000
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "Host headers to accept besides this machine's names, or *.name, with commas"
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        "origins whose pages may call the API, separated by commas; null: pages without an "
        "address, such as a desktop shell's",
    )
    keepalive_s: float = setting(
        15.0, "longest silence of a stream before a comment is sent, seconds", 0.05, 60
    )
    echo_delay_ms: float = setting(
        0.0, "duration of one step of the echo backend, milliseconds", 0, 60_000
    )
    echo_context_window: int = setting(
        4096, "context window of the echo backend's model, tokens", 1, 1 << 24
    )
    echo_prompt_cache: int = setting(
        0, "whether the echo backend keeps prompts over turns, at 1 KiB a token; 0: no", 0, 1
    )
    log_level: str = setting("info", "how much is logged", of="debug|info|warning|error")
    log_format: str = setting(
        "auto", "format of log lines; auto is text on a terminal, else JSON", of="auto|text|json"
    )
