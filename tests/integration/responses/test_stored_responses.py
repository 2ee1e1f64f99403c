"""Stored responses of a running service: in the background, under kills, from any number on."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from contextlib import closing
from typing import Any

import openai
import pytest

from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, Service
from worker.backends.echo import answer
from worker.backends.echo_script import SAY

SENTENCES = "A word. " * 120


def create(service: Service, said: Any, **fields: Any) -> Any:
    return service.client.responses.create(
        model=MODEL, input=said, extra_body={"seed": 1}, **fields
    )


def http_client(service: Service) -> Any:
    return closing(http.client.HTTPConnection("127.0.0.1", service.stack.port(), timeout=60))


class Reading:
    """The events of a stored response, behind the last one that was read."""

    def __init__(self, service: Service, response_id: str) -> None:
        self._service, self._path = service, f"/v1/responses/{response_id}?stream=true"
        self.events: list[tuple[int, bytes]] = []
        self.ended = False

    def read(self, most: int | None = None, after: int | None = None) -> list[tuple[int, bytes]]:
        """Read so many more events, or all to the end; signs of life don't count."""
        cursor = after if after is not None else self.events[-1][0] if self.events else None
        query = "" if cursor is None else f"&starting_after={cursor}"
        connection = http.client.HTTPConnection("127.0.0.1", self._service.stack.port(), timeout=60)
        connection.request("GET", self._path + query)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        new: list[tuple[int, bytes]] = []
        while (most is None or len(new) < most) and (line := response.readline()):
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            number = event["sequence_number"]
            if event["type"] != "response.in_progress" or number == 1:
                new.append((number, line))
            self.ended = event["type"] in ("response.completed", "response.incomplete")
        connection.close()
        return new


def test_the_client_follows_a_response_in_the_background(service: Service) -> None:
    made = create(service, "hello", max_output_tokens=30, background=True)
    assert made.status in ("queued", "in_progress")
    with service.client.responses.retrieve(made.id, stream=True) as stream:
        events = list(stream)
    text = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert text == answer("hello", 1, 30)
    done = service.client.responses.retrieve(made.id)
    assert (done.status, done.output_text) == ("incomplete", text)


def test_a_conversation_is_kept_for_the_client(service: Service) -> None:
    first = create(service, "My name is Ann.", max_output_tokens=3)
    second = create(service, f"{SAY}Ann.", previous_response_id=first.id)
    assert (second.output_text, second.previous_response_id) == ("Ann.", first.id)
    listed = service.client.responses.input_items.list(second.id, order="asc")
    assert [item.role for item in listed.data] == ["user", "assistant", "user"]
    service.client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        service.client.responses.retrieve(first.id)
    third = create(service, f"{SAY}Yes.", previous_response_id=second.id)
    assert third.output_text == "Yes."


def test_the_client_refers_to_items_by_their_ids(service: Service) -> None:
    first = create(service, f"{SAY}<think>Hm.</think>Yes.")
    assert [item.type for item in first.output] == ["reasoning", "message"]
    by_id: Any = [{"type": "item_reference", "id": item.id} for item in first.output]
    asked: Any = {"type": "message", "role": "user", "content": "And now?"}
    referred, sent = [*by_id, asked], [*(item.to_dict() for item in first.output), asked]
    answers = [create(service, items, max_output_tokens=8) for items in (referred, sent)]
    assert answers[0].output_text == answers[1].output_text
    assert answers[0].usage.input_tokens == answers[1].usage.input_tokens
    counted = service.client.responses.input_tokens.count(model=MODEL, input=referred)
    assert counted.input_tokens == answers[0].usage.input_tokens
    with pytest.raises(openai.NotFoundError) as missing:
        create(service, [{"type": "item_reference", "id": "rs_1"}, asked])
    assert (missing.value.param, missing.value.code) == ("input[0].id", "not_found")


def test_a_response_in_the_background_outlives_its_client_and_can_be_cancelled(
    service: Service,
) -> None:
    stream = create(service, "leaving", max_output_tokens=4000, background=True, stream=True)
    made = next(iter(stream)).response
    stream.close()
    for _ in range(2):
        cancelled = service.client.responses.cancel(made.id)
        assert cancelled.status == "cancelled"
    wait_for(lambda: service.live() == 0)


def test_a_thousand_numbers_give_exactly_the_rest(service: Service) -> None:
    made = create(service, f"{SAY}<think>One.</think>Two three four.", background=True)
    full = Reading(service, made.id).read()
    chance, last = random.Random(3), full[-1][0]
    with http_client(service) as connection:
        for _ in range(1_000):
            after = chance.randint(0, last)
            connection.request("GET", f"/v1/responses/{made.id}?stream=true&starting_after={after}")
            lines = connection.getresponse().read().splitlines(keepends=True)
            rest = [line for line in lines if line.startswith(b"data: ")]
            assert rest == [line for number, line in full if number > after]


def test_kills_in_turn_lose_no_event(service: Service) -> None:
    stack, chance = service.stack, random.Random(7)
    made = create(service, f"{SAY}<think>{SENTENCES}</think>{SENTENCES}", background=True)
    reading = Reading(service, made.id)
    reading.events += reading.read(chance.randint(50, 250))
    stack.kill("worker")
    stack.start_worker()
    reading.events += reading.read(chance.randint(50, 250))
    stack.kill("api")
    stack.start_api()
    asyncio.run(stack.api_ready())
    reading.events += reading.read(chance.randint(50, 250))
    stack.kill_redis()
    asyncio.run(stack.start_redis())
    reading.events += reading.read()
    assert reading.ended
    assert reading.events == Reading(service, made.id).read()
    told = "".join(
        json.loads(line[6:])["delta"]
        for _, line in reading.events
        if b'"type": "response.output_text.delta"' in line
    )
    assert told == SENTENCES
