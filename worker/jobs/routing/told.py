"""What a worker tells the others: the prompts it holds, its models, and how many slots are taken.

Each key expires with the worker. Knows Redis, and decides nothing.
"""

from __future__ import annotations

from redis import Redis
from redis.client import Pipeline

from wire.routing import told
from wire.routing.told import LIFETIME_S, Room
from worker.jobs.routing.prefixes import Changes, Prefixes

_AT_ONCE = 4096
"""Hashes in one command."""


class Told:
    """Tells Redis what has changed, or everything where Redis has nothing."""

    def __init__(self, redis: Redis, name: str, prefixes: Prefixes) -> None:
        self._redis = redis
        self._name = name
        self._prefixes = prefixes
        self._anew = True

    def tell(self, room: Room) -> None:
        """Renew everything, in one transaction."""
        self._prefixes.update()
        changes = self._prefixes.changes()
        anew, self._anew = self._anew, True  # Until Redis has answered.
        if anew:
            changes = Changes(self._prefixes.all(), [])
        name = told.prefixes(self._name)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(told.room(self._name), room.model_dump_json(), ex=LIFETIME_S)
            if anew:
                pipeline.delete(name)
            _write(pipeline, name, changes)
            pipeline.expire(name, LIFETIME_S)
            there = pipeline.execute()[-1]
        self._anew = not there and bool(self._prefixes.all())

    def forget(self) -> None:
        """There is nobody to tell: what Redis knows expires."""
        self._anew = True

    def withdraw(self) -> None:
        """Take no more offers, and hold nothing any more."""
        self._redis.delete(*(key(self._name) for key in (told.room, told.prefixes)))


def _write(pipeline: Pipeline, name: str, changes: Changes) -> None:
    for hashes, command in ((changes.gone, pipeline.srem), (changes.come, pipeline.sadd)):
        for start in range(0, len(hashes), _AT_ONCE):
            command(name, *hashes[start : start + _AT_ONCE])
