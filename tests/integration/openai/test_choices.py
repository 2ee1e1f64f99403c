"""Several answers to one request, on a running service with the echo backend: streams, stops,
clients that leave, a killed worker, a full queue."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import openai
import pytest

from api.chat.request import seed_of_choice
from tests.integration.openai.chat_requests import body_of
from tests.support.api_support import wait_for
from tests.support.openai_service import MODEL, QUEUE_LIMIT, SLOTS, Service
from wire import keys
from worker.backends.echo import BAD_PROMPT, answer, word

MORE_THAN_SLOTS = SLOTS + 2
LONG = 4000


def right(text: str, number: int, length: int) -> str:
    """What one choice says to a request with seed 1."""
    return answer(text, seed_of_choice(1, number), length)


def continued(prompt: str, number: int, length: int) -> str:
    seed = seed_of_choice(1, number)
    return "".join(f"w{word(list(prompt.encode()), seed, i)} " for i in range(length))


def texts(chunks: list[Any]) -> list[str]:
    """The text of each choice of a streamed chat, by index."""
    said: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
    return [said[index] for index in sorted(said)]


def reasons(chunks: list[Any]) -> dict[int, str]:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    found = {choice.index: choice.finish_reason for choice in choices}
    assert len(found) == len(choices)
    return found


def test_each_says_what_it_would_alone_also_those_that_wait_for_a_slot(service: Service) -> None:
    completion = service.chat("hello", n=MORE_THAN_SLOTS, max_tokens=20)
    assert [(choice.index, choice.message.content) for choice in completion.choices] == [
        (number, right("hello", number, 20)) for number in range(MORE_THAN_SLOTS)
    ]
    alone = service.chat("hello", seed=seed_of_choice(1, 3), max_tokens=20)
    assert alone.choices[0].message.content == right("hello", 3, 20)
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 20 * MORE_THAN_SLOTS)


def test_chunks_of_all_come_as_tokens_do(service: Service) -> None:
    # A second's tokens: a busy API may read what has come meanwhile of one after the other.
    chunks = service.stream("hi", n=3, max_tokens=300, stream_options={"include_usage": True})
    assert texts(chunks) == [right("hi", number, 300) for number in range(3)]
    assert reasons(chunks) == dict.fromkeys(range(3), "length")
    indexes = [chunk.choices[0].index for chunk in chunks[:-1]]
    assert indexes.index(2) < len(indexes) - 1 - indexes[::-1].index(0)
    assert indexes != sorted(indexes)
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 900)
    again = service.stream("hi", n=3, max_tokens=300)
    assert texts(again) == texts(chunks)


def test_more_streams_than_slots_end_with_one_last_line(service: Service) -> None:
    events = service.events(body_of("hi", seed=1, n=MORE_THAN_SLOTS, max_tokens=30, stream=True))
    ends = [c["index"] for e in events for c in e["choices"] if c["finish_reason"]]
    assert sorted(ends) == list(range(MORE_THAN_SLOTS))


def test_texts_and_token_ids_through_the_official_client(service: Service) -> None:
    create = service.client.completions.create
    fields: dict[str, Any] = {"model": MODEL, "seed": 1, "max_tokens": 5}
    listed = create(prompt=["Once", "Twice"], n=2, **fields)
    expected = [continued(prompt, i, 5) for prompt in ("Once", "Twice") for i in range(2)]
    assert [choice.text for choice in listed.choices] == expected
    assert [choice.index for choice in listed.choices] == [0, 1, 2, 3]
    assert listed.usage is not None
    assert (listed.usage.prompt_tokens, listed.usage.completion_tokens) == (9, 20)
    ids = create(prompt=list(b"Once"), **fields)
    assert ids.choices[0].text == expected[0]
    several = create(prompt=[list(b"Once"), list(b"Twice")], **fields)
    assert [choice.text for choice in several.choices] == [expected[0], expected[2]]
    streamed: dict[int, str] = {}
    for chunk in create(prompt=["Once", "Twice"], n=2, stream=True, **fields):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert [streamed[index] for index in range(4)] == expected


def test_ids_and_lengths_that_no_prompt_has_are_refused(service: Service) -> None:
    for prompt in ([1, 5000], [list(b"Once"), [5000]], [1] * 5000):
        with pytest.raises(openai.BadRequestError) as refused:
            service.client.completions.create(model=MODEL, prompt=prompt, max_tokens=3)
        assert refused.value.param == "prompt"
    wait_for(lambda: service.live() == 0)


@pytest.mark.parametrize("by_id", [True, False])
def test_a_stop_ends_all(service: Service, by_id: bool) -> None:
    stream = service.chat("stopped", n=MORE_THAN_SLOTS, max_tokens=LONG, stream=True)
    first = next(iter(stream))
    assert service.live() == MORE_THAN_SLOTS
    job_id = first.id.removeprefix("chatcmpl-")
    service.json("/api/engine/chat/stop", {"job_id": job_id} if by_id else {})
    chunks = [first, *stream]
    assert reasons(chunks) == dict.fromkeys(range(MORE_THAN_SLOTS), "stop")
    marked = [chunk for chunk in chunks if getattr(chunk, "cancelled", False)]
    assert len(marked) == MORE_THAN_SLOTS
    said = texts(chunks)
    assert all(right("stopped", i, LONG).startswith(text) for i, text in enumerate(said))
    assert service.live() == 0


def test_another_choice_is_stopped_by_itself(service: Service) -> None:
    stream = service.chat("some go on", n=3, max_tokens=600, stream=True)
    first = next(iter(stream))
    worker = service.stack.processes["worker"]
    worker.send_signal(signal.SIGSTOP)  # None may end before the stop is told.
    view = service.json(f"/api/engine/jobs/{first.id.removeprefix('chatcmpl-')}")
    service.json("/api/engine/chat/stop", {"job_id": view["choices"][1]})
    worker.send_signal(signal.SIGCONT)
    chunks = [first, *stream]
    assert reasons(chunks) == {0: "length", 1: "stop", 2: "length"}
    assert texts(chunks)[2] == right("some go on", 2, 600)


def test_a_client_that_leaves_ends_all(service: Service) -> None:
    stream = service.chat("leaving", n=MORE_THAN_SLOTS, max_tokens=LONG, stream=True)
    next(iter(stream))
    stream.close()
    wait_for(lambda: service.live() == 0)
    connection = service.raw(body_of("leaving", n=MORE_THAN_SLOTS, max_tokens=LONG))
    wait_for(lambda: service.live() == MORE_THAN_SLOTS)
    connection.close()
    wait_for(lambda: service.live() == 0)


def test_a_killed_worker_costs_none_of_them_a_token(service: Service) -> None:
    stream = service.chat("killed", n=3, max_tokens=300, stream=True)
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        if len(chunks) in (60, 400):
            service.stack.kill("worker")
            service.stack.start_worker()
    assert texts(chunks) == [right("killed", number, 300) for number in range(3)]
    assert reasons(chunks) == dict.fromkeys(range(3), "length")
    asyncio.run(service.stack.worker_ready())


def test_a_queue_without_room_for_all_takes_none(service: Service) -> None:
    streams = service.all_slots_busy()
    waiting = service.raw(body_of("waiting", max_tokens=1))
    wait_for(lambda: service.live() == SLOTS + 1)
    before = sorted(service.stack.redis.keys(keys.job("*")))  # type: ignore[arg-type, type-var]
    with pytest.raises(openai.RateLimitError) as full:
        service.chat("too many", n=QUEUE_LIMIT)
    assert full.value.code == "queue_full"
    with pytest.raises(openai.BadRequestError) as never:
        service.chat("too many", n=QUEUE_LIMIT + 1)
    assert never.value.param == "n"
    assert sorted(service.stack.redis.keys(keys.job("*"))) == before  # type: ignore[arg-type, type-var]
    for stream in streams:
        stream.close()
    waiting.getresponse().read()
    waiting.close()
    wait_for(lambda: service.live() == 0)


def test_who_sends_a_key_may_come_back_for_all(service: Service) -> None:
    key = {"extra_headers": {"Idempotency-Key": "all-come-back"}}
    stream = service.chat("leaving", n=3, stream=True, max_tokens=200, **key)
    next(iter(stream))
    stream.close()
    chunks = service.stream("leaving", n=3, max_tokens=200, **key)
    assert texts(chunks) == [right("leaving", number, 200) for number in range(3)]
    whole = service.chat("whole", n=2, max_tokens=9, extra_headers={"Idempotency-Key": "w"})
    again = service.chat("whole", n=2, max_tokens=9, extra_headers={"Idempotency-Key": "w"})
    assert (whole.id, whole.choices) == (again.id, again.choices)


@pytest.mark.parametrize(
    ("other", "stream", "kind"),
    [
        ("this one goes on", False, openai.InternalServerError),
        (f"{BAD_PROMPT}, too", True, openai.InternalServerError),
        # The other may have begun: then the error comes in the stream.
        ("this one goes on", True, openai.APIError),
    ],
)
def test_a_failure_of_one_ends_the_others(
    service: Service, other: str, stream: bool, kind: type[openai.APIError]
) -> None:
    prompts = [BAD_PROMPT, other]
    with pytest.raises(kind) as failed:
        list(
            service.client.completions.create(
                model=MODEL, prompt=prompts, max_tokens=LONG, stream=stream
            )
        )
    assert failed.value.code == "engine_failed"
    wait_for(lambda: service.live() == 0)
