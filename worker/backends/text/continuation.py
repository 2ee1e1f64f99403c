"""Prompts of answers that go on in the words of the last message: they end with these words, to
the character.

What stands before them is the template's: it renders a mark in their place, and is cut there. So
nothing that it does to a text (most strip it) changes them, and the turn stays open.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from wire.messages import Message
from worker.backends.text.formats.chat_format import ChatFormat, Thinking
from worker.backends.text.harmony_history import split_answers
from worker.errors import WorkerError

Row = dict[str, Any]
Render = Callable[[list[Row], bool], str]
"""A conversation in, the prompt out: with what begins a new answer, or without it."""
_TEXT, _THOUGHT = "content", "reasoning_content"


def goes_on(rows: Sequence[Row]) -> bool:
    """Whether an answer can go on in the words of the last message."""
    last = rows[-1]
    return (
        last["role"] == "assistant"
        and "tool_calls" not in last
        and isinstance(last[_TEXT], str)
        and bool(last[_TEXT] or last.get(_THOUGHT))
    )


def is_thought(last: Message, form: ChatFormat) -> bool:
    """Whether what goes on is thinking: the message has no text yet."""
    row = {"role": last.role, _TEXT: last.text()}
    if form.is_harmony:
        (row,) = split_answers([row])
    return not row[_TEXT]


def continued(rows: Sequence[Row], render: Render, thinking: Thinking | None) -> str:
    """The prompt that ends with the last message's text, or with its thinking if it has no text.

    ``thinking`` are the model's marks. Text with such marks is the model's own answer, as it was
    told unsplit, and goes where it was written. Raises WorkerError for a template that gives the
    last message no place at the end.
    """
    *before, last = rows
    text = str(last[_TEXT])
    if thinking is not None and (thinking.start in text or thinking.end in text):
        return _without_opening(render(before, True), text, thinking) + text
    field = _TEXT if text else _THOUGHT
    head = _head(before, last, field, render)
    if head is None and field == _THOUGHT and thinking is not None:
        head = _opened(render(before, True), thinking)
    if head is None:
        raise WorkerError(
            "unsupported",
            "This model's chat template has no place for a last message that goes on: "
            "the conversation must end with another role.",
            param="messages",
        )
    return f"{head}{last[field]}"


def _head(before: list[Row], last: Row, field: str, render: Render) -> str | None:
    """What a template writes before the words of the last message; None if they don't stand at the
    end."""
    mark, asked = (f"{name}{secrets.token_hex(8)}" for name in ("going", "asked"))
    rendered = render([*before, last | {field: mark}], False)
    head, *behind = rendered.split(mark)
    if len(behind) != 1:
        return None
    users = [index for index, row in enumerate(before) if row["role"] == "user"]
    if users and isinstance(before[users[-1]][_TEXT], str):
        # A template may put the turns into another order.
        marked = [*before, last | {field: mark}]
        marked[users[-1]] = before[users[-1]] | {_TEXT: asked}
        if asked in render(marked, False).partition(mark)[2]:
            return None
    return head


def _without_opening(prompt: str, text: str, thinking: Thinking) -> str:
    """A prompt without the thinking that it begins, if the text begins it."""
    at = prompt.rfind(thinking.start)
    if at < 0 or not text.lstrip().startswith(thinking.start):
        return prompt
    behind = prompt[at:].replace(thinking.start, "").replace(thinking.end, "")
    return prompt if behind.strip() else prompt[:at]


def _opened(prompt: str, thinking: Thinking) -> str:
    """A prompt that ends in the middle of the thinking."""
    return prompt if thinking.is_open_in(prompt) else f"{prompt}{thinking.start}\n"
