"""The one exception for failures of chats and models that clients see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wire.messages import ErrorCode


class WorkerError(Exception):
    """A failure with a name; ``param`` is the field of the request at fault, if it is one.

    The message is for the client: it holds no prompt, no path and no traceback.
    """

    def __init__(self, code: ErrorCode, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.param = param


def invalid_schema(reason: str) -> WorkerError:
    """The error of an answer that can't be held to its schema or grammar, or not any longer."""
    return WorkerError("invalid_schema", f"The answer can't be held to its schema: {reason}.")


@contextmanager
def kept_alive() -> Iterator[None]:
    """Around a library's code: where that would end the thread or the process (mlx_lm calls
    ``sys.exit`` when an architecture's package is missing), it raises RuntimeError instead."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(
            "a library tried to end the process, as when a package of its own is missing "
            f"({type(error).__name__} {error})"
        ) from error
