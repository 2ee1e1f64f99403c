"""A batch of a thousand prompts: its tokens per second, and what a chat waits for its first
token while it runs."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.systems import models
from scripts.benchmarks.systems.client import burst
from scripts.benchmarks.systems.plan import (
    BATCH_PROMPTS,
    GREEDY,
    SAMPLED,
    TOKENS,
    WARM_UP,
    WARM_UP_PROMPTS,
    BenchError,
    Figures,
    Results,
)
from scripts.benchmarks.systems.prompts import Prompts
from scripts.benchmarks.systems.servers import Server

CHATS = 40
"""Chats one after another, with the batch and without."""
PAUSE_S = 0.1
LIMIT_S = 600.0
PATH = "/api/engine/batches"
View = dict[str, Any]


@dataclass(slots=True)
class BatchLoad:
    """Measurements of this service."""

    server: Server
    prompts: Prompts

    async def round(self, turn: int) -> Results:
        """A batch between chats alone and chats beside another one; to warm up, a small batch
        alone."""
        if turn == WARM_UP:
            await self._until_ended(await self._upload(self._lines("warm-up", WARM_UP_PROMPTS)))
            return {}
        alone = await self._chats(f"idle {turn}")
        lines = self._lines(f"{turn}", BATCH_PROMPTS)
        began = time.perf_counter()
        view = await self._until_ended(await self._upload(lines))
        rate = view["usage"]["completion_tokens"] / (time.perf_counter() - began)
        beside = await self._beside(turn)
        return {
            "chat alone": Figures(alone),
            "batch": Figures([], [rate]),
            "chat beside a batch": Figures(beside),
        }

    async def _beside(self, turn: int) -> list[float]:
        batch = await self._upload(self._lines(f"beside {turn}", BATCH_PROMPTS))
        while (await self._view(batch))["counts"]["done"] == 0:
            await asyncio.sleep(0.05)
        times = await self._chats(f"beside {turn}")
        if (await self._view(batch))["ended_at"] is not None:
            raise BenchError("the batch ended before the chats beside it")
        await asyncio.to_thread(self._call, "POST", f"{PATH}/{batch}/cancel")
        await self._until_ended(batch, "cancelled")
        return times

    async def _chats(self, name: str) -> list[float]:
        times = []
        for number in range(CHATS):
            request = self.server.chat(self.prompts.chat(f"{name} {number}"), SAMPLED, 0, tokens=16)
            [answer] = await burst(self.server.port, [request])
            times.append(answer.ttft)
            await asyncio.sleep(PAUSE_S)
        return times

    def _lines(self, name: str, count: int) -> bytes:
        """Prompts as JSON Lines. They are made before the batch's time begins."""
        fields = {
            "temperature": GREEDY.temperature,
            "top_p": GREEDY.top_p,
            "repetition_penalty": 1.0,
        }
        rows = []
        for number in range(count):
            messages = self.prompts.chat(f"batch {name} {number}")
            rows.append(
                {"custom_id": str(number), "messages": messages, "max_tokens": TOKENS, **fields}
            )
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    async def _upload(self, lines: bytes) -> str:
        path = f"{PATH}?model_id={models.TEXT_NAME}"
        return str((await asyncio.to_thread(self._call, "POST", path, lines))["id"])

    async def _until_ended(self, batch: str, status: str = "completed") -> View:
        until = time.monotonic() + LIMIT_S
        while (view := await self._view(batch))["ended_at"] is None:
            if time.monotonic() > until:
                raise BenchError("a batch did not end")
            await asyncio.sleep(0.05)
        if view["status"] != status or view["counts"]["failed"]:
            raise BenchError(f"a batch ended otherwise: {view}")
        return view

    async def _view(self, batch: str) -> View:
        return await asyncio.to_thread(self._call, "GET", f"{PATH}/{batch}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> View:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        ) as connection:
            headers = {} if body is None else {"Content-Type": "application/jsonl"}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            view: View = json.loads(answer.read())
            if answer.status != 200:
                raise BenchError(f"the service refused a batch: {view}")
            return view
