"""Canary words in prompts, images and keys: none turns up in what operators, logs and dashboards
see.

One service on the echo backend, behind a key that is a canary itself, its parts logging all they
can; it is asked in every way there is, also wrongly, and a worker is killed. Then everything that
was said is searched.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from tests.faults.stack import Stack, until
from tests.support import picture_files as files
from wire import keys
from worker.backends.echo import BAD_PROMPT, BAD_STEP

CANARY = "xyzzycanary"
KEY = f"{CANARY}-key-0123456789"
OWNER = "operator"
CHAT = "/api/engine/chat"
PAGES = (
    "/",
    "/status",
    "/docs",
    "/login",
    "/api/engine/usage",
    "/api/engine/session",
    "/rq/workers",
    "/rq/jobs",
    "/rq/queues",
    "/openapi.json",
    "/models",
    "/metrics",
)
LINES = 40


class Asked:
    """The service, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(
            folder,
            MLXQ_LOG_LEVEL="debug",
            MLXQ_LOG_FORMAT="json",
            MLXQ_ECHO_DELAY_MS="2",
            MLXQ_API_KEYS=f"{OWNER}:{KEY}",
        )
        self.jobs: list[str] = []
        self.pages: dict[str, str] = {}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """One request with a canary in every header that may hold a secret; a stream is read to
        its end."""
        told = {
            "Authorization": f"Bearer {KEY}",
            "Cookie": f"session={CANARY}",
            "Content-Type": "application/json",
        }
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.stack.port(), timeout=60)
        ) as connection:
            connection.request(
                method,
                path,
                data,
                told | {name.replace("_", "-"): v for name, v in headers.items()},
            )
            answer = connection.getresponse()
            if job_id := answer.headers.get("X-Job-Id"):
                self.jobs.append(job_id)
            return answer.status, answer.read().decode()

    def logs(self) -> str:
        return "".join(self.stack.log(name).read_text("utf-8") for name in self.stack.processes)


def conversation(text: str = "") -> list[dict[str, Any]]:
    """A canary in each role."""
    said = [
        {"role": role, "content": f"{CANARY} {role}"}
        for role in ("system", "user", "assistant", "tool")
    ]
    return [*said, {"role": "user", "content": f"{text} {CANARY}"}]


def body(text: str = "", **more: Any) -> dict[str, Any]:
    return {"model_id": "echo", "messages": conversation(text), "max_tokens": 20, **more}


def picture() -> str:
    """A picture that has the canary in its file, in base64."""
    row = b"\0" + bytes(8 * 3)
    file = files.png(
        8, 8, 8, files.COLOUR, row * 8, files.chunk(b"tEXt", f"Comment\0{CANARY}".encode())
    )
    return base64.b64encode(file).decode()


def shows(text: str) -> bool:
    """Whether a canary is in it, or any piece of the picture."""
    encoded = picture()
    pieces = (encoded[start : start + 24] for start in range(0, len(encoded) - 24, 24))
    return "xyzzy" in text.lower() or any(piece in text for piece in pieces)


def with_image() -> dict[str, Any]:
    """The picture beside a text that has the canary."""
    url = f"data:image/png;base64,{picture()}"
    parts = [{"type": "text", "text": CANARY}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model_id": "echo", "messages": [{"role": "user", "content": parts}], "max_tokens": 5}


def ask_well(asked: Asked) -> None:
    key = f"key-{CANARY}"
    for _ in range(2):
        assert asked.call("POST", CHAT, body(), Idempotency_Key=key)[0] == 200
    assert asked.call("POST", CHAT, body("another"), Idempotency_Key=key)[0] == 409
    assert asked.call("POST", CHAT, with_image())[0] == 200
    for stream in (True, False):
        shape = {"model": "echo", "messages": conversation(), "max_tokens": 5, "stream": stream}
        assert asked.call("POST", "/v1/chat/completions", shape)[0] == 200
    assert (
        asked.call("POST", "/v1/completions", {"model": "echo", "prompt": CANARY, "max_tokens": 5})[
            0
        ]
        == 200
    )
    batch = {"model_id": "echo", "prompts": [CANARY, conversation()], "max_tokens": 5}
    status, answer = asked.call("POST", "/api/engine/batches", batch)
    assert status == 200
    asyncio.run(until(lambda: _batch(asked, json.loads(answer)["id"])["status"] == "completed"))


def _batch(asked: Asked, batch_id: str) -> Any:
    return json.loads(asked.call("GET", f"/api/engine/batches/{batch_id}")[1])


def ask_wrongly(asked: Asked) -> None:
    for text in (BAD_PROMPT, BAD_STEP):
        assert '"code"' in asked.call("POST", CHAT, body(text))[1]
    wrong: list[Any] = [
        body(temperature=CANARY),
        body(seed=CANARY),
        body(messages=[{"role": CANARY, "content": CANARY}]),
        {**body(), "model_id": CANARY},
        f'{{"model_id": "{CANARY}", '.encode(),
        f'["{CANARY}\ud800"]'.encode("utf-8", "surrogatepass"),
    ]
    for one in wrong:
        assert 400 <= asked.call("POST", CHAT, one)[0] < 500
    for said in (f"Bearer {KEY}x", f"Bearer {CANARY}", f"Basic {KEY}", KEY):
        assert asked.call("GET", f"/models?key={CANARY}", Authorization=said)[0] == 401
    form = {
        "Content_Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{asked.stack.port()}",
    }
    for key, status in ((KEY, 303), (f"{KEY}x", 401)):
        assert asked.call("POST", "/login", f"key={key}".encode(), **form)[0] == status
    bad_image = with_image()
    bad_image["messages"][0]["content"][1]["image_url"]["url"] = f"https://{CANARY}/a.png"
    assert asked.call("POST", CHAT, bad_image)[0] == 400
    assert asked.call("POST", "/models/load", {"model_id": CANARY})[0] == 404


def write_to_redis(asked: Asked) -> None:
    """What somebody could do who can write to Redis: RQ logs a failed job's arguments."""
    queue = Queue(keys.CHAT_QUEUE, connection=asked.stack.redis, serializer=JSONSerializer)
    strangers = [
        queue.enqueue("os.system", CANARY),
        queue.enqueue(keys.CHAT_TASK, kwargs={"job": {"text": CANARY}}),
    ]
    for job in strangers:
        asyncio.run(until(lambda job=job: job.get_status(refresh=True) == "failed"))  # type: ignore[misc]
        job.delete()


def kill_the_worker(asked: Asked) -> None:
    """In the middle of a chat, whose client goes on with the worker that takes over."""
    stack = asked.stack
    with closing(http.client.HTTPConnection("127.0.0.1", stack.port(), timeout=60)) as connection:
        told = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request("POST", CHAT, json.dumps(body(max_tokens=400)), told)
        answer = connection.getresponse()
        asked.jobs.append(answer.headers["X-Job-Id"])
        while b"data" not in answer.readline():
            pass
        stack.kill("worker")
        stack.processes["killed"] = stack.processes.pop("worker")
        stack.log("worker").rename(stack.log("killed"))
        stack.start_worker()
        assert b'"done": true' in answer.read()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    asked = Asked(tmp_path_factory.mktemp("canaries"))
    stack = asked.stack
    stack.start_worker()
    stack.start_api()
    try:
        asyncio.run(stack.worker_ready())
        asyncio.run(stack.api_ready())
        ask_well(asked)
        ask_wrongly(asked)
        write_to_redis(asked)
        kill_the_worker(asked)
        look_around(asked)
        stack.kill("api", 15)
        stack.kill("worker", 15)
        yield asked
    finally:
        stack.close()


def look_around(asked: Asked) -> None:
    """Read every page while the worker still tells of what it has done."""
    asyncio.run(
        until(
            lambda: asked.jobs[-1] in asked.call("GET", "/api/engine/status")[1],
            what="the last chat",
        )
    )
    for path in (*PAGES, "/api/engine/status", *(f"/rq/job/{job}" for job in asked.jobs)):
        status, asked.pages[path] = asked.call("GET", path)
        assert status == 200, (path, asked.pages[path])
    with closing(
        http.client.HTTPConnection("127.0.0.1", asked.stack.port(), timeout=60)
    ) as connection:
        connection.request(
            "GET", "/api/engine/status/events", headers={"Authorization": f"Bearer {KEY}"}
        )
        answer = connection.getresponse()
        asked.pages["events"] = "".join(answer.readline().decode() for _ in range(6))


def test_no_log_line_of_any_part_holds_one(asked: Asked) -> None:
    said = asked.logs()
    assert [line for line in said.splitlines() if shows(line)] == []
    assert not shows(said)
    assert said.count("\n") > LINES, "the parts were asked to log all they can"


def test_every_line_of_a_part_is_json_with_level_time_and_logger(asked: Asked) -> None:
    for line in asked.logs().splitlines():
        if line.startswith("listening on "):
            continue  # For the one who started it, on standard output.
        told = json.loads(line)
        assert {"time", "level", "logger", "message"} <= told.keys(), line


def test_each_end_of_a_chat_is_one_line_with_its_timings(asked: Asked) -> None:
    ends = [
        line
        for line in map(_parsed, asked.logs().splitlines())
        if line.get("message") == "chat ended"
    ]
    assert sorted(end["job_id"] for end in ends) == sorted(set(asked.jobs) - {""})
    for end in ends:
        assert {
            "model",
            "reason",
            "completion_tokens",
            "ttft_ms",
            "tokens_per_second",
            "queue_ms",
        } <= end.keys()
    assert {end.get("code") for end in ends} == {None, "engine_failed"}


def _parsed(line: str) -> dict[str, Any]:
    return {} if line.startswith("listening on ") else dict(json.loads(line))


def test_start_stop_and_recovery_are_told(asked: Asked) -> None:
    said = [line.get("message", "") for line in map(_parsed, asked.logs().splitlines())]
    assert said.count("ready") == 2
    assert {"listening", "stopped", "model loaded"} <= set(said)
    assert any("its worker died" in line for line in said)


def test_no_page_metric_or_status_shows_one(asked: Asked) -> None:
    assert {path: page for path, page in asked.pages.items() if shows(page)} == {}
    assert re.search(r"^mlxq_generation_tokens_total\S* [1-9]", asked.pages["/metrics"], re.M)
    assert "event: status" in asked.pages["events"]


def test_no_job_description_and_no_name_in_redis_holds_one(asked: Asked) -> None:
    redis = asked.stack.redis
    names: list[bytes] = list(redis.scan_iter(count=1000))
    assert [name for name in names if b"xyzzy" in name.lower()] == []
    for name in names:
        if name.startswith(b"rq:job:") and redis.type(name) == b"hash":
            assert not shows((redis.hget(name, "description") or b"").decode())  # type: ignore[union-attr]
    for name in (keys.RECENT, keys.HISTORY):
        assert not shows(repr(redis.xrange(name)))


def test_a_key_is_nowhere_in_redis_and_its_owner_is_who_asked(asked: Asked) -> None:
    redis = asked.stack.redis
    for name in redis.scan_iter(count=1000):
        assert KEY.encode() not in (redis.dump(name) or b""), name  # type: ignore[operator]
    assert {redis.hget(keys.job(job), "owner") for job in asked.jobs} == {OWNER.encode()}
