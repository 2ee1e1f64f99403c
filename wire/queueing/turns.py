"""Which waiting job runs next: by class of service, and in a class by turns of its owners.

RQ's list remains the queue: it says which jobs wait. Beside it a sorted set has each job's place,
whose highest digits are its class and the next ones its turn. Turns are start-time fair queueing
(Goyal, Vin, Cheng 1996) with jobs of equal weight: an owner's next job has the turn after its last
one's, but none before the turn that is running. So of two owners one has a job between any two of
the other's, however many either has put in the queue.

A job that waits for long is aged: of every few jobs that start, one is the longest waiting of
these, whatever its class. A job without a place goes first once it is at the list's head: model
commands, jobs that are put back, and those of a release that knows no turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from redis.client import Pipeline

from wire import keys

Tier = Literal["priority", "default", "flex"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""Classes of service, the first to run first. By OpenAI's names of ``service_tier``."""
TIER = "service_tier"
"""Field of a job's record: its class; absent where it is ``default``."""
AGED_S = 60
"""A job that has waited this long is aged."""
AGED_SHARE = 4
"""Of so many jobs that start one is aged, if any is and a higher class would go first."""
PLACES_OF_CLASS = 2**32
"""Places of a class begin at its number times this: it has room for so many turns."""
_SAME_TURN = 2**19
"""Jobs of one turn run in the order they came; with the others, all that a double can count."""
_NUMBERS = ", ".join(f"{tier} = '{number}'" for number, tier in enumerate(TIERS))
JOIN = f"""
local function join(id, owner, tier)
  local classes = {{{_NUMBERS}}}
  local class = classes[tier] or classes.default
  local whose = class .. ':' .. owner
  local running = tonumber(redis.call('HGET', KEYS[2], class)) or 0
  local last = tonumber(redis.call('HGET', KEYS[2], whose)) or -1
  local turn = math.max(running, last + 1)
  local number = redis.call('HINCRBY', KEYS[2], 'jobs', 1) % {_SAME_TURN}
  redis.call('HSET', KEYS[2], whose, turn)
  local place = class * {PLACES_OF_CLASS} + turn + number / {_SAME_TURN}
  redis.call('ZADD', KEYS[1], string.format('%.17g', place), id)
end
"""
"""Lua: gives a job its place. The first keys are :func:`join_keys`."""
_JOIN = JOIN + "join(ARGV[1], ARGV[2], ARGV[3])"


def places(queue: str) -> str:
    """Sorted set: waiting job -> its place. Of one that no longer waits it may still be there."""
    return f"{keys.PREFIX}places:{queue}"


def bounds(tier: Tier) -> tuple[int, str]:
    """The places of a class, from the first to before the last, as Redis takes them."""
    number = TIERS.index(tier)
    return number * PLACES_OF_CLASS, f"({(number + 1) * PLACES_OF_CLASS}"


def turns_taken(queue: str) -> str:
    """Hash: class -> the turn that is running, class:owner -> the owner's last turn. Dropped with
    the places once the queue is empty."""
    return f"{keys.PREFIX}turns:{queue}"


def turns_started(queue: str) -> str:
    """Integer: how many jobs have been taken by turns."""
    return f"{keys.PREFIX}turns-started:{queue}"


def join(pipe: Pipeline, queue: str, job_id: str, owner: str, tier: Tier) -> None:
    """Give a job its place, in the transaction that puts it in the queue."""
    pipe.eval(_JOIN, 2, *join_keys(queue), job_id, owner, tier)


def join_keys(queue: str) -> list[str]:
    """What :data:`JOIN` works on."""
    return [places(queue), turns_taken(queue)]


def leave(pipe: Pipeline, queue: str, job_id: str) -> None:
    """Drop the place of a job that runs: put back, it goes first."""
    pipe.zrem(places(queue), job_id)


def in_order(waiting: Sequence[bytes], with_place: Sequence[bytes]) -> list[bytes]:
    """The jobs of a queue's list in the order in which they run, if none comes and none is aged.

    ``with_place`` are those that have places, the first to run first.
    """
    there, known = set(waiting), set(with_place)
    placed = [job for job in with_place if job in there]
    return [*(job for job in waiting if job not in known), *placed]
