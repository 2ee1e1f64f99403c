"""`tools` beside `response_format` on OpenAI's routes: an answer is either calls or keeps the
schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.chat.request import TOOLS_AS_TEXT, WITHOUT_TOOLS
from api.openai.batches.batch_lines import ENDPOINTS
from api.openai.schemas import ChatBody
from tests.support.api_support import MODEL
from tests.support.openai_support import CHAT, CLOCK, TAKES_TOOLS, Api, body
from wire.messages import ChatJob, Delta, Finished, ToolCallDelta, Usage
from wire.model_registry import Registry
from wire.versions import TooNew, needs, readable


def held(of: Any, **tools: Any) -> dict[str, Any]:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": of}}
    return {"response_format": wanted, "tools": [CLOCK], **tools}


def kind(schema: str | None) -> Any:
    return None if schema is None else json.loads(schema).get("type")


@pytest.mark.parametrize("choice", [None, "auto"])
def test_both_schemas_go_with_the_job(api: Api, choice: str | None) -> None:
    form = api.job(**held({"type": "integer"}, tool_choice=choice)).form
    assert (form.tools, kind(form.json_schema)) == ((CLOCK,), "integer")
    (call,) = json.loads(form.call_schema or "")["anyOf"]
    assert call["properties"]["name"] == {"const": "clock"}
    assert (form.is_guided, form.may_call, form.must_call, form.holds_calls) == (
        True,
        True,
        False,
        False,
    )


def test_any_object_may_be_the_answer_beside_tools(api: Api) -> None:
    form = api.job(response_format={"type": "json_object"}, tools=[CLOCK]).form
    assert (kind(form.json_schema), form.may_call) == ("object", True)


def test_a_call_that_must_be_made_leaves_no_answer_to_hold(api: Api) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    for choice in ("required", named):
        form = api.job(**held({"type": "integer"}, tool_choice=choice)).form
        assert (form.must_call, form.may_call) == (True, False)
        assert "anyOf" in json.loads(form.json_schema or "")


def test_without_tools_to_call_there_is_the_schema_alone(api: Api) -> None:
    form = api.job(**held({"type": "integer"}, tool_choice="none")).form
    assert (form.tools, form.may_call, kind(form.json_schema)) == ((), False, "integer")
    form = api.job(**held({"type": "integer"}) | {"tools": []}).form
    assert (form.tools, form.may_call, kind(form.json_schema)) == ((), False, "integer")


def test_the_schema_that_cannot_be_kept_is_named(api: Api) -> None:
    nonsense = {"type": "nonsense"}
    refusal = api.refused(400, **held(nonsense))
    assert (refusal["code"], refusal["param"]) == ("invalid_schema", "response_format")
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": nonsense}}},
    }
    refusal = api.refused(400, **held({"type": "integer"}) | {"tools": [tool]})
    assert (refusal["code"], refusal["param"]) == ("invalid_schema", "tools")


def test_what_is_not_enforced_in_a_tool_is_kept_as_a_warning(api: Api) -> None:
    parameters: dict[str, Any] = {"properties": {"a": {"not": {}}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    form = api.job(**held({"type": "integer"}) | {"tools": [tool]}).form
    (warning,) = json.loads(form.call_schema or "")["x-warnings"]
    assert 'keyword "not"' in warning


def test_a_model_whose_prompt_tells_the_tools_keeps_the_schema_too(api: Api) -> None:
    Registry(api.redis).put(MODEL)
    try:
        answer = api.client.post(CHAT, json=body(CHAT) | held({"type": "integer"}))
        assert answer.json()["warnings"] == [TOOLS_AS_TEXT]
        job = api.worker.seen[-1]
        assert isinstance(job, ChatJob)
        assert (job.form.prompt_tools, job.form.may_call, job.form.holds_calls) == (
            True,
            True,
            False,
        )
        assert kind(job.form.json_schema) == "integer"
    finally:
        Registry(api.redis).put(TAKES_TOOLS)


def test_tools_that_are_left_out_leave_the_schema() -> None:
    (spec,) = ChatBody.model_validate(body(CHAT) | held({"type": "integer"})).specs()
    ignored = spec.fitting(MODEL, without_template="ignore")
    assert (ignored.form.tools, ignored.form.call_schema) == ((), None)
    assert (kind(ignored.form.json_schema), ignored.warnings) == ("integer", (WITHOUT_TOOLS,))


def test_an_answer_that_called_ends_so_and_one_that_did_not_has_the_text(api: Api) -> None:
    call = Delta("", (1,), "", (ToolCallDelta(id="c", name="clock", arguments="{}"),))
    api.worker.answer = lambda _: (call, Finished("stop", Usage(5, 3, 2)))
    fields = body(CHAT) | held({"type": "integer"})
    choice = api.client.post(CHAT, json=fields).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    *_, told, end = api.chunks(**fields)
    assert told["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "clock"
    assert end["choices"][0]["finish_reason"] == "tool_calls"
    api.worker.answer = lambda _: (Delta("7", (1,)), Finished("stop", Usage(5, 3, 2)))
    choice = api.client.post(CHAT, json=fields).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "7")
    assert not choice["message"].get("tool_calls")


def test_a_worker_of_the_release_before_never_gets_such_a_job(api: Api) -> None:
    form = api.job(**held({"type": "integer"})).form
    assert needs(form) == 4
    with pytest.raises(TooNew) as refused:
        readable(form, 3)
    assert refused.value.field == "call_schema"


def test_a_line_of_a_batch_may_have_both() -> None:
    row = {
        "method": "POST",
        "url": CHAT,
        "body": body(CHAT) | {"model": "model-1"} | held({"type": "integer"}),
    }
    _, spec = ENDPOINTS[CHAT].read(row)
    assert (spec.form.may_call, spec.form.tools) == (True, (CLOCK,))
