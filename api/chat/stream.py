"""A job's events as a Server-Sent Events response: frames, cursors, comments, the end.

Passes the frames of the log through as they are; only the last one grows when the client asked for
usage, and the others when it asked for thinking or log-probabilities. Knows nothing of requests,
RQ or Redis names.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from api.chat.frames import MORE, framed
from api.http.event_stream import EventStreamResponse
from api.jobs.reader import LOOK_AGAIN_S, Reader
from api.jobs.records import JobRecords
from api.jobs.waiting.queue_look import POSITIONS_S, Held, Place
from wire.log_entries import Entry, decode, encode, timings_of, usage_of
from wire.messages import Failed
from wire.sampling_used import SamplingUsed

INCLUDE_USAGE = "include_usage"
INCLUDE_PROGRESS = "include_progress"
_LOST = Failed("job_lost", "This job was lost. Send it again.")
_EXPIRED = Failed("expired", "The text of this job has expired.")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a client wants besides text, and how long a stream may be silent.

    ``sampling`` is what the chat runs with, if known.
    """

    enabled: frozenset[str]
    keepalive_s: float
    sampling: SamplingUsed | None = None


def sse(position: int, data: bytes) -> bytes:
    """One event; the id is the client's cursor: the tokens of the answer up to and with this
    one."""
    return b"id: %d\ndata: %b\n\n" % (position, data)


def _with_usage(entry: Entry, sampling: SamplingUsed | None) -> bytes:
    extra = entry.extra
    frame = json.loads(entry.data) | {
        "finish_reason": extra["finish_reason"],
        "usage": asdict(usage_of(extra)),
        "timings": asdict(timings_of(extra)),
    }
    if sampling is not None:
        frame["sampling"] = sampling
    return json.dumps(frame).encode("ascii")


class Stream:
    """The bytes of one response. ``greeting`` is a comment that it begins with, if any."""

    def __init__(
        self, reader: Reader, records: JobRecords, options: StreamOptions, greeting: str
    ) -> None:
        self._reader = reader
        self._records = records
        self._usage = INCLUDE_USAGE in options.enabled
        self._progress = INCLUDE_PROGRESS in options.enabled
        self._wanted = options.enabled & MORE
        self._keepalive_s = options.keepalive_s
        self._sampling = options.sampling
        self._greeting = greeting
        # Not the reader's, which is a batch ahead: progress must not carry the id of an event still
        # to come.
        self._cursor = reader.cursor
        self._last_held: tuple[Held | None, int | None] | None = None
        # Only a job that nothing is known of yet can still be waiting for its turn.
        self._waits = self._progress and reader.cursor == 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        greeting = f": {self._greeting}\n\n".encode() if self._greeting else b""
        if begun := greeting + self._beginning():
            yield begun
        sent_at = received_at = time.monotonic()
        while not self._reader.ended and not self._reader.closed:
            entries = await self._reader.batch(self._pause(sent_at, received_at))
            chunk = b"".join(map(self._frame, entries))
            now = time.monotonic()
            if entries:  # Not every one of them makes a frame.
                received_at, self._last_held = now, None
            elif now - received_at >= LOOK_AGAIN_S:
                received_at = now
                chunk = await self._after_silence()
            if not chunk and self._waits and not self._reader.ended:
                chunk = await self._queue_position()
            if not chunk and now - sent_at >= self._keepalive_s:
                chunk = self._heartbeat()
            if chunk:
                yield chunk
                sent_at = time.monotonic()

    def _beginning(self) -> bytes:
        """Frames of what was read before the stream began."""
        return b""

    def _heartbeat(self) -> bytes:
        """What says that the stream is alive while nothing else does."""
        return b": keep-alive\n\n"

    def _pause(self, sent_at: float, received_at: float) -> float:
        """How long to wait for the next entries before something else is due."""
        due = min(sent_at + self._keepalive_s, received_at + LOOK_AGAIN_S) - time.monotonic()
        return max(0.01, min(due, POSITIONS_S) if self._waits else due)

    def _frame(self, entry: Entry) -> bytes:
        self._waits = False
        if entry.kind == "progress":
            return sse(self._cursor, entry.data) if self._progress else b""
        # The end that is generated here for a lost job has no position of its own.
        self._cursor = max(self._cursor, entry.position)
        if entry.ends and self._usage:
            return sse(self._cursor, _with_usage(entry, self._sampling))
        return sse(self._cursor, framed(entry, self._wanted))

    async def _after_silence(self) -> bytes:
        """Check that something can still end the job; send the end of a job that was lost."""
        try:
            state = await self._records.state(self._reader.job_id)
        except RedisError:
            return b""
        # The end may have been written since the log was last read, so that has the first word.
        self._reader.look_again()
        entries = await self._reader.batch(0.01)
        if entries or self._reader.behind:
            return b"".join(map(self._frame, entries))
        if state in ("queued", "running"):
            return await self._what_holds_it_up() if self._progress else b""
        self._reader.ended = True
        return self._end_with(_EXPIRED if state == "ended" else _LOST)

    def _end_with(self, event: Failed) -> bytes:
        return self._frame(decode(encode(self._reader.job_id, self._cursor, event).encode("ascii")))

    async def _queue_position(self) -> bytes:
        try:
            place = await self._records.place(self._reader.job_id)
        except RedisError:
            return b""
        return b"" if place is None else self._news(place.held, place)

    async def _what_holds_it_up(self) -> bytes:
        """Report why a silent job makes no progress."""
        try:
            place = await self._records.place(self._reader.job_id)
            held = place.held if place else await self._records.held(self._reader.job_id)
        except RedisError:
            return b""
        return b"" if held is None else self._news(held, place)

    def _news(self, held: Held | None, place: Place | None) -> bytes:
        """What is said of a waiting job, unless it was said before."""
        news = (held, None if place is None else place.position)
        if news == self._last_held:
            return b""
        self._last_held = news
        return self._told(held, place)

    def _told(self, held: Held | None, place: Place | None) -> bytes:
        progress: dict[str, str | float] = {"state": held or "queued"}
        if place is not None:
            progress |= {"position": place.position, "wait_s": round(place.wait_s, 1)}
        frame = {"text": "", "done": False, "progress": progress}
        return sse(self._cursor, json.dumps(frame).encode())


class EventStream(EventStreamResponse):
    """The response of a :class:`Stream`.

    However it ends, its reader is detached at once, not at collection.
    """

    def __init__(self, reader: Reader, stream: Stream) -> None:
        super().__init__(
            stream, gone=reader.leave, over=reader.detach, headers={"X-Job-Id": reader.job_id}
        )
        self._reader = reader
