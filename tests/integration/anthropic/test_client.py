"""The official anthropic client against a running service on the echo backend."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, beta_tool

from tests.integration.anthropic.requests import CALL, CLOCK, asked
from tests.support.openai_service import MODEL
from worker.backends.echo import answer
from worker.backends.echo_script import SAY


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
