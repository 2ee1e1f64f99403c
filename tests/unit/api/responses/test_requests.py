"""How Responses requests become jobs."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from api.responses.schemas import ResponsesBody
from api.responses.thinking import opened, sealed
from tests.unit.api.responses.responses_support import (
    CLOCK,
    PATCH,
    RESPONSES,
    ResponsesApi,
    body,
    call,
    output,
    user,
)
from wire.messages import Message, ToolCall


def turns(messages: tuple[Message, ...]) -> list[tuple[str, Any]]:
    return [(one.role, one.content) for one in messages]


def test_a_text_is_the_users_message_and_defaults_are_openais(api: ResponsesApi) -> None:
    job = api.job(input="Hello")
    assert turns(job.messages) == [("user", "Hello")]
    assert (job.sampling.temperature, job.sampling.top_p, job.sampling.max_tokens) == (1, 1, 32768)
    assert (job.form.separate, job.form.truncation) == (True, "disabled")


def test_instructions_and_developer_messages_are_one_leading_system_message(
    api: ResponsesApi,
) -> None:
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        user("One"),
        {"role": "system", "content": "Be kind."},
        user("Two"),
    ]
    job = api.job(instructions="You are Ann.", input=items)
    system = "You are Ann.\n\nBe brief.\n\nBe kind."
    assert turns(job.messages) == [("system", system), ("user", "One"), ("user", "Two")]


def test_what_an_assistant_did_item_by_item_is_one_turn(api: ResponsesApi) -> None:
    said = {"type": "output_text", "text": "One moment.", "annotations": [], "logprobs": []}
    items = [
        user("What time is it?"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [thought("Hm.")]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [said, {"type": "refusal", "refusal": " No."}],
        },
        call("c1", arguments='{"zone": "UTC"}') | {"id": "fc_1", "status": "completed"},
        call("c2"),
        output("c2", [{"type": "input_text", "text": "late"}]),
        output("c1"),
    ]
    _, asked, *answered = api.job(input=items, tools=[CLOCK]).messages
    assert (asked.role, asked.content, asked.reasoning) == ("assistant", "One moment. No.", "Hm.")
    assert asked.tool_calls == (
        ToolCall(id="c1", name="clock", arguments='{"zone": "UTC"}'),
        ToolCall(id="c2", name="clock", arguments="{}"),
    )
    assert [(m.role, m.name, m.tool_call_id, m.content) for m in answered] == [
        ("tool", "clock", "c2", "late"),
        ("tool", "clock", "c1", "noon"),
    ]


def thought(text: str) -> dict[str, str]:
    return {"type": "reasoning_text", "text": text}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"content": [thought("a"), thought("b")]}, "a\nb"),
        ({"encrypted_content": sealed("Größe")}, "Größe"),
        ({"summary": [{"type": "summary_text", "text": "short"}]}, "short"),
        (
            {"summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": sealed("x")},
            "x",
        ),
        ({"summary": [], "encrypted_content": "gAAAA"}, None),
        ({"summary": []}, None),
    ],
)
def test_thinking_comes_back_whatever_form_the_client_kept(
    api: ResponsesApi, item: dict[str, Any], expected: str | None
) -> None:
    said = {"type": "message", "role": "assistant", "content": "Yes."}
    items = [user(), {"type": "reasoning"} | item, said, user()]
    assert api.job(input=items).messages[1].reasoning == expected
    now = api.job(input=items, reasoning={"context": "current_turn"})
    assert now.messages[1].reasoning is None


def test_what_clients_carry_unread_is_read_again_and_nothing_else_is() -> None:
    assert opened(sealed("")) == ""
    assert [opened(text) for text in (None, "", "mlxq.!", "mlxq.gA==", "mlxq.AA==")] == [None] * 5


def test_tools_of_every_kind(api: ResponsesApi) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'}
    space = {
        "type": "namespace",
        "name": "files",
        "description": "Of this disk.",
        "tools": [CLOCK | {"name": "read", "description": "Reads."}, PATCH, {"type": "mcp"}],
    }
    hosted = [{"type": "web_search", "filters": {}}, {"type": "local_shell"}, {"type": "brand new"}]
    tools = [CLOCK | {"strict": True}, PATCH | {"format": grammar}, space, *hosted]
    response = api.post(tools=tools)
    assert response.status_code == 200, response.text
    ignored = "(not a name), tools[].local_shell, tools[].mcp, tools[].web_search"
    assert response.headers["x-ignored-fields"] == ignored
    functions = [tool["function"] for tool in api.worker.seen[-1].form.tools]
    assert [one["name"] for one in functions] == [
        "clock",
        "apply_patch",
        "files__read",
        "files__apply_patch",
    ]
    assert functions[0]["strict"] is True
    assert (
        functions[1]["description"] == 'Changes files.\n\nThe input follows this lark:\nstart: "x"'
    )
    assert functions[1]["parameters"]["required"] == ["input"]
    assert functions[2]["description"] == "Of this disk.\n\nReads."
    told = response.json()["tools"]
    assert [tool["type"] for tool in told] == ["function", "custom", "namespace"]
    assert [tool["type"] for tool in told[2]["tools"]] == ["function", "custom"]


def test_tools_that_are_told_in_the_input_join_the_others(api: ResponsesApi) -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [PATCH, CLOCK]}
    job = api.job(input=[more, user()], tools=[CLOCK])
    assert [tool["function"]["name"] for tool in job.form.tools] == ["clock", "apply_patch"]


def test_calls_of_custom_tools_and_of_namespaces_are_calls_of_functions(api: ResponsesApi) -> None:
    custom = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": 'a"b'}
    items = [
        user(),
        custom | {"namespace": "files"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        call("c2") | {"namespace": "mcp__time__"},
        output("c2"),
    ]
    _, first, told, second, _ = api.job(input=items).messages
    (made,) = first.tool_calls
    assert (made.name, json.loads(made.arguments)) == ("files__apply_patch", {"input": 'a"b'})
    assert (told.name, told.content) == ("files__apply_patch", "done")
    assert second.tool_calls[0].name == "mcp__time__clock"


@pytest.mark.parametrize(
    ("choice", "offered", "forced"),
    [
        ("auto", ["clock", "apply_patch"], False),
        ("none", [], False),
        ("required", ["clock", "apply_patch"], True),
        ({"type": "function", "name": "clock"}, ["clock"], True),
        ({"type": "custom", "name": "apply_patch"}, ["apply_patch"], True),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "clock"}, {"type": "web_search"}],
            },
            ["clock"],
            False,
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "custom", "name": "apply_patch"}],
            },
            ["apply_patch"],
            True,
        ),
    ],
)
def test_choices_among_tools(
    api: ResponsesApi, choice: Any, offered: list[str], forced: bool
) -> None:
    form = api.job(tools=[CLOCK, PATCH], tool_choice=choice).form
    assert [tool["function"]["name"] for tool in form.tools] == offered
    assert form.must_call is forced
    assert (form.json_schema is not None) is forced


@pytest.mark.parametrize(
    ("sent", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "name": "n", "schema": {"type": "integer"}}, {"type": "integer"}),
    ],
)
def test_what_the_text_is_held_to(api: ResponsesApi, sent: Any, schema: Any) -> None:
    form = api.job(text={"format": sent, "verbosity": "low"}).form
    held = None if form.json_schema is None else json.loads(form.json_schema)
    assert (held if held is None else held["type"]) == (schema and schema["type"])


@pytest.mark.parametrize(
    ("asked", "option"), [("none", "none"), ("high", "high"), ("xhigh", "high"), ("max", "high")]
)
def test_the_effort_is_the_templates_option(api: ResponsesApi, asked: str, option: str) -> None:
    response = api.post(reasoning={"effort": asked})
    options = api.worker.seen[-1].form.template_options
    assert json.loads(options) == {"reasoning_effort": option}
    assert response.json()["reasoning"]["effort"] == option
    assert ("warnings" in response.json()) is (asked != option)


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"max_output_tokens": 7}, "max_tokens", 7),
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"top_p": 0.25}, "top_p", 0.25),
        ({"top_k": 5}, "top_k", 5),
        ({"seed": 11}, "seed", 11),
        ({"stop": "END"}, "stop", ("END",)),
        ({"repetition_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"thinking_token_budget": 9}, "thinking_budget", 9),
        ({"top_logprobs": 2}, "logprobs", 2),
        ({"top_logprobs": 0}, "logprobs", None),
        ({"include": ["message.output_text.logprobs"]}, "logprobs", 0),
    ],
)
def test_sampling_fields(api: ResponsesApi, sent: Any, field: str, value: Any) -> None:
    assert getattr(api.job(**sent).sampling, field) == value


def test_a_conversation_is_shortened_when_that_is_asked_for(api: ResponsesApi) -> None:
    assert api.job(truncation="auto").form.truncation == "auto"


OPTIONAL = [name for name, one in ResponsesBody.model_fields.items() if not one.is_required()]


@pytest.mark.parametrize("field", OPTIONAL)
def test_null_counts_as_left_out(field: str) -> None:
    assert type(None) in get_args(ResponsesBody.model_fields[field].annotation)
    TypeAdapter(ResponsesBody).validate_python({"input": "Hi", field: None})


def test_the_same_key_is_the_same_answer(api: ResponsesApi) -> None:
    key = {"Idempotency-Key": "once-more"}
    first, second = (api.client.post(RESPONSES, json=body(), headers=key).json() for _ in "ab")
    assert first == second
    assert first["status"] == "completed"
    assert len(api.worker.seen) == 1


def test_forty_kilobytes_of_an_agents_request_pass(api: ResponsesApi) -> None:
    tools = [CLOCK | {"name": f"tool_{n}", "description": "d" * 300} for n in range(60)]
    fields = {
        "instructions": "i" * 20_000,
        "tools": tools,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-abcd",
        "client_metadata": {"x-codex-installation-id": "1"},
        "text": {"verbosity": "low"},
    }
    events = api.events(**fields)
    assert events[-1]["type"] == "response.completed"
    assert len(api.worker.seen[-1].form.tools) == 60
