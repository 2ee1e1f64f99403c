"""Marks the suspect inside a worker, so that a crash counts against it alone."""

from __future__ import annotations

import logging

from redis import Redis
from redis.exceptions import RedisError

from wire import keys
from worker.engine.batch_sequence import BatchSequence
from worker.sequence import Sequence

log = logging.getLogger(__name__)

# KEYS: job. ARGV: field, mark. A script, because the engine's thread may set the next mark at this
# moment.
_REMOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""


class CrashMarks:
    """Sets and removes marks.

    Without Redis the suspect goes on unmarked: after a crash every job inside counts as a culprit.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remove = redis.register_script(_REMOVE)
        self._last: tuple[str, int] | None = None

    def enter(self, sequence: Sequence) -> None:
        """Mark the suspect that is let in: a crash from here on is its own.

        For the engine's thread.
        """
        last, self._last = self._last, _mark_of(sequence)
        if last is not None and last[0] != self._last[0]:
            # The last one has ended; a crash before that is recorded would no longer be its own.
            self.remove(*last)
        self.set(*self._last)

    def leave(self, sequence: BatchSequence) -> None:
        """Remove the mark of a suspect that waits again: a crash is not its own."""
        self.remove(*_mark_of(sequence))

    def set(self, job_id: str, mark: int) -> None:
        try:
            self._redis.hset(keys.job(job_id), keys.ISOLATED, mark)
        except RedisError:
            log.warning("the mark of a suspect could not be set")

    def remove(self, job_id: str, mark: int) -> None:
        """Remove a mark, unless another worker has taken the job over and set its own."""
        try:
            self._remove(keys=[keys.job(job_id)], args=[keys.ISOLATED, mark])
        except RedisError:
            log.warning("the mark of a suspect could not be removed")


def _mark_of(sequence: Sequence) -> tuple[str, int]:
    if isinstance(sequence, BatchSequence):
        return sequence.part.job_id, sequence.line.number
    return sequence.job_id, sequence.attempt
