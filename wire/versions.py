"""Versions of records in Redis: processes of two releases work together during an update.

Jobs and batch lines refuse fields they don't know. So a field added by a later release is left
out of the JSON at its default, and a job that sets one is written for the oldest living worker.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

VERSION = 4
"""What this release writes and reads: raised once by each release that adds to the records."""
FIRST = 1
"""The release before versions were recorded."""
_MARK = "since"
_REFINES = "refines"
_PLAIN = (str, int, float, bool)
R = TypeVar("R", bound=BaseModel)


class TooNew(ValueError):
    """A record sets a field that can't be left out and that some reader doesn't know."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@dataclass(frozen=True, slots=True)
class _Fields:
    """Of a record's class: the fields that came later, and those that may hold records."""

    added: tuple[tuple[str, int, bool, Any], ...]
    others: tuple[str, ...]


def added(default: Any, *, since: int, refines: bool) -> Any:
    """The default of a field that the release ``since`` added to a :class:`~wire.messages.Record`.

    The field is absent from the JSON while it has its default. ``refines``: a worker that doesn't
    know it answers right without it, so it may be left out; otherwise the job is refused by name.
    """
    return Field(
        default=default,
        exclude_if=lambda value: bool(value == default),
        json_schema_extra={_MARK: since, _REFINES: refines},
    )


def needs(record: BaseModel) -> int:
    """The oldest version that can read a record as it is."""
    return max(_since(record), default=FIRST)


def readable(record: R, version: int) -> R:
    """The record as a reader of a version can read it: without newer fields that only refine.

    Raises TooNew for one that sets a field of another kind.
    """
    fields = _fields(type(record))
    changes: dict[str, Any] = {}
    for name, since, refines, default in fields.added:
        if since > version and getattr(record, name) != default:
            if not refines:
                raise TooNew(name)
            changes[name] = default
    for name in fields.others:
        value = getattr(record, name)
        inner = _readable_value(value, version)
        if inner is not value:
            changes[name] = inner
    return record.model_copy(update=changes) if changes else record


def _readable_value(value: Any, version: int) -> Any:
    if isinstance(value, BaseModel):
        return readable(value, version)
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        made = tuple(_readable_value(item, version) for item in value)
        return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
    return value


def _since(value: Any) -> Iterator[int]:
    if isinstance(value, BaseModel):
        fields = _fields(type(value))
        for name, since, _, default in fields.added:
            if getattr(value, name) != default:
                yield since
        for name in fields.others:
            yield from _since(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _since(item)


@functools.cache
def _fields(kind: type[BaseModel]) -> _Fields:
    marks = {name: _mark(info) for name, info in kind.model_fields.items()}
    known = kind.model_fields
    later = tuple((name, *mark, known[name].default) for name, mark in marks.items() if mark)
    return _Fields(later, tuple(name for name in known if known[name].annotation not in _PLAIN))


def _mark(info: FieldInfo) -> tuple[int, bool] | None:
    extra = info.json_schema_extra
    if not isinstance(extra, dict) or _MARK not in extra:
        return None
    return int(str(extra[_MARK])), bool(extra[_REFINES])
