"""What a stream sends: frames, usage, progress and keep-alive comments."""

from __future__ import annotations

import itertools
import re
import time

import httpx2
import pytest

from mlxq.service.embedded_redis import EmbeddedRedis
from tests.integration.streams.served_api import CHAT, USAGE, Running, serving
from tests.support.api_support import LIMIT_S, chat_body
from wire.messages import Delta, Failed, Progress, Warning

PROGRESS = {"stream_options": {"include_progress": True}}


def test_a_stream_is_exactly_the_frames_of_the_contract(api: Running) -> None:
    with httpx2.stream("POST", api.url + CHAT, json=chat_body(), timeout=LIMIT_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        writer = api.writer(response.headers["x-job-id"])
        writer.write(Warning("High memory usage (91%). Generation may be slow."))
        writer.text("Hello", " there")
        writer.finish()
        body = response.read().decode()
    assert body == (
        ": queued\n\n"
        'id: 0\ndata: {"text": "", "done": false, "warning": "High memory usage (91%). Generation may be slow."}\n\n'
        'id: 1\ndata: {"text": "Hello", "done": false}\n\n'
        'id: 2\ndata: {"text": " there", "done": false}\n\n'
        'id: 3\ndata: {"text": "", "done": true}\n\n'
    )


def test_a_failure_is_in_the_last_frame(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).write(Failed("engine_failed", "The engine failed."))
    frame = {"text": "", "done": True, "error": "The engine failed.", "code": "engine_failed"}
    assert stream.rest() == [(1, frame)]


def test_the_headers_and_a_comment_leave_at_once(api: Running) -> None:
    began = time.monotonic()
    stream = api.chat()
    assert next(stream._lines) == ": queued"
    assert time.monotonic() - began < 0.5


def test_usage_stands_in_the_last_frame_only_when_asked_for(api: Running) -> None:
    stream = api.chat(**USAGE)
    writer = api.writer(stream.job_id)
    writer.text("a", "b")
    writer.finish()
    *_, (_, last) = stream.rest()
    assert api.events(stream.job_id).rest()[-1][1] == last
    assert last.pop("sampling")["max_tokens"] == 512
    assert last == {
        "text": "",
        "done": True,
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "cached_tokens": 1,
            "reasoning_tokens": 0,
        },
        "timings": {
            "queue_ms": 1,
            "load_ms": 2,
            "prefill_ms": 3,
            "ttft_ms": 4,
            "tokens_per_second": 50,
            "draft_tokens": 0,
            "accepted_tokens": 0,
        },
    }


def test_progress_tells_the_place_in_the_queue_and_what_the_worker_does(api: Running) -> None:
    first, second = api.chat(), api.chat(**PROGRESS)
    cursor, frame = second.next()
    assert frame["progress"].pop("wait_s") > 0
    assert (cursor, frame) == (
        0,
        {"text": "", "done": False, "progress": {"state": "queued", "position": 2}},
    )
    api.writer(first.job_id).finish()
    assert second.next()[1]["progress"].items() >= {"state": "queued", "position": 1}.items()
    writer = api.writer(second.job_id)
    writer.progress(Progress("prefill", 128, 1024))
    assert second.next()[1]["progress"] == {"state": "prefill", "done": 128, "total": 1024}
    writer.text("x")
    writer.progress(Progress("prefill", 1, 2))
    writer.finish()
    assert [sequence for sequence, _ in second.rest()] == [1, 1, 2]


def test_thinking_comes_in_a_field_of_its_own_to_those_who_ask(api: Running) -> None:
    asked, other = api.chat(include_reasoning=True), api.chat()
    thought = {"text": "", "done": False, "reasoning": "Hm, "}
    for stream in (asked, other):
        writer = api.writer(stream.job_id)
        writer.write(Delta("", (1,), "Hm, "), Delta("", (2,), "cold?"))
        writer.text("Cold")
        writer.finish()
    frames = asked.rest()
    assert frames[:2] == [(1, thought), (2, thought | {"reasoning": "cold?"})]
    assert frames[2:] == [
        (3, {"text": "Cold", "done": False}),
        (4, {"text": "", "done": True}),
    ]
    resumed = api.events(asked.job_id, **{"Last-Event-ID": "1"})
    assert resumed.rest() == frames[1:]
    assert all("reasoning" not in frame for _, frame in other.rest())


def test_progress_is_sent_only_when_asked_for(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.progress(Progress("loading"))
    writer.finish()
    assert [frame for _, frame in stream.rest()] == [{"text": "", "done": True}]


@pytest.mark.usefixtures("api")
def test_a_silent_stream_sends_comments(store: EmbeddedRedis) -> None:
    with serving(store.url, keepalive_s=0.1) as other:
        stream = other.chat()
        comments = (line for line in stream._lines if line.startswith(":"))
        assert list(itertools.islice(comments, 4)) == [": queued", *[": keep-alive"] * 3]
        other.writer(stream.job_id).finish()
        stream.rest()


@pytest.mark.usefixtures("api")
def test_openais_streams_tell_the_place_in_the_queue_in_headers_and_comments(
    store: EmbeddedRedis,
) -> None:
    native = chat_body()
    body = {"model": native["model_id"], "messages": native["messages"], "stream": True}
    with (
        serving(store.url, keepalive_s=0.2) as other,
        httpx2.stream(
            "POST", f"{other.url}/v1/chat/completions", json=body, timeout=LIMIT_S
        ) as response,
    ):
        assert response.headers["x-queue-position"] == "1"
        assert float(response.headers["x-queue-wait"]) > 0
        lines = response.iter_lines()
        comments = (line for line in lines if line.startswith(":"))
        assert next(comments) == ": queued"
        assert re.fullmatch(r": queued, position 1, about \d+\.\d s", next(comments))
        other.writer(response.headers["x-job-id"]).finish()
        assert list(lines)[-2:] == ["data: [DONE]", ""]
