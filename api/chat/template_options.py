"""Options for the model's chat template: ``chat_template_kwargs``, as vLLM has it, and OpenAI's
``reasoning_effort``.

Which options a template has the worker knows alone: it refuses others by name.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from api.errors import ApiError
from api.schemas import is_shallow, whole
from wire.messages import RESERVED_OPTIONS

MOST_OPTIONS = 32
FIELD = "chat_template_kwargs"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _storable(options: dict[str, Any]) -> dict[str, Any]:
    if not is_shallow(options):
        raise ValueError("it is nested too deeply")
    if not all(_NAME.fullmatch(name) for name in options):
        raise ValueError("a template's options are named by letters, digits and underscores")
    whole(json.dumps(options, ensure_ascii=False, allow_nan=False))
    return options


TemplateKwargs = Annotated[
    dict[str, Any], Field(max_length=MOST_OPTIONS), AfterValidator(_storable)
]
Effort = Annotated[str, Field(pattern="^[a-z]{1,16}$")]


def options_of(
    kwargs: dict[str, Any] | None, effort: str | None, *, has_schema: bool
) -> str | None:
    """The template's options that a request asks for, as JSON text. Raises ApiError for what is
    none."""
    options = {name: value for name, value in (kwargs or {}).items() if value is not None}
    for name in options:
        if name in RESERVED_OPTIONS:
            raise ApiError(
                "unsupported", f"{name} is no option of a chat template.", param=f"{FIELD}.{name}"
            )
    if has_schema and (options.get("enable_thinking") or options.get("thinking")):
        raise ApiError(
            "unsupported",
            "An answer that is held to a schema begins with it: the model can't think first.",
            param=FIELD,
        )
    if effort is not None:
        options = {"reasoning_effort": effort} | options
    return json.dumps(options, ensure_ascii=False) if options else None
