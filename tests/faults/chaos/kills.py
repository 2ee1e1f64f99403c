"""``--kills``: a real model's worker is killed repeatedly with eight chats in flight, and the texts
are compared.

Eight chats at a time, half greedy, half seeded, are answered undisturbed; then each eight once
more, with a kill -9 at a random token. With ``--guesses`` these workers guess ahead in every step,
and the undisturbed one never does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxq.service.launch import tune_for_linux
from scripts.benchmarks.parts.drafts import DRAFT_TOKENS, WORK, prompt
from tests.faults.chaos.near_ties import Difference, describe_differences
from tests.faults.client import Chat, Client
from tests.faults.stack import WORKER, Stack, until
from wire import keys
from wire.log_entries import decode_rows, position_after
from wire.messages import Finished
from worker.models.folders import DEMO_MODELS

CHATS = 8
DEMO = "demo-chat"
RANDOM = "random"
RANDOM_TOKENS = 300
TOKENS_WITH_GUESSES = 100
UNTIL_THE_LIMIT = {"ignore_eos": True, "stream_options": {"include_usage": True}}
GUESSING_WORKER = ("-m", "tests.faults.chaos.guessing_worker")
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command line takes for these rounds."""
    parser.add_argument(
        "--kills",
        type=int,
        help="instead: kill a real model's worker this many times and compare the texts",
    )
    parser.add_argument(
        "--model",
        choices=(DEMO, RANDOM),
        default=DEMO,
        help="for --kills (default: %(default)s)",
    )
    parser.add_argument(
        "--guesses",
        action="store_true",
        help="for --kills: the workers that are killed guess ahead in every step",
    )


@dataclass
class Whole:
    """A chat's undisturbed answer."""

    chat: Chat
    tokens: list[int]


@dataclass
class Result:
    """The sequences compared, those that differ, other violations, and what was guessed."""

    rounds: int = 0
    equal: int = 0
    too_late: int = 0
    drafted: int = 0
    accepted: int = 0
    differences: list[Difference] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def sequences(self) -> int:
        return CHATS * self.rounds


class Kills:
    """The rounds. ``rng`` chooses the prompts and when the worker dies."""

    def __init__(
        self, stack: Stack, model: str, rng: random.Random, *, guesses: bool = False
    ) -> None:
        self.result = Result()
        self._stack = stack
        self._model = model
        self._rng = rng
        self._guesses = guesses
        self._asked = 0

    async def run(self, rounds: int) -> Result:
        """Run this many rounds in which all eight chats were in flight when the worker died."""
        self._stack.start_worker()
        self._stack.start_api()
        await self._stack.worker_ready()
        await self._stack.api_ready()
        undisturbed = [await self._undisturbed() for _ in range(rounds)]
        self._stack.kill("worker")
        self._start_killed_worker()
        for wholes in undisturbed:
            while not await self._disturbed(wholes):
                self.result.too_late += 1
            self.result.rounds += 1
        return self.result

    def _start_killed_worker(self) -> None:
        if self._guesses:
            settings = {"MLXQ_NUM_DRAFT_TOKENS": str(DRAFT_TOKENS)}
            self._stack.start_worker(command=GUESSING_WORKER, **settings)
        else:
            self._stack.start_worker(command=WORKER)

    async def _undisturbed(self) -> list[Whole]:
        chats = [self._chat(number) for number in range(CHATS)]
        await asyncio.gather(*(self._client(chat).run() for chat in chats))
        return [Whole(chat, self._logged(chat)) for chat in chats]

    async def _disturbed(self, wholes: list[Whole]) -> bool:
        """Ask once more, with a kill; whether all eight were in flight then."""
        length = sum(whole.chat.cursor for whole in wholes)
        asked = [whole.chat for whole in wholes]
        again = [Chat(chat.prompt, chat.seed, chat.tokens, chat.more) for chat in asked]
        async with asyncio.TaskGroup() as group:
            for chat in again:
                group.create_task(self._client(chat).run())
            if not await self._kill(again, self._rng.randrange(CHATS, length * 3 // 4)):
                return False
        for whole, chat in zip(wholes, again, strict=True):
            self._compare(whole, chat)
        return True

    async def _kill(self, chats: list[Chat], tokens: int) -> bool:
        """Kill and restart the worker after this many tokens; whether every chat was in flight."""
        await until(
            lambda: (
                sum(chat.cursor for chat in chats) >= tokens and all(chat.cursor for chat in chats)
            )
        )
        in_flight = not any(chat.done for chat in chats)
        self._stack.kill("worker")
        self._start_killed_worker()
        return in_flight

    def _client(self, chat: Chat) -> Client:
        return Client(chat, self._stack.port)

    def _chat(self, number: int) -> Chat:
        rng, more = self._rng, {"model_id": self._model, **(GREEDY if number < CHATS // 2 else {})}
        seed, tokens = rng.randrange(1 << 40), RANDOM_TOKENS
        if self._guesses:
            self._asked += 1
            text = prompt(list(WORK)[self._asked % len(WORK)], self._asked)
            tokens, more = TOKENS_WITH_GUESSES, {**more, **UNTIL_THE_LIMIT}
        elif self._model == DEMO:
            text = f"Count to {rng.randrange(60, 101)}."  # Its long answers, a hundred tokens.
        else:
            text = " ".join(rng.choices(WORDS, k=12))
        return Chat(text, seed, tokens, more)

    def _compare(self, whole: Whole, again: Chat) -> None:
        actual = self._logged(again)
        timings = again.end.get("timings", {})
        self.result.drafted += timings.get("draft_tokens", 0)
        self.result.accepted += timings.get("accepted_tokens", 0)
        if whole.tokens == actual and whole.chat.text == again.text:
            self.result.equal += 1
        else:
            self.result.differences.append(Difference(whole.chat.body, whole.tokens, actual))

    def _logged(self, chat: Chat) -> list[int]:
        """The token ids of a chat; notes the errors in its log and its stream."""
        rows: Any = self._stack.redis.xrange(keys.log(chat.job_id))
        entries = decode_rows(rows)
        tokens = [token for entry in entries for token in getattr(entry.event, "token_ids", ())]
        frames = [
            (position, frame) for _, position, frame in chat.frames if "progress" not in frame
        ]
        wrong = self.result.violations
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
        return tokens


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
        (
            "guesses right, of all in the answers' last attempts",
            f"{result.accepted} of {result.drafted}",
        ),
    ]
    return "\n".join(
        [f"{model}, seed {seed}", "", "| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
    )


def main(options: argparse.Namespace, folder: Path) -> int:
    """Run the rounds and print the results; 1 if a token was lost, a difference is more than a
    near-tie, or nothing was guessed that was to be."""
    models = folder / "models"
    if options.model == RANDOM:
        from scripts.benchmarks.systems.models import silence
        from scripts.training.random_text_model import make

        silence(make(models / RANDOM))
    stack = Stack(folder, MLXQ_BACKEND="mlx", MLXQ_MODELS=str(models), **tune_for_linux({}))
    chance = random.Random(options.seed)
    try:
        kills = Kills(stack, options.model, chance, guesses=options.guesses)
        result = asyncio.run(kills.run(options.kills))
    finally:
        stack.close()
    print(table(options.model, options.seed, result))
    print("\n".join(result.violations))
    weights = models / RANDOM if options.model == RANDOM else DEMO_MODELS / "chat"
    unexplained = describe_differences(weights, result.differences) if result.differences else 0
    unguessed = options.guesses and not result.drafted
    bad = bool(result.violations or unexplained or unguessed)
    return int(bad or result.equal < 0.99 * result.sequences)
