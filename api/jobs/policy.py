"""What a client asks for of its job, beside the answer: who it runs for, when, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wire.queueing.turns import Tier


@dataclass(frozen=True, slots=True)
class Policy:
    """The client's options: whether the job outlives its readers, what frames hold, and how
    webhooks call what it is part of, if its end is told: by the value of a field, given its id.
    ``tier`` is its class of service; None leaves it to the service.
    ``max_queue_s`` is how long it may wait for its turn, seconds. ``keeps_request``: whether the
    request may be kept behind its end. ``replay_of`` is the job that is run again."""

    on_disconnect: Literal["cancel", "continue"]
    stream_options: frozenset[str] = frozenset()
    told_as: Callable[[str], str] | None = None
    tier: Tier | None = None
    max_queue_s: float | None = None
    keeps_request: bool = True
    replay_of: str | None = None
