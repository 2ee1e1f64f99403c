"""What endpoints are told: the types of events, and their bodies, which hold ids alone. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, get_args

EventType = Literal[
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
    "batch.completed",
    "batch.failed",
    "batch.cancelled",
    "batch.expired",
    "chat.completed",
    "chat.failed",
    "chat.cancelled",
    "chat.incomplete",
]
"""OpenAI's, and those of chats of the native API."""
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
_ENDS = {"cancelled": "cancelled", "length": "incomplete"}


@dataclass(frozen=True, slots=True)
class Event:
    """One end: what has ended, whose it was, and when, in milliseconds of Redis' time."""

    type: EventType
    id: str
    owner: str
    ended_ms: int

    def body(self, number: str) -> bytes:
        """What is sent. ``number`` stands for the event: the same for all endpoints and tries."""
        told = {
            "object": "event",
            "id": f"evt_{number}",
            "type": self.type,
            "created_at": self.ended_ms // 1000,
            "data": {"id": self.id},
        }
        return json.dumps(told, separators=(",", ":")).encode()


def event_of(entry_id: str, entry: dict[str, str]) -> Event | None:
    """The event of an entry of the outbox; None for one of another release."""
    kind, _, public_id = entry.get("of", "").partition(" ")
    how = entry.get("how", "")
    if kind == "batch":
        name = how
    else:
        name = "failed" if how.startswith("error:") else _ENDS.get(how, "completed")
    event_type = f"{kind}.{name}"
    if event_type not in EVENT_TYPES:
        return None
    ended_ms = int(entry_id.partition("-")[0])
    return Event(event_type, public_id, entry.get("owner", ""), ended_ms)


def digest(*parts: str) -> str:
    """32 hex digits that stand for these texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
