"""Slices of several keys in one worker, on the echo backend: whose line is begun when, and that
each line of a worker that died has one result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from tests.support.fake_api import fake_redis
from tests.support.lanes import SLOTS, Lanes, prompt
from wire import keys
from wire.batches import SLICE_LINES, BatchSlice, pack, slice_job_id
from wire.rq_jobs import enqueue_slice
from wire.token_log import TokenLog
from worker.engine.batch_scheduler import AHEAD_PART
from worker.engine.batch_sequence import BatchSequence
from worker.jobs.batch_feed import BatchFeed
from worker.jobs.batch_runner import MOST_OWNERS, BatchRunner
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome
from worker.jobs.rq_worker.turn_queue import take

ROWS = SLOTS + SLOTS // AHEAD_PART


class Batches:
    """A queue of slices and what they hold. A batch is called after its owner."""

    def __init__(self) -> None:
        self.redis: Redis = fake_redis()
        self.queue = Queue(keys.BATCH_QUEUE, connection=self.redis, serializer=JSONSerializer)

    def put(self, owner: str, lines: int) -> None:
        numbers = range(1, lines + 1)
        slices = [numbers[first : first + SLICE_LINES] for first in range(0, lines, SLICE_LINES)]
        about: dict[Any, Any] = {"state": "queued", "total": lines, "slices": len(slices)}
        self.redis.hset(keys.batch(owner), mapping=about | {"expires_ms": 1 << 50})
        for number, part in enumerate(slices):
            packed = pack([prompt("x", n, owner, max_tokens=2).line for n in part])
            self.redis.set(keys.batch_input(owner, number), packed)
            self.redis.hset(keys.batch_plan(owner), str(number), f"{len(part)} {len(part)}")
        self.redis.set(keys.batch_fed(owner), 1)
        self.redis.sadd(keys.batch_slices(owner), 0)
        with self.redis.pipeline() as pipe:
            pipe.multi()
            enqueue_slice(pipe, self.queue, self.slice(owner, 0), 0)
            pipe.execute()

    def slice(self, owner: str, number: int) -> BatchSlice:
        job_id = slice_job_id(owner, number)
        return BatchSlice(job_id=job_id, batch_id=owner, owner=owner, number=number)

    def done(self, owner: str) -> tuple[bytes | None, int]:
        """How a batch is, and how many of its lines came to a good end."""
        found: Any = self.redis.hmget(keys.batch(owner), "state", "done")
        state, done = found
        return state, int(done or 0)


class Worker:
    """Takes slices and runs their lines, a step at a time: engine and RQ worker of a runner."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.lanes = Lanes()
        self.lanes.models.loaded(prompt("x").job)
        self.runner = BatchRunner(batches.redis, self, SimpleQueue(), self, lambda: 0.0, SLOTS)  # type: ignore[arg-type]
        self.begun: list[BatchSequence] = []
        self.submit_prompts = self.lanes.background.submit
        self.drop_prompts = self.lanes.background.drop
        self.running: list[str] = []

    def snapshot(self) -> list[BatchSequence]:
        return []

    def ended(self, job_id: str, ending: Ending) -> None:
        assert ending.outcome is Outcome.FINISHED
        assert ending.attempt
        self.running.remove(job_id)

    def pop(self) -> str | None:
        """Take the next slice, if one is needed; its job."""
        served = self.runner.wait_for_room()
        job_id = None if served is None else take(self.batches.queue, None, served)
        if job_id is None:
            return None
        work = BatchSlice.model_validate_json(self.batches.redis.hget(keys.job(job_id), "slice"))  # type: ignore[arg-type]
        attempt, _ = TokenLog(self.batches.redis).begin(job_id)
        self.running.append(job_id)
        BatchFeed(self.batches.queue).after(work, 0)
        self.runner.take(work, attempt, suspect=False, read=lambda: None)
        return job_id

    def turn(self) -> None:
        """Take what may be taken, and make a step."""
        while self.pop():
            pass
        self.lanes.tokenised()
        self.lanes.turns(1)
        known = set(self.begun)
        self.begun += [s for s in self.lanes.background._running if s not in known]
        ended, self.lanes.results.ended = self.lanes.results.ended, []
        for sequence in ended:
            self.runner._write(sequence.part.job_id, [sequence])

    def dies(self) -> None:
        """Put its slices back as recovery does: the last one in front."""
        for job_id in self.running:
            self.batches.queue.push_job_id(job_id, at_front=True)
        self.lanes.close()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    monkeypatch.setattr("worker.jobs.batch_runner.OWNERS_LOOK_S", 0)
    return Batches()


@pytest.fixture
def worker(batches: Batches) -> Iterator[Worker]:
    made = Worker(batches)
    yield made
    made.lanes.close()


def owners(some: list[BatchSequence]) -> list[str]:
    return [one.part.owner for one in some]


def test_a_line_of_another_key_is_begun_in_the_next_free_row(
    batches: Batches, worker: Worker
) -> None:
    batches.put("ann", 500)
    while len(worker.begun) < 3 * ROWS:
        worker.turn()
    before = len(worker.begun)
    batches.put("ben", 1)
    batches.put("cyd", 1)
    while len(worker.begun) < before + 2 * ROWS:
        worker.turn()
    assert owners(worker.begun[before:]) == ["ben", "cyd", *["ann"] * (2 * ROWS - 2)]
    assert [batches.done(owner) for owner in ("ben", "cyd")] == [(b"completed", 1)] * 2


def test_keys_whose_batches_are_long_share_the_rows(batches: Batches, worker: Worker) -> None:
    for owner in ("ann", "ben", "cyd"):
        batches.put(owner, 100)
    while len(worker.begun) < 90:
        worker.turn()
    assert Counter(owners(worker.begun[:90])) == {"ann": 30, "ben": 30, "cyd": 30}


def test_slices_that_are_taken_up_after_a_crash_share_the_rows_and_no_line_runs_twice(
    batches: Batches, worker: Worker
) -> None:
    lines = {"cyd": 1, "ben": 40, "ann": 100}
    worker.batches.put("ann", 100)
    worker.turn()
    for owner in ("ben", "cyd"):
        worker.batches.put(owner, lines[owner])
    worker.turn()
    assert set(worker.running) == {slice_job_id(owner, 0) for owner in lines}
    # Ann's comes first, and has all the lines that are needed.
    worker.running.sort(reverse=True)
    worker.dies()
    another = Worker(batches)
    another.turn()
    assert Counter(owners(another.begun)) == {"ann": 2, "ben": 2, "cyd": 1}
    while not another.lanes.background.idle:
        another.turn()
    another.lanes.close()
    assert {owner: batches.done(owner) for owner in lines} == {
        owner: (b"completed", count) for owner, count in lines.items()
    }
    ended = [one for one in worker.begun if one.end is not None]
    assert len(another.begun) == sum(lines.values()) - len(ended)


def test_one_key_gets_no_more_lines_than_the_rows_need_and_many_no_more_slices_than_fit(
    batches: Batches, worker: Worker
) -> None:
    batches.put("ann", 500)
    assert worker.pop() == slice_job_id("ann", 0)
    assert worker.pop() is None
    for number in range(MOST_OWNERS):
        batches.put(f"key-{number}", 1)
    taken = []
    while (job_id := worker.pop()) is not None:
        taken.append(job_id)
    assert taken == [slice_job_id(f"key-{number}", 0) for number in range(MOST_OWNERS - 1)]


def test_a_slice_that_came_back_is_not_let_go_with_its_attempt_before(
    batches: Batches, worker: Worker
) -> None:
    """Redis has lost the start of a slice: the worker is given it again, and a write of the first
    attempt is refused only then."""
    batches.put("ann", 3)
    job_id = worker.pop()
    assert job_id == slice_job_id("ann", 0)
    lost = worker.runner._slices[job_id]
    batches.queue.push_job_id(job_id, at_front=True)
    worker.running.clear()
    worker.runner._slices.clear()  # By which it is popped at once.
    assert worker.pop() == job_id
    worker.runner._let_go(lost, Outcome.LOST)
    worker.begun.clear()
    while not worker.lanes.background.idle:
        worker.turn()
    assert batches.done("ann") == (b"completed", 3)
    assert worker.running == []
