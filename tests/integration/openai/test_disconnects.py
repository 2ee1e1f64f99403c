"""Clients that leave, queue or come back, and a worker that is killed."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.integration.openai.chat_requests import CALL, CLOCK, body_of
from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, QUEUE_LIMIT, SLOTS, Service, text_of
from worker.backends.echo import answer
from worker.backends.echo_script import SAY


def test_a_full_queue_is_a_rate_limit_and_queued_streams_get_comments(
    service: Service,
) -> None:
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
    lines = [responses[0].readline().decode() for _ in range(7)]
    queued, position, *rest = lines[::2]
    assert (queued, rest) == (": queued\n", [": keep-alive\n", ": keep-alive\n"])
    assert re.fullmatch(rf": queued, position [1-{QUEUE_LIMIT}], about [\d.]+ s\n", position)
    assert set(lines[1::2]) == {"\n"}
    for stream in streams:
        stream.close()
    for connection, response in zip(waiting, responses, strict=True):
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.close()
    wait_for(lambda: service.live() == 0)


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
        received = ""
        async with await client.chat.completions.create(
            max_tokens=4000 if cancelled else 30, **fields
        ) as stream:
            async for chunk in stream:
                received += chunk.choices[0].delta.content or ""
                if cancelled and received:
                    break
        return received

    async def all_of_them() -> list[str]:
        async with AsyncOpenAI(base_url=service.url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(
                *(one(client, f"chat {i}", i % 2 == 1) for i in range(SLOTS + 1))
            )

    texts = asyncio.run(all_of_them())
    assert texts[::2] == [answer(f"chat {i}", 1, 30) for i in range(0, SLOTS + 1, 2)]
    wait_for(lambda: service.live() == 0)


def test_an_answer_goes_on_behind_a_killed_worker_marks_and_all(service: Service) -> None:
    sentences = "A word. " * 40
    text = f"{SAY}<think>{sentences}</think>{sentences}{CALL}{sentences}END nothing"
    stream = service.chat(text, tools=[CLOCK], stop=["END"], stream=True)
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if len(chunks) in (100, 500):  # in the middle of thinking, and of the text
            service.stack.kill("worker")
            service.stack.start_worker()
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == sentences
    assert text_of(chunks) == sentences + sentences
    calls = [call.function for delta in deltas for call in delta.tool_calls or ()]
    assert [call.name for call in calls if call.name] == ["clock"]
    assert "".join(call.arguments for call in calls) in CALL
    assert calls[-1].arguments.endswith("}")
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    asyncio.run(service.stack.worker_ready())
