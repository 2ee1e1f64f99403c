"""A well-behaved client: it sends an idempotency key, and reconnects with its cursor after any cut.

Records everything it received, for the checker. Speaks HTTP over a bare socket, so that it can be
cut at any byte.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

CHAT = "/api/engine/chat"
MODEL = "echo"
BREATH_S = 0.1
"""Between a cut and the next try; half a second when a server sent Retry-After."""
SILENCE_S = 25.0
"""The servers send a comment every 15 s: after more silence the connection is dead."""
Where = Callable[[], int]
"""The port to connect to next."""


@dataclass
class Chat:
    """One client's request, and what it received."""

    prompt: str
    seed: int = 0
    tokens: int = 60
    more: dict[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    job_id: str = ""
    submitted_at: float = 0.0
    frames: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    given_up: int = 0
    cuts: int = 0

    @property
    def body(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.prompt}]
        return {
            "model_id": MODEL,
            "messages": messages,
            "seed": self.seed,
            "max_tokens": self.tokens,
            **self.more,
        }

    @property
    def cursor(self) -> int:
        return self.frames[-1][1] if self.frames else 0

    @property
    def done(self) -> bool:
        return any(frame["done"] for _, _, frame in self.frames)

    @property
    def end(self) -> dict[str, Any]:
        return self.frames[-1][2] if self.frames else {}

    @property
    def text(self) -> str:
        return "".join(frame["text"] for _, _, frame in self.frames)

    @property
    def longest_silence(self) -> float:
        times = [moment for moment, _, _ in self.frames]
        return max((after - before for before, after in pairwise(times)), default=0.0)


@dataclass
class Answer:
    """A response: its head, and for a short one its body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cut(ConnectionError):
    """The connection was lost in the middle of a response."""


class Connection:
    """One request over one connection, which ends after ``limit`` bytes if there is one."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> None:
        self._reader, self._writer = reader, writer
        self._left = limit
        self._raw = b""

    @classmethod
    async def open(cls, port: int, limit: int | None = None) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port), limit)

    def send(
        self, method: str, path: str, body: Any = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(payload)}"]
        if payload:
            lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in headers]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + payload)

    async def head(self) -> Answer:
        """The response's head; what follows is read with :meth:`line` or :meth:`chunk`."""
        first, *rest = (await self._upto(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest if ": " in line)
        return Answer(int(first.split()[1]), headers)

    async def chunk(self) -> bytes:
        """The next piece of a chunked body; nothing at its end."""
        size = int((await self._upto(b"\r\n")).strip(), 16)
        return (await self._exactly(size + 2))[:-2]

    async def whole(self, answer: Answer) -> Answer:
        if answer.headers.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                answer.body += piece
        else:
            answer.body = await self._exactly(int(answer.headers.get("content-length", "0")))
        return answer

    def close(self) -> None:
        self._writer.transport.abort()

    async def _more(self) -> None:
        most = 65536 if self._left is None else min(65536, self._left)
        piece = await asyncio.wait_for(self._reader.read(most), SILENCE_S) if most else b""
        if not piece:
            raise Cut
        if self._left is not None:
            self._left -= len(piece)
        self._raw += piece

    async def _upto(self, mark: bytes) -> bytes:
        while mark not in self._raw:
            await self._more()
        found, self._raw = self._raw.split(mark, 1)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._raw) < size:
            await self._more()
        found, self._raw = self._raw[:size], self._raw[size:]
        return found


async def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """One short request and its whole answer."""
    connection = await Connection.open(port)
    try:
        connection.send(
            method, path, body, [(name.replace("_", "-"), value) for name, value in headers.items()]
        )
        return await connection.whole(await connection.head())
    finally:
        connection.close()


class Client:
    """Follows one chat to its end. ``limits`` gives the bytes after which each connection is
    cut, None for never."""

    def __init__(
        self, chat: Chat, where: Where, limits: Callable[[], int | None] = lambda: None
    ) -> None:
        self.chat = chat
        self._where = where
        self._limits = limits

    async def run(self) -> Chat:
        while not self.chat.done and not self.chat.given_up:
            try:
                await self._connect()
            except (OSError, TimeoutError):
                self.chat.cuts += 1
                await asyncio.sleep(BREATH_S)
        return self.chat

    async def _connect(self) -> None:
        connection = await Connection.open(self._where(), self._limits())
        try:
            self._send(connection)
            answer = await connection.head()
            if answer.status == 200:
                self.chat.job_id = answer.headers["x-job-id"]
                await self._follow(connection)
            else:
                await self._refused(await connection.whole(answer))
        finally:
            connection.close()

    def _send(self, connection: Connection) -> None:
        chat = self.chat
        chat.submitted_at = chat.submitted_at or time.monotonic()
        if chat.job_id:
            path = f"{CHAT}/{chat.job_id}/events"
            connection.send("GET", path, None, [("Last-Event-ID", str(chat.cursor))])
        else:
            connection.send("POST", CHAT, chat.body, [("Idempotency-Key", chat.key)])

    async def _refused(self, answer: Answer) -> None:
        code = answer.json["code"] if answer.body else ""
        self.chat.refusals.append((answer.status, code))
        if answer.status not in (429, 503):
            self.chat.given_up = answer.status
            return
        assert int(answer.headers["retry-after"]) > 0
        await asyncio.sleep(5 * BREATH_S)

    async def _follow(self, connection: Connection) -> None:
        kept = b""
        while piece := await connection.chunk():
            kept += piece
            *events, kept = kept.split(b"\n\n")
            for event in events:
                self._take(event.decode())

    def _take(self, event: str) -> None:
        lines = dict(line.split(": ", 1) for line in event.split("\n") if not line.startswith(":"))
        if "data" in lines:
            self.chat.frames.append((time.monotonic(), int(lines["id"]), json.loads(lines["data"])))
