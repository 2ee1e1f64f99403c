"""A client of Anthropic's routes on a fake Redis, and the fake worker that receives its jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter
from redis import Redis
from starlette.testclient import TestClient

from api.anthropic.response_schemas import AnthropicMessage
from tests.support.api_support import MODEL, FakeWorker, announce
from tests.support.fake_api import fake_api, fake_redis
from tests.support.openai_support import TAKES_TOOLS
from wire.messages import ChatJob
from wire.model_registry import Registry
from wire.settings import Settings

MESSAGES = "/v1/messages"
_ANTHROPIC_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
CLOCK: dict[str, Any] = {
    "name": "clock",
    "description": "The time.",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
CALL: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "clock", "input": {"zone": "UTC"}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t1", "content": "noon"}


def user(content: Any = "Hello") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL.id, "max_tokens": 100, "messages": [user()]} | fields


class AnthropicApi:
    """A client, and the fake worker that receives accepted jobs."""

    def __init__(self, client: TestClient, worker: FakeWorker, redis: Redis) -> None:
        self.client, self.worker, self.redis = client, worker, redis

    def post(self, **fields: Any) -> Any:
        return self.client.post(MESSAGES, json=body(**fields))

    def message(self, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        AnthropicMessage.model_validate(answer)
        Message.model_validate(answer)
        return answer

    def job(self, **fields: Any) -> ChatJob:
        self.message(**fields)
        job = self.worker.seen[-1]
        assert isinstance(job, ChatJob)
        return job

    def refused(self, status: int, kind: str = "invalid_request_error", **fields: Any) -> str:
        response = self.post(**fields)
        assert response.status_code == status, response.text
        assert not self.worker.seen
        assert len(response.content) <= 1024
        answer = response.json()
        assert set(answer) == {"type", "error", "request_id"}
        assert (answer["type"], answer["error"]["type"]) == ("error", kind)
        assert answer["request_id"] == response.headers["request-id"]
        return str(answer["error"]["message"])

    def events(self, **fields: Any) -> list[dict[str, Any]]:
        response = self.post(stream=True, **fields)
        assert response.headers["content-type"].startswith("text/event-stream")
        return events_in(response.text)


def events_in(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, whose names are those in their data."""
    events = []
    for frame in stream.split("\n\n"):
        if frame.startswith("event: "):
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert events[-1]["type"] == name.removeprefix("event: ")
            if events[-1]["type"] not in ("ping", "error"):
                _ANTHROPIC_EVENT.validate_python(events[-1])
    return events


def blocks_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content that a client puts together from a stream."""
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            kind, text = event["delta"].values()
            name = {"input_json_delta": "json"}.get(kind, kind.removesuffix("_delta"))
            blocks[event["index"]][name] = blocks[event["index"]].get(name, "") + text
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop("json", "{}"))
    return blocks


@contextmanager
def serving(settings: Settings | None = None) -> Iterator[AnthropicApi]:
    """The API, with one model that supports tools, for the duration of the block."""
    redis = fake_redis()
    announce(redis)
    Registry(redis).put(TAKES_TOOLS)
    with TestClient(fake_api(redis, settings)) as client, FakeWorker(redis).running() as worker:
        yield AnthropicApi(client, worker, redis)
