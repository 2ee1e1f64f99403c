"""Where a chat runs that a worker has taken up, and what becomes of one that is offered to
another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakeredis import FakeRedis
from redis import Redis

from tests.support.chats import MODEL, REVISION, WAIT_S, sequence
from wire import keys
from wire.routing import offers, told
from wire.routing.offers import Offer, Reason
from wire.routing.told import Room
from worker.jobs.routing.prefixes import Model
from worker.jobs.routing.router import POPPED, QUEUE, Router
from worker.models.memory import ModelKey
from worker.prompt_cache import encoded
from worker.sequence import Sequence

PROMPT = list(range(320))
LOADED = ModelKey(MODEL, REVISION, None)


class Worker:
    """A router, and what it asks of its worker."""

    def __init__(self, redis: Redis, name: str, *, slots: int = 8, loaded: bool = True) -> None:
        self.redis, self.name = redis, name
        self.chats_running = 1
        self.offered: list[tuple[Offer, Reason]] = []
        self.entered: list[Sequence] = []
        self._decided = threading.Condition()
        resident = [(LOADED, None)] if loaded else []
        models: Any = SimpleNamespace(resident=lambda: resident, loading=[], key=lambda _: None)
        self.router = Router(redis, name, slots, models, lambda: 1000.0)
        self.router.start(self, self)
        redis.sadd(keys.WORKERS, name)

    def hand_over(self, offer: Offer, reason: Reason) -> None:
        with self.redis.pipeline() as pipeline:
            offers.put_offer(pipeline, offer, reason, POPPED)
            pipeline.execute()
        with self._decided:
            self.offered.append((offer, reason))
            self._decided.notify_all()

    def enter(self, chat: Sequence) -> None:
        with self._decided:
            self.entered.append(chat)
            self._decided.notify_all()

    def settle(self) -> None:
        """Wait until the router has done all that was asked of it."""
        for _ in range(2):  # What it tells, it tells after that.
            done = threading.Event()
            self.router._inbox.put(done.set)
            assert done.wait(WAIT_S)

    def beat(self) -> None:
        self.router.beat()
        self.settle()

    def hold(self, tokens: list[int]) -> None:
        self.router.added((MODEL, REVISION, None), encoded(tokens))
        self.settle()

    def take_up(self, job_id: str, *, offered: str = "", prompt: list[int] = PROMPT) -> str | None:
        """A chat as it goes through the engine; the worker that it is offered to."""
        chat = sequence(job_id=job_id)
        before = len(self.offered) + len(self.entered)

        def admitted() -> None:
            if (route := chat.route) is None:
                self.enter(chat)
            else:
                route(prompt, lambda: self.enter(chat))

        self.router.admit(chat, offered, admitted)
        with self._decided:
            done = self._decided.wait_for(
                lambda: len(self.offered) + len(self.entered) > before, WAIT_S
            )
        assert done
        return None if self.entered[-1:] == [chat] else self.offered[-1][0].worker


Make = Callable[..., Worker]


@pytest.fixture
def redis() -> Redis:
    return cast(Redis, FakeRedis())


@pytest.fixture
def make(redis: Redis) -> Iterator[Make]:
    made: list[Worker] = []

    def new(name: str, **fields: Any) -> Worker:
        made.append(Worker(redis, name, **fields))
        return made[-1]

    yield new
    for worker in made:
        worker.router.close()
        worker.router.join(WAIT_S)


def meet(*workers: Worker) -> None:
    for worker in workers:
        worker.beat()
    for worker in workers:
        worker.settle()


def test_alone_a_chat_enters_at_once_and_nothing_is_told(make: Make, redis: Redis) -> None:
    one = make("one")
    one.beat()
    one.hold(PROMPT)
    chat = sequence()
    entered: list[Sequence] = []
    one.router.admit(chat, "", lambda: entered.append(chat))
    assert (entered, chat.route) == ([chat], None)
    one.settle()
    assert redis.keys("mlxq:worker-*") == []


def test_a_chat_goes_to_the_worker_that_holds_most_of_it(make: Make, redis: Redis) -> None:
    one, two, three = make("one"), make("two"), make("three")
    meet(one, two, three)
    two.hold(PROMPT[:200])
    three.hold(PROMPT[:300])
    assert one.take_up("a") == "three"
    assert one.take_up("b", prompt=[7] * 320) is None
    assert three.take_up("c") is None
    for worker in (one, three):
        worker.beat()
    counted = {name.decode(): int(count) for name, count in redis.hgetall(told.ROUTED).items()}
    assert {name: counted.get(name) for name in ("prompt", "nowhere", "here")} == {
        "prompt": 1,
        "nowhere": 1,
        "here": 1,
    }


def test_what_has_left_the_cache_draws_no_chat(make: Make) -> None:
    one, two = make("one"), make("two")
    meet(one, two)
    two.hold(PROMPT)
    two.router.dropped((MODEL, REVISION, None), encoded(PROMPT))
    two.settle()
    assert one.take_up("a") is None


def test_everything_is_told_again_to_a_redis_that_has_lost_it(make: Make, redis: Redis) -> None:
    one, two = make("one"), make("two")
    two.hold(PROMPT)
    meet(one, two)
    redis.delete(told.prefixes("two"))
    assert one.take_up("a") is None
    two.beat()
    two.beat()
    assert one.take_up("b") == "two"
    assert 0 < redis.ttl(told.prefixes("two")) <= keys.WORKER_STATUS_LIFETIME_S


def test_a_full_worker_and_one_that_tells_nothing_get_no_offers(make: Make, redis: Redis) -> None:
    one, two = make("one"), make("two", slots=2)
    redis.sadd(keys.WORKERS, "of-the-last-release")
    meet(one, two)
    two.hold(PROMPT)
    two.chats_running = 2
    two.beat()
    assert one.take_up("a") is None
    two.chats_running = 1
    two.beat()
    assert one.take_up("b") == "two"
    two.router.close()
    two.router.join(WAIT_S)
    assert one.take_up("c") is None


def test_a_chat_without_its_model_goes_where_that_is_loaded(make: Make) -> None:
    one, two, three = make("one", loaded=False), make("two"), make("three")
    meet(one, two, three)
    three.hold(PROMPT)
    two.chats_running, three.chats_running = 1, 2
    meet(two, three)
    assert one.take_up("a") == "two"
    assert one.offered[0][1] == "model"
    assert two.take_up("a", offered="model") == "three"
    assert two.offered[0][1] == "prompt"
    assert three.take_up("a", offered="prompt") is None


def test_an_offer_that_is_not_taken_goes_to_the_front_of_the_queue(
    make: Make, redis: Redis
) -> None:
    one, two = make("one"), make("two")
    meet(one, two)
    two.hold(PROMPT)
    redis.rpush(QUEUE, "later")
    assert one.take_up("a") == "two"
    taken = redis.blpop([offers.offers("two")], 5)
    assert taken is not None
    assert offers.read_offer("two", taken[1]) == one.offered[0][0]
    assert one.take_up("b") == "two"
    assert one.router._thread.is_alive()
    one.router.close()
    one.router.join(WAIT_S)  # It ends once all offers are taken or taken back.
    assert redis.lrange(QUEUE, 0, -1) == [b"b", b"later"]
    # The one that was taken stays among the popped jobs until it is started.
    assert redis.lrange(POPPED, 0, -1) == [b"a"]
    assert redis.get(offers.mark("b")) == b"prompt"


def test_another_model_of_the_same_name_is_another_prompt(make: Make) -> None:
    one, two = make("one"), make("two")
    meet(one, two)
    two.router.added((MODEL, "other", None), encoded(PROMPT))
    two.settle()
    assert Model(MODEL, "other") != Model(MODEL, REVISION)
    assert one.take_up("a") is None


def test_room_is_read_whatever_a_later_release_adds() -> None:
    stored = '{"running": 1, "slots": 2, "models": [["a", "1"]], "later": true}'
    assert Room.model_validate_json(stored).models == (("a", "1"),)
