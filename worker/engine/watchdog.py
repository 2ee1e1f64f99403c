"""Ends a worker that hangs: no other means interrupts a thread that hangs in a library."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

PREPARING = 5
"""A prompt may take this many times as long to prepare as a step: streams don't wait for it, but
other long prompts do."""


class Watchdog:
    """Knows when the engine's loop last came round."""

    def __init__(self) -> None:
        self.last_step = time.monotonic()
        self._suspended = False

    def step(self) -> None:
        """Note that the loop came round. For the engine's thread."""
        self.last_step = time.monotonic()

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Around what may take arbitrarily long on the engine's thread: a layer of a model that is
        tried out, waiting for room for events."""
        self._suspended = True
        try:
            yield
        finally:
            self.step()
            self._suspended = False

    def end_if_hung(self, hang_s: float, *, has_work: bool, preparing_s: float) -> None:
        """End this process if a step, or the preparation of a prompt, has taken too long."""
        silent = time.monotonic() - self.last_step
        if has_work and silent > hang_s and not self._suspended:
            log.critical(
                "the engine has made no step for %.0f s: this process ends, another goes on", silent
            )
            os._exit(70)
        if preparing_s > PREPARING * hang_s:
            log.critical(
                "a prompt has been prepared for %.0f s: this process ends, another goes on",
                preparing_s,
            )
            os._exit(70)
