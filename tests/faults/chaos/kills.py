"""``--kills``: a real model's worker is killed repeatedly with eight chats in flight, and the texts
are compared.

Each round sends eight chats twice: undisturbed, and with a kill -9 at a random token. Half are
greedy, half seeded.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxq.service.launch import tune_for_linux
from tests.faults.chaos.near_ties import Difference, describe_differences
from tests.faults.client import Chat, Client
from tests.faults.stack import Stack, until
from wire import keys
from wire.log_entries import decode_rows, position_after
from wire.messages import Finished

CHATS = 8
DEMO = "demo-chat"
RANDOM = "random"
RANDOM_TOKENS = 300
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}
"""The seeded chats take the service's defaults: temperature, top_p and repetition penalty."""
WORDS = [
    "time",
    "river",
    "stone",
    "light",
    "seven",
    "garden",
    "winter",
    "paper",
    "music",
    "engine",
    "ocean",
    "green",
]


@dataclass
class Result:
    """The sequences compared, those that differ, and other violations."""

    rounds: int = 0
    equal: int = 0
    too_late: int = 0
    differences: list[Difference] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def sequences(self) -> int:
        return CHATS * self.rounds


class Kills:
    """The rounds. ``rng`` chooses the prompts and when the worker dies."""

    def __init__(self, stack: Stack, model: str, rng: random.Random) -> None:
        self.result = Result()
        self._stack = stack
        self._model = model
        self._rng = rng

    async def run(self, rounds: int) -> Result:
        """Run this many rounds in which all eight chats were in flight when the worker died."""
        self._stack.start_worker()
        self._stack.start_api()
        await self._stack.worker_ready()
        await self._stack.api_ready()
        while self.result.rounds < rounds:
            await self._round()
        return self.result

    async def _round(self) -> None:
        whole = [self._chat(number) for number in range(CHATS)]
        await asyncio.gather(*(self._client(chat).run() for chat in whole))
        length = sum(chat.cursor for chat in whole)
        again = [Chat(chat.prompt, chat.seed, chat.tokens, chat.more) for chat in whole]
        async with asyncio.TaskGroup() as group:
            for chat in again:
                group.create_task(self._client(chat).run())
            if not await self._kill(again, self._rng.randrange(CHATS, length * 3 // 4)):
                self.result.too_late += 1
                return
        self.result.rounds += 1
        for first, second in zip(whole, again, strict=True):
            self._compare(first, second)

    async def _kill(self, chats: list[Chat], tokens: int) -> bool:
        """Kill and restart the worker after this many tokens; whether every chat was in flight."""
        await until(
            lambda: (
                sum(chat.cursor for chat in chats) >= tokens and all(chat.cursor for chat in chats)
            )
        )
        in_flight = not any(chat.done for chat in chats)
        self._stack.kill("worker")
        self._stack.start_worker()
        return in_flight

    def _client(self, chat: Chat) -> Client:
        return Client(chat, self._stack.port)

    def _chat(self, number: int) -> Chat:
        rng, more = self._rng, {"model_id": self._model, **(GREEDY if number < CHATS // 2 else {})}
        if self._model == DEMO:
            # Its long answers, of a hundred tokens and more.
            return Chat(
                f"Count to {rng.randrange(60, 101)}.", rng.randrange(1 << 40), RANDOM_TOKENS, more
            )
        return Chat(" ".join(rng.choices(WORDS, k=12)), rng.randrange(1 << 40), RANDOM_TOKENS, more)

    def _compare(self, first: Chat, second: Chat) -> None:
        (expected, wrong), (actual, also_wrong) = self._logged(first), self._logged(second)
        self.result.violations += [*wrong, *also_wrong]
        if expected == actual and first.text == second.text:
            self.result.equal += 1
        else:
            self.result.differences.append(Difference(first.body, expected, actual))

    def _logged(self, chat: Chat) -> tuple[list[int], list[str]]:
        """The token ids of a chat, and the errors in its log and its stream."""
        rows: Any = self._stack.redis.xrange(keys.log(chat.job_id))
        entries = decode_rows(rows)
        tokens = [token for entry in entries for token in getattr(entry.event, "token_ids", ())]
        frames = [
            (position, frame) for _, position, frame in chat.frames if "progress" not in frame
        ]
        wrong = []
        ids = [position for position, _ in frames]
        if ids != sorted(ids) or ids[-1:] != [position_after(entries)]:
            wrong.append(f"{chat.job_id}: ids {ids} of {position_after(entries)} tokens")
        if "".join(str(getattr(entry.event, "text", "")) for entry in entries) != chat.text:
            wrong.append(f"{chat.job_id}: the log holds another text than was streamed")
        end = entries[-1].event
        counted = end.usage.completion_tokens if isinstance(end, Finished) else -1
        if counted - len(tokens) not in (0, 1):  # The end-of-text token is counted, but not logged.
            wrong.append(
                f"{chat.job_id}: {counted} tokens were counted, {len(tokens)} are logged, "
                f"ended with {end}"
            )
        return tokens, wrong


def table(model: str, seed: int, result: Result) -> str:
    """The results as a Markdown table."""
    rows = [
        ("kills with 8 chats in flight", result.rounds),
        ("kills that came too late and do not count", result.too_late),
        ("sequences, half greedy, half seeded", result.sequences),
        (
            "equal to the undisturbed run",
            f"{result.equal} ({100 * result.equal / result.sequences:.2f} %)",
        ),
        ("tokens lost or doubled, other violations", len(result.violations)),
    ]
    return "\n".join(
        [f"{model}, seed {seed}", "", "| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    )


def main(options: argparse.Namespace, folder: Path) -> int:
    """Run the rounds and print the results; 1 if a token was lost, or a difference is more than a
    near-tie."""
    models = folder / "models"
    if options.model == RANDOM:
        from scripts.benchmarks.systems.models import silence
        from scripts.training.random_text_model import make

        silence(make(models / RANDOM))
    stack = Stack(folder, MLXQ_BACKEND="mlx", MLXQ_MODELS=str(models), **tune_for_linux({}))
    try:
        result = asyncio.run(
            Kills(stack, options.model, random.Random(options.seed)).run(options.kills)
        )
    finally:
        stack.close()
    print(table(options.model, options.seed, result))
    print("\n".join(result.violations))
    unexplained = (
        describe_differences(models / RANDOM, result.differences) if result.differences else 0
    )
    bad = bool(result.violations or unexplained) or result.equal < 0.99 * result.sequences
    return int(bad)
