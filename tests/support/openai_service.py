"""A service on the echo backend, and the official openai client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.faults.stack import LIMIT_S, Stack
from wire import keys
from worker.backends.echo import WAITING

MODEL = "demo-chat"
SLOTS, QUEUE_LIMIT = 4, 6


class Service:
    """The processes, and clients for them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = f"http://127.0.0.1:{stack.port()}/v1"
        self.client = OpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=LIMIT_S)

    def chat(self, text: str, **fields: Any) -> Any:
        messages: Any = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(
            **{"model": MODEL, "messages": messages, "seed": 1, **fields}
        )

    def stream(self, text: str, **fields: Any) -> list[Any]:
        return list(self.chat(text, stream=True, **fields))

    def raw(
        self, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str
    ) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port(), timeout=LIMIT_S)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), sent)
        return connection

    def json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The response of another route."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port(), timeout=LIMIT_S)
        sent = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", path, sent, {"Content-Type": "application/json"}
        )
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def events(self, body: dict[str, Any]) -> list[Any]:
        """The data lines of a stream without the last one."""
        connection = self.raw(body)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        lines = [line.decode().rstrip("\n") for line in response]
        connection.close()
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert data.pop() == "[DONE]"
        return [json.loads(text) for text in data]

    def live(self) -> int:
        return int(self.stack.redis.zcard(keys.live("everyone")))  # type: ignore[arg-type]

    def all_slots_busy(self) -> list[Any]:
        """Streams that keep every slot busy; closing them frees the slots."""
        streams = [self.chat(WAITING, stream=True) for _ in range(SLOTS)]
        for stream in streams:
            next(iter(stream))
        return streams


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    """A worker and an API for the duration of the block."""
    settings = {
        "MLXQ_ECHO_DELAY_MS": "3",
        "MLXQ_SLOTS": str(SLOTS),
        "MLXQ_QUEUE_LIMIT": str(QUEUE_LIMIT),
        "MLXQ_KEEPALIVE_S": "0.1",
    }
    stack = Stack(folder, **settings)
    stack.start_worker()
    stack.start_api()
    asyncio.run(stack.worker_ready())
    asyncio.run(stack.api_ready())
    running = Service(stack)
    yield running
    running.client.close()
    stack.close()


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def calls_of(chunks: list[Any]) -> list[Any]:
    """The tool calls of a stream, as the official client puts them together."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(chunk)
    return list(state.current_completion_snapshot.choices[0].message.tool_calls or ())
