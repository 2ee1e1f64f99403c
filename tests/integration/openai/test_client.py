"""The official openai client, and the way other programs call, against a running service on the
echo backend."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, QUEUE_LIMIT, SLOTS, Service, serving, text_of
from worker.backends.echo import answer
from worker.backends.echo_script import SAY

CALL = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("openai")) as running:
        yield running


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
    assert [model.id for model in service.client.models.list()] == [MODEL]
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


def test_thinking_and_calls_of_tools_are_told_apart(service: Service) -> None:
    text = f"{SAY}<think>Hm.</think>One moment.{CALL}{CALL}"
    choice = service.chat(text, tools=[CLOCK]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.reasoning_content) == ("One moment.", "Hm.")
    assert [call.function.name for call in choice.message.tool_calls] == ["clock", "clock"]

    chunks = service.stream(text, tools=[CLOCK])
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
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
        service.chat("hello", n=2)
    assert (bad.value.param, bad.value.code) == ("n", "unsupported")
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
        with OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as stranger:
            asks: list[Any] = [lambda: stranger.models.list(), lambda: stranger.files.list()]
            for ask in [*asks, lambda: stranger.completions.create(model=MODEL, prompt="hello")]:
                with pytest.raises(openai.AuthenticationError) as refused:
                    ask()
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


def test_a_full_queue_is_a_rate_limit_and_those_in_it_are_kept_company(service: Service) -> None:
    streams = service.all_slots_busy()
    waiting = [
        service.raw(body_of("waiting", stream=True, max_tokens=1)) for _ in range(QUEUE_LIMIT)
    ]
    responses = [connection.getresponse() for connection in waiting]
    with pytest.raises(openai.RateLimitError) as full:
        service.chat("one too many")
    assert (full.value.code, int(full.value.response.headers["retry-after"]) > 0) == (
        "queue_full",
        True,
    )
    lines = [responses[0].readline() for _ in range(5)]
    assert lines == [b": queued\n", b"\n", b": keep-alive\n", b"\n", b": keep-alive\n"]
    for stream in streams:
        stream.close()
    for connection, response in zip(waiting, responses, strict=True):
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.close()
    wait_for(lambda: service.live() == 0)


def body_of(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def test_a_client_that_leaves_a_stream_ends_its_chat(service: Service) -> None:
    stream = service.chat("leaving", stream=True, max_tokens=4000)
    next(iter(stream))
    assert service.live() == 1
    stream.close()
    wait_for(lambda: service.live() == 0)


def test_a_client_that_leaves_without_a_stream_ends_its_chat(service: Service) -> None:
    connection = service.raw(body_of("leaving", max_tokens=4000))
    wait_for(lambda: service.live() == 1)
    connection.close()
    wait_for(lambda: service.live() == 0)


def test_a_client_that_leaves_the_queue_frees_its_place(service: Service) -> None:
    streams = service.all_slots_busy()
    connection = service.raw(body_of("waiting"))
    wait_for(lambda: service.live() == SLOTS + 1)
    connection.close()
    wait_for(lambda: service.live() == SLOTS)
    for stream in streams:
        stream.close()
    wait_for(lambda: service.live() == 0)


def test_who_sends_a_key_may_come_back(service: Service) -> None:
    key = {"extra_headers": {"Idempotency-Key": "come-back"}}
    stream = service.chat("leaving", stream=True, max_tokens=200, **key)
    next(iter(stream))
    stream.close()
    assert text_of(service.stream("leaving", max_tokens=200, **key)) == answer("leaving", 1, 200)


def test_many_at_once_and_some_that_are_cancelled(service: Service) -> None:
    async def one(client: AsyncOpenAI, text: str, cancelled: bool) -> str:
        messages: Any = [{"role": "user", "content": text}]
        fields: Any = {"model": MODEL, "messages": messages, "seed": 1, "stream": True}
        said = ""
        async with await client.chat.completions.create(
            max_tokens=4000 if cancelled else 30, **fields
        ) as stream:
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
                if cancelled and said:
                    break
        return said

    async def all_of_them() -> list[str]:
        async with AsyncOpenAI(base_url=service.url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(
                *(one(client, f"chat {i}", i % 2 == 1) for i in range(SLOTS + 1))
            )

    said = asyncio.run(all_of_them())
    assert said[::2] == [answer(f"chat {i}", 1, 30) for i in range(0, SLOTS + 1, 2)]
    wait_for(lambda: service.live() == 0)


def test_an_answer_goes_on_behind_a_killed_worker_marks_and_all(service: Service) -> None:
    talk = "A word. " * 40
    text = f"{SAY}<think>{talk}</think>{talk}{CALL}{talk}END nothing"
    stream = service.chat(text, tools=[CLOCK], stop=["END"], stream=True)
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if len(chunks) in (100, 500):  # in mid-thought, and in mid-sentence
            service.stack.kill("worker")
            service.stack.start_worker()
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == talk
    assert text_of(chunks) == talk + talk
    assert [call.function.name for delta in deltas for call in delta.tool_calls or ()] == ["clock"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    asyncio.run(service.stack.worker_ready())


def test_open_webui_lists_models_and_streams_with_its_own_fields(service: Service) -> None:
    models = http.client.HTTPConnection("127.0.0.1", service.stack.port(), timeout=60)
    models.request(
        "GET",
        "/v1/models",
        headers={"Authorization": "Bearer none", "Content-Type": "application/json"},
    )
    name = json.loads(models.getresponse().read())["data"][0]["id"]
    models.close()
    chunks = service.events(
        {
            "stream": True,
            "model": name,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": f"{SAY}<think>Hm.</think>Hello."}]},
            ],
            "stream_options": {"include_usage": True},
            "temperature": 0.8,
            "frequency_penalty": 0,
            "max_tokens": 128,
            "session_id": "s", "chat_id": "c", "id": "i", "background_tasks": {}, "features": {}, "model_item": {},
            "params": {}, "tool_servers": [], "files": None, "metadata": {"user_id": "u"}, "user": {"name": "Ann"},
        }
    )  # fmt: skip
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm."
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello."
    assert chunks[-1]["usage"]["completion_tokens"] == len("<think>Hm.</think>Hello.") + 1


def test_open_webui_asks_for_a_title_without_a_stream(service: Service) -> None:
    body = body_of(
        f'{SAY}{{"title": "Greeting"}}', stream=False, metadata={"task": "title_generation"}
    )
    connection = service.raw(body | {"max_completion_tokens": 1000})
    told = json.loads(connection.getresponse().read())
    connection.close()
    assert told["choices"][0]["message"]["content"] == '{"title": "Greeting"}'


def test_zed_streams_with_tools_and_parts(service: Service) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "read_file", "arguments": '{"path": "a.py"}'},
    }
    tool = {
        "type": "function",
        "function": {"name": "read_file", "description": "Reads.", "parameters": {}},
    }
    chunks = service.events(
        {
            "model": MODEL,
            "messages": [
                {"role": "system", "content": "You are an editor's assistant."},
                {"role": "user", "content": [{"type": "text", "text": "Read a.py"}]},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {
                    "role": "tool",
                    "content": [{"type": "text", "text": "x = 1"}],
                    "tool_call_id": "c1",
                },
                {"role": "user", "content": [{"type": "text", "text": f"{SAY}It sets x."}]},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 4096,
            "stop": [],
            "temperature": 1.0,
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "tools": [tool],
            "prompt_cache_key": "thread-1",
        }
    )
    assert (
        "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        == "It sets x."
    )
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_continue_streams_an_agents_turn_and_an_edit_without_a_stream(service: Service) -> None:
    tool = {
        "type": "function",
        "function": {"name": "clock", "description": "The time.", "parameters": {}},
    }
    talk = [
        {"role": "system", "content": "You are in agent mode."},
        {"role": "user", "content": [{"type": "text", "text": f"{SAY}A moment. {CALL}"}]},
    ]
    sent: Any = {
        "model": MODEL,
        "messages": talk,
        "max_tokens": 4096,
        "tools": [tool],
        "parallel_tool_calls": False,
    }
    headers = {"x-api-key": "none"}
    with_usage: Any = {"include_usage": True}
    stream = service.client.chat.completions.create(
        **sent, stream=True, stream_options=with_usage, extra_headers=headers
    )
    chunks = list(stream)
    # It keeps the chunk with the usage for the end, and takes every other one for a piece of the
    # answer.
    *pieces, last = chunks
    assert text_of(pieces) == "A moment. "
    assert [
        call.function.name for one in pieces for call in one.choices[0].delta.tool_calls or ()
    ] == ["clock"]
    assert all(one.usage is None for one in pieces)
    assert last.choices == []
    assert last.usage.completion_tokens > 0
    edit: Any = {
        "prediction": {"type": "content", "content": "x = 1"},
        "stop": ["END"],
        "max_tokens": 2048,
    }
    told = service.chat(f"{SAY}x = 2END", extra_headers=headers, **edit)
    assert told.choices[0].message.content == "x = 2"
