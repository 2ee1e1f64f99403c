"""HEAD is GET without the body; for streams it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import FakeRedis
from starlette.testclient import TestClient

from api.jobs.relay import Relay
from api.monitoring.status_stream import StatusStream
from tests.support.api_support import FakeWorker, announce, chat_body
from tests.support.fake_api import fake_api, fake_redis
from wire import keys
from wire.settings import Settings

KEY = "head-0123456789abcdef"
STREAMS = ["/api/engine/chat/{job_id}/events", "/api/engine/status/events"]
ON_DEMAND = "/v1/responses/{response_id}"
"""A stream if the query asks for one."""


@pytest.fixture(scope="module")
def redis() -> FakeRedis:
    redis = fake_redis()
    announce(redis)
    return redis


def served(redis: FakeRedis, settings: Settings) -> TestClient:
    return TestClient(fake_api(redis, settings), follow_redirects=False)


@pytest.fixture(scope="module")
def client(redis: FakeRedis) -> Iterator[TestClient]:
    with served(redis, Settings()) as client, FakeWorker(redis).running():
        yield client


@pytest.fixture(scope="module")
def job_id(client: TestClient) -> str:
    job_id: str = client.post("/api/engine/chat", json=chat_body()).headers["x-job-id"]
    return job_id


def status_and_headers(
    client: TestClient, method: str, path: str, **headers: str
) -> tuple[int, dict[str, Any]]:
    answer = client.request(method, path, headers=headers)
    assert method == "GET" or answer.content == b""
    headers_but_the_id = {
        name: value for name, value in answer.headers.items() if name != "x-request-id"
    }
    return answer.status_code, headers_but_the_id


@pytest.mark.parametrize(
    "path",
    ["/health", "/ready", "/", "/status", "/docs", "/login", "/openapi.json", "/static/base.css", "/v1/models",
     "/v1/models/model-1", "/models", "/models/active", "/v1/files", "/v1/batches", "/api/engine/batches",
     "/api/engine/usage", "/v1/models/unknown", "/nowhere", "/static/nowhere", "/v1/chat/completions",
     "/api/engine/chat", "/v1/models/"],
)  # fmt: skip
def test_the_head_of_an_answer_is_what_get_says_without_its_body(
    client: TestClient, path: str
) -> None:
    assert status_and_headers(client, "HEAD", path) == status_and_headers(client, "GET", path)


def test_a_chat_can_be_asked_for_by_its_head(client: TestClient, job_id: str) -> None:
    path = f"/api/engine/jobs/{job_id}"
    assert status_and_headers(client, "HEAD", path) == status_and_headers(client, "GET", path)


def test_of_every_stream_head_is_refused_and_nobody_reads_it(
    client: TestClient, job_id: str
) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    streams = [
        path
        for path, operations in paths.items()
        if "text/event-stream" in str(operations.get("get", {}))
    ]
    assert sorted(streams) == [*STREAMS, ON_DEMAND]
    relay: Any = client.app.state.services[Relay]  # type: ignore[attr-defined]
    watch: Any = client.app.state.services[StatusStream]  # type: ignore[attr-defined]
    relay.attach = watch.join = None  # which a reader would call
    try:
        for path in streams:
            filled = path.format(job_id=job_id, response_id=f"resp_{job_id}")
            asked = f"{filled}?stream=true" if path == ON_DEMAND else filled
            status, headers = status_and_headers(client, "HEAD", asked)
            assert (status, headers["allow"]) == (405, "GET")
    finally:
        del relay.attach, watch.join


def test_head_wants_the_same_key_as_get(redis: FakeRedis) -> None:
    with served(redis, Settings(api_keys=(f"a:{KEY}",))) as client:
        for headers in ({}, {"accept": "text/html"}, {"authorization": f"Bearer {KEY}"}):
            for path in ("/health", "/models", "/", STREAMS[1]):
                if path != STREAMS[1] or "authorization" not in headers:
                    assert status_and_headers(
                        client, "HEAD", path, **headers
                    ) == status_and_headers(client, "GET", path, **headers)


def test_requests_are_counted_by_the_method_that_was_sent(client: TestClient) -> None:
    client.head("/health")
    line = 'mlxq_http_requests_total{method="HEAD",route="/health",status="200"}'
    assert line in client.get("/metrics").text


def test_a_long_answer_is_not_made_for_its_head(client: TestClient, redis: FakeRedis) -> None:
    head = {"content-type": "application/jsonl"}
    lines = b'{"custom_id": "a", "prompt": "b"}\n'
    batch = client.post("/api/engine/batches?model_id=model-1", content=lines, headers=head).json()[
        "id"
    ]
    path = f"/api/engine/batches/{batch}/results"
    assert status_and_headers(client, "HEAD", path) == status_and_headers(client, "GET", path)
    assert redis.exists(keys.WORKER_SEEN)
