"""The batch scheduler without a thread, on the echo backend: a test runs its turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.support.chats import MODEL, REVISION, Loads
from wire.batches import BatchLine, BatchSlice, LineResult
from wire.messages import ChatJob, Message, Sampling
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.echo import ECHO_MODEL, answer
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import ChatLoad, EngineContext, attempt
from worker.engine.counters import Counters
from worker.models.loaded import LoadedModels

WAIT_S = 60
SLOTS = 4


def prompt(
    text: str,
    number: int = 1,
    batch: str = "b",
    model: str = MODEL,
    suspect: bool = False,
    owner: str = "everyone",
    **sampling: Any,
) -> BatchSequence:
    chosen = Sampling.model_validate({"seed": number, "max_tokens": 8, **sampling})
    line = BatchLine(
        number=number,
        custom_id=f"{batch}-{number}",
        model_id=model,
        model_revision=REVISION,
        messages=(Message(role="user", content=text),),
        sampling=chosen,
    )
    part = BatchSlice(job_id=f"slice-{batch}", batch_id=batch, owner=owner, number=0)
    made = BatchSequence(line, part, 1)
    made.suspect = suspect
    return made


def prompts(batch: str, count: int, **sampling: Any) -> list[BatchSequence]:
    return [prompt(f"{batch} {n}", n, batch, **sampling) for n in range(1, count + 1)]


class Results:
    """Keeps the sequences that ended, in order, and lets a test wait for them."""

    def __init__(self) -> None:
        self.ended: list[BatchSequence] = []
        self._changed = threading.Condition()

    def __call__(self, ended: BatchSequence) -> None:
        with self._changed:
            self.ended.append(ended)
            self._changed.notify_all()

    def wait(self, count: int) -> list[LineResult]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ended) >= count, WAIT_S), (
                f"{len(self.ended)} of {count}"
            )
            return [one.result() for one in self.ended]


class Immediate(EngineContext):
    """Without an engine's thread: what is posted is done at once."""

    def post(self, work: Callable[[], None]) -> None:
        work()


class _Inline:
    """In place of the thread that opens models."""

    def submit(self, work: Callable[[], Backend]) -> Future[Backend]:
        return attempt(work)

    def close(self) -> None:
        """Nothing is under way."""


class InlineLoads(LoadedModels):
    """Models that are loaded on the thread that asks for them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loads._thread = _Inline()  # type: ignore[assignment]

    def start_all(self) -> bool:
        """End all loads; whether there were any."""
        begun = self.starting
        while self.starting:
            self.start_some()
        return begun

    def loaded(self, job: ChatJob) -> Backend:
        """A chat's model, loaded now. Raises WorkerError."""
        return self.of(self._record_of(job))

    def of(self, record: ModelRecord) -> Backend:
        """A record's model, loaded now. Raises WorkerError."""
        done = self.load(record, lambda work: work())
        self.start_all()
        return done.result()


class Lanes:
    """The batch scheduler without a thread: a test runs its turns."""

    def __init__(self, share: float = 0.0) -> None:
        self.results = Results()
        self.loads = Loads()
        self.suspects: list[str] = []
        """Suspects in the order of their marks: "in" or "out", and a line's number."""
        records = {name: ECHO_MODEL.model_copy(update={"id": name}) for name in (MODEL, "other")}
        models = InlineLoads(records.get, self.loads, budget=1 << 30, available=lambda: 1 << 30)
        self.context, self.counters = Immediate(), Counters()
        self.background = BatchScheduler(
            models,
            slots=SLOTS,
            context=self.context,
            counters=self.counters,
            share=share,
            on_end=self.results,
            on_suspect=lambda one: self.suspects.append(f"in {one.line.number}"),
            on_clear=lambda one: self.suspects.append(f"out {one.line.number}"),
        )
        self.models = models

    def submit(self, *some: BatchSequence) -> None:
        """Submit prompts, and tokenise all of them before the first is admitted."""
        release = threading.Event()
        self.background._tokenising.submit(release.wait, WAIT_S)
        self.background.submit(list(some))
        self._turn(ChatLoad())
        release.set()
        self.tokenised()

    def turns(self, count: int, chats: ChatLoad = ChatLoad()) -> None:  # noqa: B008 (frozen)
        for _ in range(count):
            self._turn(chats)
            self.tokenised()

    def tokenised(self) -> None:
        """Wait until the prompts are tokenised that are to be."""
        self.background._tokenising.submit(lambda: None).result(WAIT_S)

    def _turn(self, chats: ChatLoad) -> None:
        """One turn, and another if a model is loaded in it."""
        self.background.run_turn(chats)
        if self.models.start_all():
            self.background.run_turn(chats)

    def running(self) -> list[str]:
        return [s.batch_id for s in self.background._running]

    def close(self) -> None:
        self.background.close()


def right(result: LineResult, batch: str = "b") -> bool:
    return result.text == answer(f"{batch} {result.number}", result.number, 8)
