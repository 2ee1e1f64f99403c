"""Answers of the whole service that a schema, a choice or a regular expression holds."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel, Field


class Person(BaseModel):
    """Short: the text of a small model may have no end, and the schema sets none."""

    name: str = Field(max_length=10)
    age: int = Field(ge=0, le=150)
    likes: Literal["tea", "coffee"]


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_openais_client_gets_objects_of_its_own_class(client: OpenAI) -> None:
    for seed in range(5):
        answer = client.chat.completions.parse(
            model="demo-chat",
            messages=ask("Who are you?"),
            response_format=Person,
            seed=seed,
            temperature=1.0,
        )
        message = answer.choices[0].message
        assert isinstance(message.parsed, Person)
        assert json.loads(message.content or "") == message.parsed.model_dump()


def test_openais_client_gets_texts_of_a_choice_and_of_a_regular_expression(client: OpenAI) -> None:
    choice = client.chat.completions.create(
        model="demo-chat",
        messages=ask("Tea or coffee?"),
        extra_body={"guided_choice": ["tea (green)", "coffee"]},
    )
    assert choice.choices[0].message.content in ("tea (green)", "coffee")
    text = client.completions.create(
        model="demo-chat",
        prompt="My number is",
        max_tokens=40,
        extra_body={"structured_outputs": {"regex": r" \d{3}-\d{4}"}},
    )
    assert re.fullmatch(r" \d{3}-\d{4}", text.choices[0].text)
    assert text.choices[0].finish_reason == "stop"
    with pytest.raises(BadRequestError, match="unclosed group") as refused:
        client.chat.completions.create(
            model="demo-chat", messages=ask("Hello!"), extra_body={"guided_regex": "("}
        )
    assert (refused.value.code, refused.value.param) == ("invalid_schema", "guided_regex")


def test_a_schema_that_is_none_is_refused_with_the_reason(client: OpenAI) -> None:
    schema: Any = {"name": "bad", "schema": {"type": "nonsense"}}
    with pytest.raises(BadRequestError, match="Invalid type: nonsense") as refused:
        client.chat.completions.create(
            model="demo-chat",
            messages=ask("Hello!"),
            response_format={"type": "json_schema", "json_schema": schema},
            stream=True,
        )
    assert (refused.value.code, refused.value.param) == ("invalid_schema", "response_format")


def test_a_schema_of_too_many_alternatives_is_refused_before_it_is_queued(client: OpenAI) -> None:
    many = [
        {"type": "object", "properties": {f"p{i}{j}": {"type": "string"} for j in range(10)}}
        for i in range(150)
    ]
    schema: Any = {"name": "many", "schema": {"anyOf": many}}
    with pytest.raises(BadRequestError, match="optional or alternatives") as refused:
        client.chat.completions.create(
            model="demo-chat",
            messages=ask("Hello!"),
            response_format={"type": "json_schema", "json_schema": schema},
        )
    assert refused.value.code == "invalid_schema"
