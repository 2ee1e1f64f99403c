"""Fields of requests that are part of no body's shape: refused, accepted without effect, or named.

Knows no API's tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from api.errors import ApiError

MOST_NAMED = 20
"""Names of unknown fields in one header: a request may hold thousands."""
_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")

Harmless = Callable[[Any], bool]
"""Whether a value asks for nothing but what is done anyway."""


def unset(value: Any) -> bool:
    return value is None or value in ("", [], {})


def only(*values: Any) -> Harmless:
    # To Python 0 is False, and 1 is True; to a client that sends them they are not.
    return lambda value: (
        unset(value) or any(value == one and _is_bool(value) == _is_bool(one) for one in values)
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def at_most(limit: float) -> Harmless:
    return lambda value: value is None or (isinstance(value, (int, float)) and value <= limit)


ADAPTERS: dict[str, Harmless] = dict.fromkeys(("adapters", "lora", "lora_request"), unset)
"""Other servers' fields for what is asked for by the model's name here."""


def refuse(
    fields: Mapping[str, Any],
    table: Mapping[str, Harmless],
    prefix: str = "",
    sentences: Mapping[str, str] | None = None,
) -> None:
    """Raises ApiError ``unsupported`` for a field that would change the answer and can't be had.

    ``sentences`` say by name of a field what to send in its place.
    """
    for name, value in fields.items():
        harmless = table.get(name)
        if harmless is not None and not harmless(value):
            sentence = (sentences or {}).get(name, f"{name} is not offered: leave it out.")
            raise ApiError("unsupported", sentence, param=f"{prefix}{name}")


def unknown(fields: Mapping[str, Any], *known: Container[str], prefix: str = "") -> list[str]:
    """Which of the fields are unknown, of those that are set to something."""
    present = (name for name, value in fields.items() if not unset(value))
    return [f"{prefix}{name}" for name in present if not any(name in names for names in known)]


def named(fields: Iterable[str]) -> str:
    """The names as one line of ASCII, however many and whatever they are."""
    names = sorted({name if _NAME.fullmatch(name) else "(not a name)" for name in fields})
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", and {rest} more" if rest > 0 else "")
