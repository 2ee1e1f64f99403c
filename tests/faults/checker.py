"""Checks what clients received and what Redis holds against the invariants; knows nothing of how
faults were made.

I1 every accepted job reaches exactly one terminal event. I2 ids never fall, and up to each id the
text is that of so many tokens. I3 never two writers on one log. I4 nothing after the terminal
event, which never changes. I5 no 5xx but a justified 503, no traceback. I6 Redis' keys return to
where they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from tests.faults.client import Chat
from tests.faults.stack import Stack
from wire import keys
from wire.log_entries import Entry, decode_rows
from worker.backends import echo

LOST = ("job_lost", "expired")
"""Codes of ends that an API process sends for a job that Redis lost: no log has them."""


def expected(chat: Chat) -> str:
    """The whole text, as a worker without faults generates it."""
    return echo.answer(chat.prompt, chat.seed, chat.tokens)


class Checker:
    """Checks chats one by one; remembers how each ended, and checks that again at the end of the
    session."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._redis = stack.redis
        self._ends: dict[str, tuple[int, str]] = {}

    def check(
        self, chats: Iterable[Chat], *, code: str | None = None, stopped: bool = False
    ) -> list[str]:
        """What is wrong with these chats.

        They should have ended well; or with a failure of this code; or, ``stopped``, with the
        beginning of their text.
        """
        checked = [(chat, self._wrong(chat, code, stopped)) for chat in chats]
        return [
            f"{chat.prompt!r} {chat.job_id}: {wrong}"
            for chat, wrongs in checked
            for wrong in wrongs
        ]

    def changed(self) -> list[str]:
        """I4, checked again: the logs that have changed since they were checked. Those from before
        Redis last lost data are left out: their ends may have been lost and written again."""
        return [
            f"{job_id}: changed after its end"
            for job_id, (losses, end) in self._ends.items()
            if losses == self._stack.losses and self._print(job_id) != end
        ]

    def _wrong(self, chat: Chat, code: str | None, stopped: bool) -> list[str]:
        wrong = stream_wrong(chat, code, stopped=stopped)
        wrong += [
            f"I5 was answered {status} {name}"
            for status, name in chat.refusals
            if status >= 500 and status != 503
        ]
        if code in LOST or not chat.job_id:
            return wrong
        wrong += self._log(chat)
        self._ends[chat.job_id] = (self._stack.losses, self._print(chat.job_id))
        return wrong

    def _log(self, chat: Chat) -> list[str]:
        rows: Any = self._redis.xrange(keys.log(chat.job_id))
        entries = decode_rows(rows)
        attempts = [int(row_id.split(b"-")[1]) for row_id, _ in rows]
        wrong = []
        if [entry.sequence for entry in entries] != list(range(1, len(entries) + 1)):
            wrong.append("I2 the log has a gap")
        if attempts != sorted(attempts):
            wrong.append(f"I3 writers took turns: {attempts}")
        if [entry.ends for entry in entries] != [False] * (len(entries) - 1) + [True]:
            wrong.append(
                f"I1/I4 the log's ends are at {[e.sequence for e in entries if e.ends]} of {len(entries)}"
            )
        if chat.done and _logged(entries) != chat.text:
            wrong.append("I2 the log holds another text than was streamed")
        return wrong

    def _print(self, job_id: str) -> str:
        return hashlib.sha256(repr(self._redis.xrange(keys.log(job_id))).encode()).hexdigest()


def _logged(entries: Sequence[Entry]) -> str:
    return "".join(
        str(getattr(entry.event, "text", "")) for entry in entries if entry.kind == "delta"
    )


def stream_wrong(chat: Chat, code: str | None = None, *, stopped: bool = False) -> list[str]:
    """What is wrong with the stream that a client received, whatever the log holds by now."""
    frames = [(position, frame) for _, position, frame in chat.frames if "progress" not in frame]
    wrong = _positions(chat, frames)
    if [frame["done"] for _, frame in frames] != [False] * (len(frames) - 1) + [True]:
        wrong.append(
            f"I1 no end, or more than one ({len(frames)} frames, given up at {chat.given_up})"
        )
        return wrong
    if frames[-1][1].get("code") != code:
        wrong.append(f"I1 ended with {frames[-1][1]}, not with {code}")
    whole, text = expected(chat), chat.text
    if not whole.startswith(text) or (code is None and not stopped and text != whole):
        wrong.append(f"I2 the text is another: {len(text)} of {len(whole)} characters")
    return wrong


def _positions(chat: Chat, frames: Sequence[tuple[int, dict[str, Any]]]) -> list[str]:
    """I2 for each frame: its id counts the tokens of the text up to and with it, and the end's
    comes after them."""
    lengths = [0]
    for word in expected(chat).split(" ")[:-1]:
        lengths.append(lengths[-1] + len(word) + 1)
    place = length = 0
    for position, frame in frames:
        length += len(frame["text"])
        if position < place:
            return [f"I2 the ids fall: {[position for position, _ in frames]}"]
        if not frame["done"] and (position >= len(lengths) or length != lengths[position]):
            return [f"I2 {length} characters up to id {position}"]
        if frame["done"] and position != place + 1 and frame.get("code") not in LOST:
            return [f"I2 the end's id is {position} behind {place}"]
        place = position
    return []


def leftovers(redis: Redis) -> list[str]:
    """I6: what no ended job may leave behind in Redis."""
    names = ["rq:queue:chat", "rq:queue:chat:intermediate", "rq:wip:chat", keys.STOPPING]
    found = [name for name in names if redis.exists(name)]
    for pattern in (keys.live("*"), "rq:execution:*", "rq:executions:*", "rq:worker:*:executions"):
        found += [name.decode() for name in redis.scan_iter(pattern, count=1000)]
    alive: Any = redis.smembers(keys.WORKERS)
    found += [
        name.decode() for name in alive if not redis.exists(keys.worker_status(name.decode()))
    ]
    return found
