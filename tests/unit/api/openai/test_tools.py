"""`tools` and `tool_choice` on OpenAI's routes."""

from __future__ import annotations

import json

import pytest

from tests.support.api_support import MODEL
from tests.support.openai_support import CHAT, CLOCK, TAKES_TOOLS, Api, body
from wire.messages import ChatJob, Delta, Finished, ToolCall, Usage
from wire.model_registry import Registry


def test_tools_go_with_the_job_as_they_are(api: Api) -> None:
    assert api.job(tools=[CLOCK]).form.tools == (CLOCK,)
    assert api.job(tools=[CLOCK], tool_choice="none").form.tools == ()


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "clock"}}]
)
def test_a_call_that_must_be_made_is_a_schema(api: Api, choice: object) -> None:
    zone = {"$defs": {"Zone": {"enum": ["UTC"]}}, "properties": {"zone": {"$ref": "#/$defs/Zone"}}}
    tools = [CLOCK, {"type": "function", "function": {"name": "clock", "parameters": zone}}]
    form = api.job(tools=tools, tool_choice=choice).form
    assert (form.must_call, len(form.tools)) == (True, 2)
    assert [call["properties"]["name"] for call in json.loads(form.json_schema or "")["anyOf"]] == [
        {"const": "clock"},
        {"const": "clock"},
    ]


def test_a_tools_strictness_is_its_own(api: Api) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}
    other = {"type": "function", "function": {"name": "g"}}
    refusal = api.refused(
        400,
        tools=[{"type": "function", "function": function | {"strict": True}}],
        tool_choice="required",
    )
    assert (refusal["code"], refusal["param"]) == ("invalid_schema", "tools")
    job = api.job(tools=[{"type": "function", "function": function}, other], tool_choice="required")
    calls = [
        call["properties"]["arguments"] for call in json.loads(job.form.json_schema or "")["anyOf"]
    ]
    assert [(call["properties"], call["additionalProperties"]) for call in calls] == [
        ({"a": {}}, False),
        ({}, False),
    ]


def test_a_call_that_was_cut_off_is_returned_as_far_as_it_goes(api: Api) -> None:
    cut = Delta("", (1,), "", (ToolCall(id="c", name="clock", arguments='{"zo'),))
    api.worker.answer = lambda _: (cut, Finished("length", Usage(5, 3, 2)))
    choice = api.client.post(
        CHAT, json=body(CHAT) | {"tools": [CLOCK], "tool_choice": "required"}
    ).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "clock", "arguments": '{"zo'}
    *_, call, end = api.chunks(tools=[CLOCK], tool_choice="required")
    assert call["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"zo'
    assert end["choices"][0]["finish_reason"] == "length"


def test_a_tool_that_nobody_could_call_is_refused_with_a_reason(api: Api) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": {"type": "nonsense"}}}},
    }
    refusal = api.refused(400, tools=[tool], tool_choice="required")
    assert (refusal["code"], refusal["param"]) == ("invalid_schema", "tools")


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_model_without_tools_answers_without_them_and_says_so(
    api: Api, choice: str | None
) -> None:
    sentence = "This model has no way to call tools. Answered without them."
    Registry(api.redis).put(MODEL)
    try:
        fields = body(CHAT) | {"tools": [CLOCK], "tool_choice": choice}
        answer = api.client.post(CHAT, json=fields)
        assert answer.json()["warnings"] == [sentence]
        assert answer.headers["x-warning"] == sentence
        assert [chunk.get("warnings") for chunk in api.chunks(**fields)] == [
            [sentence],
            None,
            None,
            None,
        ]
        assert [job.form.tools for job in api.worker.seen if isinstance(job, ChatJob)] == [(), ()]
        api.worker.seen.clear()
        assert api.refused(400, tools=[CLOCK], tool_choice="required")["param"] == "tools"
    finally:
        Registry(api.redis).put(TAKES_TOOLS)
