"""Why a command can't go on: one line that says what to do, and the exit status that scripts read.

Knows no HTTP and prints nothing.
"""

from __future__ import annotations

DONE = 0
FAILED = 1
"""The service refused, or an answer, a line of a batch or a check failed."""
WRONG_USE = 2
"""An option, a file or a line of a file is no use; nothing was sent."""
NO_SERVICE = 3
"""Nothing answers at the address, or it stopped answering."""
INTERRUPTED = 130
"""Ctrl-C."""


class Problem(Exception):
    """The command ends with this message and ``status``."""

    status = FAILED


class WrongUse(Problem):
    """The user's mistake, found before anything was sent."""

    status = WRONG_USE


class NoService(Problem):
    """Nothing answers at the address."""

    status = NO_SERVICE


class ConnectionLost(NoService):
    """The service answered, and then the connection broke: trying again may help."""


class Refused(Problem):
    """The service's refusal: its code, its message, and after how many seconds to retry."""

    def __init__(self, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
