"""While a prompt is read for minutes nothing can be told: what each API's clients see meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.integration.streams.served_api import Running, serving
from wire.messages import Progress

BEATS = 5
ASKED: list[Any] = [{"role": "user", "content": "Read this."}]


@pytest.fixture
def often(store: EmbeddedRedis, api: Running) -> Iterator[Running]:
    """A server whose streams are silent for a moment at most, in place of ten seconds."""
    assert api.redis.ping()
    with serving(store.url, keepalive_s=0.05) as running:
        yield running


def finish(api: Running, headers: Any) -> None:
    writer = api.writer(headers["x-job-id"])
    writer.progress(Progress("prefill", 512, 400_000))
    writer.text("Hel", "lo")
    writer.finish()


def openai_client(api: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{api.url}/v1", api_key="any", max_retries=0)


def test_anthropics_client_gets_pings(often: Running) -> None:
    client = anthropic.Anthropic(base_url=often.url, api_key="any", max_retries=0)
    create = client.messages.with_streaming_response.create
    with create(model="default", max_tokens=9, messages=ASKED, stream=True) as response:
        lines = response.iter_lines()
        beats = itertools.islice((line for line in lines if line == "event: ping"), BEATS)
        assert len(list(beats)) == BEATS
        finish(often, response.headers)
        rest = "\n".join(lines)
    assert '"text": "Hel"' in rest
    assert rest.rstrip().endswith('data: {"type": "message_stop"}')
    client.close()


def test_responses_are_in_progress_again_under_the_next_number(often: Running) -> None:
    client = openai_client(often)
    with client.responses.create(model="default", input="Read this.", stream=True) as stream:
        events = iter(stream)
        told = [next(events) for _ in range(2 + BEATS)]
        finish(often, stream.response.headers)
        told += events
    silent = told[: 2 + BEATS]
    assert [event.type for event in silent] == [
        "response.created",
        *["response.in_progress"] * (1 + BEATS),
    ]
    assert [event.sequence_number for event in silent] == list(range(2 + BEATS))
    numbers = [event.sequence_number for event in told]
    assert numbers == sorted(set(numbers))
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == "Hello"
    # Read again, the events of the answer have the numbers that they had.
    response_id = told[-1].response.id
    with client.responses.retrieve(response_id, stream=True) as again:
        said = [event for event in again if event.type != "response.in_progress"]
    assert said == [event for event in told if event.type != "response.in_progress"]
    client.close()


def test_openais_client_reads_over_the_comments_of_a_chat(often: Running) -> None:
    client = openai_client(often)
    create = client.chat.completions.with_streaming_response.create
    with create(model="default", messages=ASKED, stream=True) as response:
        lines = response.iter_lines()
        beats = itertools.islice((line for line in lines if line == ": keep-alive"), BEATS)
        assert len(list(beats)) == BEATS
        finish(often, response.headers)
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
    client.close()
