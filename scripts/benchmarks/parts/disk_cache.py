"""Cached prompts on disk: second turns after kill -9 of the worker, silences of running streams
while entries are written and read, and the bytes that are written under load."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from scripts.benchmarks.parts.text import LONG_ANSWER, UNDER_WAY, end
from scripts.benchmarks.systems import servers
from scripts.benchmarks.systems.client import Answer, burst, send
from scripts.benchmarks.systems.plan import (
    GREEDY,
    SAMPLED,
    BenchError,
    Figures,
    Plan,
    Results,
)
from scripts.benchmarks.systems.prompts import Messages, Prompts, user
from scripts.benchmarks.systems.servers import Server

LENGTHS = (1600, 5900)
"""Tokens of a first message; with the answer and the second question there are 100 more."""
ROOM = 300
"""Tokens of the context window that are left beside it."""
STREAMS = 4
CONVERSATIONS = 4
"""That come beside the streams, one after another."""
MEMORY = 1.5
"""How many of their caches the memory has room for: each drives the one before out to the disk."""
LOAD_S, CLIENTS = 60.0, 4
QUIET_S = 4.0
"""Without a write for so long, everything has been written."""
LIMIT_S = 300.0


def lengths(plan: Plan) -> list[int]:
    """Those that the model's context window has room for, or as much of them as it has."""
    config = json.loads(Path(plan.model, "config.json").read_text("utf-8"))
    room = int(config["max_position_embeddings"]) - ROOM
    return sorted({min(length, room) for length in LENGTHS})


def measure(plan: Plan, folder: Path) -> Results:
    """TTFT of second turns by their length, cold and from the disk; longest silences of streams,
    with and without a disk cache, as ``ttft``; bytes an hour, as ``rate``."""
    found: Results = {}
    prompts, (shorter, *_) = Prompts(plan.model), lengths(plan)
    with servers.ours(plan, folder / "kills") as server:
        service = _Service(server, prompts)
        uvloop.run(service.ask(service.first("memory", shorter)))
        entry = service.settled()["bytes"]
        for turn in range(plan.rounds):
            _add(found, service.after_kill(f"turn {turn}", lengths(plan)))
        hourly = service.written_under_load(shorter) * 3600 / LOAD_S
        _add(found, {"disk bytes": Figures(rate=[hourly])})
    memory = ["--prompt-cache-mb", str(max(1, int(MEMORY * entry) >> 20))]
    kinds = {"with": memory, "without": [*memory, "--disk-cache-gb", "0"]}
    for turn in range(plan.rounds):
        for kind in sorted(kinds, reverse=bool(turn % 2)):
            data = folder / f"{kind} {turn}"
            with servers.ours(plan, data, flags=kinds[kind]) as server:
                service = _Service(server, prompts)
                beside = uvloop.run(service.beside_streams(shorter))
                if kind == "with" and not (use := service.settled())["hits"]:
                    raise BenchError(f"no entry was read beside streams: {use}")
            _add(found, {f"{name} {kind}": figures for name, figures in beside.items()})
    return found


def _add(found: Results, more: Results) -> None:
    for name, figures in more.items():
        found.setdefault(name, Figures()).add(figures)


class _Service:
    """A running service, and the conversations that it is asked about."""

    def __init__(self, server: Server, prompts: Prompts) -> None:
        self._server = server
        self._prompts = prompts

    def first(self, label: str, tokens: int) -> Messages:
        return [user(self._prompts.text(label, tokens))]

    def _again(self, first: Messages, answer: Answer, label: str) -> Messages:
        # A model of random weights writes any character, NUL among them, which requests may not.
        return self._prompts.second_turn(first, answer.text.replace("\0", ""), label)

    async def ask(self, messages: Messages) -> Answer:
        [answer] = await burst(self._server.port, [self._server.chat(messages, GREEDY, 0)])
        return answer

    def after_kill(self, label: str, tokens: list[int]) -> Results:
        """The second turns of conversations whose first ones another worker has answered, each
        beside one of the same length that nobody knows."""
        conversations = {}
        for length in tokens:
            first = self.first(f"{label} {length}", length)
            answer = uvloop.run(self.ask(first))
            conversations[length] = self._again(first, answer, f"{label} warm")
        before = self.settled()["pid"]
        os.kill(before, signal.SIGKILL)
        self._status(lambda status: status["pid"] != before)
        uvloop.run(self.ask(self.first(f"{label} wakes", 32)))
        found: Results = {}
        for length, warm in conversations.items():
            first = self.first(f"{label} {length} cold", length)
            cold = self._prompts.second_turn(first, "Yes.", f"{label} cold")
            answers = [uvloop.run(self.ask(turn)) for turn in (cold, warm)]
            if answers[1].cached_tokens < length:
                raise BenchError(f"a conversation of {length} tokens did not come from the disk")
            for name, answer in zip(("cold", "disk"), answers, strict=True):
                found[f"{length} {name}"] = Figures([answer.ttft])
        return found

    def written_under_load(self, tokens: int) -> int:
        """Bytes that are written for conversations of two turns in so many seconds and the silence
        behind them."""
        before = self.settled()["bytes_written"]
        began, number = time.monotonic(), 0
        while time.monotonic() < began + LOAD_S:
            number += 1
            uvloop.run(self._two_turns(f"load {number}", tokens))
        return int(self.settled()["bytes_written"] - before)

    async def _two_turns(self, label: str, tokens: int) -> None:
        firsts = [self.first(f"{label} {client}", tokens) for client in range(CLIENTS)]
        answers = await self._together(firsts)
        await self._together(
            [
                self._again(first, answer, label)
                for first, answer in zip(firsts, answers, strict=True)
            ]
        )

    async def _together(self, chats: list[Messages]) -> list[Answer]:
        requests = [self._server.chat(chat, GREEDY, 0) for chat in chats]
        return await burst(self._server.port, requests)

    async def beside_streams(self, tokens: int) -> Results:
        """The longest silences of some streams while conversations begin, and while they go on."""
        await self.ask(self.first("wakes", 32))
        requests = [
            self._server.chat(self.first(f"stream {i}", 32), SAMPLED, 0, LONG_ANSWER)
            for i in range(STREAMS)
        ]
        streams = [await send(self._server.port, request) for request in requests]
        for stream in streams:
            await stream.frames(UNDER_WAY)
        firsts = [self.first(f"beside {i}", tokens) for i in range(CONVERSATIONS)]
        began = time.perf_counter()
        answers = [await self.ask(first) for first in firsts]
        turned = time.perf_counter()
        for first, answer in zip(firsts, answers, strict=True):
            await self.ask(self._again(first, answer, "beside"))
        ended = time.perf_counter()
        await end(self._server, streams)
        watched = [await stream.answer() for stream in streams]
        return {
            name: Figures([max(one.longest_gap(*window) for one in watched)])
            for name, window in (("begin", (began, turned)), ("go on", (turned, ended)))
        }

    # --- the worker's status ----------------------------------------------------------------------

    def settled(self) -> dict[str, Any]:
        """The use of the disk cache once nothing is written any more, with the worker's pid."""
        last, since = -1, time.monotonic()

        def quiet(status: dict[str, Any]) -> bool:
            nonlocal last, since
            if status["bytes_written"] != last:
                last, since = status["bytes_written"], time.monotonic()
            return time.monotonic() - since > QUIET_S

        return self._status(quiet)

    def _status(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The same once something holds for it."""
        url = f"http://127.0.0.1:{self._server.port}/api/engine/status"
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            with urllib.request.urlopen(url, timeout=10) as answer:
                workers = json.load(answer)["workers"]
            if workers:
                status = workers[0]["disk_cache"] | {"pid": workers[0]["pid"]}
                if holds(status):
                    return dict(status)
            time.sleep(0.1)
        raise BenchError("the worker's status does not come to what is waited for")
