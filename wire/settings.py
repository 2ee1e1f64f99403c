"""Every setting of the service, in one table for the environment, the flags and ``--help``.

Settings are read once, when a process starts, into a frozen object; a bad value stops the start
with one clear line.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

LOCAL_DATA = Path(".mlxq")
URL_VARIABLE = "MLXQ_URL"
API_KEY_VARIABLE = "MLXQ_API_KEY"
CLIENT_VARIABLES = {
    URL_VARIABLE: "address of the service for the command line",
    API_KEY_VARIABLE: "API key that the command line sends",
}
"""Settings of clients, which may be set in the same shell as the service's."""


class BadSetting(Exception):
    """A setting has an invalid value; the message names the variable and the valid ones."""


def setting(
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    of: str = "",
    secret: bool = False,
) -> Any:
    """A field of :class:`Settings`: default, ``--help`` text, range or choices (``a|b``).

    A secret has no flag: other users of the machine can read command lines.
    """
    meta = {
        "help": text,
        "low": low,
        "high": high,
        "choices": of.split("|") if of else None,
        "secret": secret,
    }
    return field(default=default, metadata=meta, repr=not secret)


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
        0, "tokens guessed ahead in a step, where that is measured to be faster; 0: none", 0, 63
    )
    prompt_cache_mb: int = setting(1024, "memory for cached prompts, MiB", 0, 1 << 20)
    memory_mb: int = setting(
        0, "memory for model weights, MiB; 0: three quarters of the machine's", 0, 1 << 24
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
        5, "share of time for batch prompts under any number of chats, percent; 0: none", 0, 50
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
    log_level: str = setting("info", "how much is logged", of="debug|info|warning|error")
    log_format: str = setting(
        "auto", "format of log lines; auto is text on a terminal, else JSON", of="auto|text|json"
    )


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "Path": Path,
    "tuple[Path, ...]": lambda text: tuple(map(Path, filter(None, text.split(os.pathsep)))),
    "tuple[str, ...]": lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
}


def _convert(name: str, kind: Any, text: str, meta: Mapping[str, Any]) -> Any:
    variable = "MLXQ_" + name.upper()
    try:
        value: Any = _READERS.get(kind, str)(text)
    except ValueError:
        raise BadSetting(f"{variable}={text!r} is not a number") from None
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    if low is not None and not low <= value <= high:
        raise BadSetting(f"{variable}={text!r} must be between {low:g} and {high:g}")
    if choices and value not in choices:
        raise BadSetting(f"{variable}={text!r} must be one of {', '.join(choices)}")
    return value


def data_folder(environ: Mapping[str, str]) -> Path:
    """The data folder where none is named: the current folder's if it has one, else the user's."""
    if LOCAL_DATA.is_dir():
        return LOCAL_DATA
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mlxq"
    chosen = Path(environ.get("XDG_DATA_HOME", ""))
    return (chosen if chosen.is_absolute() else home / ".local" / "share") / "mlxq"


def parser(program: str, about: str) -> argparse.ArgumentParser:
    """A command line with a flag for every setting; help names variable, default and unit."""
    secrets = [
        f"MLXQ_{item.name.upper()}: {item.metadata['help']}"
        for item in fields(Settings)
        if item.metadata["secret"]
    ]
    result = argparse.ArgumentParser(
        program, description=about, epilog=f"Variables alone: {'; '.join(secrets)}."
    )
    for item in fields(Settings):
        if item.metadata["secret"]:
            continue
        flag = "--" + item.name.replace("_", "-")
        text = (
            f"{item.metadata['help']} (MLXQ_{item.name.upper()}; default "
            f"{shown_default(item.name)})"
        )
        many = str(item.type).startswith("tuple")
        result.add_argument(
            flag, dest=item.name, action="append" if many else "store", metavar="VALUE", help=text
        )
    return result


def shown_default(name: str) -> str:
    """A setting's default as help and README print it."""
    if name == "data":
        return "by the system"
    value = getattr(Settings(), name)
    return "none" if value in ("", ()) else str(value)


def load(
    arguments: argparse.Namespace | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings: a flag wins over ``MLXQ_…``, then ``REDIS_URL``, then the default.

    Raises BadSetting with a sentence that names the variable.
    """
    env = os.environ if environ is None else environ
    given: dict[str, Any] = {}
    for item in fields(Settings):
        raw = getattr(arguments, item.name, None) if arguments is not None else None
        if isinstance(raw, list):
            raw = (os.pathsep if "Path" in str(item.type) else ",").join(raw)
        if raw is None:
            raw = env.get("MLXQ_" + item.name.upper())
        if raw is None and item.name == "redis_url":
            raw = env.get("REDIS_URL")
        if raw is not None:
            given[item.name] = _convert(item.name, item.type, raw, item.metadata)
    given.setdefault("data", data_folder(env))
    known = {"MLXQ_" + item.name.upper() for item in fields(Settings)} | set(CLIENT_VARIABLES)
    unknown = [name for name in env if name.startswith("MLXQ_") and name not in known]
    if unknown:
        raise BadSetting(f"{sorted(unknown)[0]} is not a setting of this service")
    return Settings(**given)


def check_model_folders(settings: Settings) -> None:
    """Raise BadSetting for a missing model folder: a typing error would look like an empty one."""
    for folder in settings.models:
        if not folder.is_dir():
            raise BadSetting(
                f"MLXQ_MODELS: {folder} is not a folder; correct --models, or mount the disk"
            )


def from_command_line(program: str, about: str, argv: Sequence[str] | None = None) -> Settings:
    """Parse flags and environment; on a bad value print one line and exit with status 2."""
    commands = parser(program, about)
    arguments = commands.parse_args(argv)
    try:
        return load(arguments)
    except BadSetting as bad:
        commands.exit(2, f"{program}: {bad}\n")


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables under which another process reads the same settings."""
    result = {}
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if isinstance(value, tuple):
            value = (os.pathsep if "Path" in str(item.type) else ",").join(str(v) for v in value)
        result["MLXQ_" + item.name.upper()] = str(value)
    return result
