"""The durable token log: every event of a job, in order, once, written by one worker at a time.

A job's log is a Redis stream whose entry ids are ``<sequence number>-<attempt>``; sequence numbers
start at 1 and have no gaps. Taking a job up gives it a higher attempt number, and an append under
an older attempt is refused, so a worker that was frozen and comes back writes nothing. The number
is Redis' time in microseconds: counted up from what Redis holds, a number would be given a second
time after Redis has lost the first, and the writer of the first could go on. One server-side
script per engine step appends to all logs concerned and publishes what was accepted as one message:
what a reader missed on the channel it finds in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.client import Pipeline

from wire import keys
from wire.log_entries import UNKNOWN, Entry, decode_rows, encode
from wire.messages import Event, Failed, Finished, Progress, Warning
from wire.queueing.may_start import TELL
from wire.receipts.kept_requests import KEEP_REQUEST
from wire.receipts.record_fields import NOTE_WORKER
from wire.usage import COUNT_USAGE, encode_usage
from wire.webhooks.outbox import NOTE_END

# Once a log has ended its attempt key reads "ended:<attempt>", so that nothing more is written, and
# a terminal append that is tried again after a broken connection still learns that it was written.
_FIXED_ARGUMENTS = (
    keys.EVENTS_CHANNEL,
    keys.LOG_LIFETIME_S,
    keys.RECORD_LIFETIME_S,
    keys.RECENT_LENGTH,
    keys.usage(""),
)
WRITTEN, ALREADY_THERE, REFUSED, FORGOTTEN = 1, 2, 0, -1

# KEYS: log, attempt, job. ARGV: lifetime of the attempt key, the worker that takes the job up.
_BEGIN = (
    NOTE_WORKER
    + """
local log, attempt, job = KEYS[1], KEYS[2], KEYS[3]
if redis.call('EXISTS', job) == 0 then return {-1} end
local number = redis.call('GET', attempt)
if number and string.sub(number, 1, 6) == 'ended:' then return {-2} end
local time = redis.call('TIME')
-- A double holds whole microseconds until the year 2255.
number = math.max((tonumber(number) or 0) + 1, time[1] * 1000000 + time[2])
redis.call('SET', attempt, string.format('%.0f', number), 'EX', ARGV[1])
redis.call('HSET', job, 'state', 'running')
redis.call('HINCRBY', job, 'attempts', 1)
note_worker(job, ARGV[2])
return {number, redis.call('XRANGE', log, '-', '+')}
"""
)
# A log's length is its last sequence number: nothing is ever cut from it, and numbers have no gaps.
# Lifetimes are renewed now and then, not with every token. The end of a job is counted, noted among
# the recent ones and in the outbox of webhooks, and its request kept, with its writing: once,
# whichever process writes it. KEYS: recent, ended, then log, attempt, job and live for each entry.
# ARGV: channel, log lifetime, attempt lifetime, how many recent ends to keep, how keys of usage
# begin, then attempt, sequence number, entry and how it ends the log (empty: it doesn't; else the
# name, prompt, completion and cached tokens) for each. Answers one number an entry: 1 written, 2
# was there already, 0 refused, -1 when Redis has forgotten what this attempt wrote or even that it
# began.
_APPEND = (
    COUNT_USAGE
    + NOTE_END
    + KEEP_REQUEST
    + TELL
    + """
local answer, published = {}, {}
for i = 1, (#KEYS - 2) / 4 do
  local log, attempt, job, live = KEYS[4*i-1], KEYS[4*i], KEYS[4*i+1], KEYS[4*i+2]
  local mine, number, entry, ends = ARGV[4*i+2], tonumber(ARGV[4*i+3]), ARGV[4*i+4], ARGV[4*i+5]
  local holder = redis.call('GET', attempt)
  answer[i] = 0
  if holder == mine or holder == 'ended:' .. mine then
    local length = redis.call('XLEN', log)
    if number <= length then
      answer[i] = 2
    elseif number == length + 1 and holder == mine then
      redis.call('XADD', log, number .. '-' .. mine, 'e', entry)
      if ends ~= '' then
        local id = string.match(job, '[^:]+$')
        redis.call('SET', attempt, 'ended:' .. mine)
        redis.call('HSET', job, 'state', 'ended')
        redis.call('ZREM', live, id)
        local about = redis.call('HMGET', job, 'kind', 'queue', 'model_id', 'owner')
        if about[1] and about[1] ~= 'model' then
          local name, prompt, completion, cached = string.match(ends, '^(%S+) (%d+) (%d+) (%d+)$')
          redis.call('HINCRBY', KEYS[2], name, 1)
          note_end(job, name)
          keep_request(job, id)
          tell_may_start()
          if about[4] and about[4] ~= '' then
            local total = ARGV[5] .. about[4]
            local day = math.floor(redis.call('TIME')[1] / 86400)
            local spent = {1, prompt, completion, cached}
            count_usage(about[4], total, total .. ':' .. day, about[3] or '', spent)
          end
          redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], '*',
            'job', id, 'queue', about[2] or '', 'model', about[3] or '', 'e', entry)
        end
      end
      if ends ~= '' or number % 32 == 1 then
        redis.call('EXPIRE', log, ARGV[2])
        redis.call('EXPIRE', attempt, ARGV[3])
      end
      published[#published + 1] = entry
      answer[i] = 1
    elseif holder == mine then
      answer[i] = -1
    end
  elseif redis.call('EXISTS', job) == 1
      and (not holder or (tonumber(holder) or tonumber(mine)) < tonumber(mine)) then
    answer[i] = -1
  end
end
if #published > 0 then redis.call('PUBLISH', ARGV[1], table.concat(published, '\\n')) end
return answer
"""
)


class JobGone(Exception):
    """The job is not known to Redis (any more): there is no log to write and no reader to tell."""


class JobEnded(Exception):
    """The job's log has its terminal event already."""


class Append(NamedTuple):
    """One event to write under a lease.

    The writer counts sequence numbers: the last one in the log plus one.

    ``start`` is the position behind the entry before; only of a delta it is written down.
    """

    job_id: str
    owner: str
    attempt: int
    sequence: int
    event: Event
    start: int = UNKNOWN


def how_it_ends(event: Event) -> str:
    """The name under which an end is counted, and its tokens.

    A finish reason, or ``error:`` and the code; then the usage.

    Empty when nothing ends.
    """
    if isinstance(event, Failed):
        return f"error:{event.code} {encode_usage(event.usage)}"
    return (
        f"{event.finish_reason} {encode_usage(event.usage)}" if isinstance(event, Finished) else ""
    )


def _begin_arguments(job_id: str, worker: str) -> tuple[list[str], list[str | int]]:
    names = [keys.log(job_id), keys.attempt(job_id), keys.job(job_id)]
    return names, [keys.RECORD_LIFETIME_S, worker]


class TokenLog:
    """The writer's side: one object a process, safe to call from several threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin = redis.register_script(_BEGIN)
        self._append = redis.register_script(_APPEND)

    def begin(self, job_id: str) -> tuple[int, list[Entry]]:
        """Take the lease on a job's log.

        Returns the attempt number, which no other attempt at the job has ever had, and what earlier
        attempts wrote. Raises JobGone
        for a job that Redis doesn't know, JobEnded for one that has its terminal event.
        """
        return self.lease(job_id, self._begin(*_begin_arguments(job_id, "")))

    def ask(self, pipeline: Pipeline, job_id: str, worker: str = "") -> None:
        """Add ``begin`` to a pipeline as one command, for a ``worker`` that is to run the job;
        ``lease`` reads its answer."""
        names, args = _begin_arguments(job_id, worker)
        # The text, not its hash: in a transaction there is no way to answer that Redis doesn't know
        # the script any more.
        pipeline.eval(_BEGIN, len(names), *names, *args)

    def lease(self, job_id: str, answer: Any) -> tuple[int, list[Entry]]:
        """What ``begin`` returns and raises."""
        number = int(answer[0])
        if number == -1:
            raise JobGone(job_id)
        if number == -2:
            raise JobEnded(job_id)
        return number, decode_rows(
            (row_id, dict(zip(f[::2], f[1::2], strict=True))) for row_id, f in answer[1]
        )

    def lacks_end(self, job_id: str) -> bool:
        """Whether a known job has no terminal event, also when a killed Redis has lost it."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(keys.job(job_id))
            pipe.get(keys.attempt(job_id))
            known, attempt = pipe.execute()
        return bool(known) and not (attempt or b"").startswith(b"ended:")

    def append(self, step: Sequence[Append]) -> list[int]:
        """Write one engine step, all jobs of it, in one round trip, and publish it.

        Returns one number for each logged event: WRITTEN, REFUSED (another worker holds the lease,
        or the log has ended), ALREADY_THERE for an entry that an earlier, interrupted call had
        written, or FORGOTTEN when Redis was killed and has lost the last moments: who takes the job
        up anew says again what is missing.
        """
        logged = [item for item in step if not isinstance(item.event, Progress)]
        names, args = [keys.RECENT, keys.ENDED], list[str | int](_FIXED_ARGUMENTS)
        for item in logged:
            names += (
                keys.log(item.job_id),
                keys.attempt(item.job_id),
                keys.job(item.job_id),
                keys.live(item.owner),
            )
            entry = encode(item.job_id, item.sequence, item.event, item.start)
            args += (item.attempt, item.sequence, entry, how_it_ends(item.event))
        before, behind = _passing(step)
        self._publish(before)
        written = cast(list[int], self._append(keys=names, args=args)) if logged else []
        self._publish(behind)
        return written

    def _publish(self, entries: Sequence[str]) -> None:
        if entries:
            self._redis.publish(keys.EVENTS_CHANNEL, "\n".join(entries))


def _passing(step: Sequence[Append]) -> tuple[list[str], list[str]]:
    """The progress in a step, as published before what is logged, and behind it.

    It stays behind a warning of its job: whoever sees that the prompt is being read must have been
    told what was left out of it.
    """
    before: list[str] = []
    behind: list[str] = []
    warned = set()
    for item in step:
        if isinstance(item.event, Warning):
            warned.add(item.job_id)
        elif isinstance(item.event, Progress):
            entries = behind if item.job_id in warned else before
            entries.append(encode(item.job_id, 0, item.event))
    return before, behind
