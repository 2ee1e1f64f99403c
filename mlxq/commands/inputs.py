"""What reaches a command from outside as bytes: standard input, arguments, and the three streams.

Everything is checked here, before a request is written, so that odd input ends in one line and not
in a traceback.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from datetime import datetime, time, timedelta
from typing import TextIO

import typer

from mlxq.errors import WrongUse

INPUT_LIMIT = 4 << 20
"""Bytes of standard input that fit into a chat; the service takes 6 MiB of JSON."""


def prepare_streams() -> None:
    """Make the standard streams usable under any locale, and when the caller has closed them.

    What programs read is UTF-8. A terminal gets a question mark for what it can't show.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (lives as long as the process)
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream)


def _reconfigure(stream: TextIO) -> None:
    change = getattr(stream, "reconfigure", None)
    if change is None:
        return
    with contextlib.suppress(ValueError, OSError):
        change(encoding=stream.encoding if stream.isatty() else "utf-8", errors="replace")


def piped_text(also_typed: bool = False) -> str:
    """Standard input as text; that of a terminal only with ``also_typed``.

    Raises WrongUse for what is not text.
    """
    if sys.stdin.isatty() and not also_typed:
        return ""
    try:
        data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    except OSError as error:
        raise WrongUse(f"cannot read standard input: {error.strerror}") from None
    if len(data) > INPUT_LIMIT:
        raise WrongUse(
            f"standard input is too long: a chat takes up to {INPUT_LIMIT >> 20} MiB of text"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongUse("standard input is not UTF-8 text") from None
    if "\0" in text:
        raise WrongUse("standard input is not text: it holds NUL bytes")
    return text


def checked_text(text: str, name: str) -> str:
    """An argument, unchanged.

    Raises WrongUse for bytes that are not UTF-8, which Python hides as surrogates.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise WrongUse(f"{name} is not UTF-8 text") from None
    return text


def text_option(parameter: typer.CallbackParam, value: str | None) -> str | None:
    """The check of an option or an argument that is a text."""
    return None if value is None else checked_text(value, _name(parameter))


def number_option(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """The check of a number: no NaN and nothing infinite, which JSON can't hold."""
    if value is not None and not math.isfinite(value):
        raise WrongUse(f"{_name(parameter)}: a finite number is needed")
    return value


def time_option(parameter: typer.CallbackParam, value: str | None) -> str | None:
    """The check of a time, as ISO 8601 with a zone: without one it is this machine's."""
    if value is None:
        return None
    try:
        return moment(value, datetime.now().astimezone()).isoformat()
    except ValueError:
        sentence = "a time is needed, such as 02:00 or 2026-12-01T02:00"
        raise WrongUse(f"{_name(parameter)}: {sentence}") from None


def moment(text: str, now: datetime) -> datetime:
    """The time that a text stands for; of a time of day the next one. Raises ValueError."""
    try:
        time_of_day = time.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text).astimezone()
    today = datetime.combine(now.date(), time_of_day).astimezone()
    if today > now:
        return today
    return datetime.combine(now.date() + timedelta(days=1), time_of_day).astimezone()


def _name(parameter: typer.CallbackParam) -> str:
    return parameter.opts[0] if parameter.opts[0].startswith("-") else f"the {parameter.name}"
