"""Guessing ahead beside plain steps: tokens per second, and how many guesses were right.

In one process, two backends of one model take turns, round by round, with the same chats.
``python -m scripts.benchmarks.parts.drafts FOLDER`` prints the table, with ``--draft FOLDER`` of
guesses of a draft model, too; ``--equal N`` counts equal answers of N chats instead, in batches of
as many rows as there are clients otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from scripts.benchmarks.systems import machine
from scripts.benchmarks.systems.plan import BenchError
from wire.messages import ChatJob, Message, Sampling
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.backends.base import Backend
from worker.backends.drafting.draft_length import DraftLength
from worker.models.folders import describe
from worker.sequence import Sequence

CLIENTS = (1, 4, 8, 32)
TOKENS = 96
DRAFT_TOKENS = 7
TOWNS = ("Arles", "Bergen", "Cork", "Delft", "Essen", "Ghent", "Lund", "Metz")
NOTICE = (
    "The ferry from {a} to {b} leaves at {n} past nine on weekdays and half an hour later on"
    " Sundays. Tickets for the ferry from {a} to {b} are sold at the pier, in the post office and"
    " on board. Dogs travel free of charge; bicycles need a ticket of their own."
)
CODE = (
    "def total_{n}(prices, discount):\n    result = 0\n    for price in prices:\n"
    "        result += price * (1 - discount)\n    return result\n\n"
    "def average_{n}(prices, discount):\n    return total_{n}(prices, discount) / len(prices)\n"
)
WORK = {
    "copy": "Repeat this notice word for word, three times:\n" + NOTICE,
    "code": "Add a docstring to each function and write out the whole file again:\n" + CODE,
    "chat": "Tell me a story about a traveller who goes from {a} to {b} in {n} days.",
}


class Rates(NamedTuple):
    """Tokens per second, and per second of processor time: the latter says more on a machine that
    does other work."""

    wall: float
    cpu: float


@dataclass(slots=True)
class Figures:
    """Of one kind of work with one number of clients, by round."""

    off: list[Rates] = field(default_factory=list)
    on: list[Rates] = field(default_factory=list)
    row_steps: int = 0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0


def prompt(kind: str, number: int) -> str:
    """A prompt of a kind of work; no two numbers have the same."""
    a, b = TOWNS[number % 8], TOWNS[(number // 8 + number + 1) % 8]
    return WORK[kind].format(a=a, b=b, n=number)


def chat(record: ModelRecord, kind: str, number: int, **sampling: Any) -> Sequence:
    """One chat of a kind of work."""
    job = ChatJob(
        job_id=f"{kind} {number}",
        owner="everyone",
        model_id=record.id,
        model_revision=record.revision,
        messages=(Message(role="user", content=prompt(kind, number)),),
        sampling=Sampling(
            **{
                "seed": number,
                "temperature": 0,
                "repetition_penalty": 1.0,
                "max_tokens": TOKENS,
                "ignore_eos": True,
                **sampling,
            }
        ),
        submitted_ms=0,
    )
    return Sequence(job)


def answer(backend: Backend, chats: list[Sequence], figures: Figures | None = None) -> Rates:
    """Answer chats in one batch; rates from when all prompts have been read."""
    for one in chats:
        backend.prepare(one)
        backend.add(one)
    began, cpu, counted = 0.0, 0.0, 0
    while backend.sequences():
        if not began and not backend.prefilling():
            began, cpu = time.perf_counter(), time.process_time()
        step = backend.step()
        for token in step.tokens:
            if token.end == "stop":
                token.sequence.accept_last(token.token_id, token.measured)
            else:
                token.sequence.accept(token.token_id, token.measured)
        counted += len(step.tokens) if began else 0
        if figures is not None:
            figures.row_steps += len({token.sequence for token in step.tokens})
            figures.tokens += len(step.tokens)
            figures.drafted += step.draft_tokens
            figures.accepted += step.accepted_tokens
    seconds, busy = time.perf_counter() - began, time.process_time() - cpu
    return Rates(counted / seconds, counted / busy)


def opened(record: ModelRecord, draft_tokens: int, draft: ModelRecord | None = None) -> Backend:
    settings = Settings(num_draft_tokens=draft_tokens, prompt_cache_mb=0)
    cache = backends.new_prompt_cache(settings)
    backend = backends.open_backend(record, settings, cache, draft=draft)
    for _ in backend.start():
        pass
    return backend


def measure(
    record: ModelRecord,
    draft: ModelRecord | None,
    rounds: int,
    clients: tuple[int, ...],
    tokens: int,
) -> dict[tuple[str, int], Figures]:
    """Raises BenchError if an answer isn't the same with guesses and without."""
    off, on = opened(record, 0), opened(record, DRAFT_TOKENS, draft)
    found = {(kind, count): Figures() for count in clients for kind in WORK}
    number = 0
    # The first round warms up, and lets the guesses' policy measure the steps.
    for turn in range(rounds + 1):
        for (kind, count), figures in found.items():
            numbers = range(number, number + count)
            number += count
            rates = {}
            texts = {}
            for backend in (off, on) if turn % 2 else (on, off):
                chats = [chat(record, kind, i, max_tokens=tokens) for i in numbers]
                seen = figures if backend is on and turn else None
                rates[backend is on] = answer(backend, chats, seen)
                texts[backend is on] = [one.generated for one in chats]
            if texts[True] != texts[False]:
                raise BenchError(f"{kind}, {count} clients: another text with guesses")
            if turn:
                figures.off.append(rates[False])
                figures.on.append(rates[True])
    return found


COLUMNS = (
    "work",
    "clients",
    "off, tokens/s",
    "on, tokens/s",
    "on to off",
    "the same by processor time",
    "tokens a row and step",
    "drafted",
    "accepted",
)


def table(found: dict[tuple[str, int], Figures]) -> Iterator[str]:
    """Markdown."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---" * len(COLUMNS) + "|"
    for (kind, clients), one in found.items():
        pairs = list(zip(one.off, one.on, strict=True))
        cells = (
            kind,
            clients,
            f"{median(off.wall for off in one.off):.1f}",
            f"{median(on.wall for on in one.on):.1f}",
            f"{median(on.wall / off.wall for off, on in pairs):.2f}",
            f"{median(on.cpu / off.cpu for off, on in pairs):.2f}",
            f"{one.tokens / one.row_steps:.2f}",
            one.drafted,
            one.accepted,
        )
        yield f"| {' | '.join(map(str, cells))} |"


class Always(DraftLength):
    """Guesses whether it pays or not."""

    def may_pay(self, rows: int) -> bool:  # noqa: ARG002
        return True

    def may_read(self, rows: int) -> bool:  # noqa: ARG002
        return True

    def choose(self, rows: int, drafts: object) -> int:  # noqa: ARG002
        return self.most


def equal(
    record: ModelRecord,
    draft: ModelRecord | None,
    prompts: int,
    at_once: tuple[int, ...],
    tokens: int,
) -> Iterator[str]:
    """How many of so many answers are the same with guesses wherever there are any, greedy and
    seeded; a line every hundred prompts and at each batch size's end."""
    off, on = opened(record, 0), opened(record, DRAFT_TOKENS, draft)
    on._draft_length = Always(DRAFT_TOKENS)  # type: ignore[attr-defined]
    if draft is not None:
        on._draft_model._length = Always(DRAFT_TOKENS)  # type: ignore[attr-defined]
    on.reset()
    for rows in at_once:
        figures, same = Figures(), 0
        for start in range(0, prompts, rows):
            numbers = range(start, min(start + rows, prompts))
            made = []
            for backend, counts in ((off, None), (on, figures)):
                chats = [
                    chat(record, list(WORK)[i % 3], i, temperature=0.8 * (i % 2), max_tokens=tokens)
                    for i in numbers
                ]
                answer(backend, chats, counts)
                made.append([one.generated for one in chats])
            same += sum(a == b for a, b in zip(*made, strict=True))
            if numbers.stop % 100 < rows or numbers.stop == prompts:
                yield (
                    f"batches of {rows}: {same} of {numbers.stop} equal;"
                    f" {figures.accepted} of {figures.drafted} guesses right"
                )


def main() -> None:
    commands = argparse.ArgumentParser(description=__doc__)
    commands.add_argument("folder", type=Path)
    commands.add_argument("--draft", type=Path, metavar="FOLDER", help="a draft model's folder")
    commands.add_argument("--rounds", type=int, default=3)
    commands.add_argument(
        "--clients", type=lambda text: tuple(map(int, text.split(","))), default=CLIENTS
    )
    commands.add_argument("--tokens", type=int, default=TOKENS)
    commands.add_argument("--equal", type=int, default=0, metavar="N")
    chosen = commands.parse_args()
    record = _model(chosen.folder)
    draft = None if chosen.draft is None else _model(chosen.draft)
    print(
        *(f"- {line}." for line in [machine.moment(), *machine.conditions()]), sep="\n", flush=True
    )
    if chosen.equal:
        for line in equal(record, draft, chosen.equal, chosen.clients, chosen.tokens):
            print(line, flush=True)
        return
    found = measure(record, draft, chosen.rounds, chosen.clients, chosen.tokens)
    print(*table(found), sep="\n")


def _model(folder: Path) -> ModelRecord:
    record = describe(folder, name=folder.name)
    if record is None:
        raise BenchError(f"{folder} holds no model")
    return record


if __name__ == "__main__":
    main()
