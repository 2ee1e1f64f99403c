"""The official openai client's Responses API against a running service on the echo backend."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from typing import Any

import openai
import pytest

from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, Service
from worker.backends.echo import answer
from worker.backends.echo_script import SAY

ZONE = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
CLOCK: Any = {"type": "function", "name": "clock", "parameters": ZONE, "strict": False}
PATCH: Any = {"type": "custom", "name": "apply_patch", "description": "Changes files."}
CALL = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
PATCH_CALL = '<tool_call>{"name": "apply_patch", "arguments": {"input": "+ a\\n- b"}}</tool_call>'
SEEDED: Any = {"extra_body": {"seed": 1}}


def create(service: Service, said: Any, **fields: Any) -> Any:
    return service.client.responses.create(model=MODEL, input=said, **SEEDED, **fields)


def connected(service: Service, **fields: Any) -> http.client.HTTPConnection:
    return service.raw({"model": MODEL, "stream": True, "seed": 1, **fields}, "/v1/responses")


def raw(service: Service, **fields: Any) -> bytes:
    """A whole stream as it comes over the wire, until the service closes it."""
    connection = connected(service, **fields)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    received = response.read()
    connection.close()
    return received


def without_names(stream: bytes) -> bytes:
    """A stream without what differs between two jobs: their ids, those of calls, and times."""
    stream = re.sub(rb"[0-9a-f]{32}", b"JOB", stream)
    stream = re.sub(rb'"call_id": "\w+"', b'"call_id": "CALL"', stream)
    return re.sub(rb'"(created_at|completed_at)": \d+', rb'"\1": 0', stream)


def test_a_count_of_tokens_is_the_usage_of_the_same_response(service: Service) -> None:
    fields: Any = {"instructions": "Be brief.", "tools": [CLOCK]}
    sent = create(service, "hello", max_output_tokens=16, **fields).usage.input_tokens
    counted = service.client.responses.input_tokens.count(model=MODEL, input="hello", **fields)
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", sent)


def test_a_text_whole_and_streamed(service: Service) -> None:
    response = create(service, "hello", max_output_tokens=20, metadata={"a": "b"})
    assert response.output_text == answer("hello", 1, 20)
    assert (response.status, response.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert (response.usage.output_tokens, response.metadata) == (20, {"a": "b"})
    events = list(create(service, "hello", max_output_tokens=20, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == response.output_text
    assert len(deltas) == 20
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == response.output_text


def test_the_clients_stream_helper_follows_thinking_text_and_calls(service: Service) -> None:
    text = f"{SAY}<think>Hm.</think>One moment.{CALL}{PATCH_CALL}"
    with service.client.responses.stream(
        model=MODEL, input=text, tools=[CLOCK, PATCH], extra_body={"seed": 1}
    ) as stream:
        kinds = [event.type for event in stream]
        output: Any = stream.get_final_response().output
    assert kinds[-1] == "response.completed"
    thinking, message, call, patch = output
    assert (thinking.type, thinking.content[0].text) == ("reasoning", "Hm.")
    assert message.content[0].text == "One moment."
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "clock",
        {"zone": "UTC"},
    )
    assert (patch.type, patch.name, patch.input) == ("custom_tool_call", "apply_patch", "+ a\n- b")


def test_a_summary_is_the_thinking(service: Service) -> None:
    text = f"{SAY}<think>Hm.</think>Yes."
    events = list(create(service, text, reasoning={"summary": "auto"}, stream=True))
    told = [one.delta for one in events if one.type == "response.reasoning_summary_text.delta"]
    assert "".join(told) == "Hm."
    assert events[-1].response.output[0].summary[0].text == "Hm."


def test_a_conversation_goes_on_behind_a_tools_output(service: Service) -> None:
    first = create(service, f"{SAY}{CALL}", tools=[CLOCK])
    (called,) = first.output
    items: Any = [
        {"role": "user", "content": "What time is it?"},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {
            "type": "function_call_output",
            "call_id": called.call_id,
            "output": f"{SAY}It is noon.",
        },
    ]
    second = create(service, items, tools=[CLOCK])
    assert (second.output_text, second.status) == ("It is noon.", "completed")


def test_nothing_follows_the_last_event_and_the_connection_ends_at_once(service: Service) -> None:
    received = raw(service, input="hello", max_output_tokens=3)
    *_, last = received.decode().strip().split("\n\n")
    assert last.startswith("event: response.incomplete\ndata: {")
    assert b"[DONE]" not in received


def test_a_repeated_request_is_the_same_stream_to_the_byte(service: Service) -> None:
    def once() -> bytes:
        body = {"model": MODEL, "stream": True, "input": "again", "max_output_tokens": 40}
        headers = {"Idempotency-Key": "again", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", service.stack.port(), timeout=60)
        connection.request("POST", "/v1/responses", json.dumps(body), headers)
        received = connection.getresponse().read()
        connection.close()
        return b"\n\n".join(
            block for block in received.split(b"\n\n") if b"response.in_progress" not in block
        )

    assert once() == once()


def test_a_client_that_leaves_ends_its_job(service: Service) -> None:
    stream = create(service, "leaving", max_output_tokens=4000, stream=True)
    next(iter(stream))
    assert service.live() == 1
    stream.close()
    wait_for(lambda: service.live() == 0)
    connection = service.raw(
        {"model": MODEL, "input": "x", "max_output_tokens": 4000}, "/v1/responses"
    )
    wait_for(lambda: service.live() == 1)
    connection.close()
    wait_for(lambda: service.live() == 0)


def test_while_nothing_can_be_told_clients_hear_that_it_is_in_progress(service: Service) -> None:
    busy = service.all_slots_busy()
    connection = connected(service, input="waiting", max_output_tokens=2)
    response = connection.getresponse()
    numbers: list[tuple[str, int]] = []
    while len(numbers) < 4:
        line = response.readline()
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            numbers.append((event["type"], event["sequence_number"]))
    assert numbers == [
        ("response.created", 0),
        ("response.in_progress", 1),
        ("response.in_progress", 2),
        ("response.in_progress", 3),
    ]
    for stream in busy:
        stream.close()
    assert b"response.incomplete" in response.read()
    connection.close()


def test_errors_are_the_clients_own(service: Service) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        create(service, "hello", extra_headers={}, conversation="conv_1")
    assert (bad.value.param, bad.value.code) == ("conversation", "unsupported")
    with pytest.raises(openai.NotFoundError):
        service.client.responses.create(model="no/such-model", input="hello")
    with pytest.raises(openai.InternalServerError) as failed:
        create(service, "please fail in decode")
    assert failed.value.code == "engine_failed"


def test_a_call_goes_on_behind_a_killed_worker_to_the_same_bytes(service: Service) -> None:
    long = json.dumps({"name": "clock", "arguments": {"zone": "U" * 400}})
    text = f"{SAY}<think>{'A word. ' * 20}</think>Now.<tool_call>{long}</tool_call>"
    undisturbed = raw(service, input=text, tools=[CLOCK])
    connection = connected(service, input=text, tools=[CLOCK])
    response = connection.getresponse()
    received = b""
    while received.count(b"event: response.function_call_arguments.delta") < 20:
        received += response.readline()
    service.stack.kill("worker")
    service.stack.start_worker()
    received += response.read()
    connection.close()
    assert b"response.function_call_arguments.done" in received
    first, second = map(_without_signs_of_life, map(without_names, (undisturbed, received)))
    assert first == second
    asyncio.run(service.stack.worker_ready())


def _without_signs_of_life(stream: bytes) -> list[bytes]:
    blocks = stream.split(b"\n\n")
    alive = b'"sequence_number": 1}'
    return [
        re.sub(rb'"sampling": \{[^}]*\}', b"", block)
        for block in blocks
        if b"event: response.in_progress" not in block or alive in block
    ]
