"""The load generator: HTTP requests sent to a server at the same time; arrivals of their streams
are recorded and parsed afterwards.

One process, one thread, no parsing while the clock runs: the client shares the machine with what it
measures.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from scripts.benchmarks.systems.plan import BenchError

_FRAME = re.compile(rb"data: (\{.*\})\r?\n")
"""One event. Neither server cuts a frame into two chunks of the transfer encoding."""
_JOB_ID = re.compile(rb"x-job-id: ([0-9a-f]{32})", re.IGNORECASE)
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One stream. Times are those of ``time.perf_counter``; ``times`` are the arrivals of frames
    with text."""

    sent: float
    ended: float
    times: tuple[float, ...]
    text: str
    tokens: int
    cached_tokens: int

    @property
    def ttft(self) -> float:
        return self.times[0] - self.sent

    def longest_gap(self, since: float, until: float) -> float:
        """The longest time without text while the interval lasted."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((b - a for a, b in pairs if b > since and a < until), default=0.0)


class Stream(asyncio.Protocol):
    """One request in progress."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.chunks: list[tuple[float, bytes]] = []
        """The received bytes, and their times of arrival."""
        self._frames = 0
        self._wanted = 0
        self.sent = time.perf_counter()
        loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._reached: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transports are no subclasses.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.chunks.append((time.perf_counter(), data))
        if self._wanted:
            self._frames += data.count(b"data: {")
            if self._frames >= self._wanted and not self._reached.done():
                self._reached.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        for future in (self._closed, self._reached):
            if not future.done():
                future.set_result(None)

    async def frames(self, number: int) -> None:
        """Wait until so many more frames have arrived, or the stream has ended."""
        self._wanted, self._frames = number, 0
        await _in_time(self._reached)

    @property
    def ended(self) -> bool:
        return self._closed.done()

    def abandon(self) -> None:
        """Disconnect without reading on."""
        self._transport.abort()

    @property
    def job_id(self) -> str:
        found = _JOB_ID.search(b"".join(data for _, data in self.chunks))
        if found is None:
            raise BenchError("the answer has no X-Job-Id")
        return found[1].decode()

    async def bytes(self) -> bytes:
        """Everything the server sent."""
        await _in_time(self._closed)
        return b"".join(data for _, data in self.chunks)

    async def answer(self) -> Answer:
        """The whole stream, parsed. Raises BenchError for an incomplete or failed one."""
        received = await self.bytes()
        if not received.split(b"\r\n", 1)[0].endswith(b"200 OK"):
            raise BenchError(f"the server refused a request: {received[:600]!r}")
        times, texts, usage = [], [], dict[str, Any]()
        arrivals, end, arrived = iter(self.chunks), 0, 0.0
        for match in _FRAME.finditer(received):
            while end < match.end():
                arrived, data = next(arrivals)
                end += len(data)
            frame = json.loads(match[1])
            if text := _text(frame):
                times.append(arrived)
                texts.append(text)
            if frame.get("error"):
                raise BenchError(f"a stream failed: {frame}")
            usage = frame.get("usage") or usage
        if not times or not usage:
            raise BenchError(f"a stream without text or usage: {received[:600]!r}")
        cached = usage.get(
            "cached_tokens", (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        )
        return Answer(
            self.sent, arrived, tuple(times), "".join(texts), usage["completion_tokens"], cached
        )


def _text(frame: dict[str, Any]) -> str:
    """The text of one frame, in the native form or in OpenAI's."""
    if "text" in frame:
        return str(frame["text"])
    choices = frame.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


async def _in_time(future: asyncio.Future[None]) -> None:
    try:
        await asyncio.wait_for(future, LIMIT_S)
    except TimeoutError:
        raise BenchError(f"a stream did not get on within {LIMIT_S:.0f} s") from None


async def send(port: int, request: bytes) -> Stream:
    """Begin a request. The time of sending is before the connection is made."""
    stream = Stream(request)
    await asyncio.get_running_loop().create_connection(lambda: stream, "127.0.0.1", port)
    return stream


async def burst(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """All requests at the same time."""
    streams = await asyncio.gather(*(send(port, request) for request in requests))
    return [await stream.answer() for stream in streams]


def http_post(path: str, body: object) -> bytes:
    """A request that ends its connection."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


def rate(answers: Sequence[Answer]) -> float:
    """Tokens per second of requests taken together, from the first one sent to the last one's
    end."""
    seconds = max(answer.times[-1] for answer in answers) - min(answer.sent for answer in answers)
    return sum(answer.tokens for answer in answers) / seconds
