"""Messages in the form of chat templates: rows of role, content and tool calls.

The tokeniser renders the template.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import TemplateError

from wire.messages import Message, OutputFormat, ToolCall
from worker.errors import WorkerError

Row = dict[str, Any]


def row(message: Message, content: Any) -> Row:
    """One message with the content that the model's template expects, a text or parts."""
    result: Row = {"role": message.role, "content": content}
    if message.name is not None:
        result["name"] = message.name
    if message.reasoning is not None:
        result["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        result["tool_calls"] = [_call(call) for call in message.tool_calls]
    return result


def texts(messages: Iterable[Message]) -> list[Row]:
    """A conversation without its images."""
    return [row(message, message.text()) for message in messages]


def _call(call: ToolCall) -> Row:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        # Clients send anything; most templates expect an object, and report it.
        arguments = call.arguments
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def template_options(form: OutputFormat, tokenizer: Any) -> Row:
    """The chat template's arguments besides the messages. Raises WorkerError for tools that a model
    can't call."""
    # A schema from the first token on leaves no room for thinking.
    options: Row = {} if form.json_schema is None else {"enable_thinking": False}
    if not form.tools:
        return options
    # A required call is recognised by its schema, not by marks.
    if not tokenizer.has_tool_calling and not form.must_call:
        raise WorkerError("unsupported", "This model has no way to call tools.")
    return options | {"tools": list(form.tools)}


def template_source(tokenizer: Any) -> str:
    """The text of a tokeniser's or processor's chat templates; empty without one."""
    template = getattr(tokenizer, "chat_template", None)
    if callable(written := getattr(tokenizer, "_chat_template", None)):
        # One of mlx_lm's, in Python.
        return inspect.getsource(inspect.getmodule(written) or written)
    if isinstance(template, dict):
        return "\n".join(map(str, template.values()))
    return str(template or "")


def own_marks(tokenizer: Any) -> list[str]:
    """A model's marks of its own thinking and tool calls: they come back in a client's history."""
    marks = (
        tokenizer.think_start,
        tokenizer.think_end,
        tokenizer.tool_call_start,
        tokenizer.tool_call_end,
    )
    return [mark for mark in marks if mark]


def apply_template(owner: Any, rows: list[Row], options: Row, *, tokenize: bool) -> Any:
    """A conversation rendered by the template of a tokeniser or a processor.

    Raises WorkerError with the template's own message if the template refuses the conversation.
    """
    try:
        return owner.apply_chat_template(
            rows, add_generation_prompt=True, tokenize=tokenize, **options
        )
    except TemplateError as error:
        sentence, source = str(error), template_source(owner)
        # A message that isn't in the source literally may quote the conversation.
        if not sentence or not any(f"{quote}{sentence}{quote}" in source for quote in "'\""):
            raise
        reason = sentence.rstrip(".")
        raise WorkerError(
            "template_failed", f"The model's chat template refused these messages: {reason}."
        ) from error


def is_thinking(tokenizer: Any, prompt_ids: Sequence[int]) -> bool:
    """Whether a prompt ends in the middle of the model's thinking: some templates begin it."""
    if not tokenizer.has_thinking:
        return False
    return bool(tokenizer.rfind_think_start(prompt_ids) > tokenizer.rfind_think_end(prompt_ids))
