"""Messages in the form of chat templates: rows of role, content and tool calls.

The tokeniser renders the template.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import TemplateError, UndefinedError

from wire.messages import RESERVED_OPTIONS, Message, OutputFormat, ToolCall
from wire.models.reasoning_effort import EFFORTS
from worker.backends.text.formats.chat_format import ChatFormat, chat_format
from worker.backends.text.reasoning_effort import effort_options
from worker.backends.text.template_text import EFFORT, SWITCHES, TOOLS, template_source, uses
from worker.errors import WorkerError

Row = dict[str, Any]
_NO_DETAILS: Row = {"description": "", "parameters": {"type": "object", "properties": {}}}


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
    """The chat template's arguments besides the messages. Raises WorkerError for tools or options
    that the model's template has no place for."""
    source, marks = template_source(tokenizer), chat_format(tokenizer)
    thinks = marks.thinks
    options: Row = {}
    if thinks and not tokenizer.has_thinking and uses(source, "enable_thinking"):
        # mlx_lm would turn off what it doesn't know.
        options["enable_thinking"] = True
    asked = _asked(form, source, marks)
    options |= asked
    if form.is_guided and thinks_first(asked):
        if marks.thinking is None:
            sentence = (
                "This model's thinking can't be told from an answer that is held to a schema."
            )
            raise WorkerError("unsupported", sentence)
    elif form.is_guided:
        # What holds from the first token on leaves no room for thinking.
        options["enable_thinking"] = False
    if not form.tools or form.prompt_tools:
        return options
    if not uses(source, TOOLS):
        raise WorkerError("unsupported", "This model has no way to call tools.", param=TOOLS)
    return options | {TOOLS: list(form.tools)}


def _asked(form: OutputFormat, source: str, marks: ChatFormat) -> Row:
    """The options that the request sets, as the template knows them."""
    asked = json.loads(form.template_options or "{}")
    options: Row = {}
    if asked.get(EFFORT) in EFFORTS:
        options = effort_options(asked.pop(EFFORT), source, is_harmony=marks.is_harmony)
    for name, value in asked.items():
        param = f"chat_template_kwargs.{name}"
        if name in RESERVED_OPTIONS:
            sentence = f"{name} is no option of a chat template."
            raise WorkerError("unsupported", sentence, param=param)
        if uses(source, name):
            options[name] = value
        elif name not in SWITCHES or value or marks.thinks:
            # A model that doesn't think need not be told not to.
            sentence = f"This model's chat template has no option {name}."
            raise WorkerError("unsupported", sentence, param=param)
    return options


def thinks_first(options: Row) -> bool:
    """Whether an answer that is held to something is to think before it."""
    return any(options.get(name) for name in SWITCHES)


def guided_start(options: Row, marks: ChatFormat, form: OutputFormat, *, is_open: bool) -> str:
    """What a prompt ends with whose answer is held to something. ``is_open``: the template has
    begun the thinking.

    A model that is to think first would begin that by itself, or not: the mark leaves no choice.
    What begins a text is left to an answer that may be a call.
    """
    if marks.thinking is not None and thinks_first(options):
        return "" if is_open else marks.thinking.start
    return "" if form.may_call else marks.answer_start


def own_marks(tokenizer: Any) -> list[str]:
    """A model's marks of its own thinking and tool calls: they come back in a client's history."""
    return chat_format(tokenizer).own_marks()


def apply_template(
    owner: Any, rows: list[Row], options: Row, *, tokenize: bool, opens: bool = True
) -> Any:
    """A conversation rendered by the template of a tokeniser or a processor; ``opens``: with what
    begins a new answer.

    Raises WorkerError with the template's own message if the template refuses the conversation.
    """
    try:
        arguments = {"add_generation_prompt": opens, "tokenize": tokenize}
        return _applied(owner, rows, options, arguments)
    except TemplateError as error:
        sentence, source = str(error), template_source(owner)
        # A message that isn't in the source literally may quote the conversation.
        if not sentence or not any(f"{quote}{sentence}{quote}" in source for quote in "'\""):
            raise
        reason = sentence.rstrip(".")
        raise WorkerError(
            "template_failed", f"The model's chat template refused these messages: {reason}."
        ) from error


def _applied(owner: Any, rows: list[Row], options: Row, arguments: dict[str, bool]) -> Any:
    try:
        return owner.apply_chat_template(rows, **arguments, **options)
    except UndefinedError:
        if TOOLS not in options:
            raise
    # What is optional in OpenAI's API is not in every template.
    tools = [tool | {"function": _NO_DETAILS | tool["function"]} for tool in options[TOOLS]]
    return owner.apply_chat_template(rows, **arguments, **options | {TOOLS: tools})


def end_of_open_thinking(tokenizer: Any, prompt_ids: Sequence[int]) -> tuple[int, ...]:
    """The tokens that end the model's thinking if a prompt ends in the middle of it, as some
    templates begin it; none if it doesn't."""
    thinking = chat_format(tokenizer).thinking
    return thinking.end_ids if thinking is not None and thinking.is_open(prompt_ids) else ()
