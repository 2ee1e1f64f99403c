"""The way out of the engine: a thread that writes events to the token log and looks up who wants to
stop.

Owns the sequence numbers of the logs this worker holds the lease on. Redis away for a while: events
wait here, in a bounded buffer, and the engine pauses when it is full; nothing is lost and nothing
written twice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from wire import keys, redis_refusals
from wire.log_entries import Entry, position_after
from wire.messages import Delta, Event, Progress, is_terminal
from wire.token_log import FORGOTTEN, REFUSED, Append, TokenLog
from worker.sequence import Sequence

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Events kept while Redis is away; at a few hundred bytes each some megabytes, and minutes of
generation."""
MOST_AT_ONCE = 512
"""Events in one call of the script: Redis serves nobody else while it runs, about 10 µs an
event."""
LINGER_S = (0.016, 0.033)
"""Between two writes that carry only more text: a frame of a display, two when many chats run.
Steps that are faster than this share a write, and their tokens an event, because each write costs
this machine a wake-up of Redis, of every API process and of every client. A first text, a warning
and an end never wait."""
LINGER_A_CHAT_S = 0.001
"""A write takes longer the more chats are in it: with this pause for each it stays a few
hundredths of the time."""
CANCEL_LOOKUP_S = 0.02
"""Between two look-ups of the cancel keys: a stop is seen within this, plus a step."""
RETRY_S = (0.05, 1.0)
"""First and longest wait before a failed write is tried again."""


@dataclass(slots=True)
class _Held:
    """A log this worker holds the lease on."""

    sequence: Sequence
    next_number: int
    position: int
    """Where its next text begins, in tokens of the answer."""
    cancelled: bool = False
    begun: bool = False
    """Whether text of this attempt has been put; what comes first is written at once."""

    def is_urgent(self, event: Event) -> bool:
        """Whether somebody notices when the event comes a moment later."""
        first = not self.begun
        self.begun = self.begun or isinstance(event, Delta)
        return first or not isinstance(event, Delta)


class EventWriter:
    """Writes events in the order the engine made them. The functions it is given run on its thread.

    ``on_refused`` gets the job of a log that another worker has taken over; ``on_forgotten`` one of
    whose log Redis has lost the end; ``on_end`` a sequence whose terminal event is in the log.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        on_cancel: Callable[[str], None],
        on_refused: Callable[[str], None],
        on_forgotten: Callable[[str], None],
        on_end: Callable[[Sequence], None],
    ) -> None:
        self._redis = redis
        self._log = TokenLog(redis)
        self._on_cancel, self._on_refused = on_cancel, on_refused
        self._on_forgotten, self._on_end = on_forgotten, on_end
        self._held: dict[str, _Held] = {}
        self._waiting: deque[tuple[Sequence, Event]] = deque()
        self._urgent = False
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run_or_end, name="event-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hold(self, sequence: Sequence, logged: list[Entry]) -> None:
        """Take on a log in which earlier attempts have written this."""
        with self._changed:
            self._held[sequence.job_id] = _Held(sequence, len(logged) + 1, position_after(logged))
            self._changed.notify_all()

    def let_go(self, job_id: str) -> None:
        """Write no more of a job: its log is another worker's, or ends elsewhere."""
        with self._changed:
            self._held.pop(job_id, None)

    def put(self, events: list[tuple[Sequence, Event]]) -> None:
        """Queue one step's events; blocks while the buffer is full. This is the engine's sink."""
        with self._changed:
            while len(self._waiting) >= MOST_WAITING and not self._closing:
                self._changed.wait(1.0)
            # Waking the thread for what it would only look at and leave costs the engine's thread a
            # turn.
            idle = not self._waiting
            self._waiting.extend(events)
            if self._is_urgent(events) or idle:
                self._changed.notify_all()

    def _is_urgent(self, events: list[tuple[Sequence, Event]]) -> bool:
        for sequence, event in events:
            held = self._held.get(sequence.job_id)
            if held is None or held.is_urgent(event):
                self._urgent = True
        return self._urgent

    def flush(self, patience_s: float) -> None:
        """Wait until everything put so far is written, for as long as ``patience_s`` seconds."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            while self._waiting and time.monotonic() < deadline:
                self._changed.wait(0.1)

    def close(self, patience_s: float) -> None:
        """Write what is left, for as long as ``patience_s`` seconds, and end the thread."""
        self.flush(patience_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience_s + 1)

    def _run_or_end(self) -> None:
        try:
            self._run()
        except Exception:
            # Without this thread every chat would wait for ever; another process goes on with them.
            log.critical(
                "the event writer failed: this process ends, another goes on", exc_info=True
            )
            os._exit(70)

    def _run(self) -> None:
        looked_up = written = 0.0
        while True:
            with self._changed:
                if not self._waiting and not self._closing:
                    if self._held:
                        self._changed.wait(CANCEL_LOOKUP_S)
                    else:
                        self._changed.wait()
                        # Whoever takes a job up asks whether it was stopped.
                        looked_up = time.monotonic()
                while (
                    self._may_linger()
                    and (left := written + linger_s(len(self._held)) - time.monotonic()) > 0
                ):
                    self._changed.wait(left)
                if self._closing:
                    return
                step = [self._waiting[i] for i in range(min(len(self._waiting), MOST_AT_ONCE))]
                self._urgent = len(step) < len(self._waiting)  # What is left over was due as well.
            if step:
                written = time.monotonic()
                self._write(step)
                with self._changed:
                    for _ in step:
                        self._waiting.popleft()
                    self._changed.notify_all()
            if time.monotonic() - looked_up >= CANCEL_LOOKUP_S:
                looked_up = time.monotonic()
                self._look_up_cancels()

    def _may_linger(self) -> bool:
        return 0 < len(self._waiting) < MOST_AT_ONCE and not self._urgent and not self._closing

    def _write(self, step: list[tuple[Sequence, Event]]) -> None:
        appends, reached = self._numbered(merged(step))
        if not appends:
            return
        answers = self._retried(lambda: self._log.append(appends))
        if answers is None:
            return
        logged = [item for item in appends if not isinstance(item.event, Progress)]
        answered = list(zip(logged, answers, strict=True))
        forgotten = {item.job_id for item, answer in answered if answer == FORGOTTEN}
        refused = forgotten | {item.job_id for item, answer in answered if answer == REFUSED}
        for item in logged:
            held = self._held.get(item.job_id)
            # Unless the job has come back to this worker meanwhile, under a new attempt.
            if (
                item.job_id in refused
                and held is not None
                and held.sequence.attempt == item.attempt
            ):
                self.let_go(item.job_id)
                (self._on_forgotten if item.job_id in forgotten else self._on_refused)(item.job_id)
        for job_id, (number, position) in reached.items():
            if job_id not in refused and (held := self._held.get(job_id)) is not None:
                held.next_number, held.position = number, position
        for item in logged:
            if (
                is_terminal(item.event)
                and item.job_id not in refused
                and (held := self._held.get(item.job_id))
            ):
                self.let_go(item.job_id)
                self._on_end(held.sequence)

    def _numbered(
        self, step: list[tuple[Sequence, Event]]
    ) -> tuple[list[Append], dict[str, tuple[int, int]]]:
        """The step as appends, and of each log the next number and position after it."""
        appends: list[Append] = []
        reached: dict[str, tuple[int, int]] = {}
        for sequence, event in step:
            held = self._held.get(sequence.job_id)
            if held is None or held.sequence is not sequence:
                continue
            number, position = reached.get(sequence.job_id, (held.next_number, held.position))
            owner, attempt = sequence.job.owner, sequence.attempt
            appends.append(Append(sequence.job_id, owner, attempt, number, event, position))
            if isinstance(event, Delta):
                position += event.positions
            if not isinstance(event, Progress):
                reached[sequence.job_id] = (number + 1, position)
        return appends, reached

    def _retried(self, write: Callable[[], list[int]]) -> list[int] | None:
        """Write until it is written; None if the worker ends first. The script makes a repeated
        write harmless."""
        wait, longest = RETRY_S
        while not self._closing:
            try:
                return write()
            except RedisError as error:
                log.warning(
                    "the token log can't be written (%s); trying again", redis_refusals.kind(error)
                )
                with self._changed:
                    self._changed.wait(wait)
                wait = min(longest, wait * 2)
        return None

    def _look_up_cancels(self) -> None:
        """Ask for the cancel keys of all held jobs in one round trip."""
        with self._changed:
            jobs = [held for held in self._held.values() if not held.cancelled]
        if not jobs:
            return
        try:
            values = self._redis.mget([keys.cancel(held.sequence.job_id) for held in jobs])
        except RedisError:
            return  # The write that comes next waits for Redis and says so.
        for held, value in zip(jobs, values, strict=True):
            if value is not None:
                held.cancelled = True
                self._on_cancel(held.sequence.job_id)


def linger_s(chats: int) -> float:
    """The pause between two writes of more text, seconds, while so many chats run."""
    shortest, longest = LINGER_S
    return max(shortest, min(longest, LINGER_A_CHAT_S * chats))


def merged(step: list[tuple[Sequence, Event]]) -> list[tuple[Sequence, Event]]:
    """The same events with each chat's consecutive deltas made one; the order within a chat
    stays as it was."""
    result: list[tuple[Sequence, Event]] = []
    last: dict[str, int] = {}
    for sequence, event in step:
        place = last.get(sequence.job_id)
        if place is not None and isinstance(event, Delta):
            holder, before = result[place]
            if holder is sequence and isinstance(before, Delta):
                result[place] = sequence, _joined(before, event)
                continue
        last[sequence.job_id] = len(result)
        result.append((sequence, event))
    return result


def _joined(first: Delta, second: Delta) -> Delta:
    return Delta(
        first.text + second.text,
        first.token_ids + second.token_ids,
        first.reasoning + second.reasoning,
        first.tool_calls + second.tool_calls,
        first.cuts + second.cuts,
    )
