"""Which job a crash is counted for, and when a job is given up."""

from __future__ import annotations

from redis import Redis
from rq import Queue

from tests.unit.worker.jobs.crashes.started_jobs import (
    THERE,
    crashes,
    recovering,
    started,
    submitted,
    waiting,
)
from wire import keys
from wire.log_entries import decode_rows
from wire.messages import Failed
from worker.jobs.crashes.poison_jobs import (
    FURTHER,
    MOST_CRASHES,
    MOST_UNSEEN,
    READING,
    SUSPECT,
    is_suspect,
)


def test_a_job_without_progress_is_given_up_at_the_third_crash(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    for number in range(1, MOST_CRASHES + 1):
        started(redis, queue, job)
        if number == MOST_CRASHES:
            # From the second crash on it is started as a suspect.
            redis.hset(keys.job(job.id), keys.ISOLATED, number)
        assert recovering(redis, queue, THERE).run() == 1
        assert (waiting(redis, queue), crashes(redis, job)) == ([job.id], number)
    last = decode_rows(redis.xrange(keys.log(job.id)))[-1]  # type: ignore[arg-type]
    assert isinstance(last.event, Failed)
    assert last.event.code == "gave_up_after_crashes"


def test_a_job_that_was_never_seen_inside_is_not_given_up_for_what_others_did(
    redis: Redis, queue: Queue
) -> None:
    """A suspect waits in its worker until it is admitted, and its prompt has been read before
    that."""
    job = submitted(redis, queue)
    for number in range(1, MOST_UNSEEN):
        started(redis, queue, job)
        redis.hset(keys.job(job.id), keys.ISOLATED, READING)
        recovering(redis, queue, THERE).run()
        assert crashes(redis, job) == min(number, SUSPECT)
    assert redis.xlen(keys.log(job.id)) == 0
    started(redis, queue, job)
    recovering(redis, queue, THERE).run()
    last = decode_rows(redis.xrange(keys.log(job.id)))[-1]  # type: ignore[arg-type]
    assert isinstance(last.event, Failed)


def test_a_mark_from_inside_counts_before_one_of_a_job_that_was_being_read(
    redis: Redis, queue: Queue
) -> None:
    inside, reading = submitted(redis, queue), submitted(redis, queue)
    for job, mark in ((inside, 5), (reading, READING)):
        started(redis, queue, job)
        redis.hset(keys.job(job.id), mapping={keys.ISOLATED: mark, "crashes": SUSPECT})
    recovering(redis, queue, THERE).run()
    assert (crashes(redis, inside), crashes(redis, reading)) == (MOST_CRASHES, SUSPECT)


def test_who_has_shown_nothing_beside_a_suspect_is_watched_but_not_counted(
    redis: Redis, queue: Queue
) -> None:
    suspect, silent, speaking = (submitted(redis, queue) for _ in range(3))
    for job, events in ((suspect, 0), (silent, 0), (speaking, FURTHER)):
        started(redis, queue, job, events=events)
    redis.hset(keys.job(suspect.id), mapping={keys.ISOLATED: 1, "crashes": 1})
    recovering(redis, queue, THERE).run()
    assert [crashes(redis, job) for job in (suspect, silent, speaking)] == [SUSPECT, 0, 0]
    marks = [redis.hmget(keys.job(job.id), "crashes", "beside") for job in (silent, speaking)]
    assert [is_suspect(*fields) for fields in marks] == [True, False]  # type: ignore[misc]


def test_a_job_that_gets_further_is_never_given_up(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    for _ in range(2 * MOST_CRASHES):
        started(redis, queue, job, events=FURTHER)
        recovering(redis, queue, THERE).run()
        assert crashes(redis, job) == 1


def test_a_crash_is_counted_for_the_suspect_alone_if_one_was_running(
    redis: Redis, queue: Queue
) -> None:
    suspect, *others = (submitted(redis, queue) for _ in range(3))
    for job in (suspect, *others):
        started(redis, queue, job)
    redis.hset(keys.job(suspect.id), mapping={keys.ISOLATED: 1, "crashes": MOST_CRASHES - 1})
    assert recovering(redis, queue, THERE).run() == 3
    assert [crashes(redis, job) for job in (suspect, *others)] == [MOST_CRASHES, 0, 0]
    assert not redis.hexists(keys.job(suspect.id), keys.ISOLATED)
