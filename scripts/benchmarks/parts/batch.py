"""A batch of a thousand prompts: its tokens per second, and what a chat waits for its first
token while it runs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from scripts.benchmarks.systems import models
from scripts.benchmarks.systems.batches import EVERY_S, Batches, View
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
            await asyncio.sleep(EVERY_S)
        times = await self._chats(f"beside {turn}")
        if (await self._view(batch))["ended_at"] is not None:
            raise BenchError("the batch ended before the chats beside it")
        await asyncio.to_thread(self._batches.cancel, batch)
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
        return await asyncio.to_thread(self._batches.upload, lines, models.TEXT_NAME)

    async def _until_ended(self, batch: str, status: str = "completed") -> View:
        return await asyncio.to_thread(self._batches.until_ended, batch, LIMIT_S, status)

    async def _view(self, batch: str) -> View:
        return await asyncio.to_thread(self._batches.view, batch)

    @property
    def _batches(self) -> Batches:
        return Batches(self.server.port)
