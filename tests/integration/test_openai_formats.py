"""Answers in the formats of several model families through the OpenAI routes: streamed, whole, and
continued behind a killed worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError

from tests.support.openai_service import MODEL, Service, calls_of, serving, text_of
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
    calls = [call.function for call in calls_of(chunks)]
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
    assert [call.function.arguments for call in choice.message.tool_calls] == [WRITTEN]
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


@pytest.mark.parametrize("stream", [True, False])
def test_of_a_call_that_its_limit_cuts_its_arguments_so_far_are_told(
    service: Service, stream: bool
) -> None:
    text = say_in("mistral") + f"[TOOL_CALLS]clock[ARGS]{WRITTEN}"
    limit = len("[TOOL_CALLS]clock[ARGS]") + 9
    answer = service.chat(text, tools=[CLOCK], max_tokens=limit, stream=stream)
    if stream:
        chunks = list(answer)
        (call,), reason = calls_of(chunks), chunks[-1].choices[0].finish_reason
    else:
        ((call,), reason) = answer.choices[0].message.tool_calls, answer.choices[0].finish_reason
    assert (call.function.name, call.function.arguments) == ("clock", WRITTEN[:9])
    assert reason == "length"


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_whose_name_is_not_known_before_its_limit_is_text(
    service: Service, stream: bool
) -> None:
    text = say_in("mistral") + f"[TOOL_CALLS]clock[ARGS]{WRITTEN}"
    answer = service.chat(text, tools=[CLOCK], max_tokens=18, stream=stream)
    if stream:
        assert text_of(list(answer)) == "[TOOL_CALLS]clock["
    else:
        choice = answer.choices[0]
        assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)
        assert choice.message.content == "[TOOL_CALLS]clock["


def test_the_official_clients_helper_tells_a_calls_arguments_while_they_come(
    service: Service,
) -> None:
    messages: Any = [{"role": "user", "content": SCRIPTS["harmony"][0]}]
    told: list[str] = []
    with service.client.chat.completions.stream(
        model=MODEL, messages=messages, tools=[CLOCK]
    ) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.delta":
                told.append(event.arguments)
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("clock", WRITTEN)
    assert len(told) > 1
    assert told[-1] == WRITTEN


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_that_turns_out_unreadable_ends_the_answer_with_an_error(
    service: Service, stream: bool
) -> None:
    text = say_in("mistral") + '[TOOL_CALLS]clock[ARGS]{"zone": x}'
    with pytest.raises(APIError) as error:
        list(service.chat(text, tools=[CLOCK], stream=stream))
    assert error.value.code == "tool_call_unreadable"


@pytest.mark.parametrize("parallel", [True, False])
def test_of_several_calls_the_first_alone_is_told_if_no_more_are_wanted(
    service: Service, parallel: bool
) -> None:
    texts = [f"[TOOL_CALLS]clock[ARGS]{WRITTEN}"] * 2
    chunks = service.stream(
        say_in("mistral") + "".join(texts), tools=[CLOCK], parallel_tool_calls=parallel
    )
    calls = [call.function.arguments for call in calls_of(chunks)]
    assert calls == [WRITTEN] * (2 if parallel else 1)


def test_a_worker_killed_within_an_argument_changes_no_byte_of_it(service: Service) -> None:
    written = json.dumps({"zone": 'a "b" {c}\n é 😀 ' * 40}, ensure_ascii=False)
    text = f'{say_in("llama")}{{"name": "clock", "parameters": {written}}}'
    undisturbed = calls_of(service.stream(text, tools=[CLOCK]))
    chunks: list[Any] = []
    kills = [20, 200]
    for chunk in service.chat(text, tools=[CLOCK], stream=True):
        chunks.append(chunk)
        told = [call.function.arguments for call in calls_of(chunks)]
        if kills and told and len(told[0]) > kills[0]:
            assert len(told[0]) < len(written)
            kills.pop(0)
            service.stack.kill("worker")
            service.stack.start_worker()
    assert kills == []
    (call,) = calls_of(chunks)
    assert call.function.arguments == written == undisturbed[0].function.arguments
    asyncio.run(service.stack.worker_ready())


def test_a_harmony_answer_has_its_thinking_and_its_final_text(service: Service) -> None:
    text = (
        say_in("harmony") + "<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>It is noon."
    )
    message = service.chat(text).choices[0].message
    assert (message.content, message.reasoning_content) == ("It is noon.", "Hm.")


@pytest.mark.parametrize("kill", [False, True])
def test_natively_thinking_is_told_apart_too_also_behind_a_killed_worker(
    service: Service, kill: bool
) -> None:
    text = (
        say_in("harmony") + f"<|channel|>analysis<|message|>{TALK}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>It is noon."
    )
    body = {"model_id": MODEL, "messages": [{"role": "user", "content": text}], "seed": 1}
    connection = service.raw(body | {"include_reasoning": True}, "/api/engine/chat")
    response = connection.getresponse()
    frames: list[Any] = []
    for line in response:
        if line.startswith(b"data: "):
            frames.append(json.loads(line.removeprefix(b"data: ")))
            if kill and len(frames) == 20:
                service.stack.kill("worker")
                service.stack.start_worker()
    connection.close()
    assert frames[-1] == {"text": "", "done": True}
    assert natively_told(frames) == ("It is noon.", TALK)
    job = service.json(f"/api/engine/jobs/{response.headers['X-Job-Id']}")
    assert (job["text"], job["reasoning"]) == ("It is noon.", TALK)
    asyncio.run(service.stack.worker_ready())


def natively_told(frames: list[Any]) -> tuple[str, str]:
    """The text and the thinking of a stream."""
    return (
        "".join(frame["text"] for frame in frames),
        "".join(frame.get("reasoning", "") for frame in frames),
    )
