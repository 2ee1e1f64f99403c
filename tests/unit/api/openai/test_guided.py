"""What answers are held to under vLLM's and llama-server's names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.chat.json_schema import MOST_CHARACTERS
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.openai.schemas import ChatBody, CompletionBody
from wire.messages import Grammar

TALK = {"messages": [{"role": "user", "content": "Hello!"}]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object"}},
}
DIGITS = Grammar(kind="regex", text=r"\d+")


def chat(**fields: Any) -> ChatSpec:
    (spec,) = ChatBody.model_validate(TALK | fields).specs()
    return spec


def refusal(**fields: Any) -> tuple[str, str | None, str]:
    with pytest.raises(ApiError) as refused:
        chat(**fields)
    return refused.value.code, refused.value.param, refused.value.message


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"guided_regex": r"\d+"}, DIGITS),
        ({"structured_outputs": {"regex": r"\d+"}}, DIGITS),
        ({"guided_choice": ["a.", "b"]}, Grammar(kind="regex", text=r"^(?:a\.|b)$")),
        ({"structured_outputs": {"choice": ["b"]}}, Grammar(kind="regex", text="^(?:b)$")),
        ({"guided_grammar": 'start: "a"'}, Grammar(kind="lark", text='start: "a"')),
        ({"grammar": 'root ::= "a"'}, Grammar(kind="lark", text='root ::= "a"')),
        (
            {"structured_outputs": {"grammar": 'start: "a"'}},
            Grammar(kind="lark", text='start: "a"'),
        ),
        ({"structured_outputs": {}}, None),
        ({"guided_regex": None}, None),
        ({"guided_regex": "", "guided_choice": [], "guided_json": "", "grammar": ""}, None),
        ({"structured_outputs": {"regex": "", "choice": [], "grammar": ""}}, None),
        ({"guided_grammar": "", "guided_regex": r"\d+"}, DIGITS),
    ],
)
def test_a_grammar_by_each_of_its_names(fields: dict[str, Any], grammar: Grammar | None) -> None:
    spec = chat(**fields)
    assert (spec.form.grammar, spec.form.json_schema) == (grammar, None)
    assert spec.form.is_guided is (grammar is not None)
    (text,) = CompletionBody.model_validate({"prompt": "One, two,"} | fields).specs()
    assert (text.form.grammar, text.form.raw) == (grammar, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_json": {"type": "null"}}, "guided_json"),
        ({"guided_json": '{"type": "null"}'}, "guided_json"),
        ({"structured_outputs": {"json": {"type": "null"}}}, "structured_outputs.json"),
    ],
)
def test_a_schema_by_each_of_its_names(fields: dict[str, Any], param: str) -> None:
    spec = chat(**fields)
    assert json.loads(spec.form.json_schema or "")["type"] == "null"
    assert (spec.form.grammar, spec.held_by) == (None, param)
    spec = chat(response_format={"type": "json_object", "schema": {"type": "null"}})
    assert json.loads(spec.form.json_schema or "")["type"] == "null"
    assert ChatBody.model_validate(TALK | {"response_format": {"type": "text"}}).ignored() == []
    spec = chat(structured_outputs={"json_object": True})
    assert json.loads(spec.form.json_schema or "")["type"] == "object"


def test_two_things_at_once_are_refused_by_name() -> None:
    assert refusal(guided_regex="a", guided_choice=["a"]) == (
        "unsupported",
        "guided_choice",
        "An answer is held to one thing: send guided_regex or guided_choice.",
    )
    code, param, _ = refusal(guided_json={}, response_format={"type": "json_object"})
    assert (code, param) == ("unsupported", "guided_json")


@pytest.mark.parametrize("asked", ["guided_regex", "guided_choice", "guided_grammar"])
def test_beside_tools_a_schema_can_be_had_and_no_grammar(asked: str) -> None:
    for choice in (None, "auto", "required"):
        fields = {asked: ["a"] if asked == "guided_choice" else "a", "tools": [TOOL]}
        code, param, sentence = refusal(**fields, tool_choice=choice)
        assert (code, param) == ("unsupported", asked)
        assert sentence == (
            "Beside tools an answer can be held to a JSON schema, and to no grammar, regular "
            "expression or choice."
        )
        form = chat(guided_json={"type": "object"}, tools=[TOOL], tool_choice=choice).form
        assert (form.may_call, form.must_call) == (choice != "required", choice == "required")


def test_what_is_no_schema_is_refused_by_name() -> None:
    assert refusal(guided_json="{") == ("invalid_schema", "guided_json", "guided_json is not JSON.")
    assert refusal(guided_json="[1]")[1:] == ("guided_json", "guided_json is not an object.")
    for text in ("[" * 3_000, '{"a":' * 3_000, "1" * 5_000):
        assert refusal(guided_json=text)[:2] == ("invalid_schema", "guided_json")
    code, param, sentence = refusal(guided_json=" " * MOST_CHARACTERS + "{}")
    assert (code, param, str(MOST_CHARACTERS) in sentence) == (
        "invalid_schema",
        "guided_json",
        True,
    )


def test_what_no_job_could_carry_is_refused_with_the_reason() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    for schema, reason in (
        (deep, "levels deep"),
        ({"const": "\ud800"}, "surrogate"),
        ({"const": float("nan")}, "number"),
    ):
        code, param, sentence = refusal(guided_json=schema)
        assert (code, param) == ("invalid_schema", "guided_json")
        assert reason in sentence
    assert chat(guided_json={"const": "\U0001f600"}).form.json_schema
    long = TOOL["function"] | {"parameters": {"description": "x" * MOST_CHARACTERS}}
    told = refusal(tools=[TOOL | {"function": long}], tool_choice="required")
    assert told[:2] == ("invalid_schema", "tools")


def test_other_fields_of_structured_outputs_are_refused_by_name() -> None:
    asked = {"regex": "a", "structural_tag": "{}", "disable_any_whitespace": False}
    code, param, _ = refusal(structured_outputs=asked)
    assert (code, param) == ("unsupported", "structured_outputs.structural_tag")
