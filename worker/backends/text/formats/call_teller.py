"""From the text of a call to the call: read whole at its end, or told in pieces before."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from worker.backends.text.formats.json_reader import JsonReader
from worker.backends.text.formats.syntax import CallSyntax, Item, PieceReader

log = logging.getLogger(__name__)


class EitherReader:
    """Tells calls of a format that writes them in several ways: the first characters show which."""

    def __init__(self, choose: Callable[[str], PieceReader | None]) -> None:
        self._choose = choose
        self._chosen: PieceReader | None = None

    def read(self, text: str) -> list[Item]:
        if self._chosen is None:
            self._chosen = self._choose(text.lstrip())
        return [] if self._chosen is None else self._chosen.read(text)


class CallTeller:
    """Tells a call while it is written, and what of it is still to be told at its end."""

    def __init__(self, reader: PieceReader | None) -> None:
        self._reader = reader
        self._told: list[tuple[str, list[str]]] = []

    @property
    def has_told(self) -> bool:
        return bool(self._told)

    def read(self, text: str) -> list[Item]:
        """What the text of the call so far has to be told."""
        if self._reader is None:
            return []
        try:
            items = self._reader.read(text)
        except Exception as error:  # The library's parsers raise errors of any type.
            log.info("the rest of a call is told at its end (%s)", type(error).__name__)
            self._reader = None
            return []
        for name, arguments in items:
            if name:
                self._told.append((name, []))
            self._told[-1][1].append(arguments)
        return items

    def rest(self, calls: list[Item]) -> list[Item] | None:
        """What is still to be told of the calls that were made; None if others were told."""
        told = [(name, "".join(pieces)) for name, pieces in self._told]
        if not told:
            return calls
        *before, (name, begun) = told
        last = len(before)
        if len(calls) <= last or calls[:last] != before or calls[last][0] != name:
            return None
        arguments = calls[last][1]
        if not arguments.startswith(begun):
            return None
        rest = arguments[len(begun) :]
        return [*([("", rest)] if rest else []), *calls[last + 1 :]]


def calls_in(syntax: CallSyntax, text: str) -> list[Item]:
    """Names and arguments of the calls in a text; none if it can't be read."""
    try:
        parsed = syntax.parse(text)
        calls = parsed if isinstance(parsed, list) else [parsed]
        return [_name_and_arguments(call) for call in calls]
    except Exception as error:  # The library's parsers raise errors of any type.
        log.info("a call of a tool could not be read (%s)", type(error).__name__)
        return []


def begun_calls(syntax: CallSyntax, text: str) -> list[Item]:
    """What the beginning of a call's text has to be told."""
    return CallTeller(None if syntax.pieces is None else syntax.pieces()).read(text)


def cut_calls(text: str) -> list[Item]:
    """The calls in the beginning of a text that is nothing else; the last may have no end. One
    whose name is incomplete is none."""
    calls: list[Item] = []
    for name, arguments in JsonReader().read(text):
        if name:
            calls.append((name, arguments))
        else:
            begun, before = calls.pop()
            calls.append((begun, before + arguments))
    return calls


def _name_and_arguments(call: Any) -> Item:
    """A call's name and the JSON text of its arguments. Raises ValueError if it isn't a call."""
    name, arguments = call["name"], call.get("arguments") or {}
    written = arguments if isinstance(arguments, str) else None
    if written is not None:
        arguments = json.loads(written)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise ValueError("a call has a name and an object of arguments")
    return name, json.dumps(arguments, ensure_ascii=False) if written is None else written
