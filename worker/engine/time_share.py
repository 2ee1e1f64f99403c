"""The parts of the time that others than chats get while chats run: prompts of batches, and texts
that become vectors or scores."""

from __future__ import annotations

import time

MOST_CREDIT_S = 0.1
"""The longest time that prompts may save up."""


class TimeShare:
    """A credit of time: grows with ``share`` (0 to 1) of the time that passes, pays for turns."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit_s = 0.0
        # What a turn costs, by the last one: this much credit buys the next.
        self._turn_s = MOST_CREDIT_S
        self._earned_at = time.monotonic()

    def earn(self, now: float) -> None:
        """Add to the credit for the time since the last call."""
        passed, self._earned_at = now - self._earned_at, now
        self._credit_s = min(MOST_CREDIT_S, self._credit_s + self._share * passed)

    def reset(self) -> None:
        self._credit_s = 0.0

    @property
    def pays_a_turn(self) -> bool:
        return self._credit_s >= self._turn_s

    def spend(self, seconds: float, *, held_up: bool) -> None:
        """Pay for a turn; nothing is saved up while chats hold no prompt up."""
        self._turn_s = min(seconds, MOST_CREDIT_S)
        self._credit_s = self._credit_s - seconds if held_up else 0.0


BESIDE_CHATS = 1 / 4
BEFORE_FIRST_TOKEN = 1 / 20
"""The parts of the time that texts get while chats run, and while one waits for its first token."""


class TextTurns:
    """When the next step of texts is due: at once without chats, else so long after the last one
    that texts get no more than their part of the time."""

    def __init__(self) -> None:
        self._ended_at = self._took_s = 0.0

    def due_in(self, now: float, *, chats: bool, chat_waits: bool) -> float:
        """In how many seconds; 0 is now. ``chat_waits``: for its first token."""
        if not chats:
            return 0.0
        share = BEFORE_FIRST_TOKEN if chat_waits else BESIDE_CHATS
        return max(0.0, self._ended_at + self._took_s * (1 / share - 1) - now)

    def spend(self, began: float, ended: float) -> None:
        """Note a step, in monotonic seconds."""
        self._ended_at, self._took_s = ended, ended - began
