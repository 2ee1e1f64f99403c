"""Requests in Anthropic's shape for the echo backend."""

from __future__ import annotations

from typing import Any

from tests.support.openai_service import MODEL

CLOCK: Any = {
    "name": "clock",
    "description": "The time in a zone.",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
CALL = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'


def asked(text: Any, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    seeded = {"extra_body": {"seed": 1}}
    return {"model": MODEL, "max_tokens": 200, "messages": messages, **seeded} | fields
