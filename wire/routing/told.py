"""What each worker tells the others of itself. All of it expires with the worker."""

from __future__ import annotations

from typing import Literal, get_args

from wire.keys import PREFIX, WORKER_STATUS_LIFETIME_S
from wire.messages import TolerantRecord

LIFETIME_S = WORKER_STATUS_LIFETIME_S
BLOCK = 32
"""Tokens that have one hash."""
Outcome = Literal["here", "nowhere", "prompt", "model", "late"]
"""What became of a chat that a worker took up beside others. ``here``: it held some of the prompt
itself, and no other much more; ``nowhere``: no worker did that had room; ``prompt``, ``model``: the
chat was offered to another for that; ``late``: that one didn't take it in time."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
ROUTED = PREFIX + "routed"
"""Hash: outcome -> how many chats, ever since Redis began."""


class Room(TolerantRecord):
    """How many of a worker's slots are taken, and the models it has loaded: ids and revisions."""

    running: int
    slots: int
    models: tuple[tuple[str, str], ...]


def prefixes(worker: str) -> str:
    """Set: hashes of the blocks of tokens in a worker's prompt cache, each of a block and all that
    are before it."""
    return f"{PREFIX}worker-prefixes:{worker}"


def room(worker: str) -> str:
    """JSON: :class:`Room` of a worker. Without it the worker gets no offers."""
    return f"{PREFIX}worker-room:{worker}"
