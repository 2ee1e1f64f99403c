"""Tools for models whose chat template has no place for them: as text in the system message, with
calls and their results as text in the turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wire.messages import Message, Part, TextPart, ToolCall

_INTRODUCTION = "You can call these tools, each described in a line of JSON:"
_HOW = (
    "To call a tool, write <tool_call>, a JSON object with the tool's name and its arguments, and "
    "</tool_call>, like this:\n"
    '<tool_call>{"name": "a_tool", "arguments": {"a_parameter": "a value"}}</tool_call>\n'
    "What the tool returns comes in the next message, in <tool_response>. Call tools only where "
    "you need them for your answer."
)
ANSWER_WITH_CALLS = r"""start: (before call)* AFTER
before[suffix="<tool_call>"]: /(?s:.*)/
AFTER: /(?s:.*)/ & ~/(?s:.*)<tool_call>(?s:.*)/
call: /\s*/ json /\s*/ "</tool_call>"
json: %json """
"""Free text with calls written like this, in Lark's syntax with llguidance's additions; the schema
of a call follows."""
_RESULT, _RESULT_END = "<tool_response>", "</tool_response>"


def with_tools(
    messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, takes_system: bool
) -> list[Message]:
    """The conversation with its tools told as text, in a system message or, where the template
    takes none, in the first message. No role is left but system, user and assistant.

    What tools return is the user's, in one message with what the user says next: most templates
    demand that turns alternate.
    """
    turns: list[Message] = []
    for message in messages:
        turn = _as_text(message)
        if turns and turn.role == "user" and turns[-1].text().startswith(_RESULT):
            turns[-1] = _joined(turns[-1], turn)
        else:
            turns.append(turn)
    told = Message(role="system" if takes_system else "user", content=_told(tools))
    if turns[0].role == "system" and takes_system:
        return [_joined(turns[0], told), *turns[1:]]
    if turns[0].role == "user" and not takes_system:
        return [_joined(told, turns[0]), *turns[1:]]
    return [told, *turns]


def _told(tools: Sequence[dict[str, Any]]) -> str:
    lines = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    return "\n".join([_INTRODUCTION, *lines, _HOW])


def _as_text(message: Message) -> Message:
    if message.role == "tool":
        name = f"{message.name}: " if message.name else ""
        parts = (TextPart(text=_RESULT + name), *_parts(message), TextPart(text=_RESULT_END))
        return Message(role="user", content=parts)
    if not message.tool_calls:
        return message
    said = message.model_copy(update={"tool_calls": ()})
    calls = Message(role="assistant", content="\n".join(map(_written, message.tool_calls)))
    return (
        _joined(said, calls) if said.content else said.model_copy(update={"content": calls.content})
    )


def _written(call: ToolCall) -> str:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:  # Clients send anything.
        arguments = call.arguments
    value = json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{value}</tool_call>"


def _joined(first: Message, second: Message) -> Message:
    """Two messages in one, each in its own lines."""
    parts = (*_parts(first), TextPart(text="\n"), *_parts(second))
    if any(not isinstance(part, TextPart) for part in parts):
        return first.model_copy(update={"content": parts})
    return first.model_copy(update={"content": f"{first.text()}\n{second.text()}"})


def _parts(message: Message) -> tuple[Part, ...]:
    content = message.content
    return (TextPart(text=content),) if isinstance(content, str) else content
