"""Bodies in the shape in which agents send them, each written for this test, over a running
service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.openai_service import MODEL, Service

BODIES = sorted((Path(__file__).parent / "bodies").glob("*.json"))
IGNORED = {
    "claude_code": "context_management, tools[].web_search_20250305",
    "claude_code_tools": "context_management, tools[].bash_20250124, tools[].memory_20250818, "
    "tools[].text_editor_20250728, tools[].tool_search_tool_regex_20251119",
}
"""What of a body has no effect here and is named; of the other bodies nothing."""


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_bodies_of_agents_are_answered(service: Service, path: Path) -> None:
    sent = json.loads(path.read_text(encoding="utf-8"))
    sent |= {"model": MODEL, "max_tokens": 8}
    connection = service.raw(sent, "/v1/messages?beta=true", anthropic_version="2023-06-01")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    assert response.headers["X-Ignored-Fields"] == IGNORED.get(path.stem)
    if sent.get("stream"):
        assert "event: message_stop" in text
    else:
        assert json.loads(text)["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_their_tokens_are_counted(service: Service, path: Path) -> None:
    sent = json.loads(path.read_text(encoding="utf-8")) | {"model": MODEL}
    counted = service.json("/v1/messages/count_tokens", sent)
    assert counted["input_tokens"] > 0, counted
