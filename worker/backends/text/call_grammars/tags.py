"""Grammars of calls whose arguments are tags: with the names that a tool has, texts free up to the
mark behind them, and other values as JSON of their schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wire.schemas import matching
from worker.backends.text.call_grammars.json_calls import Build, each_tool, repeated
from worker.backends.text.call_grammars.writer import BLANKS, Schema, Tool, Writer, literal

_TEXT = "string"
_ANY_NAME = "/[A-Za-z_][A-Za-z0-9_.-]*/"
_NAMED_SCHEMAS = ("$defs", "definitions")
_NAME, _KEY, _KIND = "{name}", "{key}", "{kind}"
_AS_RULES = {
    "{blanks}": BLANKS,
    "{number}": "/[0-9]{1,3}/",
    "{other}": "/(integer|number|boolean|object|array|null)/",
}
_VARIES = re.compile("(" + "|".join(map(re.escape, _AS_RULES)) + ")")
Kind = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class TagForm:
    """How calls are written. ``head`` has a place for the tool's name, ``parameter`` for that of an
    argument and for its kind; ``{blanks}``, ``{number}`` and ``{other}`` vary. ``close`` stands
    behind a value, perhaps with the argument's name again, ``tail`` behind a call. ``start`` and
    ``end`` are around each call, or ``around_all`` of them. ``kind`` tells a value's kind by its
    type in JSON. ``lacks`` is what no value may hold."""

    start: str
    head: str
    parameter: str
    close: str
    tail: str
    end: str
    around_all: bool = False
    lacks: str = ""
    kind: Kind = str

    @property
    def build(self) -> Build:
        return lambda writer: _TagWriter(self, writer).calls()


class _TagWriter:
    def __init__(self, form: TagForm, writer: Writer) -> None:
        self._form = form
        self._writer = writer

    def calls(self) -> str:
        call = each_tool(self._writer, self._call)
        start, end = self._mark(self._form.start), self._mark(self._form.end)
        if self._form.around_all:
            return f"{start} {BLANKS} {repeated(call)} {BLANKS} {end}"
        return repeated(self._writer.rule(f"{start} {BLANKS} {call} {BLANKS} {end}"))

    def _mark(self, text: str) -> str:
        """A text of the form, with what may vary in it."""
        parts = _VARIES.split(text)
        return " ".join(_AS_RULES.get(part) or self._writer.text(part) for part in parts if part)

    def _call(self, tool: Tool) -> str:
        arguments = f" {BLANKS} ".join(self._arguments(tool.arguments))
        head = self._mark(self._form.head.replace(_NAME, tool.name))
        tail = f"{BLANKS} {self._mark(self._form.tail)}" if self._form.tail else ""
        return f"{head} {BLANKS} {arguments} {tail}"

    def _arguments(self, schema: Schema) -> Iterator[str]:
        """In the order of the schema; only those that must be there are not optional."""
        known, needed = schema.get("properties"), schema.get("required") or []
        if not isinstance(known, dict):
            known = {}
        for key, value in known.items():
            if value is not False:
                written = f"{self._parameter(key, value, schema)} {BLANKS}"
                yield written if key in needed else f"({written})?"
        if not known and schema.get("additionalProperties") is not False:
            head, behind = self._form.parameter.split(_KEY)
            behind = behind.replace(_KIND, self._form.kind(_TEXT))
            name = f"{self._mark(head)} {_ANY_NAME} {self._mark(behind)}"
            yield f"({name} {self._until_close(_ANY_NAME)} {BLANKS})*"

    def _until_close(self, key: str) -> str:
        """Any text, and the mark behind it with this key."""
        close, *rest = self._form.close.split(_KEY)
        behind = f" {key} {self._mark(rest[0])}" if rest else ""
        return self._writer.until(close, lacks=self._form.lacks) + behind

    def _parameter(self, key: str, value: Any, root: Schema) -> str:
        kind = value.get("type", _TEXT) if isinstance(value, dict) else _TEXT
        if not isinstance(kind, str) or not _stands_alone(value):
            kind = _TEXT
        head = self._form.parameter.replace(_KEY, key).replace(_KIND, self._form.kind(kind))
        return f"{self._mark(head)} {self._value(kind, value, root, key)}"

    def _value(self, kind: str, value: Any, root: Schema, key: str) -> str:
        """A value and the mark behind it."""
        behind = self._mark(self._form.close.replace(_KEY, key))
        if kind != _TEXT:
            whole = {name: root[name] for name in _NAMED_SCHEMAS if name in root} | value
            whole[matching.OPTIONS_KEY] = matching.OPTIONS
            return f"{BLANKS} {self._writer.json(whole)} {BLANKS} {behind}"
        schema = value if isinstance(value, dict) else {}
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(listed, list) and listed and all(isinstance(one, str) for one in listed):
            ways = self._writer.any_of(literal(one) for one in listed)
            return f"{BLANKS} {ways} {BLANKS} {behind}"
        return self._until_close(literal(key))


def _stands_alone(schema: Any) -> bool:
    """Whether a schema refers to nothing but named schemas, which are copied into it."""
    if isinstance(schema, list):
        return all(map(_stands_alone, schema))
    if not isinstance(schema, dict):
        return True
    reference = schema.get("$ref", "#/$defs/")
    begins = tuple(f"#/{name}/" for name in _NAMED_SCHEMAS)
    if not isinstance(reference, str) or not reference.startswith(begins):
        return False
    return all(map(_stands_alone, schema.values()))
