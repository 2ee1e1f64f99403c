"""What one key's flood costs another key: how long a chat waits for its turn, and a batch of one
line for its end, while hundreds of the other key's are in the queue, beside one of them.

End to end through a service with the echo backend, whose answers all take the same time. ``python
-m scripts.benchmarks.parts.fair_share [NUMBER]`` prints the tables; NUMBER is how many they are.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from scripts.benchmarks.cells import p50
from scripts.benchmarks.systems import processes
from scripts.benchmarks.systems.plan import BenchError
from scripts.benchmarks.table import table
from wire.batches.records import ENDED_STATES

FLOOD = 500
"""Chats, or lines of a batch, of the one key, unless the command says another number."""
CHATS, BATCHES, ROUNDS = 10, 5, 2
"""Of the other key, one after another; each in so many rounds, in turn with and without a flood."""
TOKENS, STEP_MS, SLOTS = 20, 10, 1
"""Of each answer. With one slot a turn is the time of one chat."""
OWNERS = {name: f"{name}-0123456789abcdef" for name in ("ann", "ben")}
LIMIT_S = 300.0
ALONE, BESIDE_ONE, FLOODED = "none", "1", "flood"


class Bench:
    """A running service, with a client for each key."""

    def __init__(self, url: str) -> None:
        self.ann, self.ben = (
            httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=LIMIT_S)
            for key in OWNERS.values()
        )
        self._pauses = random.Random(1)

    def queue_chats(self, number: int) -> None:
        """Chats of ann's that nobody reads."""
        body = {"model": "echo", "input": "x", "background": True, "max_output_tokens": TOKENS}
        for _ in range(number):
            self.ann.post("/v1/responses", json=body).raise_for_status()

    def waiting(self) -> int:
        """How many chats are in the queue."""
        return int(self.ben.get("/api/engine/status").json()["queues"]["chat"])

    def chat(self) -> dict[str, float]:
        """The timings of a chat of ben's, sent at any moment of a turn."""
        time.sleep(self._pauses.uniform(0, TOKENS * STEP_MS / 1000))
        body = {
            "model_id": "echo",
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": TOKENS,
            "stream_options": {"include_usage": True},
        }
        began = time.perf_counter()
        lines = self.ben.post("/api/engine/chat", json=body).raise_for_status().text.splitlines()
        last = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
        if last.get("error"):
            raise BenchError(f"a chat failed: {last}")
        whole_ms = (time.perf_counter() - began) * 1000
        return {"wait": last["timings"]["queue_ms"], "whole": whole_ms}

    def batch(self, client: httpx2.Client, lines: int) -> str:
        """A new batch; its id."""
        body = {"model_id": "echo", "prompts": ["x"] * lines, "max_tokens": TOKENS}
        return str(client.post("/api/engine/batches", json=body).raise_for_status().json()["id"])

    def batch_ms(self) -> float:
        """The time from the upload of a batch of ben's, of one line, to its end."""
        began = time.perf_counter()
        batch_id = self.batch(self.ben, 1)
        _until(lambda: self._has_ended(self.ben, batch_id))
        return (time.perf_counter() - began) * 1000

    def _has_ended(self, client: httpx2.Client, batch_id: str) -> bool:
        view = client.get(f"/api/engine/batches/{batch_id}").json()
        return view["status"] in ENDED_STATES

    def stop_chats(self) -> None:
        """End what is left of ann's chats."""
        self.ann.post("/api/engine/chat/stop").raise_for_status()
        _until(lambda: self.ann.get("/api/engine/status").json()["running_total"] == 0)

    def stop_batch(self, batch_id: str) -> None:
        self.ann.post(f"/api/engine/batches/{batch_id}/cancel").raise_for_status()
        _until(lambda: self._has_ended(self.ann, batch_id))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("the service did not get on")
        time.sleep(0.005)


def measure(bench: Bench, flood: int = FLOOD) -> dict[str, dict[str, list[float]]]:
    """Milliseconds, by what was measured and by how much of ann's was there."""
    chats: dict[str, list[float]] = {kind: [] for kind in (ALONE, BESIDE_ONE, FLOODED)}
    batches: dict[str, list[float]] = {kind: [] for kind in chats}
    bench.chat()
    for _ in range(ROUNDS):
        for kind, number in ((ALONE, 0), (BESIDE_ONE, 1), (FLOODED, flood)):
            bench.queue_chats(number and number + SLOTS)
            for _ in range(CHATS):
                if number == 1 and bench.waiting() == 0:
                    bench.queue_chats(1)
                chats[kind].append(bench.chat()["wait" if number else "whole"])
            if kind == FLOODED and bench.waiting() < flood // 4:
                raise BenchError("the flood is over")
            bench.stop_chats()
            long = bench.batch(bench.ann, number) if kind == FLOODED else None
            for _ in range(BATCHES):
                if kind == BESIDE_ONE:
                    bench.batch(bench.ann, 1)
                batches[kind].append(bench.batch_ms())
            if long is not None:
                bench.stop_batch(long)
    return {"chats": chats, "batches": batches}


def report(found: dict[str, dict[str, list[float]]], flood: int = FLOOD) -> str:
    """Two tables; a turn is the median time of a chat alone, or of a batch of one line."""
    parts = []
    for what, times in found.items():
        turn = p50(times[ALONE])
        rows = [
            [
                str(flood) if of == FLOODED else of,
                f"{p50(ms):.0f} / {max(ms):.0f}",
                f"{p50(ms) / turn:.2f} / {max(ms) / turn:.2f}",
            ]
            for of, ms in times.items()
            if what == "batches" or of != ALONE
        ]
        head = [f"{what} of the other key", "ms, p50 / most", "of a turn"]
        ratio = max(times[FLOODED]) / max(times[BESIDE_ONE])
        told = f"A turn: {turn:.0f} ms. The longest beside {flood} against beside 1: {ratio:.2f}."
        parts.append(f"{table(head, rows)}\n\n{told}")
    return "\n\n".join(parts)


def main(flood: int) -> None:
    """Start the service, measure, and print."""
    settings: dict[str, Any] = {
        **processes.environment(),
        "MLXQ_BACKEND": "echo",
        "MLXQ_ECHO_DELAY_MS": str(STEP_MS),
        "MLXQ_SLOTS": str(SLOTS),
        "MLXQ_KEY_QUEUE_LIMIT": str(flood + CHATS),
        "MLXQ_API_KEYS": ",".join(f"{name}:{key}" for name, key in OWNERS.items()),
        "MLXQ_LOG_LEVEL": "warning",
    }
    with tempfile.TemporaryDirectory() as folder:
        command = processes.python(
            "mlxq.service.launch", "--port", "0", "--data", str(Path(folder) / "data")
        )
        with processes.running(command, settings, Path(folder) / "service.log") as child:
            bench = Bench(child.line("Ready: ").split()[1])
            print(report(measure(bench, flood), flood))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FLOOD)
