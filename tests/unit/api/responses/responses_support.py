"""A client of the Responses routes on a fake Redis, and the fake worker that receives its jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from openai.types.responses import Response as OpenAiResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from api.responses.response_schemas import Response, ResponseEvent
from tests.support.api_support import MODEL
from tests.support.openai_support import Api, error
from wire.messages import ChatJob, Event

RESPONSES = "/v1/responses"
CLOCK = {"type": "function", "name": "clock", "parameters": {"type": "object", "properties": {}}}
_OPENAI_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PATCH = {"type": "custom", "name": "apply_patch", "description": "Changes files."}


def user(text: str = "Hi") -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def call(call_id: str = "c1", name: str = "clock", arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str = "c1", said: Any = "noon") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


class ResponsesApi:
    """Sends bodies, and finds what became of them."""

    def __init__(self, api: Api) -> None:
        self.api, self.client, self.worker = api, api.client, api.worker

    def post(self, **fields: Any) -> Any:
        # Written here: the client would not write half of a surrogate pair.
        sent, headers = json.dumps(body(**fields)), {"Content-Type": "application/json"}
        return self.client.post(RESPONSES, content=sent, headers=headers)

    def job(self, **fields: Any) -> ChatJob:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        job = self.worker.seen[-1]
        assert isinstance(job, ChatJob)
        return job

    def refused(self, status: int = 400, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == status, response.text
        assert not self.worker.seen
        return error(response)

    def whole(self, **fields: Any) -> dict[str, Any]:
        response = self.post(**fields)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()
        Response.model_validate(told)
        OpenAiResponse.model_validate(told)
        return told

    def events(self, **fields: Any) -> list[dict[str, Any]]:
        response = self.post(stream=True, **fields)
        assert response.headers["content-type"].startswith("text/event-stream"), response.text
        return read(response.text)

    def answers(self, *events: Event) -> None:
        """What the worker answers from now on."""
        self.worker.answer = lambda _: events


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL.id, "input": "Hi"} | fields


def read(stream: str) -> list[dict[str, Any]]:
    """The events of a stream, each as its description says."""
    events = []
    for block in stream.strip().split("\n\n"):
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        ResponseEvent.model_validate(event)
        if event["type"] != "response.failed":  # its codes are this service's, beside OpenAI's
            _OPENAI_EVENT.validate_python(event)
        events.append(event)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    return events


def kinds(events: Iterable[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def joined(events: Sequence[dict[str, Any]], kind: str) -> str:
    """The concatenation of the deltas of a kind."""
    return "".join(one["delta"] for one in events if one["type"] == f"response.{kind}.delta")
