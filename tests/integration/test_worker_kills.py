"""The whole service with a model, after kill -9 of the worker: what was cached on disk, and what was
being guessed, is gone on with, and the text is the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.http_client import Service
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(SERVE, tmp_path_factory.mktemp("kills") / "data")
    yield started
    started.close()


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx2.Client]:
    url = running.line("Ready: ").removeprefix("Ready: ")
    with httpx2.Client(base_url=url, timeout=LIMIT_S) as client:
        yield client


def test_a_conversation_goes_on_from_the_disk(http: httpx2.Client) -> None:
    answer, cached = _ask(http, FIRST)
    assert cached == 0
    written = _worker(http, lambda row: row["disk_cache"]["entries"])
    os.kill(written["pid"], signal.SIGKILL)
    _worker(http, lambda row: row["pid"] != written["pid"])
    said = {"role": "assistant", "content": answer}
    turn = (FIRST, said, {"role": "user", "content": "And the lakes?"})
    second, cached = _ask(http, *turn)
    assert cached > 256
    used = _worker(http, lambda row: row["disk_cache"]["hits"] == 1)
    deleted = http.delete("/api/engine/prompt-cache").json()
    assert deleted == {"status": "deleted", "workers": 1}
    assert not list(Path(used["disk_cache"]["folder"]).glob("*.safetensors"))
    assert _ask(http, *turn) == (second, 0)


def test_an_answer_with_guesses_goes_on_the_same(http: httpx2.Client) -> None:
    """A model is its own draft model here: all guesses are right, and the first ones are always
    tried."""
    service = Service(str(http.base_url).rstrip("/"))
    sampling = {"seed": 5, "temperature": 0.9, "max_tokens": 400, "ignore_eos": True}
    whole = service.chat("Tell me a story.", **sampling).rest()
    loads = {"model_id": "demo-chat", "draft_model": "demo-chat", "pin": True}
    assert http.post("/api/engine/models/load", json=loads).json()["status"] == "loaded"
    worker = _worker(http, lambda row: row["models"])
    stream = service.chat("Tell me a story.", **sampling, stream_options={"include_usage": True})
    stream.until(20)
    os.kill(worker["pid"], signal.SIGKILL)
    assert stream.rest() == whole
    assert stream.frames[-1]["timings"]["draft_tokens"] > 0
    listed = http.get("/api/engine/models").json()
    row = next(row for row in listed if row["name"] == "demo-chat")
    assert row["draft_model"] == row["id"], "a pinned model is loaded with it again"
