"""Chats' first tokens beside a batch file of texts that become vectors, and without one, through
the service as its users start it.

``python -m scripts.benchmarks.parts.texts_through_service FOLDER [TEXTS]`` (the folder of an
embedding model; 10,000 texts) prints the figures as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from scripts.benchmarks.cells import p50, p95
from scripts.benchmarks.systems import machine, servers
from scripts.benchmarks.systems.batches import Batches
from scripts.benchmarks.systems.client import burst
from scripts.benchmarks.systems.plan import SAMPLED, Plan
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
        chats, batches = _Chats(server), Batches(server.port)
        chats.some(WARM_UP)
        batches.until_ended(batches.upload(_lines(1, "warm-up"), folder.name), LIMIT_S)
        alone = chats.some(CHATS // 2)
        began, batch = time.monotonic(), batches.upload(_lines(texts, "text"), folder.name)
        beside = chats.until(lambda: batches.view(batch)["ended_at"] is not None)
        took = time.monotonic() - began
        batches.until_ended(batch, LIMIT_S)
        alone += chats.some(CHATS // 2)
    return {
        "load": load,
        "blas": server.blas,
        "chats alone": _figures(alone),
        "chats beside the batch": _figures(beside),
        "later (p50)": round(p50(beside) / p50(alone) - 1, 3),
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
            message: dict[str, object] = {
                "role": "user",
                "content": f"Chat {self._number}: {words}",
            }
            request = self._server.chat([message], SAMPLED, 0, TOKENS, CHAT_MODEL)
            [answer] = uvloop.run(burst(self._server.port, [request]))
            times.append(answer.ttft)
            time.sleep(PAUSE_S)
        return times


def _lines(count: int, name: str) -> bytes:
    rows = (
        {
            "custom_id": str(number),
            "input": f"{name.capitalize()} {number} is one of many that are to become vectors.",
        }
        for number in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _figures(times: list[float]) -> dict[str, object]:
    return {
        "chats": len(times),
        "ttft_ms_p50": round(1000 * p50(times), 1),
        "ttft_ms_p95": round(1000 * p95(times), 1),
    }


def main() -> None:
    texts = int(sys.argv[2]) if len(sys.argv) > 2 else TEXTS
    with tempfile.TemporaryDirectory(prefix="mlxq-texts-") as name:
        print(json.dumps(measure(Path(sys.argv[1]), texts, Path(name)), indent=1))


if __name__ == "__main__":
    main()
