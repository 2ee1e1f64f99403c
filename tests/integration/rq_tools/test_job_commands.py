"""RQ's own tools against the running service, from outside: nobody is left waiting, and nothing
runs twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer

from tests.support.http_client import Stream
from tests.support.service_support import LIMIT_S, ROOT, Whole, wait
from wire import keys
from wire.rq_jobs import rq_job_key
from worker.backends.echo import BAD_PROMPT, answer
from worker.jobs.rq_worker.meta import NOT_AGAIN

CANARY = "xyzzy-canary"
SLOTS = 2
TOLD = {"stream_options": {"include_progress": True, "include_usage": True}}
# The dashboards ask RQ for something that RQ would rather be asked otherwise.
rq_noise = pytest.mark.filterwarnings("ignore:job.exc_info is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Two slots, twenty milliseconds a token."""
    settings = {"MLXQ_ECHO_DELAY_MS": "20", "MLXQ_SLOTS": str(SLOTS)}
    whole = Whole(tmp_path_factory.mktemp("rq"), limit_s=600, **settings)
    yield whole
    whole.close()


@pytest.fixture(autouse=True)
def quiet(service: Whole) -> Iterator[None]:
    """Each test leaves an idle service that isn't suspended."""
    yield
    service.redis.delete("rq:suspended")
    service.http.call("POST", "/api/engine/chat/stop")
    wait(lambda: service.http.call("GET", "/api/engine/status")[1]["running_total"] == 0)
    assert service.redis.zcard(keys.live("everyone")) == 0
    wait(lambda: service.queue.started_job_registry.count == 0)


def rq(service: Whole, *arguments: str) -> str:
    """RQ's command line."""
    command = [sys.executable, "-m", "rq.cli", *arguments, "--url", service.redis_url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S)
    return ran.stdout + ran.stderr


def worker_pid(service: Whole) -> int:
    """The worker's process, wherever the supervisor started it."""
    [name] = service.redis.smembers(keys.WORKERS)
    return int(name.decode().split(".")[1].split("-")[0])


@contextmanager
def busy(service: Whole) -> Iterator[list[Stream]]:
    """All slots taken."""
    streams = [service.http.chat("busy", seed=i, max_tokens=3000) for i in range(SLOTS)]
    for stream in streams:
        stream.until(1)
    try:
        yield streams
    finally:
        for stream in streams:
            service.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
            stream.rest()


@contextmanager
def plain_worker(service: Whole, *arguments: str) -> Iterator[Callable[[], str]]:
    """A stock `rq worker` of the chat queue; gives what it has logged."""
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


# --- ended from outside ---------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "reason"), [(Job.cancel, "cancelled"), (Job.delete, "error")])
def test_a_queued_chat_that_is_ended_in_rq_ends_for_its_reader(
    service: Whole, end: Any, reason: str
) -> None:
    with busy(service):
        queued = service.http.chat(CANARY, **TOLD)
        end(service.job(queued.job_id))
        queued.rest()
        assert queued.frames[-1]["finish_reason"] == reason
    left = b"".join(service.redis.hgetall(rq_job_key(queued.job_id)).values())
    assert CANARY.encode() not in left


@pytest.mark.parametrize("end", [Job.cancel, Job.delete])
def test_a_running_chat_that_is_ended_in_rq_keeps_its_text(service: Whole, end: Any) -> None:
    stream = service.http.chat("running", seed=1, max_tokens=3000, **TOLD)
    stream.until(3)
    end(service.job(stream.job_id))
    said = stream.rest()
    assert stream.frames[-1]["finish_reason"] == "cancelled"
    assert answer("running", 1, 3000).startswith(said)
    wait(
        lambda: (
            not service.job_or_none(stream.job_id)
            or service.job(stream.job_id).get_status() != "started"
        )
    )


def test_a_queued_chat_that_nobody_reads_ends_when_its_queue_is_emptied(service: Whole) -> None:
    with busy(service):
        queued = service.http.chat("nobody reads this", on_disconnect="continue")
        queued.close()
        rq(service, "empty", "chat")
        wait(lambda: service.redis.hget(keys.job(queued.job_id), "state") == b"ended")
    status, view = service.http.call("GET", f"/api/engine/jobs/{queued.job_id}")
    assert (status, view["code"]) == (200, "job_lost")


# --- queued again ---------------------------------------------------------------------------------


def test_requeue_of_a_failed_chat_says_no(service: Whole) -> None:
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


def test_a_cancelled_chat_that_is_queued_again_stays_cancelled(service: Whole) -> None:
    with busy(service):
        queued = service.http.chat("cancelled", **TOLD)
        service.http.call("POST", "/api/engine/chat/stop", {"job_id": queued.job_id})
        queued.rest()
        log = service.redis.xrange(keys.log(queued.job_id))
        registry = CanceledJobRegistry("chat", service.redis, serializer=JSONSerializer)
        registry.requeue(queued.job_id)
    wait(lambda: service.job(queued.job_id).get_status() == "stopped")
    assert service.redis.xrange(keys.log(queued.job_id)) == log


# --- suspended ------------------------------------------------------------------------------------


def test_suspend_holds_from_the_next_chat_on_and_resume_goes_on(service: Whole) -> None:
    running = service.http.chat("running", seed=3, max_tokens=50)
    running.until(1)
    rq(service, "suspend")
    held = service.http.chat("held", seed=4, max_tokens=3, **TOLD)
    first = next(iter(held))
    assert first["progress"] == {"state": "suspended", "position": 1}
    assert running.rest() == answer("running", 3, 50)  # what runs goes on
    status, ready = service.http.call("GET", "/ready")
    assert (status, ready["code"]) == (503, "suspended")
    assert service.http.call("GET", "/api/engine/status")[1]["suspended"] is True
    assert service.http.call("GET", f"/api/engine/jobs/{held.job_id}")[1]["held"] == "suspended"
    assert service.job(held.job_id).get_status() == "queued"
    wait(lambda: "suspended" in rq(service, "info", "-R"))
    began = time.monotonic()
    rq(service, "resume")
    assert held.rest() == answer("held", 4, 3)
    assert time.monotonic() - began < LIMIT_S
    assert service.http.call("GET", "/ready")[0] == 200


# --- workers that aren't ours ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [(), ("-w", "rq.SimpleWorker")], ids=["rq worker", "SimpleWorker"])
def test_beside_a_plain_rq_worker_every_chat_is_answered(
    service: Whole, kind: tuple[str, ...]
) -> None:
    with plain_worker(service, *kind) as logged:
        with busy(service):  # Only the other one takes anything now.
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
        told = logged().count("python -m worker")
    job = service.job(popped.job_id)
    assert job.get_status() == "finished"
    assert told < 60  # It pauses: it doesn't pop what it gave back as fast as it can.


# --- a worker that doesn't answer -----------------------------------------------------------------


def test_a_frozen_worker_is_said_to_readers_and_the_chat_goes_on_with_it(service: Whole) -> None:
    stream = service.http.chat("frozen", seed=6, max_tokens=100, **TOLD)
    stream.until(3)
    pid = worker_pid(service)
    os.kill(pid, signal.SIGSTOP)
    try:
        told = next(frame for frame in stream if "progress" in frame)
        assert told["progress"] == {"state": "no_worker"}
        assert (
            service.http.call("GET", f"/api/engine/jobs/{stream.job_id}")[1]["held"] == "no_worker"
        )
        status = service.http.call("GET", "/api/engine/status")[1]
        assert [name.split(".")[1].split("-")[0] for name in status["silent_workers"]] == [str(pid)]
        assert service.http.call("GET", "/ready")[1]["code"] == "no_worker"
        queued = service.http.chat("behind it", seed=7, max_tokens=2, **TOLD)
        assert next(iter(queued))["progress"] == {"state": "no_worker", "position": 1}
    finally:
        os.kill(pid, signal.SIGCONT)
    assert stream.rest() == answer("frozen", 6, 100)
    assert queued.rest() == answer("behind it", 7, 2)


# --- hostile jobs ---------------------------------------------------------------------------------


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket that nobody should connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("ends", ["finished", "failed", "stopped", "canceled"])
def test_what_a_hostile_job_asks_rq_for_is_not_done(
    service: Whole, tmp_path: Path, ends: str
) -> None:
    """Callbacks, webhooks, dependents, repeats, retries: all there is in RQ's record of a job."""
    module, marker = tmp_path / "hostile.py", tmp_path / "was-imported"
    module.write_text(f"open({str(marker)!r}, 'w').close()\ndef run(*args): pass\n")
    service.redis.set("rq:suspended", 1)
    text = BAD_PROMPT if ends == "failed" else "hostile"
    stream = service.http.chat(text, seed=1, max_tokens=5 if ends == "finished" else 3000)
    pid = worker_pid(service)
    with listening() as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        hooks = [{"url": url, "job_status": status} for status in ("finished", "failed")]
        dependent = Queue("other", connection=service.redis, serializer=JSONSerializer).enqueue(
            "hostile.run", depends_on=service.job(stream.job_id)
        )
        named = {
            f"{kind}_callback_name": "hostile.run" for kind in ("success", "failure", "stopped")
        }
        fields = {
            **named,
            "webhooks": json.dumps(hooks),
            "repeats_left": 3,
            "repeat_intervals": "[0]",
        }
        fields |= {
            "retry_intervals": "[1]",
            "group_id": "nobody",
            "result": b"\x80\x04.",
            "meta": b"\x80\x04.",
        }
        service.redis.hset(rq_job_key(stream.job_id), mapping=fields)
        rq(service, "resume")
        if ends in ("stopped", "canceled"):
            stream.until(1)
            if ends == "stopped":
                service.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
            else:
                service.job(stream.job_id).cancel()
        stream.rest()
        wait(lambda: service.redis.ttl(rq_job_key(stream.job_id)) > 0)
        assert service.http.chat("after", seed=2, max_tokens=3).rest() == answer("after", 2, 3)
    assert not marker.exists()
    assert worker_pid(service) == pid
    assert not service.redis.llen("rq:queue:other")
    left = service.redis.hgetall(rq_job_key(stream.job_id))
    assert not {b"webhooks", b"success_callback_name", b"repeats_left", b"group_id"} & set(left)
    dependent.delete()
    service.redis.delete(
        "rq:deferred:other", "rq:queue:other", f"{rq_job_key(stream.job_id)}:dependents"
    )


def broken_status(redis: Redis, name: str) -> None:
    redis.hset(name, mapping={"data": b"[]", "status": "nonsense", "origin": "chat"})


def no_data(redis: Redis, name: str) -> None:
    redis.hset(name, mapping={"status": "queued"})


def no_hash(redis: Redis, name: str) -> None:
    redis.set(name, "text")


def not_there(redis: Redis, name: str) -> None:
    redis.delete(name)


def no_call(redis: Redis, name: str) -> None:
    redis.hset(name, mapping={"data": b"{}", "status": "queued", "origin": "chat"})


def no_number(redis: Redis, name: str) -> None:
    redis.hset(
        name, mapping={"data": b"[]", "status": "queued", "result_ttl": "x", "timeout": "never"}
    )


UNREADABLE = [
    (make, "f" * 32) for make in (broken_status, no_data, no_hash, not_there, no_call, no_number)
]


@pytest.mark.parametrize(
    ("make", "job_id"), [*UNREADABLE, (broken_status, "a:b"), (broken_status, "../x")]
)
def test_a_job_that_can_not_be_read_is_laid_aside_and_the_worker_lives(
    service: Whole, make: Callable[[Redis, str], None], job_id: str
) -> None:
    pid = worker_pid(service)
    make(service.redis, rq_job_key(job_id))
    service.redis.rpush(service.queue.key, job_id)
    assert service.http.chat("after", seed=2, max_tokens=3).rest() == answer("after", 2, 3)
    wait(lambda: not service.redis.exists(service.queue.key, service.queue.intermediate_queue_key))
    assert worker_pid(service) == pid
    assert psutil.pid_exists(pid)
    service.redis.delete(rq_job_key(job_id), f"rq:results:{job_id}")
    service.redis.zrem("rq:failed:chat", job_id)


# --- what RQ's pages show -------------------------------------------------------------------------


def test_rqs_pages_tell_jobs_apart_and_how_they_get_on(service: Whole) -> None:
    with busy(service) as streams:
        queued = service.http.chat(CANARY)
        running = service.job(streams[0].job_id)
        assert running.description == "echo for everyone"
        meta = wait(lambda: service.job(running.id).get_meta())
        assert meta["state"] == "running"
        assert meta["tokens"] > 0
        wait(lambda: service.job(running.id).get_meta()["tokens_per_second"] > 0)
        wait(lambda: service.job(queued.job_id).get_meta() == {"state": "queued", "place": 1})
        told = rq(service, "info")
        assert "1 workers" in told
    queued.rest()
    ended = wait(
        lambda: (meta := service.job(queued.job_id).get_meta())["state"] == "ended" and meta
    )
    assert ended["finish_reason"] == "length"


def test_of_an_ended_chat_rq_keeps_no_prompt_and_no_result(service: Whole) -> None:
    stream = service.http.chat(CANARY * 100, max_tokens=2)
    stream.rest()
    wait(lambda: service.job(stream.job_id).get_status() == "finished")
    name = rq_job_key(stream.job_id)
    assert service.redis.memory_usage(name) < 700
    assert CANARY not in str(service.job(stream.job_id).kwargs)
    assert not service.redis.exists(f"rq:results:{stream.job_id}", f"rq:executions:{stream.job_id}")
    assert 0 < service.redis.ttl(name) <= keys.RQ_LIFETIME_S


def in_every_state(service: Whole) -> dict[str, str]:
    """A job of each kind, by RQ's name for its state."""
    finished, failed = service.http.chat("fine", max_tokens=1), service.http.chat(BAD_PROMPT)
    finished.rest()
    failed.rest()
    stopped = service.http.chat("stopped", max_tokens=3000)
    stopped.until(1)
    service.http.call("POST", "/api/engine/chat/stop", {"job_id": stopped.job_id})
    stopped.rest()
    return {"finished": finished.job_id, "failed": failed.job_id, "stopped": stopped.job_id}


def test_the_fast_dashboard_shows_jobs_in_every_state(service: Whole) -> None:
    jobs = in_every_state(service)
    with busy(service) as streams:
        cancelled = service.http.chat("cancelled")
        service.job(cancelled.job_id).cancel()
        cancelled.rest()
        jobs |= {"started": streams[0].job_id, "canceled": cancelled.job_id}
        for status, job_id in jobs.items():
            wait(lambda job_id=job_id, status=status: service.job(job_id).get_status() == status)
        pages = [
            "/rq/workers",
            "/rq/jobs",
            "/rq/queues",
            *(f"/rq/job/{job_id}" for job_id in jobs.values()),
        ]
        for path in [*pages, *(f"/rq/jobs?state={status}" for status in jobs)]:
            status, page = service.http.raw("GET", path)
            assert status == 200, path
            assert b"Traceback (most" not in page, path


@rq_noise
def test_the_classic_dashboard_shows_jobs_in_every_state(service: Whole) -> None:
    flask = pytest.importorskip("flask")
    web = pytest.importorskip("rq_dashboard")
    jobs = in_every_state(service)
    web.web.config.serializer = JSONSerializer  # rq-dashboard --json
    app = flask.Flask("classic")
    app.config.from_object(web.default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = service.redis_url
    web.web.setup_rq_connection(app)
    app.register_blueprint(web.blueprint, url_prefix="/rq")
    client = app.test_client()
    with busy(service) as streams:
        jobs["started"] = streams[0].job_id
        for status in ("queued", "started", "finished", "failed"):
            answer_ = client.get(f"/rq/0/data/jobs/chat/{status}/8/asc/1.json")
            assert answer_.status_code == 200, (status, answer_.text)
        for job_id in jobs.values():
            answer_ = client.get(f"/rq/0/data/job/{job_id}.json")
            assert answer_.status_code == 200, answer_.text
        assert client.get("/rq/0/data/queues.json").status_code == 200
    # While a job runs this page reads its arguments with pickle, whatever it was told.
    wait(lambda: client.get("/rq/0/data/workers.json").status_code == 200)
