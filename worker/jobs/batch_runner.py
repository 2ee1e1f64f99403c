"""Runs slices of batches line by line: takes their leases, writes their results, hands them back.

Between RQ's worker and the engine, like chat_runner for chats. Its thread decodes the texts and
writes the results, several lines in one call; while Redis is away, it tries again.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from wire.batches import BatchLog, BatchSlice, LineResult, Taken
from worker.engine.batch_sequence import BatchSequence
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.jobs.crashes.poison_jobs import condemned
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome
from worker.jobs.rq_worker.ports import JobEnds
from worker.redis_retry import retry_until_answered

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often the states of the batches inside are looked up: a cancel is seen within this."""
OWNERS_LOOK_S = 0.05
"""How often the queue is looked at for slices of owners without one inside."""
MOST_OWNERS = 32
"""With slices of so many inside, those of others wait for room: a slice takes memory."""
BACKOFF = ExponentialBackoff(base=0.05, cap=1.0)
"""Waits before a failed write is tried again, seconds."""
GATHER_S = 0.05
"""Lines that end within this time are written together."""
CLOSING_S = 10.0
"""On shutdown, how long to keep trying to write the last results."""
ENDED, REFUSED = 1, -1
_GOING_ON = ("queued", "running")


@dataclass(slots=True)
class _RunningSlice:
    """A slice inside: its lease, and the lines that have no result yet."""

    taken: Taken
    remaining: set[int]


class BatchRunner:
    """The slices inside this worker.

    The engine puts ended lines into ``line_ends``; ``now_ms`` is Redis time in milliseconds.
    """

    def __init__(
        self,
        redis: Redis,
        engine: Engine,
        line_ends: queue.SimpleQueue[BatchSequence | None],
        worker: JobEnds,
        now_ms: Callable[[], float],
        slots: int,
    ) -> None:
        self._log = BatchLog(redis)
        self._engine = engine
        self._worker = worker
        self._now_ms = now_ms
        self._slots = slots
        self._slices: dict[str, _RunningSlice] = {}
        self._changed = threading.Condition()
        self._line_ends = line_ends
        self._looked = 0.0
        self._thread = threading.Thread(target=self._run_or_end, name="slices", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # --- taking slices ----------------------------------------------------------------------------

    def wait_for_room(self) -> AbstractSet[str] | None:
        """Wait a moment until another slice is needed, and return no owner then. Else return those
        who have slices inside: another's is taken at once, and has the next free row. None if there
        are too many of them.
        """
        with self._changed:
            if self._changed.wait_for(self._has_room, OWNERS_LOOK_S):
                return frozenset()
            owners = {running.taken.slice.owner for running in self._slices.values()}
            return owners if len(owners) < MOST_OWNERS else None

    def _has_room(self) -> bool:
        inside = sum(len(running.remaining) for running in self._slices.values())
        free = self._slots - len(self._engine.snapshot())
        # Enough lines for rows that end together; one slice at a time while chats use all rows.
        return inside < 2 * free if free > 0 else inside == 0

    def take(
        self, work: BatchSlice, attempt: int, *, suspect: bool, read: Callable[[], None]
    ) -> None:
        """Run the remaining lines of a slice; ``read`` is called once a suspect has been read.

        Raises WorkerError if its batch is gone.
        """
        taken = self._log.take(work, attempt, self._now_ms())
        if taken is None:
            raise WorkerError("job_lost", "The batch is gone from Redis.")
        if suspect:
            read()
        if self._is_over(taken):
            self._worker.ended(work.job_id, Ending(Outcome.FINISHED, attempt=attempt))
            return
        sequences = [BatchSequence(line, work, attempt) for line in taken.lines]
        for sequence in sequences:
            sequence.suspect = suspect
        with self._changed:
            # While this process was frozen another worker may have taken the slice up and lost it:
            # then this worker's earlier attempt is still inside.
            self._engine.drop_prompts(work.job_id)
            self._slices[work.job_id] = _RunningSlice(taken, {line.number for line in taken.lines})
        self._engine.submit_prompts(sequences)

    def _is_over(self, taken: Taken) -> bool:
        """Whether no line of a slice has to be run.

        Lines that can't be run get their results here.
        """
        if taken.state in _GOING_ON and (ended := [*taken.lost, *condemned(taken)]):
            log.warning("slice %s: %d prompts can't be run", taken.slice.job_id, len(ended))
            if self._log.write(taken, ended, self._now_ms()) == ENDED:
                return True
        if taken.state in _GOING_ON and taken.lines and not condemned(taken):
            return False
        self._log.write(taken, (), self._now_ms(), cut=True)
        return True

    # --- handing slices back ----------------------------------------------------------------------

    def hand_back(self) -> None:
        """Let go of all slices: their finished lines are kept, another worker runs the others."""
        self._line_ends.put(None)
        self._thread.join(CLOSING_S)
        with self._changed:
            slices = list(self._slices.values())
        for running in slices:
            self._let_go(running, Outcome.HANDED_BACK)

    def _let_go(self, running: _RunningSlice, outcome: Outcome) -> None:
        job_id = running.taken.slice.job_id
        with self._changed:
            if self._slices.get(job_id) is not running:
                return  # The slice has come back to this worker meanwhile, under a new attempt.
            self._engine.drop_prompts(job_id)
            del self._slices[job_id]
            self._changed.notify_all()
        self._worker.ended(job_id, Ending(outcome, attempt=running.taken.attempt))

    # --- the thread -------------------------------------------------------------------------------

    def _run_or_end(self) -> None:
        try:
            self._run()
        except Exception:
            # Without this thread no batch would ever end; another process goes on with them.
            log.critical(
                "the results' writer failed: this process ends, another goes on", exc_info=True
            )
            os._exit(70)

    def _run(self) -> None:
        while True:
            ended, closing = self._gathered()
            for job_id, sequences in ended.items():
                self._write(job_id, sequences)
            if closing:
                return
            if time.monotonic() - self._looked >= LOOK_S:
                self._looked = time.monotonic()
                self._look_up_states()

    def _gathered(self) -> tuple[dict[str, list[BatchSequence]], bool]:
        """The lines that end within a short time, by slice; whether they are the last."""
        ended: dict[str, list[BatchSequence]] = {}
        until = time.monotonic() + LOOK_S
        while (wait_s := until - time.monotonic()) > 0:
            try:
                sequence = self._line_ends.get(timeout=wait_s)
            except queue.Empty:
                break
            if sequence is None:
                return ended, True
            if not ended:
                until = min(until, time.monotonic() + GATHER_S)
            ended.setdefault(sequence.part.job_id, []).append(sequence)
        return ended, False

    def _write(self, job_id: str, sequences: list[BatchSequence]) -> None:
        running = self._slices.get(job_id)
        if running is None:
            return
        results = [s.result() for s in sequences if s.attempt == running.taken.attempt]
        answer = self._write_until_answered(running, results)
        with self._changed:
            running.remaining -= {result.number for result in results}
            self._changed.notify_all()
        if answer == ENDED:
            self._let_go(running, Outcome.FINISHED)
        elif answer == REFUSED:
            log.warning("slice %s has been taken over by another", job_id)
            self._let_go(running, Outcome.LOST)
        elif not running.remaining:
            # Redis has lost results that it had: the next run of the slice sees which.
            self._let_go(running, Outcome.HANDED_BACK)

    def _write_until_answered(
        self, running: _RunningSlice, results: list[LineResult], *, cut: bool = False
    ) -> int:
        """Write until it is written: the script makes a repeated write harmless."""
        return retry_until_answered(
            lambda: self._log.write(running.taken, results, self._now_ms(), cut=cut),
            BACKOFF,
            lambda error: log.warning(
                "results can't be written (%s); trying again", type(error).__name__
            ),
        )

    def _look_up_states(self) -> None:
        """End the slices of batches that were cancelled or are gone."""
        slices = dict(self._slices)
        batches = sorted({running.taken.slice.batch_id for running in slices.values()})
        if not batches:
            return
        try:
            states = dict(zip(batches, self._log.states(batches), strict=True))
        except RedisError:
            return  # The next write waits for Redis and logs it.
        for running in slices.values():
            if states[running.taken.slice.batch_id] not in _GOING_ON:
                self._write_until_answered(running, [], cut=True)
                self._let_go(running, Outcome.FINISHED)
