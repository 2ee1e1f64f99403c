"""What the lanes of chats and of batch prompts share: the engine's inbox, its watchdog, its notes.

Made before either, and given to both.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from wire.messages import Event
from worker.engine.watchdog import Watchdog
from worker.errors import kept_alive
from worker.sequence import Sequence

HIGH_MEMORY_PERCENT = 90.0
Work = Callable[[], None]
Result = TypeVar("Result")


class Sink(Protocol):
    """Takes the events of one step. May block while it is full: the engine pauses then."""

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None: ...


@dataclass(frozen=True, slots=True)
class ChatLoad:
    """The engine's chats: how many, how many without a first token, any suspect."""

    inside: int = 0
    waiting: int = 0
    suspect: bool = False


class EngineContext:
    """``memory_percent`` reads how much of the machine's memory is in use."""

    def __init__(self, memory_percent: Callable[[], float] = lambda: 0.0) -> None:
        self._memory_percent = memory_percent
        self.inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.watchdog = Watchdog()

    def post(self, work: Work) -> None:
        """Run something on the engine's thread, between two steps."""
        self.inbox.put(work)

    def notes(self) -> list[str]:
        """Warnings about this machine for a chat or a prompt that begins now, in sentences."""
        memory = self._memory_percent()
        return (
            [f"High memory usage ({memory:.0f}%). Generation may be slow."]
            if memory > HIGH_MEMORY_PERCENT
            else []
        )


def attempt(work: Callable[[], Result]) -> Future[Result]:
    """Run something now; the future is finished when this returns."""
    future: Future[Result] = Future()
    settle(future, work)
    return future


def settle(future: Future[Result], work: Callable[[], Result]) -> None:
    """Run something now and finish a given future with it."""
    try:
        with kept_alive():
            result = work()
        future.set_result(result)
    except Exception as error:
        future.set_exception(error)
