"""Without Redis, with a frozen or full one, and when the API process is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.integration.streams.served_api import CHAT, Running, Stream, serving, text
from tests.support.api_support import LIMIT_S, QUEUE, chat_body, wait_for


def timed(url: str) -> tuple[float, httpx2.Response]:
    began = time.monotonic()
    response = httpx2.post(url + CHAT, json=chat_body(), timeout=LIMIT_S)
    return time.monotonic() - began, response


def test_without_redis_a_chat_is_503_within_two_seconds_and_health_is_200(tmp_path: Path) -> None:
    with serving(f"unix://{tmp_path}/nobody") as api:
        took, response = timed(api.url)
        assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert took < 2
        assert api.get("/ready").status_code == 503
        assert api.get("/health").status_code == 200


def test_a_frozen_redis_is_503_within_two_seconds_and_well_again_soon(api: Running) -> None:
    stream = api.chat()
    info: Any = api.redis.info("server")
    os.kill(info["process_id"], signal.SIGSTOP)
    try:
        took, response = timed(api.url)
    finally:
        os.kill(info["process_id"], signal.SIGCONT)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
    assert took < 2
    wait_for(lambda: api.get("/ready").status_code == 200, 2)
    api.writer(stream.job_id).finish()
    assert stream.rest()[-1][1]["done"]


def test_a_full_redis_is_503(api: Running) -> None:
    api.redis.config_set("maxmemory", "1mb")
    try:
        _, response = timed(api.url)
    finally:
        api.redis.config_set("maxmemory", "0")
    assert (response.status_code, response.json()["code"]) == (503, "redis_full")
    assert api.redis.llen(QUEUE) == 0


def test_a_stopping_process_ends_its_streams_and_they_resume(
    store: EmbeddedRedis, api: Running
) -> None:
    environ = os.environ | {
        "MLXQ_REDIS_URL": store.url,
        "MLXQ_PORT": "0",
        "MLXQ_LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api"], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().removeprefix("listening on ").strip()
        stream = Stream("POST", url + CHAT, json=chat_body())
        api.streams.append(stream)
        writer = api.writer(stream.job_id)
        writer.text("a", "b")
        assert stream.next()[0] == 1
        began = time.monotonic()
        process.terminate()
        assert [sequence for sequence, _ in stream.rest()] == [2]
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.stdout.close()
    writer.text("c")
    writer.finish()
    assert text(api.events(stream.job_id, **{"Last-Event-ID": "2"}).rest()) == "c"


def test_without_a_redis_url_the_process_says_what_is_missing() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLXQ_")}
    environ.pop("REDIS_URL", None)
    result = subprocess.run(
        [sys.executable, "-m", "api"], env=environ, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "REDIS_URL" in result.stderr
