"""A client of the OpenAI routes on a fake Redis, and the fake worker that receives its jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from starlette.testclient import TestClient

from api.openai.response_schemas import ChatCompletionChunk, Completion
from tests.support.api_support import MODEL, FakeWorker, announce, message
from tests.support.fake_api import fake_api, fake_redis
from wire.messages import ChatJob, Delta, Finished, Usage
from wire.model_registry import Registry

CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
ANSWER = (Delta("Hel", (1,)), Delta("lo", (2,)), Finished("stop", Usage(5, 3, 2)))
TAKES_TOOLS = MODEL.model_copy(update={"takes_tools": True})
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "default": None}},
}


class Api:
    """A client, and the fake worker that receives accepted jobs."""

    def __init__(self, client: TestClient, worker: FakeWorker, redis: Redis) -> None:
        self.client, self.worker, self.redis = client, worker, redis

    def job(self, path: str = CHAT, **fields: Any) -> ChatJob:
        response = self.client.post(path, json=body(path) | fields)
        assert response.status_code == 200, response.text
        job = self.worker.seen[-1]
        assert isinstance(job, ChatJob)
        return job

    def refused(self, status: int, path: str = CHAT, **fields: Any) -> dict[str, Any]:
        response = self.client.post(path, json=body(path) | fields)
        assert response.status_code == status, response.text
        assert not self.worker.seen
        return error(response)

    def chunks(self, path: str = CHAT, **fields: Any) -> list[Any]:
        response = self.client.post(path, json=body(path) | {"stream": True} | fields)
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [
            line.removeprefix("data: ")
            for line in response.text.splitlines()
            if line.startswith("data: ")
        ]
        assert lines.pop() == "[DONE]"
        chunks = [json.loads(line) for line in lines]
        shape = ChatCompletionChunk if path == CHAT else Completion
        for chunk in chunks:
            if "error" not in chunk:
                shape.model_validate(chunk)
        return chunks


def body(path: str) -> dict[str, Any]:
    return {"model": MODEL.id} | (
        {"messages": [message()]} if path == CHAT else {"prompt": "Once upon"}
    )


def error(response: Any) -> dict[str, Any]:
    answer = response.json()
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    details: dict[str, Any] = answer["error"]
    return details


@contextmanager
def serving() -> Iterator[Api]:
    """The API, with one model that supports tools, for the duration of the block."""
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(TAKES_TOOLS)
    with TestClient(fake_api(redis)) as client, FakeWorker(redis).running() as worker:
        yield Api(client, worker, redis)
