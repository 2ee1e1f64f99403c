"""A library that ends the thread or the process fails the chat in hand, and no other."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from tests.support.chats import sequence
from wire.messages import Event, Failed, is_terminal
from worker.backends.base import Step
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

WAIT_S = 60


class Exiting(EchoBackend):
    """Ends the process in the method that is named, once for each time it is named."""

    def __init__(self) -> None:
        super().__init__(0.0, prefill_step=16)
        self.at: str | None = None

    def opened(self, _: object) -> EchoBackend:
        self._exit("load")
        return self

    def prepare(self, sequence: Sequence) -> list[str]:
        self._exit("prepare")
        return super().prepare(sequence)

    def step(self, others_waiting: bool = False) -> Step:
        self._exit("step")
        return super().step(others_waiting)

    def _exit(self, method: str) -> None:
        if self.at == method:
            self.at = None
            sys.exit(1)


class Ends:
    """The sink: the last event of each chat."""

    def __init__(self) -> None:
        self._ends: dict[str, Event] = {}
        self._changed = threading.Condition()

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None:
        with self._changed:
            self._ends |= {chat.job_id: event for chat, event in events if is_terminal(event)}
            self._changed.notify_all()

    def of(self, job_id: str) -> Event:
        with self._changed:
            assert self._changed.wait_for(lambda: job_id in self._ends, WAIT_S)
            return self._ends[job_id]


@pytest.fixture
def exiting() -> Exiting:
    return Exiting()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def engine(exiting: Exiting, ends: Ends) -> Iterator[Engine]:
    find = {"echo": ECHO_MODEL}.get
    running = Engine(
        LoadedModels(find, exiting.opened, budget=1 << 30, available=lambda: 1 << 30), ends
    )
    running.start()
    yield running
    running.close()


@pytest.mark.parametrize(
    ("method", "code"),
    [("load", "load_failed"), ("prepare", "engine_failed"), ("step", "engine_failed")],
)
def test_a_librarys_exit_fails_one_chat_and_the_next_is_answered(
    engine: Engine, exiting: Exiting, ends: Ends, method: str, code: str
) -> None:
    exiting.at = method
    engine.submit(sequence("first", job_id="first"))
    failed = ends.of("first")
    assert isinstance(failed, Failed)
    assert failed.code == code
    engine.submit(sequence("second", job_id="second"))
    assert not isinstance(ends.of("second"), Failed)
