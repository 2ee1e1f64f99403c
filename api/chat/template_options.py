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
from api.schemas import whole
from wire.messages import RESERVED_OPTIONS

MOST_OPTIONS = 32
FIELD = "chat_template_kwargs"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _storable(options: dict[str, Any]) -> dict[str, Any]:
    if any(isinstance(value, (dict, list)) for value in options.values()):
        raise ValueError("a template's options are texts, numbers, true or false")
    if not all(_NAME.fullmatch(name) for name in options):
        raise ValueError("a template's options are named by letters, digits and underscores")
    whole(json.dumps(options, ensure_ascii=False, allow_nan=False))
    return options


TemplateKwargs = Annotated[
    dict[str, Any], Field(max_length=MOST_OPTIONS), AfterValidator(_storable)
]


def options_of(kwargs: dict[str, Any] | None, effort: str | None) -> str | None:
    """The template's options that a request asks for, as JSON text. Raises ApiError for what is
    none."""
    options = {name: value for name, value in (kwargs or {}).items() if value is not None}
    for name in options:
        if name in RESERVED_OPTIONS:
            raise ApiError(
                "unsupported", f"{name} is no option of a chat template.", param=f"{FIELD}.{name}"
            )
    if effort is not None:
        options = {"reasoning_effort": effort} | options
    return json.dumps(options, ensure_ascii=False) if options else None
