"""The whole service on the echo backend: what clients get, and what RQ's records and pages show
meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer
from rq.worker.base import BaseWorker

from tests.support.http_client import Stream
from tests.support.service_support import RunningService, wait
from worker.backends.echo import BAD_PROMPT, BAD_STEP, answer

CANARY = "xyzzy-canary"
LONG = 3000
"""Tokens of a chat that is stopped in the end: a minute's at twenty milliseconds a token."""


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("fast"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two slots, twenty milliseconds a token, small prefill steps."""
    settings = {
        "MLXQ_ECHO_DELAY_MS": "20",
        "MLXQ_SLOTS": "2",
        "MLXQ_PREFILL_STEP": "16",
        "MLXQ_ECHO_CONTEXT_WINDOW": "16384",
        "MLXQ_QUEUE_LIMIT": "3",
    }
    running = RunningService(tmp_path_factory.mktemp("slow"), **settings)
    yield running
    running.close()


def test_thirty_two_chats_at_once_each_get_their_own_text(fast: RunningService) -> None:
    streams = [fast.http.chat(f"chat {i}", seed=i, max_tokens=40) for i in range(32)]
    assert [stream.rest() for stream in streams] == [answer(f"chat {i}", i, 40) for i in range(32)]
    for stream in streams:
        # Forty tokens and the end; fast steps share an event.
        assert stream.ids == sorted(set(stream.ids))
        assert stream.ids[-1] == 41
        assert 2 <= len(stream.ids) <= 41
        assert stream.frames[-1] == {"text": "", "done": True}


def test_the_last_frame_tells_usage_and_timings_when_asked(fast: RunningService) -> None:
    stream = fast.http.chat("hello", max_tokens=5, stream_options={"include_usage": True})
    stream.rest()
    last = stream.frames[-1]
    assert last["finish_reason"] == "length"
    counts = {"prompt_tokens": 11, "completion_tokens": 5, "cached_tokens": 0}
    assert last["usage"] == counts | {"reasoning_tokens": 0}
    times = {"queue_ms", "load_ms", "prefill_ms", "ttft_ms", "tokens_per_second"}
    assert set(last["timings"]) == times | {"draft_tokens", "accepted_tokens"}
    assert last["timings"]["ttft_ms"] > 0


def test_two_readers_and_a_cursor_get_the_same_text(slow: RunningService) -> None:
    first = slow.http.chat("two readers", seed=1, max_tokens=100)
    first.until(5)
    assert not first.frames[-1]["done"], "it is still being written"
    second, third = slow.http.events(first.job_id), slow.http.events(first.job_id, after=3)
    expected = answer("two readers", 1, 100)
    assert (first.rest(), second.rest()) == (expected, expected)
    assert third.rest() == expected.removeprefix(answer("two readers", 1, 3))
    assert third.ids == [position for position in first.ids if position > 3]
    assert len(first.frames) > 20


@pytest.mark.parametrize("when", ["prefill", "decode"])
def test_a_stopped_chat_ends_with_its_text_so_far(slow: RunningService, when: str) -> None:
    text = "long prompt " * 1000 if when == "prefill" else "short"  # It is read for 15 seconds.
    stream = slow.http.chat(text, seed=1, max_tokens=2000, stream_options={"include_usage": True})
    wait(lambda: slow.job(stream.job_id).get_status() == "started")
    if when == "decode":
        stream.until(5)
    assert slow.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id}) == (
        200,
        {"status": "stopped"},
    )
    received = stream.rest()
    assert stream.frames[-1]["finish_reason"] == "cancelled"
    assert answer(text, 1, 2000).startswith(received)
    assert bool(received) == (when == "decode")
    wait(lambda: slow.job(stream.job_id).get_status() == "stopped")
    assert slow.http.events(stream.job_id).rest() == received


def test_a_chat_stopped_in_the_queue_never_runs(slow: RunningService) -> None:
    running = [slow.http.chat("busy", seed=i, max_tokens=LONG) for i in range(2)]
    for stream in running:
        stream.until(1)
    queued = slow.http.chat(
        "waiting", stream_options={"include_progress": True, "include_usage": True}
    )
    place = next(iter(queued))
    assert place["progress"].pop("wait_s") > 0
    assert place["progress"] == {"state": "queued", "position": 1}
    slow.http.call("POST", "/api/engine/chat/stop", {"job_id": queued.job_id})
    assert queued.rest() == ""
    assert queued.frames[-1]["finish_reason"] == "cancelled"
    assert slow.job(queued.job_id).get_status() == "canceled"
    stopped_all = slow.http.call("POST", "/api/engine/chat/stop")
    assert stopped_all == (200, {"status": "stopped"})
    for stream in running:
        stream.rest()
        assert stream.frames[-1]["done"]
    assert len(slow.queue) == 0


def test_a_full_queue_refuses_with_a_time_to_come_back(slow: RunningService) -> None:
    streams = [slow.http.chat("busy", seed=i, max_tokens=LONG) for i in range(2)]
    for stream in streams:
        stream.until(1)
    streams += [slow.http.chat("waiting", max_tokens=1) for _ in range(3)]
    status, body = slow.http.call(
        "POST",
        "/api/engine/chat",
        {"model_id": "demo-chat", "messages": [{"role": "user", "content": "one too many"}]},
    )
    assert (status, body["code"]) == (429, "queue_full")
    slow.http.call("POST", "/api/engine/chat/stop")
    for stream in streams:
        stream.rest()


def test_rqs_records_show_what_happened_to_each_job(fast: RunningService) -> None:
    good = fast.http.chat(f"say {CANARY}", max_tokens=3)
    good.rest()
    bad = fast.http.chat(BAD_PROMPT + CANARY)
    bad.rest()
    assert bad.frames[-1]["code"] == "engine_failed"
    wait(lambda: good.job_id in fast.queue.finished_job_registry.get_job_ids())
    assert fast.job(good.job_id).get_status() == "finished"
    wait(lambda: fast.job(bad.job_id).get_status() == "failed")
    assert "engine_failed" in fast.reason(bad.job_id)
    assert CANARY not in fast.job(good.job_id).description
    wait(lambda: fast.queue.started_job_registry.count == 0)


def test_an_exception_in_a_step_is_a_failed_chat_and_a_living_worker(fast: RunningService) -> None:
    stream = fast.http.chat(BAD_STEP)
    stream.rest()
    assert stream.frames[-1]["code"] == "engine_failed"
    assert fast.http.chat("after", seed=2, max_tokens=3).rest() == answer("after", 2, 3)


def test_a_running_chat_is_in_rqs_records_and_rqs_own_stop_ends_it(slow: RunningService) -> None:
    stream = slow.http.chat(
        "stop me by RQ", max_tokens=2000, stream_options={"include_usage": True}
    )
    stream.until(3)
    job = slow.job(stream.job_id)
    assert job.get_status() == "started"
    assert stream.job_id in slow.queue.started_job_registry.get_job_ids()
    (worker,) = BaseWorker.all(connection=slow.redis)
    assert worker.get_state() == "busy"
    beat = job.last_heartbeat
    wait(lambda: slow.job(stream.job_id).last_heartbeat > beat)
    send_stop_job_command(slow.redis, stream.job_id, serializer=JSONSerializer)
    stream.rest()
    assert stream.frames[-1]["finish_reason"] == "cancelled"
    wait(lambda: slow.job(stream.job_id).get_status() == "stopped")


def test_rq_info_agrees(slow: RunningService) -> None:
    stream = slow.http.chat("busy", max_tokens=LONG)
    stream.until(1)
    info = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--url", slow.redis_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 workers, 1 queues" in info.stdout, info
    assert "busy" in info.stdout
    slow.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
    stream.rest()


def test_the_dashboard_shows_its_pages_while_jobs_run(slow: RunningService) -> None:
    stream = slow.http.chat(f"busy {CANARY}", max_tokens=LONG)
    stream.until(1)
    for path in ("/rq/workers", "/rq/jobs", "/rq/queues", f"/rq/job/{stream.job_id}"):
        status, page = slow.http.raw("GET", path)
        assert status == 200, path
        assert b"Traceback" not in page
        if not path.startswith("/rq/job/"):
            assert CANARY.encode() not in page
    slow.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
    stream.rest()


def test_a_job_that_names_another_function_is_refused_unrun(
    fast: RunningService, tmp_path: Path
) -> None:
    marker = tmp_path / "was-run"
    job = fast.queue.enqueue("os.system", f"touch {marker}")
    wait(lambda: fast.job(job.id).get_status() == "failed")
    assert not marker.exists()
    pickled = Queue("chat", connection=fast.redis).enqueue("os.system", f"touch {marker}")
    wait(lambda: len(fast.queue) == 0)
    assert fast.http.chat("after", seed=2, max_tokens=3).rest() == answer("after", 2, 3)
    assert not marker.exists()
    fast.redis.delete(f"rq:job:{pickled.id}")


def test_status_shows_the_running_chat_and_the_model(slow: RunningService) -> None:
    stream = slow.http.chat("busy", max_tokens=LONG)
    stream.until(3)

    def shown() -> Any:
        """Poll: a worker publishes its status once a second."""
        _, status = slow.http.call("GET", "/api/engine/status")
        return [job["job_id"] for job in status["running"]] == [stream.job_id] and status

    status = wait(shown)
    assert status["queues"]["chat"] == 0
    assert [model["id"] for model in status["models"]] == ["echo"]
    assert slow.http.call("GET", "/models/active")[1]["model"]["name"] == "demo-chat"
    slow.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
    stream.rest()


def test_models_are_loaded_unloaded_and_refused_by_name(fast: RunningService) -> None:
    status, loaded = fast.http.call(
        "POST", "/models/load", {"model_id": "demo-chat", "kv_quantization": None}
    )
    assert (status, loaded["status"], loaded["model_id"]) == (200, "loaded", "echo")
    assert fast.http.call("POST", "/models/unload")[1]["status"] == "unloaded"
    assert fast.http.call("GET", "/models/active") == (200, {"model": None})
    status, refused = fast.http.call("POST", "/models/load", {"model_id": "no-such-model"})
    assert (status, refused["code"]) == (404, "model_not_found")
    status, refused = fast.http.call("POST", "/models/register", {"name": "x", "path": "/etc"})
    assert (status, refused["code"]) == (404, "model_not_found")
    assert fast.http.chat("reloads", seed=1, max_tokens=2).rest() == answer("reloads", 1, 2)


def test_a_model_in_use_can_not_be_unloaded(slow: RunningService) -> None:
    stream: Stream = slow.http.chat("busy", max_tokens=LONG)
    stream.until(1)
    status, refused = slow.http.call("POST", "/models/unload")
    assert (status, refused["code"]) == (409, "load_conflict")
    slow.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
    stream.rest()
