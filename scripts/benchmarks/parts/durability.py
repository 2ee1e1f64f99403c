"""What the durable token log costs: this service against a variant with plain PUBLISH, in turn in
one run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from scripts.benchmarks.parts.text import whole
from scripts.benchmarks.systems import servers
from scripts.benchmarks.systems.client import burst, rate
from scripts.benchmarks.systems.plan import GREEDY, Figures, Plan, Results
from scripts.benchmarks.systems.prompts import Prompts

CLIENTS = 32
BURSTS = 3
"""Bursts a round and service: one alone lasts little more than a second."""


async def measure(plan: Plan, folder: Path) -> Results:
    """Tokens per second at 32 clients, with the log and without; rounds alternate which one is
    first."""
    prompts = Prompts(plan.model)
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(servers.ours(plan, folder / name, variant))
            for name, variant in (("durable", None), ("plain", "plain-service"))
        }
        results = {name: Figures([], []) for name in running}
        for turn in range(plan.rounds + 1):
            for name in sorted(running, reverse=bool(turn % 2)):
                for number in range(BURSTS):
                    chats = [prompts.chat(f"{name} {turn} {number} {i}") for i in range(CLIENTS)]
                    server = running[name]
                    answers = await burst(
                        server.port, [server.chat(chat, GREEDY, 0) for chat in chats]
                    )
                    if turn:  # The first round warms up.
                        results[name].ttft += [answer.ttft for answer in whole(answers)]
                        results[name].rate.append(rate(answers))
    return results
