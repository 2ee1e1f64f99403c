"""Answers in the formats of several model families through the OpenAI routes: streamed, whole, and
continued behind a killed worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.openai_service import Service, serving, text_of
from worker.backends.echo_script import say_in

CLOCK: Any = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
ARGUMENTS = {"zone": 'a "b" {c}\n'}
WRITTEN = json.dumps(ARGUMENTS)
TALK = "A word. " * 30
HARMONY = (
    f"<|channel|>analysis<|message|>{TALK}<|end|>"
    f"<|start|>assistant<|channel|>commentary<|message|>{TALK}<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.clock <|constrain|>json"
    f"<|message|>{WRITTEN}<|call|>"
)
SCRIPTS = {
    "mistral, a list": (
        say_in("mistral") + f'{TALK}[TOOL_CALLS] [{{"name": "clock", "arguments": {WRITTEN}}}]',
        TALK,
        "",
    ),
    "mistral, a name": (say_in("mistral") + f"{TALK}[TOOL_CALLS]clock[ARGS]{WRITTEN}", TALK, ""),
    "harmony": (say_in("harmony") + HARMONY, TALK, TALK),
    "llama": (say_in("llama") + f'{{"name": "clock", "parameters": {WRITTEN}}}', "", ""),
}
every = pytest.mark.parametrize(("text", "said", "thought"), SCRIPTS.values(), ids=SCRIPTS.keys())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("formats")) as running:
        yield running


def told(chunks: list[Any]) -> tuple[str, str, list[tuple[str, Any]]]:
    """The text, thinking and calls of a stream."""
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    calls = [call.function for delta in deltas for call in delta.tool_calls or ()]
    return text_of(chunks), thought, [(call.name, json.loads(call.arguments)) for call in calls]


@every
def test_a_call_is_told_apart_streamed_and_whole(
    service: Service, text: str, said: str, thought: str
) -> None:
    chunks = service.stream(text, tools=[CLOCK])
    assert told(chunks) == (said, thought, [("clock", ARGUMENTS)])
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    choice = service.chat(text, tools=[CLOCK]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "") == said
    assert [call.function.name for call in choice.message.tool_calls] == ["clock"]


@every
def test_it_goes_on_behind_a_killed_worker(
    service: Service, text: str, said: str, thought: str
) -> None:
    chunks = []
    for chunk in service.chat(text, tools=[CLOCK], stream=True):
        chunks.append(chunk)
        if len(chunks) == (40 if said else 1):
            service.stack.kill("worker")
            service.stack.start_worker()
    assert told(chunks) == (said, thought, [("clock", ARGUMENTS)])
    asyncio.run(service.stack.worker_ready())


def test_a_call_that_its_limit_cuts_is_text(service: Service) -> None:
    text = say_in("mistral") + f"[TOOL_CALLS]clock[ARGS]{WRITTEN}"
    choice = service.chat(text, tools=[CLOCK], max_tokens=30).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)
    assert choice.message.content == text.removeprefix(say_in("mistral"))[:30]


def test_a_harmony_answer_has_its_thinking_and_its_final_text(service: Service) -> None:
    text = (
        say_in("harmony") + "<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>It is noon."
    )
    message = service.chat(text).choices[0].message
    assert (message.content, message.reasoning_content) == ("It is noon.", "Hm.")
