"""The official openai client against a running service on the echo backend."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.integration.openai.chat_requests import CALL, CLOCK
from tests.support.openai_service import MODEL, Service, calls_of, text_of
from worker.backends.echo import answer
from worker.backends.echo_script import SAY


def test_a_stream_says_what_the_model_says(service: Service) -> None:
    chunks = service.stream("hello", max_tokens=20, stream_options={"include_usage": True})
    assert text_of(chunks) == answer("hello", 1, 20)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert chunks[-1].choices == []
    assert (
        chunks[-1].usage.completion_tokens,
        chunks[-1].usage.prompt_tokens_details.cached_tokens,
    ) == (20, 0)


def test_a_whole_answer_is_the_same_text(service: Service) -> None:
    completion = service.chat("hello", max_tokens=20)
    assert completion.choices[0].message.content == answer("hello", 1, 20)
    assert (completion.choices[0].finish_reason, completion.usage.total_tokens) == ("length", 31)
    assert (completion.model, completion.system_fingerprint) == (MODEL, "echo")


def test_a_completion_is_continued_without_a_template(service: Service) -> None:
    completion = service.client.completions.create(model=MODEL, prompt="Once", seed=1, max_tokens=3)
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (4, 3)
    chunks = list(
        service.client.completions.create(
            model=MODEL, prompt="Once", seed=1, max_tokens=3, stream=True
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == completion.choices[0].text


def test_models_are_listed_and_found(service: Service) -> None:
    assert [model.id for model in service.client.models.list()] == [MODEL, "echo-embeddings"]
    assert service.client.models.retrieve(MODEL).owned_by == "local"


@pytest.mark.parametrize("stream", [False, True])
def test_the_text_before_a_stop_text_is_all_that_is_said(service: Service, stream: bool) -> None:
    text = f"{SAY}One EN, two END three"
    if stream:
        chunks = service.stream(text, stop=["never", "END"])
        assert (text_of(chunks), chunks[-1].choices[0].finish_reason) == ("One EN, two ", "stop")
    else:
        choice = service.chat(text, stop="END").choices[0]
        assert (choice.message.content, choice.finish_reason) == ("One EN, two ", "stop")


def test_thinking_and_tool_calls_are_separate_fields(service: Service) -> None:
    text = f"{SAY}<think>Hm.</think>One moment.{CALL}{CALL}"
    choice = service.chat(text, tools=[CLOCK]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("One moment.", "Hm.")
    assert [call.function.name for call in choice.message.tool_calls] == ["clock", "clock"]

    chunks = service.stream(text, tools=[CLOCK])
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    calls = calls_of(chunks)
    assert [(call.index, json.loads(call.function.arguments)) for call in calls] == [
        (0, {"zone": "UTC"}),
        (1, {"zone": "UTC"}),
    ]
    assert len({call.id for call in calls}) == 2


def test_a_conversation_goes_on_behind_a_tools_answer(service: Service) -> None:
    first = service.chat(f"{SAY}{CALL}", tools=[CLOCK]).choices[0].message
    assert first.content is None
    turns = [
        {"role": "user", "content": "What time is it?"},
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": f"{SAY}It is noon."},
    ]
    completion = service.client.chat.completions.create(model=MODEL, messages=turns, tools=[CLOCK])  # type: ignore[call-overload]
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == (
        "It is noon.",
        "stop",
    )


def test_tools_that_may_not_be_called_are_no_tools(service: Service) -> None:
    choice = service.chat(f"{SAY}{CALL}", tools=[CLOCK], tool_choice="none").choices[0]
    assert (choice.message.content, choice.message.tool_calls) == (CALL, None)


def test_the_native_stream_shows_the_models_words_as_they_are(service: Service) -> None:
    text = f"<think>Hm.</think>Yes.{CALL}"
    body = {"model_id": MODEL, "messages": [{"role": "user", "content": SAY + text}]}
    connection = service.raw(body, "/api/engine/chat")
    frames = [
        json.loads(line[6:]) for line in connection.getresponse() if line.startswith(b"data: ")
    ]
    connection.close()
    assert "".join(frame["text"] for frame in frames) == text
    assert frames[-1] == {"text": "", "done": True}


def test_errors_are_the_clients_own(service: Service) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        service.chat("hello", functions=[{"name": "clock"}])
    assert (bad.value.param, bad.value.code) == ("functions", "unsupported")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        service.chat("hello", temperature=3)
    with pytest.raises(openai.NotFoundError) as missing:
        service.chat("hello", model="no/such-model")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError) as failed:
        service.chat("please fail in decode")
    assert failed.value.code == "engine_failed"
    with pytest.raises(openai.APIError) as broken:
        service.stream("please fail in decode")
    assert broken.value.code == "engine_failed"


def test_a_wrong_key_is_the_clients_own_error_too(service: Service) -> None:
    right = "right-0123456789abcdef"
    service.stack.start_api("locked", MLXQ_API_KEYS=f"ann:{right}")
    asyncio.run(service.stack.api_ready("locked"))
    url = f"http://127.0.0.1:{service.stack.port('locked')}/v1"
    for key in ("none", right[:-1], f"{right}x"):
        with OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client:
            calls: list[Any] = [lambda: client.models.list(), lambda: client.files.list()]
            for call in [*calls, lambda: client.completions.create(model=MODEL, prompt="hello")]:
                with pytest.raises(openai.AuthenticationError) as refused:
                    call()
                assert (refused.value.code, refused.value.type) == (
                    "invalid_api_key",
                    "authentication_error",
                )
                assert key not in str(refused.value.body)
    with OpenAI(base_url=url, api_key=right, max_retries=0, timeout=60) as ann:
        assert (
            ann.completions.create(model=MODEL, prompt="hello", max_tokens=2)
            .choices[0]
            .finish_reason
            == "length"
        )
    service.stack.kill("locked")
