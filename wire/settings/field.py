"""One setting: its default, its text for ``--help``, its range, and how it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any


class BadSetting(Exception):
    """A setting has an invalid value; the message names the variable and the valid ones."""


def setting(
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    of: str = "",
    secret: bool = False,
) -> Any:
    """A field of :class:`~wire.settings.table.Settings`: default, ``--help`` text, range or
    choices (``a|b``).

    A secret has no flag: other users of the machine can read command lines.
    """
    meta = {
        "help": text,
        "low": low,
        "high": high,
        "choices": of.split("|") if of else None,
        "secret": secret,
    }
    return field(default=default, metadata=meta, repr=not secret)


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "Path": Path,
    "tuple[Path, ...]": lambda text: tuple(map(Path, filter(None, text.split(os.pathsep)))),
    "tuple[str, ...]": lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
}


def convert(name: str, kind: Any, text: str, meta: Mapping[str, Any]) -> Any:
    """A setting's value. Raises BadSetting."""
    variable = "MLXQ_" + name.upper()
    try:
        value: Any = _READERS.get(kind, str)(text)
    except ValueError:
        raise BadSetting(f"{variable}={text!r} is not a number") from None
    low, high, choices = meta["low"], meta["high"], meta["choices"]
    if low is not None and not low <= value <= high:
        raise BadSetting(f"{variable}={text!r} must be between {low:g} and {high:g}")
    if choices and value not in choices:
        raise BadSetting(f"{variable}={text!r} must be one of {', '.join(choices)}")
    return value
