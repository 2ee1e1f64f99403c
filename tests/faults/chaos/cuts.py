"""``--cuts``: the end of Redis' append-only file is cut off, at four token rates; the readers' texts
are checked.

The rates run in parallel, each with its own Redis, worker and API.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from pathlib import Path

from tests.faults.cuts import Cuts, Result
from tests.faults.stack import Stack

PACES_MS = (0, 1, 5, 50)
SHOWN = 20


async def _pace(folder: Path, delay_ms: int, cuts: int, rng: random.Random) -> Result:
    result = Result()
    folder.mkdir()
    stack = Stack(folder, MLXQ_ECHO_DELAY_MS=str(delay_ms))
    try:
        stack.start_worker()
        stack.start_api()
        await stack.worker_ready()
        await stack.api_ready()
        await Cuts(stack, delay_ms, rng, result).run(cuts)
    finally:
        stack.close()
    print(f"{delay_ms} ms a token: {result.cuts} cuts, {len(result.wrong)} wrong", flush=True)
    return result


async def _all(options: argparse.Namespace, folder: Path) -> list[Result]:
    share = -(-options.cuts // len(PACES_MS))
    paces = [
        _pace(folder / str(delay), delay, share, random.Random(options.seed + delay))
        for delay in PACES_MS
    ]
    return await asyncio.gather(*paces)


def table(options: argparse.Namespace, results: list[Result]) -> str:
    """The results as a Markdown table."""
    rows = [
        ("cuts, of 1 byte to 200 KB", sum(result.cuts for result in results)),
        ("with a kill of the API", sum(result.with_api for result in results)),
        ("bytes lost", sum(result.bytes_lost for result in results)),
        (
            "cuts after which a reader was ahead of the log",
            sum(result.overtaken for result in results),
        ),
        ("chats whole", sum(result.whole for result in results)),
        ("chats lost with what was cut off", sum(result.lost for result in results)),
        ("wrong texts", sum(len(result.wrong) for result in results)),
    ]
    head = (
        f"{options.cuts} cuts, seed {options.seed}, at {', '.join(map(str, PACES_MS))} ms a token"
    )
    return "\n".join(
        [head, "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    )


def main(options: argparse.Namespace, folder: Path) -> int:
    """Make the cuts and print the results; 1 if a text was wrong."""
    results = asyncio.run(_all(options, folder))
    print(table(options, results))
    wrong = [line for result in results for line in result.wrong]
    print("\n".join(wrong[:SHOWN]))
    return int(bool(wrong))
