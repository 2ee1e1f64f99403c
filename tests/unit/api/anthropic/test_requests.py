"""How Anthropic's requests become jobs, and which are refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from api.anthropic.schemas import MessagesBody
from tests.support.openai_support import TAKES_TOOLS
from tests.support.picture_files import noise, saved
from tests.unit.api.anthropic.messages_api import (
    CALL,
    CLOCK,
    RESULT,
    AnthropicApi,
    assistant,
    body,
    user,
)
from wire.model_registry import Registry


def test_defaults(api: AnthropicApi) -> None:
    job = api.job()
    assert job.sampling.model_dump(exclude={"seed"}, exclude_defaults=True) == {
        "temperature": 1.0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_tokens": 100,
    }
    assert (job.form.separate, job.form.truncation, job.form.tools) == (True, "disabled", ())


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"max_tokens": 100_000}, "max_tokens", 32768),
        ({"max_tokens": 7.0}, "max_tokens", 7),
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 5}, "top_k", 5),
        ({"seed": -3}, "seed", -3),
        ({"stop_sequences": ["a", "b"]}, "stop", ("a", "b")),
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "thinking_budget", 50),
        ({"thinking": {"type": "adaptive"}}, "thinking_budget", None),
    ],
)
def test_sampling_fields_are_translated(
    api: AnthropicApi, sent: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(api.job(**sent).sampling, field) == value


@pytest.mark.parametrize(
    ("sent", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "medium"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
    ],
)
def test_thinking_is_an_effort(api: AnthropicApi, sent: dict[str, Any], effort: str | None) -> None:
    options = api.job(**sent).form.template_options
    assert options == (None if effort is None else json.dumps({"reasoning_effort": effort}))


def test_a_system_prompt_comes_first_and_systems_inside_stay_in_place(api: AnthropicApi) -> None:
    blocks = [
        {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Two."},
    ]
    turns = [user(), {"role": "system", "content": "Be brief."}, user("Well?")]
    job = api.job(system=blocks, messages=turns)
    assert [(m.role, m.content) for m in job.messages] == [
        ("system", "One.\n\nTwo."),
        ("user", "Hello"),
        ("system", "Be brief."),
        ("user", "Well?"),
    ]


@pytest.mark.parametrize("as_block", [False, True])
def test_a_changing_billing_line_gives_the_same_prompt(api: AnthropicApi, as_block: bool) -> None:
    seen = []
    for number in (1, 2):
        line = f"x-anthropic-billing-header: cc_version=2.1; cch={number}abc;"
        system: Any = f"{line}\nYou are an agent."
        if as_block:
            system = [{"type": "text", "text": text} for text in (line, "You are an agent.")]
        seen.append(api.job(system=system).messages)
    assert seen[0] == seen[1]
    assert seen[0][0].content == "You are an agent."


def test_a_billing_line_elsewhere_is_text(api: AnthropicApi) -> None:
    text = "Explain this:\nx-anthropic-billing-header: a"
    job = api.job(system=text, messages=[user("x-anthropic-billing-header: b")])
    assert [m.content for m in job.messages] == [text, "x-anthropic-billing-header: b"]


def test_calls_results_and_thinking_are_messages(api: AnthropicApi) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "opaque"}
    said = {"type": "text", "text": "One moment."}
    failed = RESULT | {"tool_use_id": "t2", "is_error": True, "content": "no such zone"}
    turns = [
        user(),
        assistant(thought, hidden, said, CALL, CALL | {"id": "t2"}),
        user([RESULT, failed, {"type": "text", "text": "Go on."}]),
    ]
    _, asked, first, second, rest = api.job(messages=turns, tools=[CLOCK]).messages
    assert (asked.content, asked.reasoning) == ("One moment.", "Hm.")
    assert [(c.id, c.name, json.loads(c.arguments)) for c in asked.tool_calls] == [
        ("t1", "clock", {"zone": "UTC"}),
        ("t2", "clock", {"zone": "UTC"}),
    ]
    assert [(m.role, m.content, m.tool_call_id, m.name) for m in (first, second, rest)] == [
        ("tool", "noon", "t1", "clock"),
        ("tool", "Error: no such zone", "t2", "clock"),
        ("user", "Go on.", None, None),
    ]


def test_own_ids_are_the_workers_again_and_others_go_through(api: AnthropicApi) -> None:
    for sent, kept in (("toolu_0123abcde", "0123abcde"), ("toolu_01A09q90qw90lq", None)):
        turns = [user(), assistant(CALL | {"id": sent}), user([RESULT | {"tool_use_id": sent}])]
        _, asked, answered = api.job(messages=turns).messages
        assert (asked.tool_calls[0].id, answered.tool_call_id) == (kept or sent, kept or sent)


def test_the_last_text_of_an_assistant_goes_on(api: AnthropicApi) -> None:
    turns = [user(), {"role": "assistant", "content": "Once upon"}]
    assert api.job(messages=turns).form.continue_final
    assert not api.job().form.continue_final


def test_tools_are_functions_and_server_tools_are_named(api: AnthropicApi) -> None:
    web = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    response = api.post(tools=[CLOCK | {"strict": True}, web])
    assert response.headers["x-ignored-fields"] == "tools[].web_search_20250305"
    [tool] = api.worker.seen[-1].form.tools  # type: ignore[union-attr]
    assert tool == {
        "type": "function",
        "function": {
            "name": "clock",
            "description": "The time.",
            "parameters": CLOCK["input_schema"],
            "strict": True,
        },
    }


def test_choices_of_tools(api: AnthropicApi) -> None:
    bell = CLOCK | {"name": "bell"}
    form = api.job(tools=[CLOCK], tool_choice={"type": "none"}).form
    assert (form.tools, form.must_call) == ((), False)
    form = api.job(tools=[CLOCK], tool_choice={"type": "auto"}).form
    assert (len(form.tools), form.must_call) == (1, False)
    for choice, names in (
        ({"type": "any"}, ["bell", "clock"]),
        ({"type": "tool", "name": "bell"}, ["bell"]),
    ):
        form = api.job(tools=[bell, CLOCK], tool_choice=choice).form
        called = json.loads(form.json_schema or "")["anyOf"]
        assert [call["properties"]["name"]["const"] for call in called] == names
        assert form.must_call


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_format_is_a_schema(api: AnthropicApi, field: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    sent = {"output_config": {"format": wanted}} if field == "output_config" else {field: wanted}
    assert json.loads(api.job(**sent).form.json_schema or "")["type"] == "object"


@pytest.mark.parametrize(
    ("choice", "calls", "must_call", "held"),
    [
        (None, True, False, "integer"),
        ("auto", True, False, "integer"),
        ("any", False, True, None),
        ("none", False, False, "integer"),
    ],
)
def test_a_format_beside_tools_holds_what_is_no_call(
    api: AnthropicApi, choice: str | None, calls: bool, must_call: bool, held: str | None
) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "integer"}}
    chosen = {} if choice is None else {"tool_choice": {"type": choice}}
    form = api.job(output_config={"format": wanted}, tools=[CLOCK], **chosen).form
    assert (form.may_call, form.must_call) == (calls, must_call)
    assert json.loads(form.json_schema or "").get("type") == held
    if calls:
        (call,) = json.loads(form.call_schema or "")["anyOf"]
        assert call["properties"]["name"] == {"const": CLOCK["name"]}


def test_unknown_fields_are_named_and_known_ones_not(api: AnthropicApi) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    block = {"type": "text", "text": "Hello", "strange": 1, **cached}
    response = api.post(
        messages=[user([block]) | {"odd": 2}],
        tools=[CLOCK | cached | {"input_examples": [{}]}],
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": []},
        container="c",
        **cached,
    )
    assert response.headers["x-ignored-fields"] == (
        "container, context_management, messages[].content[].strange, messages[].odd, "
        "tools[].input_examples"
    )


def test_images_are_those_of_other_routes(api: AnthropicApi) -> None:
    Registry(api.redis).put(TAKES_TOOLS.model_copy(update={"is_vision": True}))
    try:
        encoded = base64.b64encode(saved(noise((200, 120)))).decode()  # Long enough to be cut out.
        assert len(encoded) > 40_000
        source = {"type": "base64", "media_type": "image/png", "data": encoded}
        image = {"type": "image", "source": source}
        job = api.job(messages=[user([image, {"type": "text", "text": "What is it?"}])])
        assert len(job.messages[0].images()) == 1
        turns = [user(), assistant(CALL), user([RESULT | {"content": [image]}])]
        assert len(api.job(messages=turns).messages[-1].images()) == 1
        api.worker.seen.clear()
        broken = {"type": "image", "source": source | {"data": "AAAA"}}
        turns = [user(), assistant(CALL), user([RESULT | {"content": [broken]}])]
        said = api.refused(400, messages=turns)
        assert said.startswith("messages.2.content.0.content.0.source: An image is not")
        elsewhere = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
        said = api.refused(400, messages=[user([elsewhere])])
        assert said.startswith("messages.0.content.0.source: ")
    finally:
        Registry(api.redis).put(TAKES_TOOLS)


def test_an_image_for_a_text_model_is_refused(api: AnthropicApi) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    said = api.refused(400, messages=[user([{"type": "image", "source": source}])])
    assert said.startswith("messages.0.content.0: This model does not support images.")


def test_a_body_without_a_limit_can_be_counted() -> None:
    sent = body(system="Be brief.", tools=[CLOCK])
    del sent["max_tokens"]
    spec = MessagesBody.model_validate(sent).spec()
    assert ([draft.role for draft in spec.messages], len(spec.form.tools)) == (
        ["system", "user"],
        1,
    )
