"""RQ's commands for jobs, queues and workers against the running service: no reader waits for ever,
and nothing runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rq.job import Job
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer

from tests.integration.rq_tools.rq_service import CANARY, STREAM_OPTIONS, busy, rq, worker_pid
from tests.support.service_support import LIMIT_S, ROOT, RunningService, wait
from wire import keys
from wire.rq_jobs import rq_job_key
from worker.backends.echo import BAD_PROMPT, answer
from worker.jobs.rq_worker.meta import NOT_AGAIN


@contextmanager
def plain_worker(service: RunningService, *arguments: str) -> Iterator[Callable[[], str]]:
    """A stock `rq worker` of the chat queue; yields a function that returns its log."""
    log = Path(service.redis_url.removeprefix("unix://").split("?")[0] + ".rq-worker")
    command = [
        sys.executable,
        "-m",
        "rq.cli",
        "worker",
        "chat",
        "-S",
        "json",
        "--url",
        service.redis_url,
        *arguments,
    ]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES"}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environ, cwd=ROOT)
    try:
        wait(lambda: "istening on" in log.read_text())
        yield log.read_text
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        log.unlink()


@pytest.mark.parametrize(("end", "reason"), [(Job.cancel, "cancelled"), (Job.delete, "error")])
def test_a_queued_chat_that_is_ended_in_rq_ends_for_its_reader(
    service: RunningService, end: Any, reason: str
) -> None:
    with busy(service):
        queued = service.http.chat(CANARY, **STREAM_OPTIONS)
        end(service.job(queued.job_id))
        queued.rest()
        assert queued.frames[-1]["finish_reason"] == reason
    left = b"".join(service.redis.hgetall(rq_job_key(queued.job_id)).values())
    assert CANARY.encode() not in left


@pytest.mark.parametrize("end", [Job.cancel, Job.delete])
def test_a_running_chat_that_is_ended_in_rq_keeps_its_text(
    service: RunningService, end: Any
) -> None:
    stream = service.http.chat("running", seed=1, max_tokens=3000, **STREAM_OPTIONS)
    stream.until(3)
    end(service.job(stream.job_id))
    text = stream.rest()
    assert stream.frames[-1]["finish_reason"] == "cancelled"
    assert answer("running", 1, 3000).startswith(text)
    wait(
        lambda: (
            not service.job_or_none(stream.job_id)
            or service.job(stream.job_id).get_status() != "started"
        )
    )


def test_a_queued_chat_that_nobody_reads_ends_when_its_queue_is_emptied(
    service: RunningService,
) -> None:
    with busy(service):
        queued = service.http.chat("nobody reads this", on_disconnect="continue")
        queued.close()
        rq(service, "empty", "chat")
        wait(lambda: service.redis.hget(keys.job(queued.job_id), "state") == b"ended")
    status, view = service.http.call("GET", f"/api/engine/jobs/{queued.job_id}")
    assert (status, view["code"]) == (200, "job_lost")


def test_requeue_of_a_failed_chat_says_no(service: RunningService) -> None:
    failed = service.http.chat(BAD_PROMPT)
    failed.rest()
    log = service.redis.xrange(keys.log(failed.job_id))
    wait(lambda: service.job(failed.job_id).get_status() == "failed")
    assert "Requeueing 1 jobs" in rq(
        service, "requeue", "--queue", "chat", "-S", "json", failed.job_id
    )
    wait(lambda: NOT_AGAIN in service.reason(failed.job_id))
    assert service.job(failed.job_id).get_status() == "failed"
    assert service.redis.xrange(keys.log(failed.job_id)) == log
    assert service.http.chat("after", seed=2, max_tokens=3).rest() == answer("after", 2, 3)


def test_a_cancelled_chat_that_is_queued_again_stays_cancelled(service: RunningService) -> None:
    with busy(service):
        queued = service.http.chat("cancelled", **STREAM_OPTIONS)
        service.http.call("POST", "/api/engine/chat/stop", {"job_id": queued.job_id})
        queued.rest()
        log = service.redis.xrange(keys.log(queued.job_id))
        registry = CanceledJobRegistry("chat", service.redis, serializer=JSONSerializer)
        registry.requeue(queued.job_id)
    wait(lambda: service.job(queued.job_id).get_status() == "stopped")
    assert service.redis.xrange(keys.log(queued.job_id)) == log


def test_suspend_holds_from_the_next_chat_on_and_resume_goes_on(service: RunningService) -> None:
    running = service.http.chat("running", seed=3, max_tokens=50)
    running.until(1)
    rq(service, "suspend")
    held = service.http.chat("held", seed=4, max_tokens=3, **STREAM_OPTIONS)
    first = next(iter(held))
    assert first["progress"].items() >= {"state": "suspended", "position": 1}.items()
    assert running.rest() == answer("running", 3, 50)  # running chats go on
    status, ready = service.http.call("GET", "/ready")
    assert (status, ready["code"]) == (503, "suspended")
    assert service.http.call("GET", "/api/engine/status")[1]["suspended"] is True
    assert service.http.call("GET", f"/api/engine/jobs/{held.job_id}")[1]["held"] == "suspended"
    assert service.job(held.job_id).get_status() == "queued"
    wait(lambda: "suspended" in rq(service, "info", "-R"))
    began = time.monotonic()
    rq(service, "resume")
    assert held.rest() == answer("held", 4, 3)
    assert time.monotonic() - began < 60
    assert service.http.call("GET", "/ready")[0] == 200


@pytest.mark.parametrize("kind", [(), ("-w", "rq.SimpleWorker")], ids=["rq worker", "SimpleWorker"])
def test_beside_a_plain_rq_worker_every_chat_is_answered(
    service: RunningService, kind: tuple[str, ...]
) -> None:
    with plain_worker(service, *kind) as logged:
        with busy(service):  # Only the plain worker pops jobs now.
            popped = service.http.chat("popped", seed=5, max_tokens=3)
            wait(lambda: "python -m worker" in logged())
        streams = [
            popped,
            *(service.http.chat("popped", seed=i, max_tokens=3) for i in range(6, 10)),
        ]
        assert [stream.rest() for stream in streams] == [
            answer("popped", i, 3) for i in range(5, 10)
        ]
        assert "Traceback" not in logged()
        times_popped = logged().count("python -m worker")
    wait(lambda: service.job(popped.job_id).get_status() == "finished")
    assert times_popped < 60  # It pauses before it pops a job again that it has put back.


def test_readers_see_that_a_worker_is_frozen_and_the_chat_goes_on_with_it(
    service: RunningService,
) -> None:
    stream = service.http.chat("frozen", seed=6, max_tokens=250, **STREAM_OPTIONS)
    stream.until(3)
    pid = worker_pid(service)
    os.kill(pid, signal.SIGSTOP)
    try:
        frame = next(frame for frame in stream if "progress" in frame)
        assert frame["progress"] == {"state": "no_worker"}
        assert (
            service.http.call("GET", f"/api/engine/jobs/{stream.job_id}")[1]["held"] == "no_worker"
        )
        status = service.http.call("GET", "/api/engine/status")[1]
        assert [name.split(".")[1].split("-")[0] for name in status["silent_workers"]] == [str(pid)]
        assert service.http.call("GET", "/ready")[1]["code"] == "no_worker"
        queued = service.http.chat("behind it", seed=7, max_tokens=2, **STREAM_OPTIONS)
        held = next(iter(queued))["progress"]
        assert held.items() >= {"state": "no_worker", "position": 1}.items()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert stream.rest() == answer("frozen", 6, 250)
    assert queued.rest() == answer("behind it", 7, 2)
