"""Slices of batches after crashes: the line that was running fails alone, and no slice is retried
for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import FakeRedis
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from wire import keys
from wire.batches import BatchLine, BatchLog, BatchSlice, pack
from wire.messages import Message, Sampling
from wire.token_log import TokenLog
from worker.jobs.crashes.poison_jobs import (
    MOST_ALONE,
    MOST_DEADLY_LINES,
    MOST_UNSEEN,
    SUSPECT,
    condemned,
)
from worker.jobs.crashes.recovery import Recovery
from worker.jobs.rq_worker.chat_worker import ChatWorker

BATCH, LINES = "b" * 32, 12
WORK = BatchSlice(job_id="slice", batch_id=BATCH, owner="everyone", number=0)


def line(number: int) -> BatchLine:
    return BatchLine(
        number=number,
        custom_id=f"line-{number}",
        model_id="echo",
        model_revision="echo",
        messages=(Message(role="user", content="hello"),),
        sampling=Sampling(seed=1),
    )


class FutureLine(BatchLine):
    """A line with a field that this version doesn't know."""

    from_the_future: int = 1


class OneSlice:
    """A batch of one slice, and workers that die on it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.chats, self.queue = (
            Queue(name, connection=redis, serializer=JSONSerializer)
            for name in (keys.CHAT_QUEUE, keys.BATCH_QUEUE)
        )
        about: dict[Any, Any] = {
            "state": "running",
            "total": LINES,
            "slices": 1,
            "expires_ms": 1 << 50,
        }
        redis.hset(keys.batch(BATCH), mapping=about)
        redis.set(keys.batch_input(BATCH, 0), pack([line(n) for n in range(1, LINES + 1)]))
        redis.hset(keys.batch_plan(BATCH), "0", f"{LINES} {LINES}")
        redis.sadd(keys.batch_slices(BATCH), 0)
        record: dict[Any, Any] = {
            "owner": "everyone",
            "kind": "slice",
            "slice": WORK.model_dump_json(),
        }
        redis.hset(keys.job(WORK.job_id), mapping=record)
        self.job = self.queue.enqueue_call(
            "worker.tasks.batch_slice", job_id=WORK.job_id, timeout=-1
        )

    def dies(self, mark: int | None, *chats: Job) -> None:
        """Have a worker start the slice, beside chats, and die with this line marked."""
        for queue, job in ((self.queue, self.job), *((self.chats, chat) for chat in chats)):
            self.redis.lrem(queue.key, 1, job.id)
            worker = ChatWorker(
                [queue], name="dead", connection=self.redis, serializer=JSONSerializer
            )
            worker.prepare_execution(job)
            worker.prepare_job_execution(job)
            TokenLog(self.redis).begin(job.id)
        if mark is not None:
            self.redis.hset(keys.job(WORK.job_id), keys.ISOLATED, mark)
        recovery = Recovery(
            self.redis, [self.chats, self.queue], "here", lambda name: name == "dead"
        )
        assert recovery.run() == 1 + len(chats)

    def chat(self) -> Job:
        job = self.chats.enqueue_call("worker.tasks.chat", job_id="chat", timeout=-1)
        self.redis.hset(keys.job("chat"), "owner", "everyone")
        return job

    def crashes(self, job_id: str = WORK.job_id) -> int:
        return int(self.redis.hget(keys.job(job_id), "crashes") or 0)  # type: ignore[arg-type]

    def results(self) -> dict[int, dict[str, Any]]:
        stored: Any = self.redis.hgetall(keys.batch_output(BATCH, 0))
        return {int(number): json.loads(row) for number, row in stored.items()}


@pytest.fixture
def part() -> Iterator[OneSlice]:
    with FakeRedis() as redis:
        yield OneSlice(redis)


def test_the_first_crash_puts_a_slice_under_suspicion(part: OneSlice) -> None:
    part.dies(None)
    assert part.crashes() == SUSPECT


def test_the_line_that_was_inside_at_crashes_in_a_row_fails_alone_and_the_chat_beside_it_is_not_counted(
    part: OneSlice,
) -> None:
    chat = part.chat()
    part.dies(None, chat)
    assert part.crashes("chat") == 1
    for _ in range(MOST_ALONE):
        assert part.results() == {}
        part.dies(7, chat)
    assert {n: row["error"]["code"] for n, row in part.results().items()} == {
        7: "gave_up_after_crashes"
    }
    assert part.results()[7]["custom_id"] == "line-7"
    assert (part.crashes("chat"), part.crashes()) == (1, SUSPECT)


def test_lines_that_were_inside_at_one_crash_each_are_not_given_up(part: OneSlice) -> None:
    for number in (1, 2, 3, 2, 1):
        part.dies(number)
    assert part.results() == {}


def test_a_slice_nobody_saw_inside_ends_after_a_bounded_number_of_crashes(part: OneSlice) -> None:
    """Its lines fail by name, unread: reading them may be what kills."""
    for _ in range(MOST_UNSEEN):
        assert part.results() == {}
        part.dies(None)
    results = part.results().values()
    assert [row["error"]["code"] for row in results] == ["gave_up_after_crashes"] * LINES
    assert {(row["custom_id"], row["line"]) for row in results} == {(None, None)}
    assert part.redis.hget(keys.batch(BATCH), "state") == b"completed"


def test_a_batch_of_deadly_lines_is_given_up_as_a_whole(part: OneSlice) -> None:
    for number in range(1, MOST_DEADLY_LINES + 1):
        taken = BatchLog(part.redis).take(WORK, 1, 0)
        assert taken is not None
        assert condemned(taken) == []
        for _ in range(MOST_ALONE):
            part.dies(number)
    taken = BatchLog(part.redis).take(WORK, 1, 0)
    assert taken is not None
    assert [one.number for one in condemned(taken)] == list(range(MOST_DEADLY_LINES + 1, LINES + 1))


def test_a_line_that_cannot_be_read_fails_alone(part: OneSlice) -> None:
    good, odd = line(1), FutureLine(**line(2).model_dump())
    packed = pack([good, odd])
    part.redis.set(keys.batch_input(BATCH, 0), packed)
    part.redis.hset(keys.batch_plan(BATCH), "0", "2 2")
    taken = BatchLog(part.redis).take(WORK, 1, 0)
    assert taken is not None
    assert taken.lines == (good,)
    assert [(one.number, one.custom_id, one.error and one.error[0]) for one in taken.lost] == [
        (2, "line-2", "job_unreadable")
    ]


@pytest.mark.parametrize(
    ("stored", "code"), [(b"no prompts", "job_unreadable"), (None, "job_lost")]
)
def test_a_slice_whose_prompts_are_broken_or_gone_has_an_error_for_each(
    part: OneSlice, stored: bytes | None, code: str
) -> None:
    part.redis.delete(keys.batch_input(BATCH, 0))
    if stored is not None:
        part.redis.set(keys.batch_input(BATCH, 0), stored)
    part.redis.hset(keys.batch_output(BATCH, 0), "5", "{}")
    taken = BatchLog(part.redis).take(WORK, 1, 0)
    assert taken is not None
    assert taken.lines == ()
    assert [one.error and one.error[0] for one in taken.lost] == [code] * (LINES - 1)
    assert len({one.number for one in taken.lost}) == LINES - 1
