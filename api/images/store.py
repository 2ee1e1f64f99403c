"""Images in Redis: each once, within a budget, for as long as a live job needs it and a while
longer. Those of requests that are kept stay with them, unless a live job needs their space.

The jobs that need an image are stored beside it, and their records say whether they live: no
counter depends on a process that may die. Blocking, for threads. Knows nothing of requests or
decoders.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, cast

from redis import Redis

from wire import clock, keys
from wire.receipts.kept_requests import request

OVERHEAD = 4096
"""Bytes added to each image's size in the budget, so that the number of tiny images is limited,
too."""
KEPT_S = 300.0
"""An image stays this long after its last job for the next turn of the conversation, unless its
space is needed."""
CREATION_S = 600
"""At most this time passes between storing a job's first image and queueing the job."""
_AT_ONCE = 200
_EAGER_S = 1.0

# All three scripts: KEYS are image, its jobs, sizes, total, idle; ARGV[1] is the SHA-256. Redis'
# time is the only clock.
_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
# ARGV[2..]: job, lifetime in seconds; then size, budget and data to store it if it isn't there.
# Returns 1 when the image is there and noted for the job; 0 when it isn't there or doesn't fit
# into the budget.
_HOLD = (
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then
  if not ARGV[6] then return 0 end
  local left_over = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or 0)
  local total = tonumber(redis.call('GET', KEYS[4]) or 0) - left_over + tonumber(ARGV[4])
  if total > tonumber(ARGV[5]) then return 0 end
  redis.call('SET', KEYS[1], ARGV[6])
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
  redis.call('SET', KEYS[4], string.format('%.0f', total))
end
redis.call('ZADD', KEYS[2], now, ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""
)
# ARGV[2..]: jobs that no longer need the image.
_RELEASE = (
    _NOW
    + """
for i = 2, #ARGV do redis.call('ZREM', KEYS[2], ARGV[i]) end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 and redis.call('ZCARD', KEYS[2]) == 0 then
  redis.call('ZADD', KEYS[5], 'NX', now, ARGV[1])
end
return 1
"""
)
# Returns the bytes that became free. An image whose data has expired is dropped, whichever jobs
# need it.
_DROP = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('ZCARD', KEYS[2]) > 0 then return 0 end
local size = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or 0)
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
if size > 0 then redis.call('DECRBY', KEYS[4], size) end
return size
"""


class ImagesFull(Exception):
    """Live jobs need so many images that the budget has no space for another."""


class ImageStore:
    """The images of all chats. Several processes may use the same Redis."""

    def __init__(self, redis: Redis, budget: int, kept_s: float = KEPT_S) -> None:
        self._redis = redis
        self._budget = budget
        self._kept_ms = int(kept_s * 1000)
        self._hold, self._release, self._drop = (
            redis.register_script(text) for text in (_HOLD, _RELEASE, _DROP)
        )
        self._evicting = threading.Lock()
        self._swept_at = 0.0

    def hold(self, sha256: str, job_id: str) -> bool:
        """Note that a job needs the image; False when it isn't there."""
        return bool(self._hold(keys=_names(sha256), args=[sha256, job_id, keys.IMAGE_LIFETIME_S]))

    def put(self, sha256: str, data: bytes, job_id: str) -> None:
        """Store the image for a job, or note that the job needs it too. Raises ImagesFull."""
        if self.hold(sha256, job_id):
            return
        size = len(data) + OVERHEAD
        args: list[str | int | bytes] = [
            sha256,
            job_id,
            keys.IMAGE_LIFETIME_S,
            size,
            self._budget,
            data,
        ]
        for _ in range(2):
            if self._hold(keys=_names(sha256), args=args):
                return
            self._evict(size)
        raise ImagesFull

    def forget(self, job_id: str, hashes: Iterable[str]) -> None:
        """Release images of a job that was never queued."""
        for sha256 in hashes:
            self._release(keys=_names(sha256), args=[sha256, job_id])

    def sweep(self, *, for_space: bool = False) -> None:
        """Find the images that no job needs; drop those that none has needed for a while.

        ``for_space``: only live jobs need images, not those whose requests are kept.
        """
        hashes = [sha.decode() for sha in cast(list[bytes], self._redis.hkeys(keys.IMAGES))]
        for start in range(0, len(hashes), _AT_ONCE):
            self._check_jobs(hashes[start : start + _AT_ONCE], for_space=for_space)
        for sha256 in self._idle(clock.now_ms(self._redis) - self._kept_ms):
            self._drop(keys=_names(sha256), args=[sha256])

    def _evict(self, size: int) -> None:
        """Drop unused images, least recently used first, until an image of this size fits."""
        with self._evicting:
            if time.monotonic() > self._swept_at + _EAGER_S:
                self.sweep(for_space=True)
                self._swept_at = time.monotonic()
            for sha256 in self._idle(clock.now_ms(self._redis)):
                total = int(cast(bytes | None, self._redis.get(keys.IMAGES_TOTAL)) or 0)
                if total + size <= self._budget:
                    return
                self._drop(keys=_names(sha256), args=[sha256])

    def _idle(self, until_ms: int) -> list[str]:
        return [
            sha.decode()
            for sha in cast(list[bytes], self._redis.zrangebyscore(keys.IMAGES_IDLE, 0, until_ms))
        ]

    def _check_jobs(self, hashes: list[str], *, for_space: bool) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for sha256 in hashes:
                pipe.exists(keys.image(sha256))
                pipe.zrange(keys.image_jobs(sha256), 0, -1, withscores=True)
            answers = pipe.execute()
        needs = {sha: _by_job(rows) for sha, rows in zip(hashes, answers[1::2], strict=True)}
        asked = {job: since for jobs in needs.values() for job, since in jobs.items()}
        ended = self._ended(asked)
        if not for_space:
            ended -= self._kept(ended)
        with self._redis.pipeline(transaction=False) as pipe:
            for sha256, there in zip(hashes, answers[::2], strict=True):
                gone, needing = needs[sha256].keys() & ended, needs[sha256].keys() - ended
                if not there:
                    self._drop(keys=_names(sha256), args=[sha256])
                elif gone or not needing:
                    self._release(keys=_names(sha256), args=[sha256, *gone])
                if needing:
                    pipe.expire(keys.image(sha256), keys.IMAGE_LIFETIME_S)
                    pipe.expire(keys.image_jobs(sha256), keys.IMAGE_LIFETIME_S)
            pipe.execute()

    def _ended(self, jobs: dict[str, float]) -> set[str]:
        """The jobs that have ended or were never queued.

        ``jobs`` has the time at which each stored or needed an image.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in jobs:
                pipe.hget(keys.job(job_id), "state")
            states = dict(zip(jobs, pipe.execute(), strict=True))
        latest = clock.now_ms(self._redis) - CREATION_S * 1000
        return {
            job_id
            for job_id, since in jobs.items()
            if states[job_id] == b"ended" or (states[job_id] is None and since < latest)
        }

    def _kept(self, ended: set[str]) -> set[str]:
        """The jobs whose requests are kept."""
        jobs = sorted(ended)
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in jobs:
                pipe.exists(request(job_id))
            return {job for job, there in zip(jobs, pipe.execute(), strict=True) if there}


def _by_job(rows: Iterable[tuple[Any, Any]]) -> dict[str, float]:
    return {job.decode(): float(since) for job, since in rows}


def _names(sha256: str) -> list[str]:
    return [
        keys.image(sha256),
        keys.image_jobs(sha256),
        keys.IMAGES,
        keys.IMAGES_TOTAL,
        keys.IMAGES_IDLE,
    ]
