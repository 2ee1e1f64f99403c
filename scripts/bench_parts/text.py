"""What is measured of a server with the text model; the same for this service and for mlx_lm.server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scripts.bench_parts.client import Answer, Stream, burst, http_post, rate, send
from scripts.bench_parts.plan import (
    ALONE_REPEATS,
    CLIENTS,
    GREEDY,
    SAMPLED,
    SAMPLINGS,
    TOKENS,
    BenchError,
    Figures,
    Plan,
    Sampling,
)
from scripts.bench_parts.prompts import Prompts
from scripts.bench_parts.servers import Server

BATCH = 8
LONG_ANSWER = 4096
"""Tokens of streams that are stopped long before."""
SETTLE_S = 2.0
"""The peer has no stop call and notices within a second that its clients have gone."""
UNDER_WAY = 10
"""Frames after which a stream counts as running steadily."""
Results = dict[str, Figures]


@dataclass(slots=True)
class TextLoad:
    """Measurements of one server."""

    plan: Plan
    server: Server
    prompts: Prompts

    async def run(self) -> Results:
        """All parts of the plan, after a warm-up that is not measured."""
        await self._warm_up()
        parts: dict[str, Callable[[], Awaitable[Results]]] = {
            "throughput": self._throughput,
            "turn2": self._second_turn,
            "join": self._join,
        }
        if self.server.is_ours:
            parts["stop"] = self._stop
        results: Results = {}
        for name, part in parts.items():
            if name in self.plan.parts:
                results |= await part()
        return results

    def _request(self, label: str, sampling: Sampling, tokens: int = TOKENS, seed: int = 0) -> bytes:
        return self.server.chat(self.prompts.chat(label), sampling, seed, tokens)

    async def _warm_up(self) -> None:
        for sampling in SAMPLINGS:
            for clients in CLIENTS:
                if self.server.is_ours or not (sampling.seeded and clients > 1):
                    labels = [f"warm-up {sampling.name} {clients} {i}" for i in range(clients)]
                    await burst(self.server.port, [self._request(label, sampling) for label in labels])

    async def _throughput(self) -> Results:
        results: Results = {}
        for sampling in SAMPLINGS:
            for clients in CLIENTS:
                figures = Figures([], [])
                for turn in range(self.plan.rounds):
                    for repeat in range(ALONE_REPEATS if clients == 1 else 1):
                        # The sampling's settings tell the prompts of greedy and sampled apart, the seed does not.
                        label = f"{sampling.name} {clients} {turn} {repeat}"
                        requests = [self._request(f"{label} {i}", sampling, seed=i) for i in range(clients)]
                        answers = whole(await burst(self.server.port, requests))
                        figures.ttft += [answer.ttft for answer in answers]
                        figures.rate.append(rate(answers))
                results[f"{sampling.name} {clients}"] = figures
        return results

    async def _second_turn(self) -> Results:
        cold, warm = Figures([], []), Figures([], [])
        for turn in range(-1, self.plan.rounds):
            label = f"turn {turn}"
            first = self.prompts.long_chat(f"{label} warm")
            answer = await self._alone(self.server.chat(first, GREEDY, 0))
            again = self.prompts.second_turn(first, answer.text, f"{label} warm")
            unseen = self.prompts.unseen_second_turn(f"{label} cold")
            times = [(await self._alone(self.server.chat(chat, GREEDY, 0))).ttft for chat in (unseen, again)]
            if turn >= 0:
                cold.ttft.append(times[0])
                warm.ttft.append(times[1])
        return {"cold": cold, "warm": warm}

    async def _join(self) -> Results:
        alone, joining = Figures([], []), Figures([], [])
        for turn in range(self.plan.rounds):
            alone.ttft.append((await self._alone(self._request(f"join {turn} alone", SAMPLED))).ttft)
            streams = await self._start_batch(f"join {turn}")
            joiner = await self._alone(self._request(f"join {turn} joiner", SAMPLED))
            joining.ttft.append(joiner.ttft)
            await end(self.server, streams)
        return {"join alone": alone, "join": joining}

    async def _stop(self) -> Results:
        """From the call to the last byte: one stream of a running batch, then all that are left of it."""
        one, everything = Figures([], []), Figures([], [])
        for turn in range(self.plan.rounds):
            streams = await self._start_batch(f"stop {turn}")
            began = time.perf_counter()
            caller = await send(self.server.port, http_post("/api/engine/chat/stop", {"job_id": streams[0].job_id}))
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
    """Stop streams that run still, which they must: otherwise what was measured beside them was not beside them."""
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
    """The answers, all of which must have their full length: a shorter one would be another measurement."""
    if short := [answer.tokens for answer in answers if answer.tokens != TOKENS]:
        raise BenchError(f"{len(short)} of {len(answers)} answers did not have {TOKENS} tokens: {short[:8]}")
    return answers
