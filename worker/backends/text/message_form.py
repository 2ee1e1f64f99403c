"""The form in which a chat template wants messages: told from its text, and from rendering a probe
once when the model is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Render = Callable[[list[Row]], str]
"""A template: a conversation in, the prompt out. Raises an error of any type if it refuses."""
Write = Callable[[list[Row]], str]
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking", "tool_plan")
"""What templates call an assistant's thinking; the first is the most frequent."""
_ROLES = ("system", "user", "assistant")
_ARGUMENTS = {"probezone": "probevalue"}
_CALL = [
    {"id": "probecall", "type": "function", "function": {"name": "probe", "arguments": _ARGUMENTS}}
]


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How to hand messages to one template.

    ``parts``: content as a list of parts, each with its text under ``text`` and ``content``.
    ``reasoning``: the names of an assistant's thinking. ``text_arguments``: arguments of tool calls
    as JSON text. ``one_text``: an assistant's message that calls tools has content or thinking.
    ``write``: what writes tool calls into content, for a template that leaves them out. ``lost``
    are the roles whose words come out in no form. ``takes_system``: a system message is not
    refused.
    """

    parts: bool = False
    reasoning: tuple[str, ...] = REASONING_NAMES[:1]
    text_arguments: bool = False
    one_text: bool = False
    write: Write | None = None
    lost: tuple[str, ...] = ()
    takes_system: bool = True

    @classmethod
    def of(cls, source: str, render: Render, write: Write | None = None) -> MessageForm:
        """The form that the template with this text wants; ``write`` writes the model's calls."""
        named = [name for name in REASONING_NAMES if re.search(rf"[.'\"]{name}\b", source)]
        parts, lost = _content(render)
        return cls(
            parts=parts,
            reasoning=tuple(named) or REASONING_NAMES[:1],
            text_arguments=_wants_text(render, parts=parts),
            one_text="thinking" in named and "<|channel|>" in source,
            write=write if write and not _has_call(render, parts=parts) else None,
            lost=lost,
            takes_system=_takes_system(render, parts=parts),
        )

    def warning(self) -> str | None:
        """What to know about the model, as a sentence."""
        if not self.lost:
            return None
        return (
            f"the chat template leaves out what messages of these roles say: {', '.join(self.lost)}"
        )

    def shaped(self, rows: Sequence[Row]) -> list[Row]:
        """Messages in this form. Content that is a list of parts stays one, whatever the template
        wants: it has pictures."""
        return [self._shaped(row) for row in rows]

    def _shaped(self, row: Row) -> Row:
        shaped = dict(row)
        if thinking := shaped.pop(REASONING_NAMES[0], None):
            if self.one_text and shaped.get("tool_calls") and shaped["content"]:
                thinking, shaped["content"] = f"{thinking}\n\n{shaped['content']}", ""
            shaped |= dict.fromkeys(self.reasoning, thinking)
        if self.write and "tool_calls" in shaped and isinstance(shaped["content"], str):
            shaped["content"] += self.write([call["function"] for call in shaped["tool_calls"]])
        if self.text_arguments and "tool_calls" in shaped:
            shaped["tool_calls"] = [_with_text(call) for call in shaped["tool_calls"]]
        if self.parts or isinstance(shaped["content"], list):
            shaped["content"] = as_parts(shaped["content"])
        return shaped


def as_parts(content: Any) -> list[Any]:
    """Content as a list of parts, as InternVL's and most other templates look for them."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [part | {"content": part["text"]} if "text" in part else part for part in parts]


def _with_text(call: Row) -> Row:
    function, arguments = call["function"], call["function"]["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return call | {"function": function | {"arguments": text}}


def _probe(role: str) -> str:
    return f"probe{role}word"


def _content(render: Render) -> tuple[bool, tuple[str, ...]]:
    """Whether content must be a list of parts, and the roles whose words are lost even so."""
    as_text, in_parts = _lost(render, parts=False), _lost(render, parts=True)
    if in_parts is None or (as_text is not None and len(as_text) <= len(in_parts)):
        return False, as_text or ()
    return True, in_parts


def _lost(render: Render, *, parts: bool) -> tuple[str, ...] | None:
    """The roles whose words a template leaves out; None if it refuses them.

    What it refuses is not lost: clients are told.
    """
    rows: list[Row] = [{"role": role, "content": _probe(role)} for role in _ROLES]
    rows.append({"role": "user", "content": "probeend"})
    if parts:
        rows = [row | {"content": as_parts(row["content"])} for row in rows]
    for first in (0, 1):
        try:
            text = render(rows[first:])
        except Exception:  # Templates raise errors of any type.
            continue
        return tuple(role for role in _ROLES[first:] if _probe(role) not in text)
    return None


def _takes_system(render: Render, *, parts: bool) -> bool:
    rows: list[Row] = [{"role": role, "content": _probe(role)} for role in _ROLES[:2]]
    if parts:
        rows = [row | {"content": as_parts(row["content"])} for row in rows]
    try:
        return _probe(_ROLES[0]) in render(rows)
    except Exception:  # Templates raise errors of any type.
        return False


def _has_call(render: Render, *, parts: bool) -> bool:
    return _ARGUMENTS["probezone"] in _rendered_call(render, _CALL, parts=parts)


def _wants_text(render: Render, *, parts: bool) -> bool:
    """Whether a template takes arguments of tool calls only as text: most take an object."""
    as_object = _rendered_call(render, _CALL, parts=parts)
    if _ARGUMENTS["probezone"] in as_object and "'probezone'" not in as_object:
        return False
    as_text = _rendered_call(render, [_with_text(_CALL[0])], parts=parts)
    return '"probezone"' in as_text


def _rendered_call(render: Render, calls: list[Row], *, parts: bool) -> str:
    rows: list[Row] = [
        {"role": "user", "content": _probe("user")},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "probeanswer", "tool_call_id": "probecall", "name": "probe"},
    ]
    if parts:
        rows = [row | {"content": as_parts(row["content"])} for row in rows]
    try:
        return render(rows)
    except Exception:  # Templates raise errors of any type.
        return ""
