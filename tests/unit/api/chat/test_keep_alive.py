"""``keep_alive``: as Ollama's clients send it, on every route; refused where it can't hold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from redis import Redis
from starlette.testclient import TestClient

from api.schemas import KeepAlive
from tests.support.api_support import MODEL, FakeWorker, announce, chat_body, message, wait_for
from wire.messages import ChatJob
from wire.models import pins

MESSAGES = [message()]
BODIES = {
    "/api/engine/chat": chat_body(),
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
}


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [(0, 0), (300, 300), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("90", 90), ("0", 0), ("0s", 0),
     (-1, -1), (-7.5, -1), ("-1", -1), ("-5m", -1)],
)  # fmt: skip
def test_durations(sent: Any, seconds: float) -> None:
    assert TypeAdapter(KeepAlive).validate_python(sent, strict=True) == seconds


@pytest.mark.parametrize(
    "sent", ["", "soon", "5 m", "5d", "1e3", "m", True, [], {}, float("nan"), 1e12, "9" * 99]
)
def test_what_is_no_duration(sent: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(KeepAlive).validate_python(sent, strict=True)


@pytest.mark.parametrize("path", BODIES)
def test_it_goes_with_the_chat_and_is_refused_for_a_pinned_model(
    client: TestClient, redis: Redis, path: str
) -> None:
    announce(redis)
    with FakeWorker(redis).running() as worker:
        assert client.post(path, json=BODIES[path] | {"keep_alive": "5m"}).status_code == 200
        assert client.post(path, json=BODIES[path]).status_code == 200
        redis.hset(pins.PINNED_MODELS, MODEL.id, "{}")
        assert client.post(path, json=BODIES[path] | {"keep_alive": -1}).status_code == 200
        refused = client.post(path, json=BODIES[path] | {"keep_alive": 0})
        wrong = client.post(path, json=BODIES[path] | {"keep_alive": "soon"})
    assert refused.status_code == 400
    assert "keep_alive" in refused.text
    assert wrong.status_code in (400, 422)
    assert "keep_alive" in wrong.text
    assert [job.keep_alive_s for job in worker.seen if isinstance(job, ChatJob)] == [300, None, -1]


def test_it_is_refused_in_lines_of_batches_and_for_vectors(
    client: TestClient, redis: Redis
) -> None:
    announce(redis)
    line = '{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x", "keep_alive": 5}}'
    file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", line)})
    body = {"input_file_id": file.json()["id"], "endpoint": "/v1/completions"}
    made = client.post("/v1/batches", json=body | {"completion_window": "24h"}).json()["id"]
    wait_for(lambda: client.get(f"/v1/batches/{made}").json()["completed_at"])
    errors = client.get(f"/v1/batches/{made}").json()["error_file_id"]
    assert '"param": "keep_alive"' in client.get(f"/v1/files/{errors}/content").text
    native = client.post(
        f"/api/engine/batches?model_id={MODEL.id}",
        content='{"custom_id": "a", "prompt": "x", "keep_alive": 5}',
        headers={"Content-Type": "application/jsonl"},
    ).json()
    assert "keep_alive" in client.get(f"/api/engine/batches/{native['id']}/results").text
    vectors = client.post("/v1/embeddings", json={"input": "x", "keep_alive": 5})
    assert (vectors.status_code, "keep_alive" in vectors.text) == (400, True)
