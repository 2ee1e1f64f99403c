"""Bases of request bodies, strict and lenient, and the texts that fields hold."""

from __future__ import annotations

import contextlib
import re
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


_END_OF_TIME_S = 1e100


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
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) < _END_OF_TIME_S:  # True of no NaN.
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


_FOR_EVER_S = -1.0
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"-?(?:{_PART.pattern})+")


def _keep_alive(value: Any) -> Any:
    """A duration as Ollama's clients write it, in seconds: a number, or a text such as ``5m`` or
    ``1h30m``, or of a number. Less than 0 is for ever."""
    if isinstance(value, str) and len(value) <= _MOST_DURATION:
        if _DURATION.fullmatch(value):
            seconds = sum(float(n) * _SECONDS[unit] for n, unit in _PART.findall(value))
            value = -seconds if value.startswith("-") else seconds
        elif re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
            value = float(value)
    if isinstance(value, (str, bool)):
        raise ValueError("write seconds, or a duration such as 5m; -1 is for ever")
    negative = isinstance(value, (int, float)) and value < 0
    return _FOR_EVER_S if negative else value


_MOST_DURATION = 64
MOST_KEEP_ALIVE_S = 365 * 24 * 3600
KeepAlive = Annotated[
    float,
    Field(ge=_FOR_EVER_S, le=MOST_KEEP_ALIVE_S, allow_inf_nan=False),
    BeforeValidator(_keep_alive, json_schema_input_type=float | str),
]
"""How long a model stays in memory once it is idle, seconds; -1: without limit."""
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
