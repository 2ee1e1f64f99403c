"""What a client asks for of its job, beside the answer: who it runs for, when, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from wire import sampling_used
from wire.messages import ChatJob
from wire.queueing.turns import Tier
from wire.webhooks.outbox import ASKED


class AskedTier(NamedTuple):
    """A class of service, and the field or header of the request that asks for it."""

    tier: Tier
    param: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The client's options: whether the job outlives its readers, what frames hold, and how
    webhooks call what it is part of, if its end is told: by the value of a field, given its id.
    ``asked`` is the class of service that the body asks for, ``tier`` the one that it gets.
    ``max_queue_s`` is how long it may wait for its turn, seconds, and ``not_before_ms`` until when
    it isn't begun, milliseconds since the epoch. ``keeps_request``: whether the request may be kept
    behind its end. ``replay_of`` is the job that is run again.
    ``keep_alive_s`` is how long the model stays in memory afterwards, seconds; None as before."""

    on_disconnect: Literal["cancel", "continue"]
    stream_options: frozenset[str] = frozenset()
    told_as: Callable[[str], str] | None = None
    asked: AskedTier | None = None
    tier: Tier = "default"
    max_queue_s: float | None = None
    not_before_ms: int = 0
    keeps_request: bool = True
    replay_of: str | None = None
    keep_alive_s: float | None = None


def record_of(job: ChatJob, ids: Sequence[str], policy: Policy) -> dict[str, str]:
    """What is remembered of a chat; ``ids`` are those of all chats of its request."""
    record = {
        "owner": job.owner,
        "model_id": job.model_id,
        "kind": "chat",
        "on_disconnect": policy.on_disconnect,
        "stream_options": " ".join(sorted(policy.stream_options)),
        "sampling": sampling_used.stored(job.sampling),
    }
    if policy.told_as is not None:
        record[ASKED] = policy.told_as(job.job_id)
    if len(ids) > 1:
        first = job.job_id == ids[0]
        record |= {"choices": " ".join(ids)} if first else {"first_choice": ids[0]}
    return record
