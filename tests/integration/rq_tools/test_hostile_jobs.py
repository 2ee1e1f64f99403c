"""Jobs that somebody else wrote into RQ's queue: nothing of them is executed, and the worker
lives."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.integration.rq_tools.rq_service import rq, worker_pid
from tests.support.http_client import Stream
from tests.support.service_support import RunningService, wait
from wire.rq_jobs import rq_job_key
from worker.backends.echo import BAD_PROMPT, answer


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
    service: RunningService, tmp_path: Path, ends: str
) -> None:
    """Callbacks, webhooks, dependents, repeats, retries: all there is in RQ's record of a job."""
    module, marker = tmp_path / "hostile.py", tmp_path / "was-imported"
    module.write_text(f"open({str(marker)!r}, 'w').close()\ndef run(*args): pass\n")
    service.redis.set("rq:suspended", 1)
    text = BAD_PROMPT if ends == "failed" else "hostile"
    stream = service.http.chat(text, seed=1, max_tokens=5 if ends == "finished" else 3000)
    pid = worker_pid(service)
    with listening() as server:
        dependent = Queue("other", connection=service.redis, serializer=JSONSerializer).enqueue(
            "hostile.run", depends_on=service.job(stream.job_id)
        )
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        service.redis.hset(rq_job_key(stream.job_id), mapping=hostile_fields(url))
        rq(service, "resume")
        end(service, stream, ends)
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


def hostile_fields(url: str) -> dict[str, str | bytes | int]:
    """Fields of RQ's record by which a job asks for imports, requests, repeats and unpickling."""
    named = {f"{kind}_callback_name": "hostile.run" for kind in ("success", "failure", "stopped")}
    hooks = [{"url": url, "job_status": status} for status in ("finished", "failed")]
    return {
        **named,
        "webhooks": json.dumps(hooks),
        "repeats_left": 3,
        "repeat_intervals": "[0]",
        "retry_intervals": "[1]",
        "group_id": "nobody",
        "result": b"\x80\x04.",
        "meta": b"\x80\x04.",
    }


def end(service: RunningService, stream: Stream, ends: str) -> None:
    """Read a chat to its end, and stop or cancel it first where that is the end it shall have."""
    if ends in ("stopped", "canceled"):
        stream.until(1)
        if ends == "stopped":
            service.http.call("POST", "/api/engine/chat/stop", {"job_id": stream.job_id})
        else:
            service.job(stream.job_id).cancel()
    stream.rest()


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
    service: RunningService, make: Callable[[Redis, str], None], job_id: str
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
