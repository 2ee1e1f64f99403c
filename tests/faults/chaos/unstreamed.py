"""``--unstreamed``: thousands of answers without streaming, of 2 to 6 s each; every one must be
200 and complete."""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from pathlib import Path

from tests.faults.client import ask
from tests.faults.stack import Stack
from worker.backends import echo

AT_ONCE = 200
STEP_MS = 50
TOKENS = (40, 120)
PATH = "/v1/chat/completions"


async def run(stack: Stack, count: int, rng: random.Random) -> Counter[str]:
    """Request this many answers, 200 at a time; returns their number by status."""
    stack.start_worker()
    stack.start_api()
    await stack.worker_ready()
    await stack.api_ready()
    statuses: Counter[str] = Counter()
    numbers = iter(range(count))

    async def send_requests() -> None:
        for number in numbers:
            statuses[await _one(stack.port(), f"unstreamed {number}", rng.randrange(*TOKENS))] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, count)):
            group.create_task(send_requests())
    return statuses


async def _one(port: int, prompt: str, tokens: int) -> str:
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": prompt}],
        "seed": 1,
        "max_tokens": tokens,
    }
    answer = await ask(port, "POST", PATH, body)
    if answer.status != 200:
        return f"{answer.status} {answer.json['error']['code']}"
    text = answer.json["choices"][0]["message"]["content"]
    return "200" if text == echo.answer(prompt, 1, tokens) else "200, another text"


def main(options: argparse.Namespace, folder: Path) -> int:
    """Run it and print the statuses; 1 unless every answer is 200."""
    stack = Stack(folder, MLXQ_ECHO_DELAY_MS=str(STEP_MS), MLXQ_SLOTS=str(AT_ONCE))
    try:
        statuses = asyncio.run(run(stack, options.unstreamed, random.Random(options.seed)))
    finally:
        stack.close()
    for kind, times in statuses.most_common():
        print(f"{kind}: {times}")
    return int(set(statuses) != {"200"})
