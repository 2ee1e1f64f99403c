"""Tools beside `text.format` in Responses requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.responses.batch_lines import RESPONSE_LINES, RESPONSES
from tests.unit.api.responses.responses_support import CLOCK, PATCH, ResponsesApi


@pytest.mark.parametrize(
    ("choice", "called", "must_call", "held"),
    [
        ("auto", ["clock", "apply_patch"], False, "integer"),
        ("required", [], True, None),
        ("none", [], False, "integer"),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "clock"}],
            },
            ["clock"],
            False,
            "integer",
        ),
    ],
)
def test_a_format_beside_tools_holds_what_is_no_call(
    api: ResponsesApi, choice: Any, called: list[str], must_call: bool, held: str | None
) -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "integer"}}
    form = api.job(text={"format": wanted}, tools=[CLOCK, PATCH], tool_choice=choice).form
    assert (form.may_call, form.must_call) == (bool(called), must_call)
    assert json.loads(form.json_schema or "").get("type") == held
    calls = json.loads(form.call_schema or '{"anyOf": []}')["anyOf"]
    assert [call["properties"]["name"]["const"] for call in calls] == called


def test_a_line_of_a_batch_may_have_both() -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "integer"}}
    body = {"model": "model-1", "input": "Hi", "tools": [CLOCK], "text": {"format": wanted}}
    _, spec = RESPONSE_LINES.read({"method": "POST", "url": RESPONSES, "body": body})
    assert (spec.form.may_call, len(spec.form.tools)) == (True, 1)
