"""Ends a worker that hangs, so that another goes on with its jobs: nothing else could interrupt
what it is at."""

from __future__ import annotations

import logging
import os
import time

from worker.engine.engine import Engine

log = logging.getLogger(__name__)

PREPARING = 5
"""A prompt may be prepared for so many times as long as the engine may take for a step: streams
don't wait for it, but other long prompts do."""


def end_if_hung(engine: Engine, hang_s: float) -> None:
    """End this process at once if its engine has made no step, or a prompt has been being prepared,
    for too long."""
    silent = time.monotonic() - engine.last_step
    if engine.has_work and silent > hang_s and not engine.excused:
        log.critical(
            "the engine has made no step for %.0f s: this process ends, another goes on", silent
        )
        os._exit(70)
    if engine.preparing_s > PREPARING * hang_s:
        log.critical(
            "a prompt has been prepared for %.0f s: this process ends, another goes on",
            engine.preparing_s,
        )
        os._exit(70)
