"""The official anthropic client against a running service on the echo backend."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, beta_tool

from tests.support.openai_service import MODEL, Service
from worker.backends.echo import answer
from worker.backends.echo_script import SAY

CLOCK: Any = {
    "name": "clock",
    "description": "The time in a zone.",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
CALL = '<tool_call>{"name": "clock", "arguments": {"zone": "UTC"}}</tool_call>'
BODIES = sorted((Path(__file__).parent / "bodies").glob("*.json"))


def asked(text: Any, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    seeded = {"extra_body": {"seed": 1}}
    return {"model": MODEL, "max_tokens": 200, "messages": messages, **seeded} | fields


def test_a_whole_message_and_its_stream_are_the_same_text(client: Anthropic) -> None:
    whole = client.messages.create(**asked("hello", max_tokens=20))
    assert whole.content[0].text == answer("hello", 1, 20)
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 20)
    with client.messages.stream(**asked("hello", max_tokens=20)) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 20)


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_text_and_calls_are_blocks(client: Anthropic, streamed: bool) -> None:
    fields = asked(f"{SAY}<think>Hm.</think>One moment.{CALL}{CALL}", tools=[CLOCK])
    if streamed:
        with client.messages.stream(**fields) as stream:
            message: Any = stream.get_final_message()
    else:
        message = client.messages.create(**fields)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    thought, said, *calls = message.content
    assert (thought.thinking, said.text) == ("Hm.", "One moment.")
    assert [(call.name, call.input) for call in calls] == [("clock", {"zone": "UTC"})] * 2
    assert len({call.id for call in calls}) == 2
    assert message.stop_reason == "tool_use"


def test_a_count_of_tokens_is_the_usage_of_the_same_message(client: Anthropic) -> None:
    fields = asked("hello", system="Be brief.", tools=[CLOCK])
    sent = client.messages.create(**fields | {"max_tokens": 1}).usage
    del fields["max_tokens"]
    counted = client.messages.count_tokens(**fields).input_tokens
    assert counted == sent.input_tokens + (sent.cache_read_input_tokens or 0) > 0


def test_a_conversation_goes_on_behind_a_tools_result(client: Anthropic) -> None:
    first: Any = client.messages.create(**asked(f"{SAY}{CALL}", tools=[CLOCK]))
    result = {"type": "tool_result", "tool_use_id": first.content[0].id}
    turns = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result | {"content": f"{SAY}It is noon."}]},
    ]
    second: Any = client.messages.create(**asked("", messages=turns, tools=[CLOCK]))
    assert (second.content[0].text, second.stop_reason) == ("It is noon.", "end_turn")


def test_the_clients_tool_runner_calls_and_goes_on(client: Anthropic) -> None:
    """It asks for a conversation that the server keeps first, and goes on without one."""
    asked_for: list[str] = []

    @beta_tool
    def clock(zone: str) -> str:
        """The time in a zone."""
        asked_for.append(zone)
        return f"{SAY}It is noon."

    runner = client.beta.messages.tool_runner(**asked(f"{SAY}{CALL}"), tools=[clock])
    message: Any = runner.until_done()
    assert (asked_for, message.content[0].text) == (["UTC"], "It is noon.")


def test_a_stop_sequence_is_told(client: Anthropic) -> None:
    message: Any = client.messages.create(**asked(f"{SAY}One END two", stop_sequences=["END"]))
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == (
        "One ",
        "stop_sequence",
        "END",
    )


def test_errors_are_the_clients_own(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**asked("hello", model="nothing"))
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0"):
        client.messages.create(**asked([{"type": "video"}]))


def test_models_are_listed_and_found(client: Anthropic) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).type == "model"


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_bodies_of_agents_are_answered(service: Service, path: Path) -> None:
    sent = json.loads(path.read_text(encoding="utf-8"))
    connection = service.raw(sent | {"model": MODEL, "max_tokens": 8}, "/v1/messages?beta=true")
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    assert "event: message_stop" in text


def test_a_worker_killed_inside_a_call_changes_no_byte(service: Service) -> None:
    zone = "U" * 400
    call = CALL.replace("UTC", zone)
    body = asked(f"{SAY}<think>Hm.</think>So.{call}", tools=[CLOCK], stream=True, max_tokens=2000)
    body |= body.pop("extra_body")
    undisturbed = told(service, body)
    connection = service.raw(body, "/v1/messages")
    response = connection.getresponse()
    lines = []
    while b"content_block_start" not in b"".join(lines) or b"text" not in b"".join(lines):
        lines.append(response.readline())
    # The call has begun or is about to: its hundreds of tokens take longer than all before them.
    service.stack.kill("worker")
    service.stack.start_worker()
    asyncio.run(service.stack.worker_ready())
    stream = b"".join(lines) + response.read()
    connection.close()
    assert content_of(stream.decode()) == undisturbed
    assert zone in json.dumps(undisturbed)


def told(service: Service, body: dict[str, Any]) -> Any:
    connection = service.raw(body, "/v1/messages")
    text = connection.getresponse().read().decode()
    connection.close()
    return content_of(text)


def content_of(stream: str) -> Any:
    """What a stream says, event by event, but for what differs between two jobs: ids, signatures
    and where texts are cut."""
    told: list[list[str]] = []
    for line in stream.splitlines():
        event = json.loads(line[6:]) if line.startswith("data: ") else {}
        if event.get("type") == "content_block_start":
            told.append([event["content_block"]["type"], ""])
        elif event.get("type") == "content_block_delta":
            kind, text = event["delta"].values()
            told[event["index"]][1] += "" if kind == "signature_delta" else text
        elif event.get("type") == "message_delta":
            told.append([event["delta"]["stop_reason"], str(event["usage"]["output_tokens"])])
    return told
