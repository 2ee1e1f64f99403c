"""Chats' first tokens beside a batch file of texts that become vectors, and without one, through
the service as its users start it.

``python -m scripts.benchmarks.parts.texts_through_service FOLDER [TEXTS]`` (the folder of an
embedding model; 10,000 texts) prints the figures as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from scripts.benchmarks.systems import machine, servers
from scripts.benchmarks.systems.client import burst
from scripts.benchmarks.systems.plan import SAMPLED, BenchError, Plan
from scripts.benchmarks.systems.servers import Server

TEXTS = 10_000
CHATS = 100
"""Without texts, in two parts: half of them before the batch and half behind it."""
WARM_UP = 10
WORDS, TOKENS = 15, 16
"""Of a chat's prompt, each another, and of its answer."""
PAUSE_S = 0.1
"""Between a chat's end and the next chat."""
CHAT_MODEL = "demo-chat"
PATH = "/api/engine/batches"
LIMIT_S = 3600.0


def measure(folder: Path, texts: int, work: Path) -> dict[str, object]:
    """Raises BenchError for a folder without an embedding model."""
    models = work / "models"
    models.mkdir()
    (models / folder.name).symlink_to(folder.resolve())
    openblas = machine.find_openblas()
    plan = Plan(str(models / folder.name), "", 1, (), openblas)
    load = machine.moment()
    with servers.ours(plan, work) as server:
        chats = _Chats(server)
        chats.some(WARM_UP)
        _ended(server, _upload(server, folder.name, 1, "warm-up"))
        alone = chats.some(CHATS // 2)
        began, batch = time.monotonic(), _upload(server, folder.name, texts, "text")
        beside = chats.until(lambda: _view(server, batch)["ended_at"] is not None)
        took = time.monotonic() - began
        _ended(server, batch)
        alone += chats.some(CHATS // 2)
    return {
        "load": load,
        "blas": server.blas,
        "chats alone": _figures(alone),
        "chats beside the batch": _figures(beside),
        "later (p50)": round(statistics.median(beside) / statistics.median(alone) - 1, 3),
        "texts": texts,
        "batch_s": round(took, 1),
    }


class _Chats:
    """Chats one after another."""

    def __init__(self, server: Server) -> None:
        self._server, self._number = server, 0

    def some(self, count: int) -> list[float]:
        """The times to their first tokens, seconds."""
        last = self._number + count
        return self.until(lambda: self._number >= last)

    def until(self, over: Callable[[], bool]) -> list[float]:
        times = []
        while not over():
            self._number += 1
            words = " ".join(str(self._number + place) for place in range(WORDS))
            message = {"role": "user", "content": f"Chat {self._number}: {words}"}
            request = self._server.chat([message], SAMPLED, 0, TOKENS, CHAT_MODEL)
            [answer] = uvloop.run(burst(self._server.port, [request]))
            times.append(answer.ttft)
            time.sleep(PAUSE_S)
        return times


def _upload(server: Server, model: str, count: int, name: str) -> str:
    rows = (
        {
            "custom_id": str(number),
            "model_id": model,
            "input": f"{name.capitalize()} {number} is one of many that are to become vectors.",
        }
        for number in range(count)
    )
    return str(_call(server, PATH, "".join(json.dumps(row) + "\n" for row in rows).encode())["id"])


def _ended(server: Server, batch: str) -> None:
    """Wait for the end of a batch. Raises BenchError if it is not the right one."""
    until = time.monotonic() + LIMIT_S
    while (view := _view(server, batch))["ended_at"] is None and time.monotonic() < until:
        time.sleep(0.1)
    if view["status"] != "completed" or view["counts"]["failed"]:
        raise BenchError(f"a batch did not end well: {view}")


def _view(server: Server, batch: str) -> dict[str, Any]:
    return _call(server, f"{PATH}/{batch}")


def _call(server: Server, path: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/jsonl"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        view: dict[str, Any] = json.load(answer)
        return view


def _figures(times: list[float]) -> dict[str, object]:
    ms = sorted(1000 * value for value in times)
    return {
        "chats": len(ms),
        "ttft_ms_p50": round(statistics.median(ms), 1),
        "ttft_ms_p95": round(ms[int(0.95 * len(ms))], 1),
    }


def main() -> None:
    texts = int(sys.argv[2]) if len(sys.argv) > 2 else TEXTS
    with tempfile.TemporaryDirectory(prefix="mlxq-texts-") as name:
        print(json.dumps(measure(Path(sys.argv[1]), texts, Path(name)), indent=1))


if __name__ == "__main__":
    main()
