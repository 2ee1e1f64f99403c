"""Thinking on the native route: apart from the text for those who ask, and asked for or not by the
request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import FakeWorker, announce, chat_body, frames
from wire.messages import Alternative, ChatJob, Delta, Event, Finished, Piece, TokenLogprob, Usage

CHAT = "/api/engine/chat"
BOTH = Delta("Cold", (3, 4), "?", pieces=(Piece(1, 0, 1), Piece(1, 4)))
ANSWER: tuple[Event, ...] = (
    Delta("", (1,)),
    Delta("", (2,), "Hm"),
    BOTH,
    Delta(".", (5,)),
    Finished("stop", Usage(5, 5, 0, 3)),
)
PLAIN: list[dict[str, Any]] = [
    {"text": "", "done": False},
    {"text": "", "done": False},
    {"text": "Cold", "done": False},
    {"text": ".", "done": False},
    {"text": "", "done": True},
]


def with_reasoning(*reasoning: str) -> list[dict[str, Any]]:
    return [
        frame | ({"reasoning": thought} if thought else {})
        for frame, thought in zip(PLAIN[-len(reasoning) :], reasoning, strict=True)
    ]


@pytest.fixture
def worker(redis: Redis) -> FakeWorker:
    announce(redis)
    return FakeWorker(redis, lambda _: ANSWER)


def test_thinking_comes_apart_from_the_text_and_again_when_it_is_read_again(
    client: TestClient, worker: FakeWorker
) -> None:
    with worker.running():
        first = client.post(CHAT, json=chat_body(include_reasoning=True))
    assert frames(first.text) == with_reasoning("", "Hm", "?", "", "")
    job_id = first.headers["x-job-id"]
    again = client.get(f"{CHAT}/{job_id}/events")
    assert frames(again.text) == frames(first.text)
    (job,) = worker.seen
    assert isinstance(job, ChatJob)
    assert job.form.separate
    view = client.get(f"/api/engine/jobs/{job_id}").json()
    assert (view["text"], view["reasoning"]) == ("Cold.", "Hm?")


@pytest.mark.parametrize(
    ("after", "rest"),
    [(1, ("Hm", "?", "", "")), (2, ("?", "", "")), (3, ("", "", "")), (4, ("", ""))],
)
def test_a_stream_that_is_resumed_has_what_is_left_of_it(
    client: TestClient, worker: FakeWorker, after: int, rest: tuple[str, ...]
) -> None:
    with worker.running():
        job_id = client.post(CHAT, json=chat_body(include_reasoning=True)).headers["x-job-id"]
    resumed = client.get(f"{CHAT}/{job_id}/events?after={after}")
    assert frames(resumed.text) == with_reasoning(*rest)


@pytest.mark.parametrize("asked", [{}, {"include_reasoning": False}, {"include_reasoning": None}])
def test_without_being_asked_for_it_is_no_part_of_the_frames(
    client: TestClient, worker: FakeWorker, asked: dict[str, Any]
) -> None:
    with worker.running():
        answer = client.post(CHAT, json=chat_body(**asked))
    sent = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert sent == [f"data: {json.dumps(frame)}" for frame in PLAIN]
    (job,) = worker.seen
    assert isinstance(job, ChatJob)
    assert not job.form.separate


def test_a_frame_may_have_thinking_and_log_probabilities(
    client: TestClient, worker: FakeWorker
) -> None:
    one = TokenLogprob(b"Hm", -0.5, (Alternative(b"a", -0.25),))
    worker.answer = lambda _: (Delta("", (1,), "Hm", logprobs=(one,)), Finished("stop"))
    with worker.running():
        answer = client.post(CHAT, json=chat_body(include_reasoning=True, logprobs=True))
    [first, _] = frames(answer.text)
    assert (first["reasoning"], first["logprobs"][0]["token"]) == ("Hm", "Hm")


def test_options_for_thinking_reach_the_job(client: TestClient, worker: FakeWorker) -> None:
    kwargs = {"enable_thinking": False, "unset": None}
    with worker.running():
        client.post(CHAT, json=chat_body(chat_template_kwargs=kwargs, reasoning_effort="low"))
        client.post(CHAT, json=chat_body())
    options = [job.form.template_options for job in worker.seen if isinstance(job, ChatJob)]
    assert options == ['{"reasoning_effort": "low", "enable_thinking": false}', None]


@pytest.mark.parametrize(
    ("fields", "param", "status"),
    [
        ({"include_reasoning": 1}, "include_reasoning", 422),
        ({"include_reasoning": "yes"}, "include_reasoning", 422),
        ({"reasoning_effort": "extreme"}, "reasoning_effort", 422),
        ({"chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs", 422),
        ({"chat_template_kwargs": {"messages": 1}}, "messages", 400),
        ({"thinking_token_budget": 5}, "thinking_token_budget", 422),
    ],
)
def test_what_can_not_be_had_is_refused_by_name(
    client: TestClient, worker: FakeWorker, fields: dict[str, Any], param: str, status: int
) -> None:
    refused = client.post(CHAT, json=chat_body(**fields))
    assert refused.status_code == status
    assert param in refused.text
    assert not worker.seen
