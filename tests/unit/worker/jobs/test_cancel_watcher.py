"""A stop is seen for every watched job, until it ends, and again after Redis was away."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ConnectionError as Away

from wire import keys
from worker.jobs.cancel_watcher import CancelWatcher

PATIENCE_S = 60.0


class Stops:
    """A watcher on a Redis of its own, and the jobs that it has cancelled."""

    def __init__(self) -> None:
        self.redis: Any = fakeredis.FakeRedis()
        self.cancelled: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.watcher = CancelWatcher(self.redis, self.cancelled.put)

    def next(self) -> str:
        return self.cancelled.get(timeout=PATIENCE_S)


@pytest.fixture
def stops() -> Iterator[Stops]:
    made = Stops()
    made.watcher.start()
    yield made
    made.watcher.close(PATIENCE_S)


def test_a_watched_job_is_cancelled_until_it_ends(stops: Stops) -> None:
    """The first call may come before the engine has the job."""
    for job_id in ("a", "b"):
        stops.watcher.watch(job_id)
    stops.redis.set(keys.cancel("b"), "1")
    assert [stops.next() for _ in range(3)] == ["b"] * 3
    stops.watcher.unwatch("b")
    stops.redis.set(keys.cancel("a"), "1")
    while (job_id := stops.next()) == "b":
        pass  # A poll that was in progress.
    assert [job_id, stops.next()] == ["a", "a"]


def test_a_job_that_has_ended_is_looked_up_no_more(stops: Stops) -> None:
    stops.watcher.watch("ended")
    stops.watcher.unwatch("ended")
    stops.redis.set(keys.cancel("ended"), "1")
    stops.redis.set(keys.cancel("running"), "1")
    stops.watcher.watch("running")
    assert [stops.next() for _ in range(3)] == ["running"] * 3


def test_a_stop_is_seen_after_redis_was_away(stops: Stops, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()
    exists = stops.redis.exists

    def back_after_two(*names: str) -> Any:
        answers.put(None)
        if answers.qsize() <= 2:
            raise Away
        return exists(*names)

    monkeypatch.setattr(stops.redis, "exists", back_after_two)
    stops.redis.set(keys.cancel("a"), "1")
    stops.watcher.watch("a")
    assert stops.next() == "a"
