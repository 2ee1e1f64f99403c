"""The whole service with SmolLM2: what clients see."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from openai import OpenAI

from api.chat.request import TOOLS_AS_TEXT
from tests.real.conftest import SMOLLM2
from tests.support.http_client import Message, Service, Stream
from tests.support.service_support import Running

GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
CAPITAL = "What is the capital of France?"


def ask(http: Service, text: str, **fields: Any) -> Stream:
    return http.conversation([SYSTEM, {"role": "user", "content": text}], SMOLLM2, **fields)


@pytest.fixture
def client(http: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{http.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def said(client: OpenAI, text: str, **fields: Any) -> Any:
    messages: Any = [SYSTEM, {"role": "user", "content": text}]
    answer = client.chat.completions.create(
        model=SMOLLM2, messages=messages, **{"temperature": 0, "max_tokens": 24, **fields}
    )
    return answer.choices[0]


def test_it_knows_the_capital_of_france(http: Service) -> None:
    assert ask(http, CAPITAL, **GREEDY, max_tokens=8).rest() == "The capital of France is Paris."


def test_chats_that_name_no_sampling_get_that_of_its_card(http: Service) -> None:
    _, rows = http.call("GET", "/api/engine/models")
    [row] = [row for row in rows if row["name"] == SMOLLM2]
    assert row["sampling_defaults"] == {"temperature": 0.2, "top_p": 0.9}


def test_characters_of_several_tokens_are_streamed_whole(http: Service) -> None:
    stream = ask(http, "Repeat: 日本語 🦜 日本語 🦜", **GREEDY, max_tokens=14)
    text = stream.rest()
    assert "日" in text or "🦜" in text
    assert all("\ufffd" not in frame["text"] for frame in stream.frames)
    assert len(stream.frames) > 4


def test_a_stop_text_that_spans_tokens_ends_the_answer(client: OpenAI) -> None:
    for stop, text in (("tal of Fr", "The capi"), ("Paris.", "The capital of France is ")):
        choice = said(client, CAPITAL, stop=[stop])
        assert (choice.message.content, choice.finish_reason) == (text, "stop")


def test_an_answer_keeps_a_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 20},
            "of": {"enum": ["日本", "France"]},
        },
        "required": ["city", "of"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    choice = said(client, CAPITAL, response_format=form, max_tokens=40)
    answer = json.loads(choice.message.content)
    assert (list(answer), answer["of"], choice.finish_reason) == (["city", "of"], "France", "stop")
    assert len(answer["city"]) <= 20


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def test_a_model_without_a_template_for_tools_is_told_them_and_calls_one(client: OpenAI) -> None:
    question = {"role": "user", "content": "What is the weather in Oslo?"}
    messages: Any = [SYSTEM, question]
    answer = client.chat.completions.create(
        model=SMOLLM2,
        messages=messages,
        temperature=0,
        max_tokens=60,
        tools=[WEATHER],
        tool_choice="required",
    )
    assert answer.warnings == [TOOLS_AS_TEXT]  # type: ignore[attr-defined]
    calls: Any = answer.choices[0].message.tool_calls
    assert calls[0].function.name == "get_weather"
    assert "Oslo" in calls[0].function.arguments


def test_the_results_of_tools_are_text_that_it_reads(client: OpenAI) -> None:
    messages: Any = [
        SYSTEM,
        {"role": "user", "content": "Weather in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "The weather in Oslo: heavy snow."},
    ]
    answer = client.chat.completions.create(
        model=SMOLLM2, messages=messages, temperature=0, max_tokens=16
    )
    assert "snow" in (answer.choices[0].message.content or "")


def test_seeds_say_the_same_alone_together_and_over_a_killed_worker(
    running: Running, http: Service
) -> None:
    asked = [(f"Tell me about {n}.", {"seed": n, "max_tokens": 10}) for n in range(3)]
    alone = [ask(http, text, **fields).rest() for text, fields in asked]
    streams = [ask(http, text, **fields) for text, fields in asked]
    streams[2].until(3)
    children = psutil.Process(running.process.pid).children()
    (worker,) = [child for child in children if child.cmdline()[-1] == "worker"]
    worker.send_signal(signal.SIGKILL)
    assert [stream.rest() for stream in streams] == alone
