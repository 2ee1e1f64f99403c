"""What an answer is held to, and which tools it may call: one form for jobs of every API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from api.errors import ApiError
from api.serving.tools import schema_of_call
from wire.messages import Grammar, OutputFormat


@dataclass(frozen=True, slots=True)
class Guide:
    """A schema's JSON text or a grammar, and the field that asks for it."""

    param: str
    json_schema: str | None = None
    grammar: Grammar | None = None


def guided(form: OutputFormat, guide: Guide | None) -> OutputFormat:
    """The form of an answer that is held to a guide, if there is one."""
    if guide is None:
        return form
    return form.model_copy(update={"json_schema": guide.json_schema, "grammar": guide.grammar})


def format_of_chat(
    tools: Sequence[dict[str, Any]],
    guide: Guide | None,
    *,
    called: Callable[[], str] | None = None,
    truncation: Literal["auto", "disabled"] = "disabled",
) -> OutputFormat:
    """The form of an answer that may call ``tools``, or has to be a call of the schema
    that ``called`` returns. Raises ApiError for what can't be had."""
    form = OutputFormat(separate=True, tools=tuple(tools), truncation=truncation)
    if guide is not None and guide.grammar is not None and (tools or called is not None):
        raise ApiError(
            "unsupported",
            "Beside tools an answer can be held to a JSON schema, and to no grammar, regular "
            "expression or choice.",
            param=guide.param,
        )
    if called is not None:
        # Without an answer beside the call there is nothing to guide.
        return form.model_copy(update={"json_schema": called(), "must_call": True})
    if guide is None or not tools:
        return guided(form, guide)
    call = schema_of_call([tool["function"] for tool in tools])
    return guided(form, guide).model_copy(update={"call_schema": call})
