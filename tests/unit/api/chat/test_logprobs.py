"""Log-probabilities on the native route: frames have them for those who ask, and when they are read
again."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.api_support import FakeWorker, announce, chat_body, frames
from wire.messages import Alternative, ChatJob, Delta, Event, Finished, TokenLogprob

CHAT = "/api/engine/chat"
ONE = TokenLogprob(b"\xe2", -0.5, (Alternative(b"a", -0.25),))
ANSWER: tuple[Event, ...] = (
    Delta("\N{SNOWMAN}", (1, 2), logprobs=(ONE, TokenLogprob(b"\x98\x83", -0.125))),
    Finished("stop", last=ONE),
)
FRAMES: list[dict[str, Any]] = [
    {
        "text": "\N{SNOWMAN}",
        "done": False,
        "logprobs": [
            {
                "token": "\\xe2",
                "logprob": -0.5,
                "bytes": [0xE2],
                "top_logprobs": [{"token": "a", "logprob": -0.25, "bytes": [97]}],
            },
            {
                "token": "\\x98\\x83",
                "logprob": -0.125,
                "bytes": [0x98, 0x83],
                "top_logprobs": [],
            },
        ],
    },
    {"text": "", "done": True},
]


@pytest.fixture
def worker(redis: Redis) -> FakeWorker:
    announce(redis)
    return FakeWorker(redis, lambda _: ANSWER)


def test_frames_have_them_and_have_them_again_when_they_are_read_again(
    client: TestClient, worker: FakeWorker
) -> None:
    with worker.running():
        first = client.post(CHAT, json=chat_body(logprobs=True, top_logprobs=1))
    assert frames(first.text) == FRAMES
    again = client.get(f"{CHAT}/{first.headers['x-job-id']}/events")
    assert frames(again.text) == FRAMES
    rest = client.get(f"{CHAT}/{first.headers['x-job-id']}/events?after=2")
    assert frames(rest.text) == FRAMES[1:]
    (job,) = worker.seen
    assert isinstance(job, ChatJob)
    assert job.sampling.logprobs == 1


def test_frames_of_who_does_not_ask_hold_nothing_else(
    client: TestClient, worker: FakeWorker
) -> None:
    with worker.running():
        answer = client.post(CHAT, json=chat_body())
    assert frames(answer.text) == [{"text": "\N{SNOWMAN}", "done": False}, FRAMES[1]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 7}, "logprobs"),
    ],
)
def test_what_can_not_be_had_is_refused_by_name(
    client: TestClient, worker: FakeWorker, fields: dict[str, Any], param: str
) -> None:
    refused = client.post(CHAT, json=chat_body(**fields))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert param in refused.text
    assert not worker.seen
