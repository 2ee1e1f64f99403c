"""What is measured of a server with the text model; the same for this service and for
mlx_lm.server."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from scripts.benchmarks.systems.client import Answer, Stream, burst, http_post, rate, send
from scripts.benchmarks.systems.plan import (
    GREEDY,
    READ_TOKENS,
    SAMPLED,
    TOKENS,
    BenchError,
    Case,
    Figures,
    Plan,
    Results,
    Sampling,
)
from scripts.benchmarks.systems.prompts import Prompts
from scripts.benchmarks.systems.servers import Server

BATCH = 8
LONG_ANSWER = 4096
"""Token limit of streams that are stopped long before it."""
SETTLE_S = 2.0
"""mlx_lm.server has no stop call; it notices within a second that its clients have disconnected."""
UNDER_WAY = 10
"""Frames after which a stream counts as running steadily."""


@dataclass(slots=True)
class TextLoad:
    """Measurements of one server."""

    plan: Plan
    server: Server
    prompts: Prompts

    async def round(self, case: Case, turn: int) -> Results:
        """One round of one case."""
        match case.part:
            case "throughput":
                return {case.name: await self._throughput(case, turn)}
            case "prefill":
                request = self.server.chat(
                    self.prompts.chat(f"read {turn}", READ_TOKENS), GREEDY, 0
                )
                return {"prefill": Figures([(await self._alone(request)).ttft])}
            case "turn2":
                return await self._second_turn(turn)
            case "join":
                return await self._join(turn)
        raise ValueError(case.part)

    def _request(
        self, label: str, sampling: Sampling, tokens: int = TOKENS, seed: int = 0
    ) -> bytes:
        return self.server.chat(self.prompts.chat(label), sampling, seed, tokens)

    async def _throughput(self, case: Case, turn: int) -> Figures:
        ttft, rates = [], []
        for repeat in range(self.plan.repeats_of(case.clients)):
            label = f"{case.name} {turn} {repeat}"
            requests = [
                self._request(f"{label} {i}", case.sampling, seed=i) for i in range(case.clients)
            ]
            answers = whole(await burst(self.server.port, requests))
            ttft += [answer.ttft for answer in answers]
            rates.append(rate(answers))
        return Figures(ttft, [statistics.median(rates)])

    async def _second_turn(self, turn: int) -> Results:
        label = f"turn {turn}"
        first = self.prompts.long_chat(f"{label} warm")
        answer = await self._alone(self.server.chat(first, GREEDY, 0))
        again = self.prompts.second_turn(first, answer.text, f"{label} warm")
        unseen = self.prompts.unseen_second_turn(f"{label} cold")
        cold, warm = [
            (await self._alone(self.server.chat(chat, GREEDY, 0))).ttft for chat in (unseen, again)
        ]
        return {"cold": Figures([cold]), "warm": Figures([warm])}

    async def _join(self, turn: int) -> Results:
        alone = await self._alone(self._request(f"join {turn} alone", SAMPLED))
        streams = await self._start_batch(f"join {turn}")
        joiner = await self._alone(self._request(f"join {turn} joiner", SAMPLED))
        await end(self.server, streams)
        return {"join alone": Figures([alone.ttft]), "join": Figures([joiner.ttft])}

    async def stop(self) -> Results:
        """From the call to the last byte: one stream of a running batch, then all that are left
        of it."""
        await burst(
            self.server.port, [self._request(f"warm-up {i}", SAMPLED) for i in range(BATCH)]
        )
        one, everything = Figures(), Figures()
        for turn in range(self.plan.rounds):
            streams = await self._start_batch(f"stop {turn}")
            began = time.perf_counter()
            caller = await send(
                self.server.port, http_post("/api/engine/chat/stop", {"job_id": streams[0].job_id})
            )
            one.ttft.append((await streams[0].answer()).ended - began)
            await caller.bytes()
            began = time.perf_counter()
            await end(self.server, streams[1:])
            answers = [await stream.answer() for stream in streams[1:]]
            everything.ttft.append(max(answer.ended for answer in answers) - began)
        return {"stop one": one, "stop all": everything}

    async def _start_batch(self, label: str) -> list[Stream]:
        requests = [self._request(f"{label} {i}", SAMPLED, LONG_ANSWER) for i in range(BATCH)]
        streams = [await send(self.server.port, request) for request in requests]
        await asyncio.gather(*(stream.frames(UNDER_WAY) for stream in streams))
        return streams

    async def _alone(self, request: bytes) -> Answer:
        [answer] = await burst(self.server.port, [request])
        return answer


async def end(server: Server, streams: list[Stream]) -> None:
    """Stop streams, which must still be running: otherwise the measurement beside them is
    invalid."""
    if any(stream.ended for stream in streams):
        raise BenchError("a stream ended by itself before it was stopped")
    if not server.is_ours:
        for stream in streams:
            stream.abandon()
        await asyncio.sleep(SETTLE_S)
        return
    caller = await send(server.port, http_post("/api/engine/chat/stop", {}))
    for stream in (*streams, caller):
        await stream.bytes()


def whole(answers: list[Answer]) -> list[Answer]:
    """Return the answers; all must have their full length, or the measurement is invalid."""
    if short := [answer.tokens for answer in answers if answer.tokens != TOKENS]:
        raise BenchError(
            f"{len(short)} of {len(answers)} answers did not have {TOKENS} tokens: {short[:8]}"
        )
    return answers
