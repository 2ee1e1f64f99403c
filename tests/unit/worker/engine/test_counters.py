"""A worker's counters: tokens, times to the first token, gaps between tokens; and what it publishes
of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeRedis

from tests.support.chats import Reader, chat_job, sequence
from tests.support.lanes import Results, prompt
from wire import keys
from wire.messages import Failed, Finished, OutputFormat, Pooling
from wire.models import pins
from wire.settings import Settings
from wire.worker_status import BUCKETS, MOST_SHOWN, Sample, Totals, WorkerStatus
from worker import backends
from worker.backends.base import Step, Token
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.context import EngineContext
from worker.engine.counters import Counters
from worker.engine.engine import Engine
from worker.jobs.status_reporter import StatusReporter, end_in_numbers
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence


def models() -> LoadedModels:
    return LoadedModels(
        {"echo": ECHO_MODEL}.get,
        lambda _: EchoBackend(0, 64),
        budget=1 << 30,
        available=lambda: 1 << 30,
    )


def run(meter: Counters, *chats: Sequence) -> None:
    """Run chats in an engine until each has ended."""
    left, over = {chat.job_id for chat in chats}, threading.Event()

    def sink(events: list[tuple[Sequence, object]]) -> None:
        left.difference_update(
            chat.job_id for chat, event in events if isinstance(event, (Finished, Failed))
        )
        if not left:
            over.set()

    engine = Engine(models(), sink, counters=meter)
    for chat in chats:
        engine.submit(chat)
    engine.start()
    assert over.wait(60)
    engine.close(5)


def chats(number: int, tokens: int) -> list[Sequence]:
    return [
        Sequence(chat_job(job_id=f"job{i}", max_tokens=tokens), queue_ms=30) for i in range(number)
    ]


def test_each_token_and_each_first_one_is_counted_once() -> None:
    meter = Counters()
    run(meter, *chats(3, tokens=5))
    work = meter.work()
    assert work.generation_tokens == 15
    assert work.prompt_tokens == 3 * len("user:hello\n")
    assert [sum(spread.counts) for spread in (work.ttft, work.queue, work.prefill)] == [3, 3, 3]
    assert sum(work.inter_token.counts) == 3 * 4
    assert work.queue.sum == pytest.approx(3 * 0.03)


def test_gaps_between_tokens_fall_into_the_bucket_of_their_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("worker.engine.counters.time", SimpleNamespace(monotonic=lambda: now[0]))
    meter, backend, rows = Counters(), EchoBackend(0, 64), chats(2, tokens=4)
    for _ in range(4):
        now[0] += 0.03
        for row in rows:
            row.generated.append(1)
        meter.step(backend, [Token(row, 1) for row in rows])
    [(bucket, count)] = [x for x in enumerate(meter.work().inter_token.counts) if x[1]]
    bounds = BUCKETS["inter_token"]
    assert bounds[bucket - 1] < 0.03 <= bounds[bucket]
    assert count == 6


class Holding(EchoBackend):
    """Takes memory in its steps, and more for its load and for a batch's steps."""

    peak = 0

    def __init__(self, takes: int) -> None:
        super().__init__(0, 64)
        self._takes = takes

    @classmethod
    def read_peak(cls) -> int:
        peak, cls.peak = cls.peak, 0
        return peak

    def start(self) -> Iterator[None]:
        Holding.peak = max(Holding.peak, 900)
        yield

    def batch_lane(self) -> EchoBackend:
        return Holding(takes=500)

    def step(self, others_waiting: bool = False) -> Step:
        Holding.peak = max(Holding.peak, self._takes)
        return super().step(others_waiting)


def test_a_chats_peak_memory_is_that_of_its_own_steps() -> None:
    """And not that of a batch's steps, nor of the load of its model."""
    loaded = LoadedModels(
        lambda _: ECHO_MODEL, lambda _: Holding(takes=7), budget=1 << 30, available=lambda: 1 << 30
    )
    meter, context, results = Counters(Holding.read_peak), EngineContext(), Results()
    batches = BatchScheduler(
        loaded, slots=4, share=0.5, on_end=results, context=context, counters=meter
    )
    reader = Reader()
    engine = Engine(loaded, reader, context=context, counters=meter, prompts=batches)
    engine.start()
    first, second = (Sequence(chat_job(job_id=name)) for name in ("first", "second"))
    engine.submit(first)
    reader.wait("first")
    engine.submit_prompts([prompt("a line", model="echo")])
    results.wait(1)
    engine.submit(second)
    reader.wait("second")
    engine.close(5)
    assert (first.peak_memory_bytes, second.peak_memory_bytes) == (7, 7)


def test_a_chat_that_goes_on_after_a_crash_has_no_second_first_token() -> None:
    meter = Counters()
    run(meter, Sequence(chat_job(max_tokens=5), attempt=2, emitted=(1, 2)))
    work = meter.work()
    assert (work.generation_tokens, sum(work.ttft.counts), work.prompt_tokens) == (3, 0, 0)


def test_a_sample_holds_what_came_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Counters()
    monkeypatch.setattr("worker.engine.counters.SHORTEST_SAMPLE_S", 0.0)
    run(meter, *chats(2, tokens=3))
    first, second = (meter.sample("here", 0, 7) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.tokens, first.first_tokens, first.waiting) == (6, 2, 7)
    assert (second.tokens, second.first_tokens, second.ttft_ms) == (0, 0, 0)


def test_a_sample_right_after_another_is_none() -> None:
    assert Counters().sample("here", 0, 0) is None


def test_an_end_in_numbers_has_reason_counts_and_times_and_no_text() -> None:
    chat = sequence("a secret")
    chat.fail(lambda usage, timings: Failed("engine_failed", "a sentence", usage, timings))
    numbers = end_in_numbers(chat, {"model": "small"})
    assert (numbers["job_id"], numbers["model"], numbers["reason"], numbers["code"]) == (
        "job",
        "small",
        "error",
        "engine_failed",
    )
    assert {
        "completion_tokens",
        "ttft_ms",
        "queue_ms",
        "tokens_per_second",
        "elapsed_ms",
    } <= numbers.keys()
    assert "secret" not in str(numbers)
    assert "sentence" not in str(numbers)


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


def report(redis: FakeRedis) -> StatusReporter:
    settings = Settings(backend="echo")
    cache = backends.new_prompt_cache(settings)
    made = StatusReporter(
        redis, settings, "here-1.7-8", "rq:queue:chat", Counters(), models(), cache
    )
    made.open()
    return made


def published_status(redis: FakeRedis, inside: list[Sequence]) -> WorkerStatus:
    report(redis).publish(inside)
    return WorkerStatus.model_validate_json(redis.get(keys.worker_status("here-1.7-8")) or b"")


def test_a_status_is_bounded_however_many_chats_run(redis: FakeRedis) -> None:
    status = published_status(redis, chats(1000, tokens=5))
    assert (len(status.running), status.running_total, status.machine) == (
        MOST_SHOWN,
        1000,
        "here-1",
    )
    assert len(status.model_dump_json()) < 20_000


def test_loads_and_pins_are_told_beside_the_status(
    redis: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release before reads no status with a field that it doesn't know."""
    redis.hset(pins.PINNED_MODELS, "echo", "{}")
    made = report(redis)
    assert made._models.pinned == {"echo"}
    monkeypatch.setattr(made._models, "load_progress", lambda: {"echo": 0.4242})
    made.publish([])
    name = keys.worker_loads("here-1.7-8")
    assert (redis.get(name), 0 < redis.ttl(name) <= 5) == (b'{"echo": 42.4}', True)


def test_restarts_on_a_machine_are_counted_over_the_lives_of_workers(redis: FakeRedis) -> None:
    assert [report(redis).counters.restarts for _ in range(3)] == [0, 1, 2]


def test_the_history_keeps_the_last_minutes_only(
    redis: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.counters.SHORTEST_SAMPLE_S", 0.0)
    redis.xadd(keys.HISTORY, {"e": "{}"}, id="1-1")
    redis.rpush("rq:queue:chat", "a", "b")
    published_status(redis, [])
    rows: Any = redis.xrange(keys.HISTORY)
    [(_, kept)] = rows
    assert Sample.model_validate_json(kept[b"e"]).waiting == 2
    assert 0 < redis.ttl(keys.HISTORY) <= 2 * keys.HISTORY_S


def test_histograms_have_a_bucket_for_each_bound_and_one_beyond() -> None:
    work = Counters().work()
    for name, bounds in BUCKETS.items():
        assert list(bounds) == sorted(set(bounds)), name
        assert len(getattr(work, name).counts) == len(bounds) + 1, name
    assert set(BUCKETS) <= set(Totals.model_fields)


def test_texts_are_counted_apart_from_answers() -> None:
    meter, job = Counters(), chat_job()
    form = OutputFormat(pooling=Pooling(task="embed"))
    text = Sequence(job.model_copy(update={"form": form}))
    meter.batch_step([Token(text, 7), Token(text, 5)])
    meter.texts([Token(text, 3)])
    meter.batch_step([Token(Sequence(job), 7)])
    work = meter.work()
    assert (work.texts, work.text_tokens, work.batch_tokens) == (3, 15, 1)
    # A release that doesn't know them reads the status of a worker that had none.
    assert not {"texts", "text_tokens"} & set(json.loads(Counters().work().model_dump_json()))
