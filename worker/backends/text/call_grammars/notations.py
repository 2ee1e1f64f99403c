"""Grammars of calls that are written as ``name{key:value, …}`` or ``name(key=value, …)``: with the
names that a tool has, and any values."""

from __future__ import annotations

from dataclasses import dataclass

from worker.backends.text.call_grammars.json_calls import Build, each_tool, repeated
from worker.backends.text.call_grammars.writer import Tool, Writer, literal

_COMMA = '", "'
_NUMBER = r"/-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?/"
_STRING = "/" + "|".join(rf"{q}([^{q}\\\x00-\x1f]|\\[{q}\\nrt])*{q}" for q in "\"'") + "/"
_WORD = "/[A-Za-z_][A-Za-z0-9_]*/"


@dataclass(frozen=True, slots=True)
class NotationForm:
    """How calls are written. ``quote`` is around texts; without one they are as in JSON. ``words``
    are those for true, false and nothing. ``are_listed``: in brackets, separated by commas.
    ``holds_braces``: whether texts may hold braces, and values other values."""

    start: str
    head: str
    opens: str
    sign: str
    between: str
    closes: str
    end: str
    quote: str = ""
    words: tuple[str, ...] = ("true", "false", "null")
    are_listed: bool = False
    holds_braces: bool = True

    @property
    def build(self) -> Build:
        return lambda writer: _NotationWriter(self, writer).calls()


class _NotationWriter:
    def __init__(self, form: NotationForm, writer: Writer) -> None:
        self._form = form
        self._writer = writer

    def calls(self) -> str:
        call = each_tool(self._writer, self._call)
        start, end = self._writer.text(self._form.start), self._writer.text(self._form.end)
        if self._form.are_listed:
            return f'{start} "[" {repeated(call, _COMMA)} "]" {end}'
        return repeated(self._writer.rule(f"{start} {call} {end}"))

    def _call(self, tool: Tool) -> str:
        form = self._form
        head = f"{literal(form.head + tool.name + form.opens)}"
        known = tool.arguments.get("properties")
        known = known if isinstance(known, dict) else {}
        if known:
            names = [key for key, value in known.items() if value is not False]
            pairs = self._ordered(names, set(tool.arguments.get("required") or ()))
        elif tool.arguments.get("additionalProperties") is not False:
            pair = f"{_WORD} {literal(form.sign)} {self._value()}"
            pairs = f"({pair} ({literal(form.between)} {pair})*)?"
        else:
            pairs = ""
        return f"{head} {pairs} {literal(form.closes)}"

    def _ordered(self, names: list[str], needed: set[str]) -> str:
        """Arguments in the order of the schema, with a separator between any two."""
        between = literal(self._form.between)
        behind, ways, may_be_none = "", list[str](), True
        for name in reversed(names):
            pair = f"{literal(name + self._form.sign)} {self._value()}"
            is_needed = name in needed
            # The first argument that is written: this one or, if it need not be there, a later one.
            ways = [f"{pair} {behind}", *([] if is_needed else ways)]
            may_be_none = may_be_none and not is_needed
            written = f"{between} {pair}"
            behind = self._writer.rule(f"{written if is_needed else f'({written})?'} {behind}")
        return self._writer.any_of(ways) + ("?" if may_be_none else "")

    def _value(self) -> str:
        """A text, a number, a word or, where values hold others, a list or an object."""
        text = self._text()
        scalars = [text, _NUMBER, *map(literal, self._form.words)]
        if not self._form.holds_braces:
            return self._writer.any_of(scalars)
        return self._writer.nested(scalars, self._pair(text), literal(self._form.between))

    def _pair(self, text: str) -> str:
        """A key of an object inside, and the sign behind it."""
        return _WORD + ' ":"' if self._form.quote else f'{text} ": "'

    def _text(self) -> str:
        quote = self._form.quote
        if not quote:
            return _STRING
        if self._form.holds_braces:
            return f"{self._writer.text(quote)} {self._writer.until(quote)}"
        inside = self._writer.rule("/[^{}<]*/", is_terminal=True)
        return f"{self._writer.text(quote)} {inside} {self._writer.text(quote)}"
