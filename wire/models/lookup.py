"""Which model a name stands for: one rule for records and for the rows that clients list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from wire.models import packaged

_NAMES = ("id", "name", "repository")
M = TypeVar("M")


def find(models: Iterable[M], wanted: str, value: Callable[[M, str], Any]) -> M | None:
    """The model that an id, a name or a repository name stands for; an id wins over a name, and
    that over another name of a packaged model. ``value`` reads a field of a model."""
    listed = list(models)
    for field in _NAMES:
        for model in listed:
            if value(model, field) == wanted:
                return model
    known = packaged.find(wanted)
    if known is None:
        return None
    kept = (m for m in listed if value(m, "name") == known.name and not value(m, "repository"))
    return next(kept, None)
