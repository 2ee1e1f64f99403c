"""Chats for the worker's unit tests, the sink of their events, and a loader of echo backends."""

from __future__ import annotations

import threading
from typing import Any

from wire.messages import ChatJob, Delta, Event, Message, Sampling, is_terminal
from worker.backends.echo import EchoBackend
from worker.sequence import Sequence

MODEL, REVISION = "echo", "echo"
WAIT_S = 60


def chat_job(
    text: str = "hello", *, job_id: str = "job", seed: int = 1, **sampling: Any
) -> ChatJob:
    return ChatJob(
        job_id=job_id,
        owner="everyone",
        model_id=MODEL,
        model_revision=REVISION,
        messages=(Message(role="user", content=text),),
        sampling=Sampling(**{"seed": seed, "max_tokens": 8, **sampling}),
        submitted_ms=0,
    )


def sequence(text: str = "hello", **fields: Any) -> Sequence:
    return Sequence(chat_job(text, **fields))


class Reader:
    """The sink: keeps every chat's events and lets a test wait for its end."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}
        self._changed = threading.Condition()

    def __call__(self, events: list[tuple[Sequence, Event]]) -> None:
        with self._changed:
            for chat, event in events:
                self.events.setdefault(chat.job_id, []).append(event)
            self._changed.notify_all()

    def wait(self, job_id: str, least: int = 0) -> list[Event]:
        """All events of a chat once it ended, or once it has at least so many when ``least`` is
        given."""

        def there() -> bool:
            got = self.events.get(job_id, [])
            return len(got) >= least if least else any(is_terminal(e) for e in got)

        with self._changed:
            assert self._changed.wait_for(there, WAIT_S), f"{job_id}: {self.events.get(job_id)}"
            return list(self.events[job_id])

    def text(self, job_id: str) -> str:
        return "".join(e.text for e in self.wait(job_id) if isinstance(e, Delta))


class Loads:
    """Opens echo backends, or fails on demand."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.delay_s = 0.0
        self.opened: list[EchoBackend] = []

    def __call__(self, _: object) -> EchoBackend:
        if self.fault is not None:
            raise self.fault
        self.opened.append(EchoBackend(self.delay_s, prefill_step=16))
        return self.opened[-1]
