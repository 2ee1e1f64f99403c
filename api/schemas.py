"""Bases of request bodies, strict and lenient, and the texts that fields hold."""

from __future__ import annotations

import contextlib
import math
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

_MOST_FIELDS = 50
MOST_LEVELS = 64
"""Levels of a value that is kept as it was sent."""


def whole(text: str) -> str:
    """A text that can be written down as it is. Raises ValueError for any other."""
    # A NUL would end the text early in what is written in C; a lone surrogate can't be written at
    # all.
    if "\0" in text:
        raise ValueError("a NUL character is not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not text") from None
    return text


def integral(value: Any) -> Any:
    """A whole number that is written as a fraction, as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def epoch_ms(value: Any) -> Any:
    """A time as milliseconds since the epoch. Raises ValueError for what is none, and for one
    without a zone."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, str):
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError("a zone is needed, such as 2026-12-01T02:00:00+01:00")
        value = time.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a time is needed: ISO 8601 with a zone, or seconds since the epoch")
    return int(value * 1000)


INTEGRAL = BeforeValidator(integral)
"""On a whole number: 512.0 is one. JSON has one kind of number, and some clients write all as
fractions. Stands behind the field's limits, or the OpenAPI schema loses them."""


def is_shallow(value: Any) -> bool:
    """Whether a value from JSON is nested few levels deep."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return True
    return False


Text = Annotated[str, AfterValidator(whole)]
ModelId = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(whole)]


class Body(BaseModel):
    """Base of all request bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, data: Any) -> Any:
        # Each unknown field becomes an error record; a body of a million would be a gigabyte of
        # them.
        if isinstance(data, dict) and len(data) > _MOST_FIELDS:
            raise ValueError("too many fields")
        return data


class Lenient(BaseModel):
    """Base of another API's bodies: unknown fields are ignored, and named by whoever reads the
    whole body.

    ``without_effect`` are fields of that API that change no answer here.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
