"""Writes grammars of calls: texts with a model's special tokens, free text up to a mark, JSON.

Text in a grammar matches no special token: those are matched by their numbers. Knows no format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wire.schemas import matching

Schema = dict[str, Any]
BLANKS = "BLANKS"
"""A few blanks or line breaks, or none. Without a limit a small model may write them until its
tokens are used up."""
_ANY = "/(?s:.*)/"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's name, and the schema of its arguments, with what the matcher has to know."""

    name: str
    arguments: Schema


def tools_of(call_schema: str) -> list[Tool]:
    """The tools in the schema of a call, as a job carries it. Raises ValueError, KeyError or
    TypeError for another schema."""
    schema = json.loads(call_schema)
    options = {matching.OPTIONS_KEY: schema[matching.OPTIONS_KEY]}
    # A tool whose arguments never end has no schema.
    calls = [call["properties"] for call in schema["anyOf"] if isinstance(call, dict)]
    tools = [Tool(call["name"]["const"], call["arguments"] | options) for call in calls]
    if not all(isinstance(tool.name, str) for tool in tools):
        raise ValueError("the name of a tool is a text")
    return tools


class Writer:
    """Collects the rules of one grammar."""

    def __init__(
        self, tools: Iterable[Tool], special: Mapping[str, int], ends: Collection[int] = ()
    ) -> None:
        """``special`` are the model's special tokens, by their texts; ``ends`` those that end an
        answer."""
        self.tools = tuple(tools)
        self.special = special
        self._ends = frozenset(ends)
        texts = sorted(special, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, texts)) or '(?!)'})")
        self._rules: list[str] = [f"{BLANKS}: /[ \\n]{{0,8}}/"]
        self._named: dict[str, str] = {}

    def grammar(self, start: str) -> str:
        """The whole grammar; an answer is ``start``."""
        return "\n".join([f"start: {start}", *self._rules, ""])

    def rule(self, body: str, *, options: str = "", is_terminal: bool = False) -> str:
        """The name of a rule with this body; the same body is the same rule."""
        key = options + body
        if key not in self._named:
            name = f"{'T' if is_terminal else 'r'}{len(self._named)}"
            self._named[key] = name
            self._rules.append(f"{name}{options}: {body}")
        return self._named[key]

    def any_of(self, ways: Iterable[str]) -> str:
        return self.rule(" | ".join(ways))

    def nested(self, scalars: Iterable[str], key: str, between: str) -> str:
        """A value that is one of these, or a list or an object of such values."""
        name = "value"
        if name not in self._named:
            self._named[name] = name
            items = f'"[" ({name} ({between} {name})*)? "]"'
            members = f'"{{" ({key} {name} ({between} {key} {name})*)? "}}"'
            self._rules.append(f"{name}: {' | '.join([*scalars, items, members])}")
        return name

    def json(self, schema: Schema) -> str:
        return self.rule(f"%json {json.dumps(schema)}")

    def text(self, text: str) -> str:
        """A text, the special tokens in it by their numbers."""
        return " ".join(map(self._one, self._split(text)))

    def until(self, mark: str, *, lacks: str = "") -> str:
        """Any text without special tokens, and without what it ``lacks``, up to this mark and with
        it."""
        first, *others = self._split(mark)
        if not others and first not in self.special:
            text = self._without(lacks) if lacks else _ANY
            return self.rule(text, options=f"[suffix={literal(mark)}]")
        before = _ANY
        if first in self.special:
            others = [first, *others]
        else:
            before += f" {literal(first)}"
        return f"{self._without(lacks or mark, before)} {' '.join(map(self._one, others))}"

    def anything_until(self, mark: str) -> str:
        """Any tokens but those that end an answer, up to this mark and with it; without a mark up
        to the end."""
        first = self._split(mark)[0] if mark else ""
        closing = {self.special[first]} if first in self.special else set()
        others = sorted(set(self.special.values()) - closing - self._ends)
        inner = f"<[{','.join(map(str, others))}]>" if others else ""
        if not mark:
            return f"({' | '.join(filter(None, [_ANY, inner]))})*"
        before = f"({self._without(mark)} {inner})* " if inner else ""
        return before + self.until(mark)

    def _without(self, mark: str, text: str = _ANY) -> str:
        """A text in which a mark isn't spelled."""
        return self.rule(f"({text}) & ~({_ANY} {literal(mark)} {_ANY})", is_terminal=True)

    def _one(self, part: str) -> str:
        return f"<[{self.special[part]}]>" if part in self.special else literal(part)

    def _split(self, text: str) -> list[str]:
        return [part for part in self._marks.split(text) if part]


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
