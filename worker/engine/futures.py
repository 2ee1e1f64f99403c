"""Work that runs now, with its result or its exception kept as a finished future."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def attempt(work: Callable[[], Result]) -> Future[Result]:
    """Run something now; the future is finished when this returns."""
    future: Future[Result] = Future()
    settle(future, work)
    return future


def settle(future: Future[Result], work: Callable[[], Result]) -> None:
    """Run something now and finish a given future with it."""
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
