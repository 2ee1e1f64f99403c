"""A chat on its way from the worker that has taken it up to another that has its prompt.

It stays among RQ's popped jobs until it is started: if either worker dies, it is put back in the
queue as any other that was popped.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from redis import Redis
from redis.client import Pipeline

from wire.keys import PREFIX
from wire.queueing.may_start import TELL

WAIT_MS = 100
"""How long an offered chat waits for the worker; then anyone takes it."""
OFFER_LIFETIME_MS = 1000
"""An offer that is older has lost the worker that made it, which would have taken it back. Shorter
than jobs stay popped before they are put back in the queue: a chat never is in two places."""
Reason = Literal["prompt", "model"]
"""Why a chat goes to another worker: that one holds most of its prompt, or has its model loaded."""
_MARK_LIFETIME_S = 60
# KEYS: offers, popped jobs, queue, when the job was first seen popped. ARGV: offer, job id.
# Answers 0 if the worker has taken it.
_TAKE_BACK = (
    TELL
    + """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if redis.call('LREM', KEYS[2], 1, ARGV[2]) == 0 then return 0 end
redis.call('LPUSH', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[4])
tell_may_start()
return 1
"""
)


class Offer(NamedTuple):
    """A chat for another worker; ``at_ms`` is the Redis time at which it was offered."""

    worker: str
    job_id: str
    at_ms: int

    @property
    def member(self) -> str:
        """The offer in the worker's list."""
        return f"{self.at_ms} {self.job_id}"


def offers(worker: str) -> str:
    """List: the chats that are offered to a worker, each as the Redis time in milliseconds at which
    it was and its job."""
    return f"{PREFIX}offers:{worker}"


def mark(job_id: str) -> str:
    """Why a chat has been offered; it isn't offered for the same reason or a lesser one again."""
    return f"{PREFIX}offered:{job_id}"


def put_offer(pipe: Pipeline, offer: Offer, reason: Reason, popped: str) -> None:
    """Add an offer to a transaction; ``popped`` is RQ's list of the queue's popped jobs."""
    pipe.rpush(popped, offer.job_id)
    pipe.rpush(offers(offer.worker), offer.member)
    pipe.pexpire(offers(offer.worker), OFFER_LIFETIME_MS)
    pipe.set(mark(offer.job_id), reason, ex=_MARK_LIFETIME_S)


def take_back(redis: Redis, offer: Offer, popped: str, queue: str, seen: str) -> bool:
    """Put a chat whose offer has not been taken at the front of its queue; whether it had not."""
    names = [offers(offer.worker), popped, queue, seen]
    return bool(redis.eval(_TAKE_BACK, len(names), *names, offer.member, offer.job_id))


def read_offer(worker: str, member: bytes) -> Offer:
    """An offer as it is in the list of a worker."""
    at_ms, _, job_id = member.decode().partition(" ")
    return Offer(worker, job_id, int(at_ms))
