"""Which of several workers a chat is for. Pure: knows no Redis and no model.

As SGLang's router does: the worker that holds most of the prompt, unless it is much busier than
this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_GAIN = 64
"""Tokens that another worker must hold beyond those held here: fewer are read in the time that it
takes to get there."""
LEAST_SHARE = 4
"""One in so many of the prompt's tokens must be among them. Less is mostly what chats have in
common, and each worker soon has that."""
UNEVEN = 2
"""Of a worker's slots one in so many may be taken more than here for a whole prompt, and as much
less as less of it is gained. So chats that only begin alike, as those with one system prompt do,
don't all go to one worker."""
OF_A_MODEL = 0.5
"""What a loaded model counts for, as a share of a prompt."""


class Candidate(NamedTuple):
    """A worker, as a chat sees it: ``held`` tokens of its prompt, ``running`` chats."""

    name: str
    held: int
    running: int
    slots: int
    has_model: bool


def holder(length: int, here: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    """The other worker that holds most of a prompt of so many tokens; None if the chat stays."""
    least = here.held + max(LEAST_GAIN, length // LEAST_SHARE)
    found = [
        other
        for other in others
        if other.held >= least and _has_room(other, here, (other.held - here.held) / length)
    ]
    return max(found, key=lambda other: (other.held, -other.running), default=None)


def with_model(here: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    """The least busy of the others that have a chat's model loaded, which isn't here."""
    found = [other for other in others if other.has_model and _has_room(other, here, OF_A_MODEL)]
    return min(found, key=lambda other: other.running, default=None)


def _has_room(other: Candidate, here: Candidate, gain: float) -> bool:
    more = max(1.0, gain * other.slots / UNEVEN)
    return other.running < other.slots and other.running - here.running <= more
