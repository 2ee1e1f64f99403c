"""How long images stay in Redis, and how many of them."""

from __future__ import annotations

import pytest
from fakeredis import FakeRedis
from redis import Redis

from api.images.store import OVERHEAD, ImagesFull, ImageStore
from wire import keys
from wire.receipts.kept_requests import request

SIZE = 10_000
BUDGET = 3 * (SIZE + OVERHEAD)


@pytest.fixture
def redis() -> Redis:
    return FakeRedis()


def stored(redis: Redis) -> set[str]:
    """The stored images, after all records about them have been compared."""
    found = {name.decode().rsplit(":", 1)[1] for name in redis.keys(keys.image("*"))}
    sizes = redis.hgetall(keys.IMAGES)
    assert {sha.decode() for sha in sizes} == found
    assert int(redis.get(keys.IMAGES_TOTAL) or 0) == sum(map(int, sizes.values())) <= BUDGET
    needed = {name.decode().rsplit(":", 1)[1] for name in redis.keys(keys.image_jobs("*"))}
    idle = {sha.decode() for sha in redis.zrange(keys.IMAGES_IDLE, 0, -1)}
    assert needed | idle == found
    return found


def job(redis: Redis, job_id: str, state: str = "queued") -> str:
    redis.hset(keys.job(job_id), "state", state)
    return job_id


def fill(store: ImageStore, redis: Redis, *names: str) -> None:
    for name in names:
        store.put(name, bytes(SIZE), job(redis, f"job-{name}"))


def pass_time(redis: Redis, seconds: float) -> None:
    """Let idle images have been idle for longer."""
    for sha256 in redis.zrange(keys.IMAGES_IDLE, 0, -1):
        redis.zincrby(keys.IMAGES_IDLE, -seconds * 1000, sha256)


def test_an_image_is_dropped_after_its_last_job(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET, kept_s=0)
    store.put("a", b"picture", job(redis, "one"))
    store.put("a", b"picture", job(redis, "two"))
    for state in ("queued", "running"):
        job(redis, "two", state)
        job(redis, "one", "ended")
        store.sweep()
        assert stored(redis) == {"a"}
    job(redis, "two", "ended")
    store.sweep()
    assert stored(redis) == set()
    assert not redis.keys(keys.PREFIX + "image*") or redis.get(keys.IMAGES_TOTAL) == b"0"


def test_it_stays_with_a_kept_request_unless_its_space_is_needed(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET, kept_s=0)
    fill(store, redis, *"ab")
    for name in "ab":
        job(redis, f"job-{name}", "ended")
    redis.set(request("job-b"), b"packed")
    store.sweep()
    assert stored(redis) == {"b"}
    fill(store, redis, *"cde")
    assert "b" not in stored(redis)


def test_it_stays_a_while_for_the_next_turn(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET, kept_s=100)
    store.put("a", b"picture", job(redis, "one", "ended"))
    store.sweep()
    assert stored(redis) == {"a"}
    assert store.hold("a", job(redis, "two"))
    pass_time(redis, 101)
    store.sweep()
    assert stored(redis) == {"a"}
    job(redis, "two", "ended")
    store.sweep()
    pass_time(redis, 101)
    store.sweep()
    assert stored(redis) == set()
    assert not store.hold("a", "three")


def test_beyond_the_budget_there_is_no_room_while_jobs_live(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET)
    fill(store, redis, "a", "b", "c")
    with pytest.raises(ImagesFull):
        fill(store, redis, "d")
    assert stored(redis) == {"a", "b", "c"}
    store.put("a", bytes(SIZE), job(redis, "again"))


def test_room_is_made_by_what_was_idle_longest(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET)
    fill(store, redis, "a", "b", "c")
    for name in ("b", "a"):
        store.forget(f"job-{name}", [name])
        pass_time(redis, 1)
    fill(store, redis, "d")
    assert stored(redis) == {"a", "c", "d"}


def test_room_is_made_by_jobs_that_have_just_ended(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET)
    fill(store, redis, "a", "b", "c")
    job(redis, "job-b", "ended")
    fill(store, redis, "d")
    assert stored(redis) == {"a", "c", "d"}


def test_an_image_larger_than_the_budget_finds_no_room(redis: Redis) -> None:
    with pytest.raises(ImagesFull):
        ImageStore(redis, BUDGET).put("a", bytes(BUDGET), "one")
    assert stored(redis) == set()


def test_a_process_that_dies_before_it_queues_its_job_leaves_nothing_for_ever(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ImageStore(redis, BUDGET, kept_s=0)
    store.put("a", b"picture", "never came to be")
    store.sweep()
    assert stored(redis) == {"a"}  # its job may be about to be queued
    monkeypatch.setattr("api.images.store.CREATION_S", -1)
    store.sweep()
    assert stored(redis) == set()


def test_expired_images_leave_the_records(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET)
    fill(store, redis, "a", "b")
    redis.delete(keys.image("a"), keys.image("b"))
    assert not store.hold("a", "one")
    fill(store, redis, "b")
    store.sweep()
    assert stored(redis) == {"b"}


def test_a_live_job_renews_its_images(redis: Redis) -> None:
    store = ImageStore(redis, BUDGET)
    fill(store, redis, "a")
    redis.expire(keys.image("a"), 9)
    redis.expire(keys.image_jobs("a"), 9)
    store.sweep()
    assert redis.ttl(keys.image("a")) > 9
    assert redis.ttl(keys.image_jobs("a")) > 9


def test_many_images_are_looked_at_in_parts(redis: Redis) -> None:
    store = ImageStore(redis, 1 << 30, kept_s=0)
    for number in range(450):
        store.put(
            f"{number}", b"", job(redis, f"job {number}", "running" if number % 3 else "ended")
        )
    store.sweep()
    assert redis.hlen(keys.IMAGES) == 300
