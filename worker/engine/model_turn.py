"""Turns of batches whose models don't fit into memory together."""

from __future__ import annotations

import time

from worker.engine.batch_queue import BatchQueue
from worker.engine.batch_sequence import Group

MODEL_TURN_S = 30.0
"""Prompts whose model has no room wait this long for the others, then get their turn."""


class ModelTurn:
    """The group that has waited longest for its model's memory, and since when."""

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue
        self._waiting: tuple[Group, float] | None = None

    def wants(self, group: Group) -> None:
        """There is no room for a group's model."""
        self._waiting = self._waiting or (group, time.monotonic())

    def has(self, group: Group) -> None:
        """A group's model is loaded."""
        if self._waiting is not None and self._waiting[0] == group:
            self._waiting = None

    def is_anothers(self, group: Group) -> bool:
        """Whether another group has waited for so long that it is its turn."""
        if self._waiting is None:
            return False
        # Its batch was cancelled, or its model can't be loaded.
        if not self._queue.holds(self._waiting[0]):
            self._waiting = None
            return False
        return self._waiting[0] != group and time.monotonic() - self._waiting[1] > MODEL_TURN_S
