"""A thread that writes the engine's events to the token logs.

While Redis is away events wait here, in a bounded buffer, and the engine pauses when it is full;
nothing is lost and nothing written twice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Protocol

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from wire import redis_refusals
from wire.log_entries import Entry
from wire.messages import Event, Progress, is_terminal
from wire.token_log import FORGOTTEN, REFUSED, Append, TokenLog
from worker.jobs.held_logs import HeldLogs, Step
from worker.redis_retry import retry_until_answered
from worker.sequence import Sequence

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Events kept while Redis is away; at a few hundred bytes each some megabytes, and minutes of
generation."""
MOST_AT_ONCE = 512
"""Events in one call of the script: Redis serves no other client while it runs, about 10 µs an
event."""
MOST_STEPS = 4
"""So many steps of all chats are taken up together, and each chat's texts become one. Where more is
generated than can be written the texts grow, and with them the rate: each costs a write here, in
Redis and to a client, however many tokens it has."""
LINGER_S = (0.016, 0.033)
"""Between two writes that carry only more text: a frame of a display, two when many chats run.
Faster steps share a write, and their tokens an event, because each write costs this machine a
wake-up of Redis, of every API process and of every client. A first text, a warning and an end never
wait."""
LINGER_A_CHAT_S = 0.001
"""A write takes longer the more chats are in it: with this pause for each it stays a few
hundredths of the time."""
LONGEST_PAUSE_S = 0.1
"""With many chats writes take half of the time at most, unless that asks for a longer pause: where
a machine has more to do than it can, more tokens share a write, and there is time to read them."""
BACKOFF = ExponentialBackoff(base=0.05, cap=1.0)
"""Waits before a failed write is tried again, seconds."""


class LogListener(Protocol):
    """Learns what became of the logs; called on the writer's thread. Meanwhile no log is held anew:
    what is done to a job by its id isn't done to its next attempt."""

    def taken_over(self, sequence: Sequence) -> None:
        """Another attempt holds the lease on the job's log."""

    def forgotten(self, sequence: Sequence) -> None:
        """Redis has lost the end of the job's log."""

    def ended(self, sequence: Sequence) -> None:
        """The sequence's terminal event is in its log."""


class _Closed(Exception):
    """The worker ends."""


class EventWriter:
    """Writes events in the order the engine made them."""

    def __init__(self, redis: Redis, libraries: Mapping[str, str]) -> None:
        """``libraries`` are the versions of packages that ends tell."""
        self._log = TokenLog(redis)
        self._held = HeldLogs(libraries)
        self._holding = threading.Lock()
        """Held while a log is taken on, and while one is let go and the listener told."""
        self._waiting: deque[tuple[Sequence, Event]] = deque()
        self._urgent = False
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self, listener: LogListener) -> None:
        self._thread = threading.Thread(
            target=self._run_or_end, args=(listener,), name="event-writer", daemon=True
        )
        self._thread.start()

    def hold(self, sequence: Sequence, logged: list[Entry]) -> None:
        """Take on a log that earlier attempts have written this into."""
        with self._holding:
            self._held.hold(sequence, logged)

    def let_go(self, job_id: str) -> None:
        """Write no more of a job: its log is another worker's, or ends elsewhere."""
        self._held.let_go(job_id)

    def put(self, events: Step) -> None:
        """Queue one step's events; blocks while the buffer is full. This is the engine's sink."""
        with self._changed:
            while len(self._waiting) >= MOST_WAITING and not self._closing:
                self._changed.wait(1.0)
            # Waking the thread for events that it would let wait costs the engine's thread a turn.
            idle = not self._waiting
            self._waiting.extend(events)
            if self._held.any_urgent(events):
                self._urgent = True
            if self._urgent or idle:
                self._changed.notify_all()

    def flush(self, patience_s: float) -> None:
        """Wait up to ``patience_s`` seconds until everything put so far is written."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            self._urgent = bool(self._waiting)
            self._changed.notify_all()
            while self._waiting and time.monotonic() < deadline:
                self._changed.wait(0.1)

    def close(self, patience_s: float) -> None:
        """Write what waits, for up to ``patience_s`` seconds, and end the thread."""
        self.flush(patience_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(patience_s + 1)

    def _run_or_end(self, listener: LogListener) -> None:
        try:
            self._run(listener)
        except _Closed:
            return
        except Exception:
            # Without this thread no chat would ever end; another process goes on with them.
            log.critical(
                "the event writer failed: this process ends, another goes on", exc_info=True
            )
            os._exit(70)

    def _run(self, listener: LogListener) -> None:
        due = 0.0
        while True:
            step = self._next_step(due)
            began = time.monotonic()
            self._write(step, listener)
            due = began + pause_s(len(self._held), time.monotonic() - began)
            with self._changed:
                for _ in step:
                    self._waiting.popleft()
                self._changed.notify_all()

    def _next_step(self, due: float) -> Step:
        """Wait for events, and if they are only more text until ``due``, monotonic seconds."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            while self._may_linger() and (remaining := due - time.monotonic()) > 0:
                self._changed.wait(remaining)
            if self._closing:
                raise _Closed
            step = list(islice(self._waiting, self._most_taken))
            self._urgent = len(step) < len(self._waiting)  # The rest is due as well.
            return step

    @property
    def _most_taken(self) -> int:
        return max(MOST_AT_ONCE, MOST_STEPS * len(self._held))

    def _may_linger(self) -> bool:
        waiting = len(self._waiting)
        return 0 < waiting < self._most_taken and not self._urgent and not self._closing

    def _write(self, step: Step, listener: LogListener) -> None:
        numbered = self._held.numbered(step)
        if not numbered.appends:
            return
        replies = []
        for at in range(0, len(numbered.appends), MOST_AT_ONCE):
            replies += self._append(numbered.appends[at : at + MOST_AT_ONCE])
        logged = [item for item in numbered.appends if not isinstance(item.event, Progress)]
        refused = self._let_go_of_refused(_refusals(logged, replies), logged, listener)
        numbered.advance()
        for item in logged:
            if is_terminal(item.event) and item.job_id not in refused:
                self._let_go_as(item, listener.ended)

    def _append(self, appends: list[Append]) -> list[int]:
        """Append until Redis answers; the script makes a repeated write harmless."""
        return retry_until_answered(
            lambda: self._log.append(appends), BACKOFF, self._warn, self._pause
        )

    def _let_go_as(self, item: Append, tell: Callable[[Sequence], None]) -> None:
        """Write no more of a log, and tell why, if it is still held as when this was numbered: the
        job may have come back to this worker meanwhile, under a new attempt."""
        with self._holding:
            sequence = self._held.sequence(item.job_id)
            if sequence is not None and sequence.attempt == item.attempt:
                self.let_go(item.job_id)
                tell(sequence)

    def _let_go_of_refused(
        self, refusals: dict[str, int], logged: list[Append], listener: LogListener
    ) -> set[str]:
        """Write no more of logs that refused a write; returns the jobs of all of these."""
        for item in logged:
            if item.job_id in refusals:
                forgotten = refusals[item.job_id] == FORGOTTEN
                self._let_go_as(item, listener.forgotten if forgotten else listener.taken_over)
        return set(refusals)

    def _warn(self, error: RedisError) -> None:
        log.warning("the token log can't be written (%s); trying again", redis_refusals.kind(error))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)
            if self._closing:
                raise _Closed


def _refusals(logged: list[Append], replies: list[int]) -> dict[str, int]:
    """The jobs whose log refused a write, and why; that its end is forgotten outweighs the rest."""
    result: dict[str, int] = {}
    for item, reply in zip(logged, replies, strict=True):
        if reply == FORGOTTEN or (reply == REFUSED and item.job_id not in result):
            result[item.job_id] = reply
    return result


def pause_s(chats: int, write_s: float) -> float:
    """How long after the beginning of a write the next one of more text is due, seconds, while this
    many chats run and if the write took so long."""
    shortest, longest = LINGER_S
    of_chats = LINGER_A_CHAT_S * chats
    return max(shortest, min(longest, of_chats), min(LONGEST_PAUSE_S, of_chats, 2 * write_s))
