"""Which suspect is on board: written down before anything is done with it, for whoever finds this
worker dead."""

from __future__ import annotations

import logging

from redis import Redis
from redis.exceptions import RedisError

from wire import keys
from worker.engine.batch_sequence import BatchSequence
from worker.sequence import Sequence

log = logging.getLogger(__name__)

ISOLATED = "alone"
"""Field of a job's record while it is the one suspect that its worker has on board."""
READING = 0
"""The mark of a suspect that is only being read: no line and no attempt has this number."""


# KEYS: job. ARGV: field, mark. In one go: the engine's thread may write the next mark at this
# moment.
_STRIKE_OUT = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""


class CrashMarks:
    """Writes and strikes out. Redis away, the suspect goes on without: all on board would share the
    blame."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._strike_out = redis.register_script(_STRIKE_OUT)
        self._last: tuple[str, int] | None = None

    def note(self, sequence: Sequence) -> None:
        """This one is the suspect on board: a crash from here on is its own. For the engine's
        thread."""
        last, self._last = self._last, _mark_of(sequence)
        if last is not None and last[0] != self._last[0]:
            # It has ended, but a crash may come before that is written down, and would not be its
            # own any more.
            self.strike_out(*last)
        self.write(*self._last)

    def clear(self, sequence: BatchSequence) -> None:
        """This one waits again: a crash is not its own."""
        self.strike_out(*_mark_of(sequence))

    def write(self, job_id: str, mark: int) -> None:
        try:
            self._redis.hset(keys.job(job_id), ISOLATED, mark)
        except RedisError:
            log.warning("a suspect could not be written down")

    def strike_out(self, job_id: str, mark: int) -> None:
        """Unless another worker has taken the job over meanwhile, and written a mark of its own."""
        try:
            self._strike_out(keys=[keys.job(job_id)], args=[ISOLATED, mark])
        except RedisError:
            log.warning("a suspect could not be struck out")


def _mark_of(sequence: Sequence) -> tuple[str, int]:
    if isinstance(sequence, BatchSequence):
        return sequence.part.job_id, sequence.line.number
    return sequence.job_id, sequence.attempt
