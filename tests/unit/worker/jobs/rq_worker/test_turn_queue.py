"""In which order a worker pops chats: by class of service, by turns of keys, and the aged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from fakeredis import FakeAsyncRedis
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.serializers import JSONSerializer

from api.auth.key_store import KeyStore, Limits
from tests.support.chats import chat_job
from tests.support.fake_api import fake_redis, server_of
from wire import clock, keys, rq_jobs
from wire.access.limits import MOST_RUNNING
from wire.messages import Finished, ModelCommand
from wire.queueing import turns
from wire.queueing.turns import AGED_S, AGED_SHARE, Tier
from wire.token_log import Append, TokenLog
from worker.jobs.rq_worker.bookkeeping import REQUEUE_POPPED
from worker.jobs.rq_worker.turn_queue import take

LONG_S = 60


class Waiting:
    """A queue, and what it has."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.queue = Queue(keys.CHAT_QUEUE, connection=redis, serializer=JSONSerializer)

    def put(self, job_id: str, owner: str = "ann", tier: Tier = "default", age_s: int = 0) -> None:
        job = chat_job(job_id=job_id).model_copy(update={"owner": owner})
        submitted = int(clock.now_ms(self.redis)) - age_s * 1000
        record = {"owner": owner, "kind": "chat"}
        with self.redis.pipeline() as pipe:
            rq_jobs.enqueue(pipe, self.queue, keys.CHAT_TASK, job, "m", record, submitted, tier)
            pipe.execute()

    def pop(self) -> str | None:
        return take(self.queue, None)

    def pop_all(self) -> list[str]:
        popped = []
        while (job_id := self.pop()) is not None:
            popped.append(job_id)
        return popped

    def in_order(self) -> list[str]:
        lists = (
            self.redis.lrange(self.queue.key, 0, -1),
            self.redis.zrange(turns.places(keys.CHAT_QUEUE), 0, -1),
        )
        return [job_id.decode() for job_id in turns.in_order(*lists)]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(fake_redis())


def test_chats_of_one_key_run_in_the_order_they_came(waiting: Waiting) -> None:
    ids = [f"{number:02}" for number in range(20, 0, -1)]
    for job_id in ids:
        waiting.put(job_id)
    assert waiting.in_order() == ids
    assert waiting.pop_all() == ids
    popped = waiting.redis.lrange(waiting.queue.intermediate_queue_key, 0, -1)
    assert [job_id.decode() for job_id in popped] == ids


def test_a_class_runs_before_the_next(waiting: Waiting) -> None:
    tiers: list[Tier] = ["flex", "default", "priority", "flex", "default"]
    for number, tier in enumerate(tiers):
        waiting.put(f"{tier}-{number}", tier=tier)
    expected = ["priority-2", "default-1", "default-4", "flex-0", "flex-3"]
    assert waiting.in_order() == expected
    assert waiting.pop_all() == expected
    assert not waiting.redis.exists(turns.places(keys.CHAT_QUEUE))


def test_a_flood_of_one_key_delays_anothers_chat_by_one_turn(waiting: Waiting) -> None:
    for number in range(500):
        waiting.put(f"ann-{number}")
    assert [waiting.pop() for _ in range(7)] == [f"ann-{number}" for number in range(7)]
    waiting.put("ben-0", "ben")
    assert waiting.in_order()[:2] == ["ben-0", "ann-7"]
    assert [waiting.pop() for _ in range(2)] == ["ben-0", "ann-7"]


def test_keys_take_turns_whatever_each_has_put_in_the_queue(waiting: Waiting) -> None:
    for owner, number in {"ann": 30, "ben": 10, "cyd": 3}.items():
        for one in range(number):
            waiting.put(f"{owner}-{one}", owner)
    owners = [job_id[:3] for job_id in waiting.pop_all()]
    assert Counter(owners[:9]) == {"ann": 3, "ben": 3, "cyd": 3}
    assert all(one != other for one, other in pairwise(owners[:22]))


def test_aged_chats_have_a_share_of_the_turns(waiting: Waiting) -> None:
    """Whatever is aged above them: the longest waiting goes first."""
    for number in range(3):
        waiting.put(f"flex-{number}", tier="flex", age_s=AGED_S + 20)
    for number in range(20):
        waiting.put(f"default-{number}", "ben", age_s=AGED_S + 5)
    popped = waiting.pop_all()
    assert [popped.index(f"flex-{number}") for number in range(3)] == [
        AGED_SHARE * turn - 1 for turn in (1, 2, 3)
    ]


def test_a_chat_that_is_not_aged_waits_for_all_of_a_higher_class(waiting: Waiting) -> None:
    waiting.put("flex", tier="flex", age_s=AGED_S - 20)
    for number in range(20):
        waiting.put(f"default-{number}", "ben")
    assert waiting.pop_all()[-1] == "flex"


def test_jobs_of_owners_that_are_passed_over_keep_their_turn(waiting: Waiting) -> None:
    for job_id in ("ann-0", "ann-1", "ben-0", "cyd-0", "ben-1"):
        waiting.put(job_id, job_id[:3])
    assert waiting.pop() == "ann-0"
    waiting.queue.push_job_id("ann-0", at_front=True)
    assert take(waiting.queue, None, {"ann"}) == "ben-0"
    assert take(waiting.queue, None, {"ann", "ben"}) == "cyd-0"
    assert take(waiting.queue, None, {"ann", "ben"}) is None
    assert waiting.pop_all() == ["ann-0", "ann-1", "ben-1"]


def test_commands_and_what_is_put_back_go_first_and_others_without_a_place_are_not_lost(
    waiting: Waiting,
) -> None:
    waiting.put("one")
    waiting.put("two")
    assert waiting.pop() == "one"
    with waiting.redis.pipeline() as pipe:
        pipe.multi()
        turns.leave(pipe, keys.CHAT_QUEUE, "one")
        waiting.queue.push_job_id("one", pipeline=pipe, at_front=True)
        command = ModelCommand(job_id="command", action="scan")
        rq_jobs.enqueue(pipe, waiting.queue, keys.MODEL_TASK, command, "scan", {}, 0)
        pipe.execute()
    waiting.queue.enqueue(keys.CHAT_TASK, job_id="of-the-release-before")
    waiting.put("three", tier="priority")
    assert waiting.in_order()[:2] == ["command", "one"]
    assert waiting.pop_all() == ["command", "one", "three", "two", "of-the-release-before"]


def test_a_place_of_a_job_that_another_release_popped_is_dropped(waiting: Waiting) -> None:
    waiting.put("gone")
    waiting.put("ben-0", "ben")
    waiting.put("there")
    waiting.redis.lmove(waiting.queue.key, "elsewhere", "LEFT", "RIGHT")
    assert waiting.pop_all() == ["ben-0", "there"]


def test_chats_beyond_a_keys_number_wait_and_others_pass_them(waiting: Waiting) -> None:
    for number in range(4):
        waiting.put(f"ann-{number}", "ann", tier="priority")
    waiting.put("ben-0", "ben", tier="flex")
    waiting.redis.hset(MOST_RUNNING, "ann", 2)
    assert waiting.pop() == "ann-0"
    start(waiting.redis, "ann-0")
    # The second is popped and has not started yet.
    assert [waiting.pop() for _ in range(3)] == ["ann-1", "ben-0", None]
    start(waiting.redis, "ann-1")
    assert waiting.pop() is None
    waiting.redis.hset(keys.job("ann-0"), "state", "ended")
    assert [waiting.pop(), waiting.pop()] == ["ann-2", None]
    waiting.redis.delete(MOST_RUNNING)
    assert waiting.pop() == "ann-3"


def end_a_chat(waiting: Waiting) -> None:
    log = TokenLog(waiting.redis)
    attempt, _ = log.begin("ann-0")
    log.append([Append("ann-0", "ann", attempt, 1, Finished("stop"))])


def queue_a_chat(waiting: Waiting) -> None:
    waiting.put("ben-0", "ben")


def queue_a_command(waiting: Waiting) -> None:
    command = ModelCommand(job_id="command", action="scan")
    with waiting.redis.pipeline() as pipe:
        rq_jobs.enqueue(pipe, waiting.queue, keys.MODEL_TASK, command, "scan", {}, 0)
        pipe.execute()


def put_a_chat_back(waiting: Waiting) -> None:
    waiting.redis.rpush(waiting.queue.intermediate_queue_key, "back")
    names = [waiting.queue.intermediate_queue_key, waiting.queue.key, keys.popped("back")]
    waiting.redis.eval(REQUEUE_POPPED, len(names), *names, "back")


def raise_the_limit(waiting: Waiting) -> None:
    limit(waiting.redis, 2)


def take_the_last_limit_away(waiting: Waiting) -> None:
    limit(waiting.redis, None)


def limit(redis: Redis, number: int | None) -> None:
    keys_of_api = KeyStore(FakeAsyncRedis(server=server_of(redis)))
    asyncio.run(keys_of_api.set_limits("ann", Limits(None, number)))


@pytest.mark.parametrize(
    "event",
    [
        end_a_chat,
        queue_a_chat,
        queue_a_command,
        put_a_chat_back,
        raise_the_limit,
        take_the_last_limit_away,
    ],
)
def test_what_lets_a_chat_start_after_the_look_ends_the_wait_for_it(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, event: Callable[[Waiting], None]
) -> None:
    """Whoever waits has looked before, and begins to wait after it has happened."""
    waiting.put("ann-0", "ann")
    waiting.put("ann-1", "ann")
    waiting.redis.hset(MOST_RUNNING, "ann", 1)
    assert waiting.pop() == "ann-0"
    start(waiting.redis, "ann-0")
    read, told = waiting.redis.xread, []

    def read_after_the_event(streams: dict[str, bytes], block: int) -> None:
        assert block == LONG_S * 1000
        event(waiting)
        told.append(read(streams, block=block))

    monkeypatch.setattr(waiting.redis, "xread", read_after_the_event)
    with pytest.raises(DequeueTimeout):
        take(waiting.queue, LONG_S)
    assert len(told) == 1
    assert told[0]
    monkeypatch.undo()
    assert take(waiting.queue, LONG_S) is not None


def start(redis: Redis, job_id: str) -> None:
    redis.hset(keys.job(job_id), "state", "running")
    redis.zadd(keys.live("ann"), {job_id: 1})
    redis.lrem(rq_jobs.popped_key(keys.CHAT_QUEUE), 1, job_id)
