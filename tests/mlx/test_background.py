"""Prompts of batches on a real model: preempted, beside chats or with a shared prefix, they give
the text of a chat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import pytest

from tests.mlx.conftest import Bench
from tests.support.lanes import Immediate, InlineLoads
from wire.batches import BatchLine, BatchSlice
from wire.messages import Message, Sampling
from worker.backends.lm import open_model
from worker.engine.batch_scheduler import AHEAD_PART, BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import ChatLoad
from worker.engine.counters import Counters

pytestmark = pytest.mark.usefixtures("chunks_may_take_long")
LIMIT_S = 60
SLOTS = 4
SHARED = (
    "the same instructions stand before every one of these questions, and they are long enough: "
)


class Lanes:
    """The batch scheduler on the model of a bench; a test runs its turns."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ended: list[BatchSequence] = []
        self.models = InlineLoads(
            {bench.record.id: bench.record}.get,
            lambda _: bench.backend,
            budget=1 << 40,
            available=lambda: 1 << 40,
        )
        self.counters = Counters()
        self.background = BatchScheduler(
            self.models,
            slots=SLOTS,
            share=0,
            context=Immediate(),
            counters=self.counters,
            on_end=self.ended.append,
        )

    def prompt(self, text: str, number: int, **sampling: object) -> BatchSequence:
        line = BatchLine(
            number=number,
            custom_id=str(number),
            model_id=self.bench.record.id,
            model_revision=self.bench.record.revision,
            messages=(Message(role="user", content=text),),
            sampling=Sampling.model_validate({"seed": number, "max_tokens": 32, **sampling}),
        )
        return BatchSequence(
            line, BatchSlice(job_id="s", batch_id="b", owner="everyone", number=0), 1
        )

    def run(self, chats: ChatLoad = ChatLoad(), *, until: Callable[[], bool] | None = None) -> None:  # noqa: B008 (frozen)
        """Run turns until everything has ended, or the condition holds."""
        deadline = time.monotonic() + LIMIT_S
        while not self.background.idle and not (until and until()):
            self.background.run_turn(chats)
            self.models.start_all()
            assert time.monotonic() < deadline

    def tokens(self) -> int:
        return self.counters.work().batch_tokens

    def run_for(self, tokens: int, chats: ChatLoad) -> None:
        """Run turns until there are more than so many new tokens, or everything has ended."""
        before = self.tokens()
        self.run(chats, until=lambda: self.tokens() > before + tokens)

    def results(self) -> dict[int, list[int]]:
        return {one.line.number: one.generated for one in self.ended}


@pytest.fixture(params=[None, 4], ids=["plain", "kv4"])
def lanes(request: pytest.FixtureRequest, bench_of: Callable[..., Bench]) -> Iterator[Lanes]:
    kv: Literal[4] | None = request.param
    made = Lanes(bench_of(kv))
    yield made
    made.background.close()


def test_parked_and_resumed_prompts_say_the_same_as_undisturbed_ones(lanes: Lanes) -> None:
    texts = {n: f"question {n} " + "why? " * n for n in range(1, 2 * SLOTS + 1)}
    alone = {n: lanes.bench.answer(text, seed=n) for n, text in texts.items()}
    lanes.bench.forget()
    lanes.background.submit([lanes.prompt(text, n) for n, text in texts.items()])
    lanes.run(until=lambda: lanes.tokens() > 20)
    for chats in (SLOTS - 2, 1, SLOTS - 1, 0):
        lanes.run_for(10, ChatLoad(inside=chats))
        assert len(lanes.background._running) <= SLOTS - chats + (
            0 if chats else SLOTS // AHEAD_PART
        )
    lanes.run()
    assert lanes.results() == alone
    assert all(one.result().text for one in lanes.ended)


def test_a_chat_and_a_batch_beside_each_other_say_what_they_say_alone(lanes: Lanes) -> None:
    alone = lanes.bench.answer("a chat of its own", seed=5)
    prompt_alone = lanes.bench.answer("a prompt of its own", seed=6)
    chat = lanes.bench.chat("a chat of its own", seed=5)

    def is_longer_than(shown: int) -> bool:
        return len(chat.generated) > shown

    lanes.bench.start(chat)
    lanes.background.submit([lanes.prompt("a prompt of its own", 6)])
    lanes.background.run_turn(ChatLoad())  # No model is loaded for a batch while a chat is running.
    for shown in range(33):
        lanes.bench.run(until=partial(is_longer_than, shown))
        lanes.background.run_turn(ChatLoad(inside=1))
    lanes.run()
    assert chat.generated == alone
    assert lanes.results() == {6: prompt_alone}


def test_a_shared_prefix_is_read_by_the_first_alone(lanes: Lanes) -> None:
    texts = {n: f"{SHARED}{n}" for n in range(1, SLOTS + 1)}
    alone = {n: lanes.bench.answer(text, seed=n, max_tokens=8) for n, text in texts.items()}
    lanes.bench.forget()
    lanes.background.submit([lanes.prompt(text, n, max_tokens=8) for n, text in texts.items()])
    lanes.run()
    assert lanes.results() == alone
    read = sorted(len(one.prompt_ids) - one.cached_tokens for one in lanes.ended)
    assert read[-1] == len(lanes.ended[0].prompt_ids) or read[-1] > 20
    assert sum(count > 20 for count in read) == 1


def test_a_finished_prompt_leaves_no_cache_behind(lanes: Lanes) -> None:
    lanes.background.submit([lanes.prompt("nobody asks again", 1, max_tokens=4)])
    lanes.run()
    assert len(lanes.bench.cache) == 0


@pytest.mark.parametrize(
    ("others_waiting", "words", "together"), [(True, 2, 4), (False, 2, 12), (False, 200, 8)]
)
def test_as_many_prompts_are_read_at_once_as_nobody_waits_for_and_all_say_the_same(
    bench: Bench, others_waiting: bool, words: int, together: int
) -> None:
    texts = [f"question {number}: " + "why? " * words for number in range(12)]
    some = [0, 3, 7, 11]
    alone = [bench.answer(texts[number], seed=number) for number in some]
    bench.forget()
    chats = [bench.chat(text, seed=number) for number, text in enumerate(texts)]
    bench.start(*chats)
    most = 0
    while bench.backend.sequences():
        step = bench.backend.step(others_waiting)
        most = max(most, len(step.prefill))
        for token in step.tokens:
            token.sequence.accept(token.token_id)
    assert most == together
    assert [chats[number].generated for number in some] == alone


def test_in_a_small_batch_the_first_free_row_is_used(bench: Bench) -> None:
    backend = open_model(bench.record, slots=4, prefill_step=32, cache=bench.cache)
    list(backend.start())
    lane = backend.batch_lane()
    long, *short = [
        bench.chat(f"question {n}", max_tokens=64 if n == 0 else 4, temperature=0.0)
        for n in range(8)
    ]
    for chat in (long, *short):
        lane.prepare(chat)
        lane.add(chat)
    while not all(len(chat.generated) == 4 for chat in short):
        for token in lane.step().tokens:
            token.sequence.accept(token.token_id)
        assert len(long.generated) < 64


def test_rows_that_nobody_waits_for_join_together_and_say_the_same(bench: Bench) -> None:
    lengths = [4 + number for number in range(48)]
    alone = [
        bench.answer(f"question {n}", seed=n, max_tokens=length) for n, length in enumerate(lengths)
    ]
    lane = bench.backend.batch_lane()
    chats = [
        bench.chat(f"question {n}", seed=n, max_tokens=length) for n, length in enumerate(lengths)
    ]
    for chat in chats:
        lane.prepare(chat)
        lane.add(chat)
    seen: set[int] = set()
    groups = []
    while lane.sequences():
        step = lane.step()
        new = {id(sequence) for sequence, *_ in step.prefill} - seen
        seen |= new
        groups += [len(new)] if new else []
        for token in step.tokens:
            token.sequence.accept(token.token_id)
    # They join when eight rows are free.
    assert groups == [32, 8, 8]
    assert [chat.generated for chat in chats] == alone


def test_rows_that_end_together_are_replaced_together(bench: Bench) -> None:
    """Those that take their places are submitted when the ends are known, as the scheduler does."""
    waves = [[bench.chat(f"wave {w}: {n}", seed=n, max_tokens=4) for n in range(32)] for w in "ab"]
    ahead = waves[1][: 32 // AHEAD_PART]
    later = waves[1][32 // AHEAD_PART :]
    lane = bench.backend.batch_lane()
    for chat in (*waves[0], *ahead):
        lane.prepare(chat)
        lane.add(chat)
    groups, seen = [], set[int]()
    while lane.sequences():
        step = lane.step()
        new = {id(sequence) for sequence, *_ in step.prefill} - seen
        seen |= new
        groups += [len(new)] if new else []
        for token in step.tokens:
            token.sequence.accept(token.token_id)
            if token.end is not None and later:
                chat = later.pop()
                lane.prepare(chat)
                lane.add(chat)
    assert groups == [32, 32]
