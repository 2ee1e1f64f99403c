"""`tools` and `tool_choice` on OpenAI's routes."""

from __future__ import annotations

import json

import pytest

from api.chat.request import TOOLS_AS_TEXT, WITHOUT_TOOLS
from api.errors import ApiError
from api.openai.schemas import ChatBody
from tests.support.api_support import MODEL
from tests.support.openai_support import CHAT, CLOCK, TAKES_TOOLS, Api, body
from wire.messages import ChatJob, Delta, Finished, ToolCallDelta, Usage
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
    cut = Delta("", (1,), "", (ToolCallDelta(id="c", name="clock", arguments='{"zo'),))
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


@pytest.mark.parametrize("choice", [None, "auto", "required"])
def test_a_model_without_a_template_for_tools_is_told_them_as_text(
    api: Api, choice: str | None
) -> None:
    Registry(api.redis).put(MODEL)
    try:
        fields = body(CHAT) | {"tools": [CLOCK], "tool_choice": choice}
        answer = api.client.post(CHAT, json=fields)
        assert answer.json()["warnings"] == [TOOLS_AS_TEXT]
        assert answer.headers["x-warning"] == TOOLS_AS_TEXT
        assert api.chunks(**fields)[0]["warnings"] == [TOOLS_AS_TEXT]
        for job in api.worker.seen:
            assert isinstance(job, ChatJob)
            form = job.form
            assert (form.tools, form.prompt_tools) == ((CLOCK,), True)
            assert form.must_call == form.is_guided == (choice == "required")
            (call,) = json.loads(form.json_schema or "")["anyOf"]
            assert call["properties"]["name"] == {"const": "clock"}
    finally:
        Registry(api.redis).put(TAKES_TOOLS)


def test_tools_without_a_template_are_left_out_or_refused_if_the_operator_says_so() -> None:
    (spec,) = ChatBody.model_validate(body(CHAT) | {"tools": [CLOCK]}).specs()
    ignored = spec.fitting(MODEL, without_template="ignore")
    assert (ignored.form.tools, ignored.form.json_schema) == ((), None)
    assert ignored.warnings == (WITHOUT_TOOLS,)
    with pytest.raises(ApiError) as refused:
        spec.fitting(MODEL, without_template="refuse")
    assert (refused.value.code, refused.value.param) == ("unsupported", "tools")
    forced = {"tools": [CLOCK], "tool_choice": "required"}
    (spec,) = ChatBody.model_validate(body(CHAT) | forced).specs()
    with pytest.raises(ApiError):
        spec.fitting(MODEL, without_template="ignore")
    assert spec.fitting(TAKES_TOOLS, without_template="refuse").warnings == ()


def test_several_calls_have_to_be_made_only_where_they_are_asked_for(api: Api) -> None:
    for asked, expected in ((True, "array"), (False, None), (None, None)):
        form = api.job(tools=[CLOCK], tool_choice="required", parallel_tool_calls=asked).form
        schema = json.loads(form.json_schema or "")
        assert (schema.get("type"), schema.get("minItems")) == (expected, 1 if asked else None)
    chosen = {"type": "function", "function": {"name": "clock"}}
    form = api.job(tools=[CLOCK], tool_choice=chosen, parallel_tool_calls=True).form
    assert "anyOf" in json.loads(form.json_schema or "")


def test_calls_are_asked_for_in_pieces(api: Api) -> None:
    assert api.job(tools=[CLOCK]).form.call_pieces
    assert not api.job().form.call_pieces


PIECES = (
    ToolCallDelta("a", "clock", '{"zo'),
    ToolCallDelta("a", "", 'ne": "'),
    ToolCallDelta("a", "", 'UTC"}'),
    ToolCallDelta("b", "clock", ""),
    ToolCallDelta("b", "", "{}"),
)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (5,), (4, 1)])
@pytest.mark.parametrize("parallel", [True, False])
def test_pieces_of_calls_become_chunks_and_whole_calls(
    api: Api, sizes: tuple[int, ...], parallel: bool
) -> None:
    items, deltas = list(PIECES), []
    for size in sizes:
        deltas.append(Delta("", (1,), "", tuple(items[:size])))
        del items[:size]
    api.worker.answer = lambda _: (*deltas, Finished("stop", Usage(5, 3, 2)))
    fields = {"tools": [CLOCK], "parallel_tool_calls": parallel}
    message = api.client.post(CHAT, json=body(CHAT) | fields).json()["choices"][0]["message"]
    wanted = [("a", '{"zone": "UTC"}'), ("b", "{}")][: 2 if parallel else 1]
    assert [(c["id"], c["function"]["arguments"]) for c in message["tool_calls"]] == wanted
    told = [
        call
        for chunk in api.chunks(**fields)
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert [call["id"] for call in told if "id" in call] == [one for one, _ in wanted]
    for index, (_, arguments) in enumerate(wanted):
        mine = [call for call in told if call["index"] == index]
        assert "".join(call["function"]["arguments"] for call in mine) == arguments
        assert all(call.keys() == {"index", "function"} for call in mine[1:])
        assert all(call["function"].keys() == {"arguments"} for call in mine[1:])
