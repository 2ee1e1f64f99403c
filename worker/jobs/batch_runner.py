"""Slices of batches on board of this worker: taken up, run line by line, their results written,
given back.

Between RQ's worker and the engine, like ``runner`` for chats. Its thread makes the texts and writes
the results, several lines in one call; Redis away, it tries again until they are written.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from wire.batches import BatchLog, BatchSlice, LineResult, Taken
from worker.engine.batch_sequence import BatchSequence
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.jobs.crashes.poison_jobs import condemned
from worker.jobs.rq_worker.bookkeeping import Outcome
from worker.redis_retry import retry_until_answered

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often the states of the batches on board are looked up: a cancel is seen within this."""
BACKOFF = ExponentialBackoff(base=0.05, cap=1.0)
"""Waits before a failed write is tried again, seconds."""
GATHER_S = 0.05
"""Lines that end within this time are written together."""
LAST_WORDS_S = 10.0
"""How long the last results are tried to be written when the worker ends."""
ENDED, REFUSED = 1, -1
_GOING_ON = ("queued", "running")


@dataclass(slots=True)
class _Board:
    """A slice on board: its lease, and the lines that have no result yet."""

    taken: Taken
    left: set[int]


class BatchRunner:
    """The slices on board. ``ended`` tells RQ's worker of a slice's end; ``now_ms`` is Redis
    time in milliseconds."""

    def __init__(
        self,
        redis: Redis,
        engine: Engine,
        ended: Callable[[str, Outcome], None],
        now_ms: Callable[[], float],
        slots: int,
    ) -> None:
        self._log = BatchLog(redis)
        self._engine = engine
        self._tell = ended
        self._now_ms = now_ms
        self._slots = slots
        self._boards: dict[str, _Board] = {}
        self._changed = threading.Condition()
        self._done: queue.SimpleQueue[BatchSequence | None] = queue.SimpleQueue()
        self._looked = 0.0
        self._thread = threading.Thread(target=self._run_or_end, name="slices", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # --- the way in -------------------------------------------------------------------------------

    def wait_for_room(self, seconds: float) -> bool:
        """Wait for that long at most until another slice is of use; whether it is."""
        with self._changed:
            return self._changed.wait_for(self._has_room, seconds)

    def _has_room(self) -> bool:
        on_board = sum(len(board.left) for board in self._boards.values())
        free = self._slots - len(self._engine.snapshot())
        # So many that rows that end together find the next lines here; one slice at a time while
        # chats take everything.
        return on_board < 2 * free if free > 0 else on_board == 0

    def take(
        self, work: BatchSlice, attempt: int, *, suspect: bool, read: Callable[[], None]
    ) -> None:
        """Run what is left of a slice whose lease is ours; ``read`` is called once a suspect's
        prompts have been read.

        Raises WorkerError if its batch is gone.
        """
        taken = self._log.take(work, attempt, self._now_ms())
        if taken is None:
            raise WorkerError("job_lost", "The batch is gone from Redis.")
        if suspect:
            read()
        if self._is_over(taken):
            self._tell(work.job_id, Outcome.FINISHED)
            return
        sequences = [BatchSequence(line, work, attempt) for line in taken.lines]
        for sequence in sequences:
            sequence.suspect = suspect
        # While this process was frozen another took the slice up, and lost it again: ours of then
        # is in the way.
        self._engine.drop_prompts(work.job_id)
        with self._changed:
            self._boards[work.job_id] = _Board(taken, {line.number for line in taken.lines})
        self._engine.submit_prompts(sequences)

    def _is_over(self, taken: Taken) -> bool:
        """Whether nothing of a slice has to be run. Lines that can't be run get their results
        here."""
        if taken.state in _GOING_ON and (ended := [*taken.lost, *condemned(taken)]):
            log.warning("slice %s: %d prompts can't be run", taken.slice.job_id, len(ended))
            if self._log.write(taken, ended, self._now_ms()) == ENDED:
                return True
        if taken.state in _GOING_ON and taken.lines and not condemned(taken):
            return False
        self._log.write(taken, (), self._now_ms(), cut=True)
        return True

    # --- the way out ------------------------------------------------------------------------------

    def line_ended(self, sequence: BatchSequence) -> None:
        """Called by the engine, on its thread."""
        self._done.put(sequence)

    def hand_back(self) -> None:
        """Let go of all slices: their finished lines are kept, the others begin anew where they
        are taken up."""
        self._done.put(None)
        self._thread.join(LAST_WORDS_S)
        with self._changed:
            jobs = list(self._boards)
        for job_id in jobs:
            self._let_go(job_id, Outcome.HANDED_BACK)

    def _let_go(self, job_id: str, outcome: Outcome) -> None:
        self._engine.drop_prompts(job_id)
        with self._changed:
            self._boards.pop(job_id, None)
            self._changed.notify_all()
        self._tell(job_id, outcome)

    # --- the thread -------------------------------------------------------------------------------

    def _run_or_end(self) -> None:
        try:
            self._run()
        except Exception:
            # Without this thread every batch would wait for ever; another process goes on with
            # them.
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
        """The lines that end within a moment, by slice; whether they are the last."""
        ended: dict[str, list[BatchSequence]] = {}
        until = time.monotonic() + LOOK_S
        while (wait_s := until - time.monotonic()) > 0:
            try:
                sequence = self._done.get(timeout=wait_s)
            except queue.Empty:
                break
            if sequence is None:
                return ended, True
            if not ended:
                until = min(until, time.monotonic() + GATHER_S)
            ended.setdefault(sequence.part.job_id, []).append(sequence)
        return ended, False

    def _write(self, job_id: str, sequences: list[BatchSequence]) -> None:
        board = self._boards.get(job_id)
        if board is None:
            return
        results = [s.result() for s in sequences if s.attempt == board.taken.attempt]
        answer = self._retried(board, results)
        with self._changed:
            board.left -= {result.number for result in results}
            self._changed.notify_all()
        if answer == ENDED:
            self._let_go(job_id, Outcome.FINISHED)
        elif answer == REFUSED:
            log.warning("slice %s has been taken over by another worker", job_id)
            self._let_go(job_id, Outcome.LOST)
        elif not board.left:
            # Redis has lost results that it had: who takes the slice up anew sees which.
            self._let_go(job_id, Outcome.HANDED_BACK)

    def _retried(self, board: _Board, results: list[LineResult], *, cut: bool = False) -> int:
        """Write until it is written: the script makes a repeated write harmless."""
        return retry_until_answered(
            lambda: self._log.write(board.taken, results, self._now_ms(), cut=cut),
            BACKOFF,
            lambda error: log.warning(
                "results can't be written (%s); trying again", type(error).__name__
            ),
        )

    def _look_up_states(self) -> None:
        """End the slices of batches that were cancelled or are gone."""
        boards = dict(self._boards)
        batches = sorted({board.taken.slice.batch_id for board in boards.values()})
        if not batches:
            return
        try:
            states = dict(zip(batches, self._log.states(batches), strict=True))
        except RedisError:
            return  # Whoever writes next waits for Redis and says so.
        for job_id, board in boards.items():
            if states[board.taken.slice.batch_id] not in _GOING_ON:
                self._retried(board, [], cut=True)
                self._let_go(job_id, Outcome.FINISHED)
