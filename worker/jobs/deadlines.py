"""How long running chats may still take."""

from __future__ import annotations

import time


class Deadlines:
    """Times by which jobs must have ended; changed and read by several threads."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._deadlines: dict[str, float] = {}

    def begin(self, job_id: str) -> None:
        self._deadlines[job_id] = time.monotonic() + self.timeout_s

    def end(self, job_id: str) -> None:
        self._deadlines.pop(job_id, None)

    def pop_expired(self) -> list[str]:
        """The jobs that are past their time, each returned once."""
        now = time.monotonic()
        expired = [job_id for job_id, due in list(self._deadlines.items()) if now > due]
        for job_id in expired:
            self.end(job_id)
        return expired
