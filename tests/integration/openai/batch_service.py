"""A running service, the official client for it, and lines of batches."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch
from redis import Redis

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.support.service_support import LIMIT_S, SERVE, Running

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


class BatchService:
    """A running service, the official client for it and a connection to its Redis."""

    def __init__(self, data: Path) -> None:
        self.running = Running(
            SERVE, data, MLXQ_BACKEND="echo", MLXQ_ECHO_DELAY_MS="5", MLXQ_SLOTS="8"
        )
        url = self.running.line("Ready: ").removeprefix("Ready: ")
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=3)
        self.redis = Redis.from_url(EmbeddedRedis(data).url)

    def upload(self, *rows: dict[str, Any] | str) -> str:
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        return self.client.files.create(file=("prompts.jsonl", text.encode()), purpose="batch").id

    def submit(self, *rows: dict[str, Any] | str, endpoint: Any = CHAT, **more: Any) -> Batch:
        file_id = self.upload(*rows)
        return self.client.batches.create(
            input_file_id=file_id, endpoint=endpoint, completion_window="24h", **more
        )

    def until(self, batch: Batch, *states: str) -> Batch:
        return wait(
            lambda: (found := self.client.batches.retrieve(batch.id)).status in states and found
        )

    def rows(self, file_id: str | None) -> dict[str | None, dict[str, Any]]:
        assert file_id is not None
        lines = self.client.files.content(file_id).text.splitlines()
        return {row["custom_id"]: row for row in map(json.loads, lines)}

    def close(self) -> None:
        self.client.close()
        self.redis.close()
        self.running.close()


def wait(condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds: a client can only poll."""
    ticks, pause = threading.Event(), 0.05
    for _ in range(int(LIMIT_S / pause)):
        if found := condition():
            return found
        ticks.wait(pause)
    raise AssertionError("the condition did not hold in time")


def line(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
    asked = {
        "model": "demo-chat",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 4,
    } | body
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}
