"""Long JSON: its values are counted before it is parsed, and it is parsed off the event loop.

A parser holds the interpreter's lock until it is done. The time depends on values more than on
bytes: 8 MiB take some milliseconds as one text, and seconds as empty lists or messages of a word.
Knows no route's model.
"""

from __future__ import annotations

import functools
import re
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from api.errors import ApiError, from_validation

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

MOST_VALUES = 20_000
"""Texts, names of fields, lists, objects and what commas separate: some 2,800 messages, or 1,500
in parts."""
LONG = 16 << 10
"""Shorter bodies are read where they arrive: it takes some milliseconds at most."""
STEP = 64 << 10
"""Bytes that are looked at in one go."""
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_MARKS = (b",", b"[", b"{")


def values_in(body: bytes, most: int) -> int:
    """How many values a text of JSON holds, at least; beyond ``most`` the rest isn't looked at.

    Never fails.
    """
    count, at, inside = 1, 0, False
    while at < len(body) and count <= most:
        end = min(at + STEP, len(body))
        if inside:
            begin, at = at, _INSIDE.match(body, at, end).end()  # type: ignore[union-attr]  # it matches nothing, too
            if body[at : at + 1] == b'"':
                inside, at = False, at + 1
            elif at == begin:
                at += 2  # A backslash at a step's end, and the character that it escapes.
        else:
            quote = body.find(b'"', at, end)
            inside, stop = quote >= 0, end if quote < 0 else quote
            count += sum(body.count(mark, at, stop) for mark in _MARKS) + inside
            at = stop + inside
    return count


class JsonReader:
    """Work on long bodies, one at a time: each C function blocks the event loop.

    ``turn`` is held meanwhile; code that does such work elsewhere acquires it, too.
    """

    def __init__(self) -> None:
        self.turn = CapacityLimiter(1)

    async def run(self, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a task on a thread, first in, first out."""
        return await to_thread.run_sync(
            functools.partial(task, *args, **kwargs), limiter=self.turn, abandon_on_cancel=True
        )

    async def read(self, model: type[M], body: bytes) -> M:
        """The body as what a route takes. Raises ApiError for one that isn't."""
        return await self.validate(model, await self.run(parsed, body))

    async def validate(self, model: type[M], value: Any) -> M:
        """The same for what has been parsed."""
        return await self.run(_validated, model, value)


def _validated(model: type[M], value: Any) -> M:
    try:
        # Python's own validators let go of the lock between messages.
        # as FastAPI does, for the same sentences
        return model.model_validate(value, from_attributes=True)
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        placed = [{**row, "loc": ("body", *row["loc"])} for row in rows]
        raise from_validation(placed, model, value) from None


def parsed(body: bytes) -> Any:
    """Parse JSON. Raises ApiError if it isn't valid."""
    try:
        return from_json(body.removeprefix(BOM_UTF8))  # which json.loads skips in short bodies
    except ValueError:
        raise ApiError("bad_request", "The body is not valid JSON.") from None
