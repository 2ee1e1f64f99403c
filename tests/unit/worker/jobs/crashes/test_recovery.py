"""Whose crash it was, who is dead, and what goes back into the queue: with a real RQ on a Redis
without a server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import FakeRedis
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from wire import keys
from wire.log_entries import decode_rows
from wire.messages import Delta, Failed
from wire.token_log import Append, TokenLog
from worker.jobs.crashes import popped_jobs, worker_liveness
from worker.jobs.crashes.poison_jobs import (
    FURTHER,
    MOST_CRASHES,
    MOST_UNSEEN,
    READING,
    SUSPECT,
    is_suspect,
)
from worker.jobs.crashes.recovery import Recovery
from worker.jobs.rq_worker.chat_worker import ChatWorker

HERE, THERE = "here", "there"


@pytest.fixture
def redis() -> Iterator[Redis]:
    with FakeRedis() as client:
        yield client


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(keys.CHAT_QUEUE, connection=redis, serializer=JSONSerializer)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the recovering process takes for the time, in seconds; the last entry counts."""
    times = [1000.0]
    monkeypatch.setattr(worker_liveness.time, "monotonic", lambda: times[-1])
    return times


def recovering(redis: Redis, queue: Queue, *dead: str) -> Recovery:
    return Recovery(redis, [queue], HERE, lambda name: name in dead)


def submitted(redis: Redis, queue: Queue) -> Job:
    job = queue.enqueue_call("worker.tasks.chat", job_id=uuid.uuid4().hex, timeout=-1)
    redis.hset(keys.job(job.id), mapping={"owner": "everyone", "state": "queued"})
    return job


def started(redis: Redis, queue: Queue, job: Job, worker: str = THERE, events: int = 0) -> None:
    """Have a worker take a job up and say something; its status key is another matter."""
    redis.lrem(queue.key, 1, job.id)
    redis.sadd(keys.WORKERS, worker)
    rq_worker = ChatWorker([queue], name=f"{worker}", connection=redis, serializer=JSONSerializer)
    execution = rq_worker.prepare_execution(job)
    rq_worker.prepare_job_execution(job)
    assert execution.worker_name == worker
    attempt, logged = TokenLog(redis).begin(job.id)
    said = [
        Append(job.id, "everyone", attempt, len(logged) + n + 1, Delta("x", (n,)))
        for n in range(events)
    ]
    TokenLog(redis).append(said)


def waiting(redis: Redis, queue: Queue) -> list[str]:
    return [raw.decode() for raw in redis.lrange(queue.key, 0, -1)]  # type: ignore[union-attr]


def crashes(redis: Redis, job: Job) -> int:
    return int(redis.hget(keys.job(job.id), "crashes") or 0)  # type: ignore[arg-type]


def test_a_job_without_progress_is_given_up_at_the_third_crash(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    for number in range(1, MOST_CRASHES + 1):
        started(redis, queue, job)
        if number == MOST_CRASHES:
            # From the second crash on it comes in as a suspect.
            redis.hset(keys.job(job.id), keys.ISOLATED, number)
        assert recovering(redis, queue, THERE).run() == 1
        assert (waiting(redis, queue), crashes(redis, job)) == ([job.id], number)
    last = decode_rows(redis.xrange(keys.log(job.id)))[-1]  # type: ignore[arg-type]
    assert isinstance(last.event, Failed)
    assert last.event.code == "gave_up_after_crashes"


def test_a_job_that_was_never_seen_inside_is_not_given_up_for_what_others_did(
    redis: Redis, queue: Queue
) -> None:
    """A suspect waits in its worker until it is let in; and reading it is over before that."""
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
    told = [redis.hmget(keys.job(job.id), "crashes", "beside") for job in (silent, speaking)]
    assert [is_suspect(*fields) for fields in told] == [True, False]  # type: ignore[misc]


def test_a_round_that_took_too_long_leaves_another_workers_lock_alone(
    redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = recovering(redis, queue)
    monkeypatch.setattr(
        looking._liveness, "remove_dead", lambda: redis.set(keys.RECOVERY_LOCK, THERE)
    )
    looking.run()
    assert redis.get(keys.RECOVERY_LOCK) == THERE.encode()


def test_a_job_that_gets_further_is_never_given_up(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    for _ in range(2 * MOST_CRASHES):
        started(redis, queue, job, events=FURTHER)
        recovering(redis, queue, THERE).run()
        assert crashes(redis, job) == 1


def test_a_crash_is_the_suspects_alone_if_one_was_on_board(redis: Redis, queue: Queue) -> None:
    suspect, *others = (submitted(redis, queue) for _ in range(3))
    for job in (suspect, *others):
        started(redis, queue, job)
    redis.hset(keys.job(suspect.id), mapping={keys.ISOLATED: 1, "crashes": MOST_CRASHES - 1})
    assert recovering(redis, queue, THERE).run() == 3
    assert [crashes(redis, job) for job in (suspect, *others)] == [MOST_CRASHES, 0, 0]
    assert not redis.hexists(keys.job(suspect.id), keys.ISOLATED)


def test_jobs_go_back_to_the_front_in_their_order(redis: Redis, queue: Queue) -> None:
    jobs = [submitted(redis, queue) for _ in range(4)]
    for job in jobs[2::-1]:
        started(redis, queue, job)
    recovering(redis, queue, THERE).run()
    assert waiting(redis, queue) == [job.id for job in jobs]


def test_a_worker_never_takes_itself_for_dead(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    """After an outage of Redis its own key has run out as well."""
    started(redis, queue, submitted(redis, queue), worker=HERE)
    running = {member.decode() for member in redis.zrange(queue.started_job_registry.key, 0, -1)}  # type: ignore[union-attr]
    looking = recovering(redis, queue)
    for _ in range(5):
        assert looking.run(running) == 0
        clock.append(clock[-1] + 2)


def test_a_job_that_its_living_worker_knows_nothing_of_goes_on_and_nobody_is_blamed(
    redis: Redis, queue: Queue
) -> None:
    """A Redis that was killed has forgotten its end."""
    forgotten, going_on = submitted(redis, queue), submitted(redis, queue)
    for job in (forgotten, going_on):
        started(redis, queue, job, worker=HERE, events=2)
    [here] = [
        member.decode()
        for member in redis.zrange(queue.started_job_registry.key, 0, -1)  # type: ignore[union-attr]
        if member.startswith(going_on.id.encode())
    ]
    looking = recovering(redis, queue)
    assert looking.run({here}) == 0
    assert looking.run({here}) == 1
    assert waiting(redis, queue) == [forgotten.id]
    assert crashes(redis, forgotten) == 0
    assert looking.run({here}) == 0


def test_an_execution_that_a_worker_does_not_know_for_a_moment_is_left_alone(
    redis: Redis, queue: Queue
) -> None:
    job = submitted(redis, queue)
    started(redis, queue, job, worker=HERE)
    [member] = redis.zrange(queue.started_job_registry.key, 0, -1)  # type: ignore[misc]
    looking = recovering(redis, queue)
    for running in (set(), {member.decode()}, set()):
        assert looking.run(running) == 0
    assert waiting(redis, queue) == []


@pytest.mark.parametrize("gone", [False, True])
def test_of_an_ended_job_a_dead_worker_leaves_nothing_in_the_books(
    redis: Redis, queue: Queue, gone: bool
) -> None:
    job = submitted(redis, queue)
    started(redis, queue, job)
    if gone:
        redis.delete(job.key)
    else:
        # By another worker, which has struck its own execution out.
        job.set_status(JobStatus.FINISHED)
    assert redis.keys("rq:execution*")
    assert recovering(redis, queue, THERE).run() == 0
    assert redis.keys("rq:execution*") == []
    assert not redis.exists(queue.started_job_registry.key)
    assert waiting(redis, queue) == []


def test_a_worker_is_dead_only_when_its_key_stays_away(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    started(redis, queue, submitted(redis, queue))
    looking = recovering(redis, queue)
    assert looking.run() == 0
    # This process was frozen, or Redis away: nothing is known of that time.
    clock.append(clock[-1] + 30)
    assert looking.run() == 0
    redis.set(keys.worker_status(THERE), "alive")
    clock.append(clock[-1] + 3)
    assert looking.run() == 0
    redis.delete(keys.worker_status(THERE))
    clock.append(clock[-1] + 3)
    assert looking.run() == 0
    clock.append(clock[-1] + 3)
    assert looking.run() == 1


def test_an_outage_in_the_middle_of_a_look_makes_it_start_over(
    redis: Redis, queue: Queue, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    started(redis, queue, submitted(redis, queue))
    looking = recovering(redis, queue)
    assert looking.run() == 0
    clock.append(clock[-1] + 3)
    with monkeypatch.context() as away:
        away.setattr(queue.connection, "zrange", _away)
        with pytest.raises(RedisAway):
            looking.run()
    assert looking.run() == 0


def _away(*_: object) -> None:
    raise RedisAway


def test_dead_workers_are_struck_off(redis: Redis, queue: Queue) -> None:
    redis.sadd(keys.WORKERS, HERE, THERE)
    recovering(redis, queue, THERE).run()
    assert redis.smembers(keys.WORKERS) == {HERE.encode()}


def test_a_popped_job_is_put_back_at_once_only_by_a_worker_that_starts_alone(
    redis: Redis, queue: Queue
) -> None:
    job = submitted(redis, queue)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    redis.sadd(keys.WORKERS, HERE, THERE)
    redis.set(keys.worker_status(THERE), "alive")
    assert recovering(redis, queue).run_at_start() == 0
    assert recovering(redis, queue, THERE).run_at_start() == 1
    assert waiting(redis, queue) == [job.id]


def test_a_job_that_another_thread_of_this_worker_has_just_popped_is_left_alone(
    redis: Redis, queue: Queue
) -> None:
    """Slices are popped by a thread beside the one that looks: put back, a slice would run twice
    at once."""
    job = submitted(redis, queue)
    looking = recovering(redis, queue)
    assert looking.run_at_start() == 0
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    for _ in range(2):
        assert looking.run() == 0
    assert waiting(redis, queue) == []
    # So much later it is nobody's.
    redis.expire(keys.popped(job.id), 2 * popped_jobs._GRACE_S - 1)
    assert looking.run() == 1


def test_the_grace_of_a_popped_job_begins_anew_after_its_start(
    redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the start came between looking through the list and looking at the job."""
    job = submitted(redis, queue)
    looking = recovering(redis, queue)
    worker = ChatWorker([queue], name=HERE, connection=redis, serializer=JSONSerializer)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    assert looking.run() == 0
    redis.expire(keys.popped(job.id), 1)
    running = {worker.record_start(job, queue, lambda *_: None).execution.composite_key}
    with monkeypatch.context() as patch:
        patch.setattr(redis, "lrange", lambda *_: [job.id.encode()])
        assert looking.run(running) == 0
    assert not redis.exists(keys.popped(job.id))
    redis.rpush(queue.intermediate_queue_key, job.id)  # Popped once more, as after a crash.
    assert looking.run(running) == 0


def test_a_plain_rq_worker_gets_time_to_give_a_job_back_and_no_crash_is_counted(
    redis: Redis, queue: Queue, clock: list[float]
) -> None:
    """It keeps no status of ours, and runs nothing."""
    job = submitted(redis, queue)
    started(redis, queue, job, worker="plain")
    redis.srem(keys.WORKERS, "plain")
    looking = recovering(redis, queue)
    for _ in range(4):
        assert looking.run() == 0
        clock.append(clock[-1] + 2)
    clock.append(clock[-1] + 5)
    assert looking.run() == 1
    assert (waiting(redis, queue), crashes(redis, job)) == ([job.id], 0)


def test_a_popped_job_that_is_gone_is_not_put_back(redis: Redis, queue: Queue) -> None:
    job = submitted(redis, queue)
    redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    redis.delete(job.key)
    assert recovering(redis, queue).run() == 0
    assert waiting(redis, queue) == []
    assert not redis.exists(queue.intermediate_queue_key)


@pytest.mark.parametrize("broken", ["text", {"data": "x", "status": "nonsense"}])
def test_a_started_job_that_can_not_be_read_holds_nothing_up(
    redis: Redis, queue: Queue, broken: Any
) -> None:
    bad, good = submitted(redis, queue), submitted(redis, queue)
    for job in (bad, good):
        started(redis, queue, job)
    redis.delete(bad.key)
    if isinstance(broken, str):
        redis.set(bad.key, broken)
    else:
        redis.hset(bad.key, mapping=broken)
    assert recovering(redis, queue, THERE).run() == 1
    assert waiting(redis, queue) == [good.id]
