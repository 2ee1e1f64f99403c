"""Schemas that answers are held to: how they are written down, and whether they can be kept to at all.

A schema that can't be is refused before a job exists, with the reason. Knows no models.
"""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import Any

from api.errors import ApiError

MOST_CHARACTERS = 64 << 10
_REASON_LIMIT = 200
_PARAM = "response_format"
# One way to write each answer down. Left a choice, a small model may write blanks until its tokens are used up.
_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}


def as_text(schema: dict[str, Any]) -> str:
    """A schema as a job carries it. Raises ApiError for one that is too large or isn't JSON."""
    try:
        # The options are the matcher's, which reads them from here.
        text = json.dumps(schema | {"x-guidance": _OPTIONS}, allow_nan=False)
    except ValueError:
        raise _refused("it holds a number that is none") from None
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"it is longer than {MOST_CHARACTERS} characters")
    return text


async def check(schema: str, param: str = _PARAM) -> None:
    """Raises ApiError ``invalid_schema`` with the reason for a schema that no answer can be held to."""
    # The library takes a second to import, and a large schema up to half a second to read.
    reason = await asyncio.to_thread(_why_not, schema)
    if reason:
        raise _refused(reason, param)


@lru_cache(maxsize=64)
def _why_not(schema: str) -> str:
    from llguidance import LLMatcher

    try:
        grammar = LLMatcher.grammar_from_json_schema(schema)
        failed, reasons = LLMatcher.validate_grammar_with_warnings(grammar)
    except ValueError as error:
        failed, reasons = True, [str(error)]
    return " ".join(reasons[0].split())[:_REASON_LIMIT] if failed else ""


def _refused(reason: str, param: str = _PARAM) -> ApiError:
    return ApiError("invalid_schema", f"Answers can't be held to this schema: {reason}.", param=param)
