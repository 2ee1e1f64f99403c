"""Tools beside a schema on the whole service, a route of each API: an answer is either a call of a
tool or keeps the schema, and ends as such."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from scripts.training.random_text_model import SMALL, make, train_tokenizer
from tests.mlx.formats.template_support import with_tools
from tests.support.http_client import Service
from tests.support.service_support import wait

MARKS = ("<tool_call>", "</tool_call>")
COLOUR: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
WALL: dict[str, Any] = {
    "type": "object",
    "properties": {"wall": {"enum": ["north", "south"]}},
    "required": ["wall"],
}
FUNCTION = {"name": "paint", "parameters": WALL}
TOOL: Any = {"type": "function", "function": FUNCTION}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOUR}}
SEEDS = range(12)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model whose template takes tools."""
    folder = tmp_path_factory.mktemp("models")
    made = make(folder / "painter", SMALL)
    template = with_tools("".join(MARKS))
    train_tokenizer(SMALL.vocabulary, MARKS, template).save_pretrained(made)
    return folder


def ask(seed: int) -> list[Any]:
    return [{"role": "user", "content": f"What is next? {seed}"}]


def check(calls: list[tuple[str, Any]], text: str, *, ended_by_calls: bool) -> bool:
    """An answer is as it has to be; returns whether it is a call."""
    assert ended_by_calls == bool(calls)
    if calls:
        assert text == ""
        for name, given in calls:
            assert (name, list(given), given["wall"] in ("north", "south")) == (
                "paint",
                ["wall"],
                True,
            )
    else:
        assert json.loads(text) in ({"colour": "red"}, {"colour": "green"})
    return bool(calls)


def both_come(ask_one: Callable[[int], bool]) -> None:
    """Some seeds call and others answer."""
    assert {ask_one(seed) for seed in SEEDS} == {True, False}


def test_openais_chats_whole(client: OpenAI) -> None:
    def one(seed: int) -> bool:
        choice = client.chat.completions.create(
            model="painter",
            messages=ask(seed),
            seed=seed,
            temperature=2.0,
            tools=[TOOL],
            response_format=FORMAT,
        ).choices[0]
        made: list[Any] = choice.message.tool_calls or []
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in made]
        ended = choice.finish_reason == "tool_calls"
        return check(calls, choice.message.content or "", ended_by_calls=ended)

    both_come(one)


def test_openais_chats_streamed(client: OpenAI) -> None:
    def one(seed: int) -> bool:
        name, arguments, text, reason = "", "", "", None
        for chunk in client.chat.completions.create(
            model="painter",
            messages=ask(seed),
            seed=seed,
            temperature=2.0,
            tools=[TOOL],
            parallel_tool_calls=False,
            response_format=FORMAT,
            stream=True,
        ):
            (choice,) = chunk.choices
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            reason = choice.finish_reason or reason
        calls = [(name, json.loads(arguments))] if name else []
        return check(calls, text, ended_by_calls=reason == "tool_calls")

    both_come(one)


def test_a_model_whose_prompt_tells_the_tools(client: OpenAI) -> None:
    """The shipped chat model has no place for tools in its template."""
    choice = client.chat.completions.create(
        model="demo-chat", messages=ask(1), seed=1, tools=[TOOL], response_format=FORMAT
    ).choices[0]
    made: list[Any] = choice.message.tool_calls or []
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in made]
    ended = choice.finish_reason == "tool_calls"
    check(calls, choice.message.content or "", ended_by_calls=ended)


def test_anthropics_messages(http: Service) -> None:
    def one(seed: int) -> bool:
        body = {
            "model": "painter",
            "max_tokens": 200,
            "messages": ask(seed),
            "seed": seed,
            "temperature": 2.0,
            "tools": [{"name": "paint", "input_schema": WALL}],
            "output_config": {"format": {"type": "json_schema", "schema": COLOUR}},
        }
        status, answer = http.call("POST", "/v1/messages", body)
        assert status == 200, answer
        blocks = answer["content"]
        calls = [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
        text = "".join(b["text"] for b in blocks if b["type"] == "text")
        return check(calls, text, ended_by_calls=answer["stop_reason"] == "tool_use")

    both_come(one)


def test_openais_responses(client: OpenAI) -> None:
    tool: Any = {"type": "function", **FUNCTION, "strict": False}

    def one(seed: int) -> bool:
        answer = client.responses.create(
            model="painter",
            input=ask(seed),
            temperature=2.0,
            tools=[tool],
            text={"format": {"type": "json_schema", "name": "colour", "schema": COLOUR}},
            extra_body={"seed": seed},
        )
        made = [item for item in answer.output if item.type == "function_call"]
        calls = [(call.name, json.loads(call.arguments)) for call in made]
        return check(calls, answer.output_text, ended_by_calls=bool(made))

    both_come(one)


def test_lines_of_a_batch(client: OpenAI) -> None:
    def line(seed: int) -> dict[str, Any]:
        body = {"model": "painter", "messages": ask(seed), "seed": seed, "temperature": 2.0}
        body |= {"tools": [TOOL], "response_format": FORMAT}
        url = "/v1/chat/completions"
        return {"custom_id": str(seed), "method": "POST", "url": url, "body": body}

    lines = "\n".join(json.dumps(line(seed)) for seed in SEEDS).encode()
    file = client.files.create(file=("lines.jsonl", lines), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    wait(lambda: client.batches.retrieve(batch.id).status == "completed")
    output = client.batches.retrieve(batch.id).output_file_id
    assert output is not None
    rows = [json.loads(row) for row in client.files.content(output).text.splitlines()]
    choices = [row["response"]["body"]["choices"][0] for row in rows]
    assert len(choices) == len(SEEDS)
    came = set()
    for choice in choices:
        made = choice["message"].get("tool_calls") or []
        calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in made]
        ended = choice["finish_reason"] == "tool_calls"
        came.add(check(calls, choice["message"]["content"] or "", ended_by_calls=ended))
    assert came == {True, False}
