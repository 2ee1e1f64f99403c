"""How OpenAI's requests become jobs, and which are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from api.openai.schemas import ChatBody, CompletionBody
from tests.support.api_support import message
from tests.support.openai_support import CHAT, CLOCK, COMPLETIONS, TAKES_TOOLS, Api, body, error
from wire.model_registry import Registry


def test_defaults_are_openais(api: Api) -> None:
    sampling = api.job().sampling
    assert sampling.model_dump(exclude={"seed"}) == {
        "temperature": 1.0,
        "max_tokens": 32768,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "stop": (),
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    assert 0 <= sampling.seed < 2**63


@pytest.mark.parametrize("wanted", ["model-1", "Tiny Chat", "someone/tiny-chat"])
def test_a_model_is_known_by_id_name_and_repository(api: Api, wanted: str) -> None:
    assert api.job(model=wanted).model_id == "model-1"


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"max_tokens": 7}, "max_tokens", 7),
        ({"max_completion_tokens": 8}, "max_tokens", 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, "max_tokens", 8),
        ({"max_tokens": 100_000}, "max_tokens", 32768),
        ({"stop": "END"}, "stop", ("END",)),
        ({"stop": ["a", "", "b"]}, "stop", ("a", "b")),
        ({"stop": None}, "stop", ()),
        ({"seed": -3}, "seed", -3),
        ({"temperature": 0}, "temperature", 0.0),
        ({"temperature": None}, "temperature", 1.0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"repetition_penalty": 1.2}, "repetition_penalty", 1.2),
        ({"presence_penalty": -0.5}, "presence_penalty", -0.5),
        ({"frequency_penalty": 2}, "frequency_penalty", 2.0),
    ],
)
def test_sampling_fields_are_translated(
    api: Api, sent: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(api.job(**sent).sampling, field) == value


def test_a_developer_is_the_system_and_names_are_kept(api: Api) -> None:
    job = api.job(messages=[message("Be brief.", "developer"), message("Hi") | {"name": "ann"}])
    assert [(m.role, m.content, m.name) for m in job.messages] == [
        ("system", "Be brief.", None),
        ("user", "Hi", "ann"),
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({}, "disabled"), ({"truncation": None}, "disabled")]
    + [({"truncation": value}, value) for value in ("auto", "disabled")],
)
def test_a_conversation_is_shortened_when_that_is_asked_for(
    api: Api, asked: dict[str, Any], expected: str
) -> None:
    assert api.job(**asked).form.truncation == expected
    forced = {"tools": [CLOCK], "tool_choice": "required"}
    assert api.job(**forced, **asked).form.truncation == expected


def optional_fields(shape: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """The optional fields of a body and of everything in it, and what they take."""
    for name, field in shape.model_fields.items():
        if not field.is_required():
            yield f"{shape.__name__}.{name}", Annotated[field.annotation, None, *field.metadata]
        for inner in models_in(field.annotation):
            yield from optional_fields(inner)


def models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in models_in(part)}


OPTIONAL = dict([*optional_fields(ChatBody), *optional_fields(CompletionBody)])


@pytest.mark.parametrize("field", sorted(OPTIONAL))
def test_null_counts_as_left_out(field: str) -> None:
    TypeAdapter(OPTIONAL[field]).validate_python(None)


def test_calls_of_tools_and_their_answers_are_turns_like_others(api: Api) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "clock", "arguments": '{"zone": "UTC"}'},
    }
    turns = [message(), {"role": "assistant", "content": None, "tool_calls": [call]}]
    job = api.job(messages=[*turns, {"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    _, asked, answered = job.messages
    assert asked.content == ""
    assert [(c.id, c.name, c.arguments) for c in asked.tool_calls] == [
        ("c1", "clock", '{"zone": "UTC"}')
    ]
    assert (answered.role, answered.content, answered.tool_call_id) == ("tool", "noon", "c1")


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": "perhaps"}, "tool_choice"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "bell"}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"functions": [{"name": "clock"}]}, "functions"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "oracle", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            "messages[0].content[0]",
        ),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_what_cannot_be_is_refused_by_name(api: Api, sent: dict[str, Any], param: str) -> None:
    refusal = api.refused(400, **sent)
    assert refusal["type"] == "invalid_request_error"
    assert refusal["param"] == param


def test_an_image_that_is_none_is_refused_like_natively(api: Api) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://somewhere/cat.png", "detail": "low"}}
    Registry(api.redis).put(TAKES_TOOLS.model_copy(update={"is_vision": True}))
    try:
        refusal = api.refused(400, messages=[{"role": "user", "content": [part]}])
    finally:
        Registry(api.redis).put(TAKES_TOOLS)
    assert (refusal["code"], refusal["param"]) == (
        "unsupported",
        "messages[0].content[0].image_url",
    )


def test_a_picture_for_a_model_that_sees_none_is_refused_where_it_stands(api: Api) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [
        message(),
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]},
    ]
    refusal = api.refused(400, messages=turns)
    assert (refusal["code"], refusal["param"]) == ("unsupported", "messages[1].content[1]")


def test_a_completion_continues_the_prompt_as_it_is(api: Api) -> None:
    job = api.job(COMPLETIONS, prompt=["Once upon"])
    assert (job.form.raw, job.messages[0].content, job.sampling.max_tokens) == (
        True,
        "Once upon",
        16,
    )
    answer = api.client.post(COMPLETIONS, json=body(COMPLETIONS)).json()
    assert answer["object"] == "text_completion"
    choice = {
        "index": 0,
        "text": "Hello",
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
    }
    assert answer["choices"] == [choice]
    chunks = api.chunks(COMPLETIONS)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_what_a_completion_cannot_do_is_refused(api: Api, sent: dict[str, Any], param: str) -> None:
    assert api.refused(400, COMPLETIONS, **sent)["param"] == param


def test_the_same_key_is_the_same_answer(api: Api) -> None:
    first, second = (
        api.client.post(CHAT, json=body(CHAT), headers={"Idempotency-Key": "once"}).json()
        for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert second["choices"][0]["message"]["content"] == "Hello"
    assert len(api.worker.seen) == 1
    other = api.client.post(
        CHAT, json=body(CHAT) | {"seed": 1}, headers={"Idempotency-Key": "once"}
    )
    assert (other.status_code, error(other)["code"]) == (409, "conflict")
