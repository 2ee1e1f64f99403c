"""The whole service: after kill -9 of the worker a conversation goes on from the disk, with the
same text as without; then the cached prompts are deleted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.support.service_support import SERVE, Running

LIMIT_S = 60.0
FIRST = {"role": "user", "content": "Tell me about the rivers of the north, please. " * 25}


def _worker(http: httpx2.Client, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The worker's row of the status, once something holds for it."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        workers = http.get("/api/engine/status").json()["workers"]
        if workers and holds(workers[0]):
            return dict(workers[0])
        time.sleep(0.1)
    raise AssertionError("the worker's status never says so")


def _ask(http: httpx2.Client, *messages: dict[str, str]) -> tuple[str, int]:
    """The answer, and how many tokens of the prompt were cached."""
    body = {"model": "demo-chat", "messages": messages, "max_tokens": 16, "temperature": 0}
    answer = http.post("/v1/chat/completions", json=body).json()
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return answer["choices"][0]["message"]["content"], cached


def test_a_conversation_goes_on_from_the_disk_after_kill_9(tmp_path: Path) -> None:
    running = Running(SERVE, tmp_path / "data", limit_s=180)
    try:
        url = running.line("Ready: ").removeprefix("Ready: ")
        http = httpx2.Client(base_url=url, timeout=LIMIT_S)
        answer, cached = _ask(http, FIRST)
        assert cached == 0
        written = _worker(http, lambda row: row["disk_cache"]["entries"])
        os.kill(written["pid"], signal.SIGKILL)
        _worker(http, lambda row: row["pid"] != written["pid"])
        said = {"role": "assistant", "content": answer}
        turn = (FIRST, said, {"role": "user", "content": "And the lakes?"})
        second, cached = _ask(http, *turn)
        assert cached > 256
        _worker(http, lambda row: row["disk_cache"]["hits"] == 1)
        deleted = http.delete("/api/engine/prompt-cache").json()
        assert deleted == {"status": "deleted", "workers": 1}
        assert not list((tmp_path / "data" / "prompt-cache").glob("*.safetensors"))
        assert _ask(http, *turn) == (second, 0)
        http.close()
    finally:
        running.close()
