"""The whole service with two adapters of the shipped model and one that can't be used."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.http_client import Service
from tests.support.service_support import SERVE, Running

PIRATE, POET, FULL = "demo-chat+pirate", "demo-chat+poet", "demo-chat+full"
LONG = {"ignore_eos": True, "max_tokens": 60, "temperature": 0.8}


@pytest.fixture(scope="module")
def running(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    models = folders["pirate"].parent
    full = shutil.copytree(folders["pirate"], models / "full")
    config = json.loads((full / "adapter_config.json").read_text()) | {"fine_tune_type": "full"}
    (full / "adapter_config.json").write_text(json.dumps(config))
    started = Running(SERVE, tmp_path_factory.mktemp("data"), "--models", str(models))
    yield started
    started.close()
    shutil.rmtree(full)


@pytest.fixture(scope="module")
def http(running: Running) -> Service:
    return Service(running.line("Ready: ").removeprefix("Ready: "))


def listed(http: Service) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in http.call("GET", "/api/engine/models")[1]}


def test_adapters_are_listed_with_their_base(http: Service, folders: dict[str, Path]) -> None:
    models = listed(http)
    base = models["demo-chat"]
    assert base["default"]
    for name in (PIRATE, POET):
        assert models[name]["base_id"] == base["id"]
        assert models[name]["problem"] is None
        assert models[name]["path"] == str(folders[name.split("+")[1]])
        assert 0 < models[name]["size"] < base["size"]
    assert "it is a full fine-tune" in models[FULL]["problem"]
    parents = {row["id"]: row["parent"] for row in http.call("GET", "/v1/models")[1]["data"]}
    assert {name: parents.get(name) for name in ("demo-chat", PIRATE, POET, FULL)} == {
        "demo-chat": None,
        PIRATE: "demo-chat",
        POET: "demo-chat",
        FULL: None,
    }
    assert FULL not in parents


@pytest.mark.parametrize(("name", "status"), [(FULL, 422), ("demo-chat+nobody", 404)])
def test_what_cannot_be_used_is_refused_by_name_before_a_stream(
    http: Service, name: str, status: int
) -> None:
    messages = [{"role": "user", "content": "Hello!"}]
    got, body = http.call("POST", "/api/engine/chat", {"model_id": name, "messages": messages})
    assert got == status
    assert status == 404 or (
        body["code"] == "load_failed" and "it is a full fine-tune" in body["detail"]
    )
    got, body = http.call("POST", "/v1/chat/completions", {"model": name, "messages": messages})
    assert (got, body["error"]["param"]) == (status, "model")


def test_chats_of_all_kinds_survive_a_killed_worker_word_for_word(
    running: Running, http: Service
) -> None:
    asked = [(name, seed) for name in ("demo-chat", PIRATE, POET) for seed in (1, 2)]
    longer = LONG | {"max_tokens": 300}  # Seconds: the kill comes in their middle.

    def chats() -> list[Any]:
        return [http.chat("Tell me.", model=name, seed=seed, **longer) for name, seed in asked]

    expected = [stream.rest() for stream in chats()]
    assert len(set(expected)) == len(asked)
    streams = chats()
    streams[3].until(10)
    (worker,) = [
        child
        for child in psutil.Process(running.process.pid).children()
        if child.cmdline()[-1] == "worker"
    ]
    worker.send_signal(signal.SIGKILL)
    assert [stream.rest() for stream in streams] == expected


def test_adapters_are_loaded_beside_their_base_and_unloaded_alone(http: Service) -> None:
    for name in (PIRATE, POET):
        assert http.call("POST", "/api/engine/models/load", {"model_id": name})[0] == 200
    loaded = {name for name, model in listed(http).items() if model["loaded"]}
    assert {"demo-chat", PIRATE, POET} <= loaded
    http.chat("Tell me.", model=PIRATE, **LONG).rest()
    status, body = http.call("POST", "/api/engine/models/unload", {"model_id": POET})
    assert (status, body["models"]) == (200, [listed(http)[POET]["id"]])
    load = "/api/engine/models/load"
    assert http.call("POST", load, {"model_id": FULL})[0] == 422
    assert http.call("POST", load, {"model_id": PIRATE, "kv_quantization": 8})[0] == 400
    assert http.call("POST", load, {"model_id": "demo-chat", "draft_model": PIRATE})[0] == 400
    stream = http.chat("Tell me.", model=PIRATE, **LONG, stream_options={"include_usage": True})
    stream.rest()
    assert stream.frames[-1]["usage"]["cached_tokens"] > 0
