"""Streams over a real uvicorn and a real Redis; a stand-in for the worker writes the token logs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from api.app import create_app
from api.chat.disconnects import DisconnectWatcher
from api.deps import find_service
from api.jobs.queue import JobQueue
from api.jobs.reader import BUFFER, LOOK_AGAIN_S, PAGE
from api.jobs.relay import Relay
from api.monitoring.status_stream import StatusStream
from api.redis_client import connect
from api.registry import RegistryReader
from api.server import Server
from mlxq.service.embedded_redis import EmbeddedRedis
from tests.support.api_support import QUEUE, LogWriter, announce, chat_body, wait_for
from wire import keys
from wire.log_entries import encode
from wire.messages import Delta, Failed, Progress, Warning
from wire.settings import Settings

CHAT = "/api/engine/chat"
PROGRESS = {"stream_options": {"include_progress": True}}
# The dashboard asks RQ for something that RQ would rather be asked otherwise.
rq_noise = pytest.mark.filterwarnings("ignore:job.exc_info is deprecated:DeprecationWarning")
USAGE = {"stream_options": {"include_usage": True}}
Frame = dict[str, Any]


@dataclass
class Running:
    """An API process's worth of server in a thread."""

    url: str
    redis: Redis
    redis_url: str
    app: FastAPI
    server: Server
    streams: list[Stream] = field(default_factory=list)

    def chat(self, **more: object) -> Stream:
        return self._opened(Stream("POST", self.url + CHAT, json=chat_body(**more)))

    def events(self, job_id: str, **headers: str) -> Stream:
        return self._opened(Stream("GET", f"{self.url}{CHAT}/{job_id}/events", headers=headers))

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(self.url + path, headers=headers)

    def _opened(self, stream: Stream) -> Stream:
        self.streams.append(stream)
        return stream

    def writer(self, job_id: str) -> LogWriter:
        """Take the job up, as a worker would."""
        self.redis.lrem(QUEUE, 1, job_id)
        return LogWriter(self.redis, job_id)


class Stream:
    """A client that reads one response line by line."""

    def __init__(self, method: str, url: str, **arguments: Any) -> None:
        self._client = httpx2.Client(timeout=15, verify=False)
        self._context = self._client.stream(method, url, **arguments)
        self.response = self._context.__enter__()
        assert self.response.status_code == 200, self.response.read()
        self._lines = self.response.iter_lines()
        self.comments: list[str] = []

    @property
    def job_id(self) -> str:
        return str(self.response.headers["x-job-id"])

    def next(self) -> tuple[int, Frame]:
        """The next event's id and frame; StopIteration at the end."""
        sequence = -1
        for line in self._lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif line.startswith("id: "):
                sequence = int(line[4:])
            elif line.startswith("data: "):
                return sequence, json.loads(line[6:])
        raise StopIteration

    def rest(self) -> list[tuple[int, Frame]]:
        frames = []
        while True:
            try:
                frames.append(self.next())
            except StopIteration:
                return frames

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        self._client.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.open()
    yield server
    server.close()


@contextmanager
def serving(url: str, **more: Any) -> Iterator[Running]:
    settings = Settings(
        redis_url=url, port=0, keepalive_s=more.pop("keepalive_s", 15), log_level="error", **more
    )
    app = create_app(settings)
    server = Server(app, settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started)
    redis = Redis.from_url(url)
    running = Running(server.url, redis, url, app, server)
    try:
        yield running
    finally:
        for stream in running.streams:
            stream.close()
        server.should_exit = True
        thread.join()
        redis.close()


@pytest.fixture(scope="module")
def process(store: EmbeddedRedis) -> Iterator[Running]:
    with serving(store.url) as running:
        yield running


@pytest.fixture
def api(process: Running) -> Iterator[Running]:
    process.redis.flushall()
    announce(process.redis)
    yield process
    while process.streams:
        process.streams.pop().close()


def text(frames: list[tuple[int, Frame]]) -> str:
    return "".join(frame["text"] for _, frame in frames)


def test_a_stream_is_exactly_the_frames_of_the_contract(api: Running) -> None:
    with httpx2.stream("POST", api.url + CHAT, json=chat_body()) as response:
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


def test_a_failure_is_told_in_the_last_frame(api: Running) -> None:
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
    assert last == {
        "text": "",
        "done": True,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "cached_tokens": 1},
        "timings": {
            "queue_ms": 1,
            "load_ms": 2,
            "prefill_ms": 3,
            "ttft_ms": 4,
            "tokens_per_second": 50,
        },
    }
    assert api.events(stream.job_id).rest()[-1][1] == last


def test_progress_tells_the_place_in_the_queue_and_what_the_worker_does(api: Running) -> None:
    first, second = api.chat(), api.chat(**PROGRESS)
    assert second.next() == (
        0,
        {"text": "", "done": False, "progress": {"state": "queued", "position": 2}},
    )
    api.writer(first.job_id).finish()
    assert second.next()[1]["progress"] == {"state": "queued", "position": 1}
    writer = api.writer(second.job_id)
    writer.progress(Progress("prefill", 128, 1024))
    assert second.next()[1]["progress"] == {"state": "prefill", "done": 128, "total": 1024}
    writer.text("x")
    writer.progress(Progress("prefill", 1, 2))
    writer.finish()
    assert [sequence for sequence, _ in second.rest()] == [1, 1, 2]


def test_without_being_asked_for_progress_is_not_told(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.progress(Progress("loading"))
    writer.finish()
    assert [frame for _, frame in stream.rest()] == [{"text": "", "done": True}]


@pytest.mark.usefixtures("api")
def test_a_silent_stream_sends_comments(store: EmbeddedRedis) -> None:
    with serving(store.url, keepalive_s=0.1) as other:
        stream = other.chat()
        time.sleep(0.5)
        other.writer(stream.job_id).finish()
        stream.rest()
    assert stream.comments.count(": keep-alive") >= 3


def test_a_cursor_replays_what_follows_it_and_then_follows_the_job(api: Running) -> None:
    first = api.chat()
    writer = api.writer(first.job_id)
    writer.text("a", "b", "c")
    later = api.events(first.job_id, **{"Last-Event-ID": "1"})
    assert later.next() == (2, {"text": "b", "done": False})
    writer.text("d")
    writer.finish()
    assert [sequence for sequence, _ in later.rest()] == [3, 4, 5]
    assert text(first.rest()) == "abcd"


def test_the_header_wins_over_the_query(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a", "b", "c")
    writer.finish()
    answer = api.get(f"{CHAT}/{stream.job_id}/events?after=1", **{"Last-Event-ID": "3"})
    assert answer.text == ': ended\n\nid: 4\ndata: {"text": "", "done": true}\n\n'


def test_two_readers_get_the_same(api: Running) -> None:
    stream = api.chat()
    other = api.events(stream.job_id)
    writer = api.writer(stream.job_id)
    writer.text(*"many words")
    writer.finish()
    assert stream.rest() == other.rest()


def test_a_client_that_has_seen_the_end_is_told_not_to_come_back(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    assert api.get(f"{CHAT}/{stream.job_id}/events?after=1").status_code == 204


@pytest.mark.parametrize("cursor", ["-1", "x", "", "1-1", "0x1", "1e3", "9" * 400, "٣", "1 ", "*"])
def test_a_cursor_that_is_none_is_400(api: Running, cursor: str) -> None:
    stream = api.chat()
    api.writer(stream.job_id).text("secret")
    answer = httpx2.get(f"{api.url}{CHAT}/{stream.job_id}/events", params={"after": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_cursor_beyond_the_end_is_400(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    answer = api.get(f"{CHAT}/{stream.job_id}/events?after=2")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_cursor_ahead_of_a_log_that_lost_its_end_waits_for_the_text_to_come_again(
    api: Running,
) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a")
    ahead = api.events(stream.job_id, **{"Last-Event-ID": "3"})
    writer.text("b", "c", "d")
    writer.finish()
    assert ahead.rest() == [(4, {"text": "d", "done": False}), (5, {"text": "", "done": True})]


@pytest.mark.parametrize("job_id", ["0" * 32, "*", "..", "a", "%00", "0" * 4000])
def test_an_unknown_job_is_404(api: Running, job_id: str) -> None:
    assert api.get(f"{CHAT}/{job_id}/events").status_code == 404


def test_expired_text_is_410(api: Running) -> None:
    stream = api.chat()
    api.writer(stream.job_id).finish()
    stream.rest()
    api.redis.delete(keys.log(stream.job_id))
    answer = api.get(f"{CHAT}/{stream.job_id}/events")
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")


def silently(api: Running, writer: LogWriter, *texts: str) -> None:
    """Log deltas without publishing them: a channel that loses messages."""
    for word in texts:
        writer.sequence += 1
        entry = encode(writer._job, writer.sequence, Delta(word, (1,)), writer.position)
        writer.position += 1
        api.redis.xadd(
            keys.log(writer._job), {"e": entry}, id=f"{writer.sequence}-{writer.attempt}"
        )


def test_a_gap_in_the_channel_is_healed_from_the_log(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    writer.text("a")
    silently(api, writer, "b", "c")
    writer.text("d")
    writer.finish()
    frames = stream.rest()
    assert text(frames) == "abcd"
    assert [sequence for sequence, _ in frames] == [1, 2, 3, 4, 5]


def test_what_the_channel_lost_last_is_found_after_a_silence(api: Running) -> None:
    stream = api.chat()
    silently(api, api.writer(stream.job_id), "lost")
    began = time.monotonic()
    assert stream.next()[1]["text"] == "lost"
    assert time.monotonic() - began < LOOK_AGAIN_S + 2


def test_a_lost_subscription_loses_nothing(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    expected = ""
    for number in range(60):
        if number % 20 == 10:
            api.redis.client_kill_filter(_type="pubsub")
        writer.text(f"{number} ")
        expected += f"{number} "
    writer.finish()
    frames = stream.rest()
    assert text(frames) == expected
    assert [sequence for sequence, _ in frames] == list(range(1, 62))


def test_a_slow_reader_keeps_a_bounded_buffer_and_loses_nothing(api: Running) -> None:
    stream = api.chat()
    writer = api.writer(stream.job_id)
    count = BUFFER * 2 + PAGE
    for start in range(0, count, 100):
        writer.text(*(f"{number:>2000}" for number in range(start, start + 100)))
    [reader] = find_service(api.app, Relay)._readers[stream.job_id]
    wait_for(lambda: len(reader._arrived) <= BUFFER)
    writer.finish()
    frames = stream.rest()
    assert [sequence for sequence, _ in frames] == list(range(1, count + 2))


def test_many_streams_share_one_subscription(api: Running) -> None:
    streams = [api.chat() for _ in range(40)]
    writers = [api.writer(stream.job_id) for stream in streams]
    for word in ("a", "b"):
        for writer in writers:
            writer.text(word)
    for writer in writers:
        writer.finish()
    assert all(text(stream.rest()) == "ab" for stream in streams)
    channels: Any = api.redis.pubsub_numsub(keys.EVENTS_CHANNEL)
    assert channels[0][1] == 1
    assert len(api.redis.client_list()) <= 20


def test_a_client_that_leaves_leaves_nothing_behind(api: Running) -> None:
    stream = api.chat()
    job_id = stream.job_id
    assert job_id in find_service(api.app, Relay).jobs()
    stream.close()
    api.streams.clear()
    wait_for(lambda: job_id not in find_service(api.app, Relay).jobs(), 1)


def test_stopping_a_queued_chat_ends_its_stream(api: Running) -> None:
    stream, other = api.chat(**USAGE), api.chat()
    assert httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": stream.job_id}).json() == {
        "status": "stopped"
    }
    [(sequence, frame)] = stream.rest()
    assert (sequence, frame["done"], frame["finish_reason"]) == (1, True, "cancelled")
    assert api.redis.lrange(QUEUE, 0, -1) == [other.job_id.encode()]
    api.writer(other.job_id).finish()
    other.rest()
    assert httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": stream.job_id}).status_code == 200


def test_stop_without_a_body_stops_all_chats(api: Running) -> None:
    streams = [api.chat() for _ in range(3)]
    assert httpx2.post(f"{api.url}{CHAT}/stop").status_code == 200
    assert all(stream.rest() == [(1, {"text": "", "done": True})] for stream in streams)


def test_a_job_that_redis_lost_ends_with_an_error(api: Running) -> None:
    stream = api.chat()
    began = time.monotonic()
    api.redis.flushall()
    [(_, frame)] = stream.rest()
    assert (frame["done"], frame["code"]) == (True, "job_lost")
    assert time.monotonic() - began < 10


@rq_noise
def test_a_queued_job_deleted_from_the_dashboard_ends_with_an_error(api: Running) -> None:
    stream = api.chat()
    assert httpx2.delete(f"{api.url}/rq/job/{stream.job_id}").status_code == 200
    assert stream.rest()[-1][1]["code"] == "job_lost"


def attend(api: Running, enough: Callable[[], object]) -> None:
    """Let a quick watch run beside the server's own until there is enough to see."""

    async def run() -> None:
        clients = connect(api.redis_url)
        jobs = JobQueue(clients, find_service(api.app, RegistryReader), 10)
        task = asyncio.create_task(
            DisconnectWatcher(clients.waiting, find_service(api.app, Relay), jobs, 0.05, 2.0).run()
        )
        deadline = time.monotonic() + 10
        while not enough() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        await clients.close()

    asyncio.run(run())


def test_a_chat_without_readers_is_stopped_and_others_are_not(api: Running) -> None:
    left, kept, read = api.chat(), api.chat(on_disconnect="continue"), api.chat()
    for stream in (left, kept):
        stream.close()
        api.streams.remove(stream)
    wait_for(lambda: len(find_service(api.app, Relay).jobs()) == 1)
    api.redis.zadd(keys.ABANDONED_AFTER, {left.job_id: 1}, xx=True)
    attend(api, lambda: api.redis.exists(keys.cancel(left.job_id)))
    assert api.redis.exists(keys.cancel(left.job_id))
    assert not api.redis.exists(keys.cancel(kept.job_id))
    assert not api.redis.exists(keys.cancel(read.job_id))


def test_a_reader_who_comes_back_is_in_time(api: Running) -> None:
    stream = api.chat()
    api.redis.zadd(keys.ABANDONED_AFTER, {stream.job_id: 1}, xx=True)
    api.events(stream.job_id)
    score: Any = api.redis.zscore(keys.ABANDONED_AFTER, stream.job_id)
    assert score > 1


@rq_noise
def test_the_dashboard_shows_jobs_in_every_state(api: Running) -> None:
    states = ("queued", "started", "finished", "failed", "canceled")
    ids = {state: api.chat().job_id for state in states}
    for state in ("started", "finished", "failed"):
        job = Job.fetch(ids[state], connection=api.redis, serializer=JSONSerializer)
        job.set_status(state)
        api.redis.lrem(QUEUE, 1, job.id)
        registry = {"started": "wip"}.get(state, state)
        entry = f"{job.id}:execution" if state == "started" else job.id
        api.redis.zadd(f"rq:{registry}:chat", {entry: time.time() + 600})
    httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": ids["canceled"]})
    for page in (
        "queues",
        "workers",
        "jobs",
        "schedulers",
        *(f"jobs?state={state}" for state in states),
    ):
        answer = api.get(f"/rq/{page}")
        assert answer.status_code == 200, (page, answer.text)
        assert "Hello" not in answer.text
    for job_id in ids.values():
        answer = api.get(f"/rq/job/{job_id}")
        assert answer.status_code == 200
        assert "Hello" not in answer.text
    assert api.get("/rq").status_code in (302, 307)
    assert api.get("/rq/static/css/custom.css").status_code == 200
    assert api.get("/rq/docs").status_code == 404


@rq_noise
def test_nothing_that_a_hostile_writer_puts_into_redis_is_unpickled(
    api: Running, tmp_path: Path
) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    job_id = api.chat().job_id
    trap = pickle.dumps(Trap())
    api.redis.hset(f"rq:job:{job_id}", mapping={"data": trap, "result": trap, "meta": trap})
    for path in (f"/rq/job/{job_id}", "/rq/jobs", "/rq/queues"):
        api.get(path)
    httpx2.post(f"{api.url}{CHAT}/stop", json={"job_id": job_id})
    assert not (tmp_path / "sprung").exists()


def timed(url: str) -> tuple[float, httpx2.Response]:
    began = time.monotonic()
    response = httpx2.post(url + CHAT, json=chat_body())
    return time.monotonic() - began, response


def test_without_redis_a_chat_is_503_within_two_seconds_and_health_is_200(tmp_path: Path) -> None:
    with serving(f"unix://{tmp_path}/nobody") as api:
        took, response = timed(api.url)
        assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert took < 2
        assert api.get("/ready").status_code == 503
        assert api.get("/health").status_code == 200


def test_a_frozen_redis_is_503_within_two_seconds_and_well_again_soon(api: Running) -> None:
    stream = api.chat()
    info: Any = api.redis.info("server")
    os.kill(info["process_id"], signal.SIGSTOP)
    try:
        took, response = timed(api.url)
    finally:
        os.kill(info["process_id"], signal.SIGCONT)
    assert (response.status_code, response.json()["code"]) == (503, "redis_unavailable")
    assert took < 2
    wait_for(lambda: api.get("/ready").status_code == 200, 2)
    api.writer(stream.job_id).finish()
    assert stream.rest()[-1][1]["done"]


def test_a_full_redis_is_503(api: Running) -> None:
    api.redis.config_set("maxmemory", "1mb")
    try:
        _, response = timed(api.url)
    finally:
        api.redis.config_set("maxmemory", "0")
    assert (response.status_code, response.json()["code"]) == (503, "redis_full")
    assert api.redis.llen(QUEUE) == 0


def test_a_process_that_is_told_to_stop_ends_its_streams_and_they_resume(
    store: EmbeddedRedis, api: Running
) -> None:
    environ = os.environ | {
        "MLXQ_REDIS_URL": store.url,
        "MLXQ_PORT": "0",
        "MLXQ_LOG_LEVEL": "error",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api"], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().removeprefix("listening on ").strip()
        stream = Stream("POST", url + CHAT, json=chat_body())
        api.streams.append(stream)
        writer = api.writer(stream.job_id)
        writer.text("a", "b")
        assert stream.next()[0] == 1
        began = time.monotonic()
        process.terminate()
        assert [sequence for sequence, _ in stream.rest()] == [2]
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.stdout.close()
    writer.text("c")
    writer.finish()
    assert text(api.events(stream.job_id, **{"Last-Event-ID": "2"}).rest()) == "c"


def test_without_a_redis_url_the_process_says_what_is_missing() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLXQ_")}
    environ.pop("REDIS_URL", None)
    result = subprocess.run(
        [sys.executable, "-m", "api"], env=environ, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "REDIS_URL" in result.stderr


def test_a_status_stream_ends_with_its_client_and_nobody_looks_any_more(api: Running) -> None:
    announce(api.redis)
    with httpx2.Client(timeout=15, verify=False) as client:
        for _ in range(2):
            with client.stream("GET", f"{api.url}/api/engine/status/events") as answer:
                lines = answer.iter_lines()
                names = [line for line in itertools.islice(lines, 7) if line.startswith("event: ")]
                assert names == ["event: history", "event: status", "event: status"]
                assert find_service(api.app, StatusStream).watched
            wait_for(lambda: not find_service(api.app, StatusStream).watched)
