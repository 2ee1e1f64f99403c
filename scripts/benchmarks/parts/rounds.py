"""Systems taking turns: every case is measured round by round, each round with every system, never
two at once.

The machine's speed changes within minutes. So systems are measured right after one another, in
reverse order every other round. This module knows systems by their names and their function for a
round.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from scripts.benchmarks.parts.batch import BatchLoad
from scripts.benchmarks.parts.text import TextLoad
from scripts.benchmarks.systems import servers
from scripts.benchmarks.systems.limit import limit
from scripts.benchmarks.systems.plan import IN_TURN, WARM_UP, Case, Figures, Plan, Results
from scripts.benchmarks.systems.prompts import Prompts
from scripts.benchmarks.systems.servers import Server

PAUSE_S = 0.2
"""A pause between two systems: work of the one after its last token must not slow the other."""
Round = Callable[[Case, int], Awaitable[Results]]


@contextlib.contextmanager
def systems(plan: Plan, folder: Path, ours: Server) -> Iterator[tuple[dict[str, Round], list[str]]]:
    """All that take turns in the plan, running, and the BLAS of each."""
    wanted = {name for case in plan.cases for name in IN_TURN[case.part]}
    prompts = Prompts(plan.model)
    text, batch = TextLoad(plan, ours, prompts), BatchLoad(ours, prompts)

    async def our_round(case: Case, turn: int) -> Results:
        return await (batch.round(turn) if case.part == "batch" else text.round(case, turn))

    running: dict[str, Round] = {"ours": our_round}
    blas = []
    with contextlib.ExitStack() as stack:
        if "limit" in wanted:
            library = stack.enter_context(limit(plan, folder))
            running["limit"] = library.round
            blas.append(library.blas)
        if "peer" in wanted:
            peer = stack.enter_context(servers.peer(plan, folder))
            running["peer"] = TextLoad(plan, peer, prompts).round
            blas.append(peer.blas)
        yield running, blas


async def take_turns(
    plan: Plan, running: Mapping[str, Round], log: Callable[[str], None]
) -> dict[str, Results]:
    """The figures of each system in all cases of the plan."""
    found: dict[str, Results] = {name: {} for name in running}
    for case in plan.cases:
        log(f"{case.part} {case.name}" if case.part == "throughput" else case.part)
        names = IN_TURN[case.part]
        for turn in range(plan.first_turn_of(case), plan.rounds_of(case)):
            for name in names[::-1] if turn % 2 else names:
                results = await running[name](case, turn)
                await asyncio.sleep(PAUSE_S)
                if turn != WARM_UP:
                    for key, figures in results.items():
                        found[name].setdefault(key, Figures()).add(figures)
    return found
