"""A service that gets every kind of request, each with a canary word in it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

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


class CanaryService:
    """The service, the ids of its jobs and the pages that it served."""

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
        sent = {
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
                sent | {name.replace("_", "-"): v for name, v in headers.items()},
            )
            answer = connection.getresponse()
            if job_id := answer.headers.get("X-Job-Id"):
                self.jobs.append(job_id)
            return answer.status, answer.read().decode()

    def logs(self) -> str:
        return "".join(self.stack.log(name).read_text("utf-8") for name in self.stack.processes)


def conversation(text: str = "") -> list[dict[str, Any]]:
    """Messages with a canary in each role."""
    messages = [
        {"role": role, "content": f"{CANARY} {role}"}
        for role in ("system", "user", "assistant", "tool")
    ]
    return [*messages, {"role": "user", "content": f"{text} {CANARY}"}]


def body(text: str = "", **more: Any) -> dict[str, Any]:
    return {"model_id": "echo", "messages": conversation(text), "max_tokens": 20, **more}


def picture() -> str:
    """A picture that has the canary in its file, in base64."""
    row = b"\0" + bytes(8 * 3)
    file = files.png(
        8, 8, 8, files.COLOUR, row * 8, files.chunk(b"tEXt", f"Comment\0{CANARY}".encode())
    )
    return base64.b64encode(file).decode()


def contains_canary(text: str) -> bool:
    """Whether a text contains a canary or any piece of the picture."""
    encoded = picture()
    pieces = (encoded[start : start + 24] for start in range(0, len(encoded) - 24, 24))
    return "xyzzy" in text.lower() or any(piece in text for piece in pieces)


def with_image() -> dict[str, Any]:
    """The picture beside a text that has the canary."""
    url = f"data:image/png;base64,{picture()}"
    parts = [{"type": "text", "text": CANARY}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model_id": "echo", "messages": [{"role": "user", "content": parts}], "max_tokens": 5}


def send_valid_requests(service: CanaryService) -> None:
    key = f"key-{CANARY}"
    for _ in range(2):
        assert service.call("POST", CHAT, body(), Idempotency_Key=key)[0] == 200
    assert service.call("POST", CHAT, body("another"), Idempotency_Key=key)[0] == 409
    assert service.call("POST", CHAT, with_image())[0] == 200
    for stream in (True, False):
        shape = {"model": "echo", "messages": conversation(), "max_tokens": 5, "stream": stream}
        assert service.call("POST", "/v1/chat/completions", shape)[0] == 200
    assert (
        service.call(
            "POST", "/v1/completions", {"model": "echo", "prompt": CANARY, "max_tokens": 5}
        )[0]
        == 200
    )
    batch = {"model_id": "echo", "prompts": [CANARY, conversation()], "max_tokens": 5}
    status, answer = service.call("POST", "/api/engine/batches", batch)
    assert status == 200
    asyncio.run(until(lambda: _batch(service, json.loads(answer)["id"])["status"] == "completed"))


def _batch(service: CanaryService, batch_id: str) -> Any:
    return json.loads(service.call("GET", f"/api/engine/batches/{batch_id}")[1])


def send_invalid_requests(service: CanaryService) -> None:
    for text in (BAD_PROMPT, BAD_STEP):
        assert '"code"' in service.call("POST", CHAT, body(text))[1]
    wrong: list[Any] = [
        body(temperature=CANARY),
        body(seed=CANARY),
        body(messages=[{"role": CANARY, "content": CANARY}]),
        {**body(), "model_id": CANARY},
        f'{{"model_id": "{CANARY}", '.encode(),
        f'["{CANARY}\ud800"]'.encode("utf-8", "surrogatepass"),
    ]
    for one in wrong:
        assert 400 <= service.call("POST", CHAT, one)[0] < 500
    for header in (f"Bearer {KEY}x", f"Bearer {CANARY}", f"Basic {KEY}", KEY):
        assert service.call("GET", f"/models?key={CANARY}", Authorization=header)[0] == 401
    form = {
        "Content_Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{service.stack.port()}",
    }
    for key, status in ((KEY, 303), (f"{KEY}x", 401)):
        assert service.call("POST", "/login", f"key={key}".encode(), **form)[0] == status
    bad_image = with_image()
    bad_image["messages"][0]["content"][1]["image_url"]["url"] = f"https://{CANARY}/a.png"
    assert service.call("POST", CHAT, bad_image)[0] == 400
    assert service.call("POST", "/models/load", {"model_id": CANARY})[0] == 404


def write_to_redis(service: CanaryService) -> None:
    """Queue jobs directly in Redis: RQ logs a failed job's arguments."""
    queue = Queue(keys.CHAT_QUEUE, connection=service.stack.redis, serializer=JSONSerializer)
    foreign_jobs = [
        queue.enqueue("os.system", CANARY),
        queue.enqueue(keys.CHAT_TASK, kwargs={"job": {"text": CANARY}}),
    ]
    for job in foreign_jobs:
        asyncio.run(until(lambda job=job: job.get_status(refresh=True) == "failed"))  # type: ignore[misc]
        job.delete()


def kill_the_worker(service: CanaryService) -> None:
    """Kill the worker in the middle of a chat, which another worker takes over."""
    stack = service.stack
    with closing(http.client.HTTPConnection("127.0.0.1", stack.port(), timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection.request("POST", CHAT, json.dumps(body(max_tokens=400)), headers)
        answer = connection.getresponse()
        service.jobs.append(answer.headers["X-Job-Id"])
        while b"data" not in answer.readline():
            pass
        stack.kill("worker")
        stack.processes["killed"] = stack.processes.pop("worker")
        stack.log("worker").rename(stack.log("killed"))
        stack.start_worker()
        assert b'"done": true' in answer.read()


def read_every_page(service: CanaryService) -> None:
    """Read every page while the worker still publishes its last chats."""
    asyncio.run(
        until(
            lambda: service.jobs[-1] in service.call("GET", "/api/engine/status")[1],
            what="the last chat",
        )
    )
    for path in (*PAGES, "/api/engine/status", *(f"/rq/job/{job}" for job in service.jobs)):
        status, service.pages[path] = service.call("GET", path)
        assert status == 200, (path, service.pages[path])
    with closing(
        http.client.HTTPConnection("127.0.0.1", service.stack.port(), timeout=60)
    ) as connection:
        connection.request(
            "GET", "/api/engine/status/events", headers={"Authorization": f"Bearer {KEY}"}
        )
        answer = connection.getresponse()
        service.pages["events"] = "".join(answer.readline().decode() for _ in range(6))
