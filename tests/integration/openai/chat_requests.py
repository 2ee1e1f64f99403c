"""Requests of OpenAI's API."""

from __future__ import annotations

from typing import Any

from tests.support.openai_service import MODEL

CALL = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def body_of(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}
