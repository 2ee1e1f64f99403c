"""A small HTTP client for tests of the whole service: JSON calls, and streams read frame by
frame."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 180.0
"""Seconds: far longer than anything that is waited for, also on a busy machine."""
Frame = dict[str, Any]
Message = dict[str, Any]


class Service:
    """The service at a URL, for the holder of a key where it needs one."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url, self._key = url, key
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request; the status and the body, decoded if it is JSON."""
        status, raw = self.raw(method, path, body)
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode()

    def raw(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = self._send(method, path, body)
        try:
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def chat(self, text: str, model: str = "demo-chat", **fields: Any) -> Stream:
        return self.conversation([{"role": "user", "content": text}], model, **fields)

    def conversation(self, messages: Sequence[Message], model: str, **fields: Any) -> Stream:
        return self.stream({"model_id": model, "messages": messages, **fields})

    def stream(self, body: Frame) -> Stream:
        """One chat of the whole body."""
        return Stream(self._send("POST", "/api/engine/chat", body))

    def events(self, job_id: str, after: int = 0) -> Stream:
        return Stream(self._send("GET", f"/api/engine/chat/{job_id}/events?after={after}"))

    def _send(self, method: str, path: str, body: object = None) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=LIMIT_S)
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
        except OSError:
            connection.close()
            raise
        return connection


class Stream:
    """One stream of events; iterate to read frames as they arrive."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._answer = connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.job_id = self._answer.headers["X-Job-Id"]
        self.ids: list[int] = []
        self.frames: list[Frame] = []

    def __iter__(self) -> Iterator[Frame]:
        for raw in self._answer:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                self.ids.append(int(line[4:]))
            elif line.startswith("data: "):
                self.frames.append(json.loads(line[6:]))
                yield self.frames[-1]

    def until(self, texts: int) -> None:
        """Read until this many frames with text have arrived."""
        for frame in self:
            texts -= bool(frame["text"])
            if texts <= 0:
                return

    def rest(self) -> str:
        """Read to the end; the whole text, from the first frame on."""
        for _ in self:
            pass
        self.close()
        return self.text

    @property
    def text(self) -> str:
        return "".join(frame["text"] for frame in self.frames)

    def close(self) -> None:
        self._connection.close()
