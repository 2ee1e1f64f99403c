"""Prompts of batches in the engine, on the echo backend: chats first, batches in turn, and no
prompt is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.chats import Loads, Reader, sequence
from tests.support.lanes import SLOTS, WAIT_S, Lanes, Results, prompt, prompts, right
from worker.backends.base import Step
from worker.backends.echo import BAD_PROMPT, BAD_STEP, ECHO_MODEL, EchoBackend, answer
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.context import ChatLoad, EngineContext
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels


@pytest.fixture
def results() -> Results:
    return Results()


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def engine(results: Results, loads: Loads, reader: Reader) -> Iterator[Engine]:
    models = LoadedModels(
        {"echo": ECHO_MODEL}.get, loads, budget=1 << 30, available=lambda: 1 << 30
    )
    context = EngineContext()
    background = BatchScheduler(models, slots=SLOTS, share=0.05, context=context, on_end=results)
    running = Engine(models, reader, context=context, prompts=background)
    running.start()
    yield running
    running.close()


def test_prompts_that_are_being_made_into_tokens_are_handed_over_once(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes.models.loaded(prompt("b").job)
    release = threading.Event()
    posted: list[object] = []
    monkeypatch.setattr(lanes.context, "post", posted.append)
    lanes.background._tokenising.submit(release.wait, WAIT_S)
    lanes.background.submit(prompts("b", 3))
    for _ in range(5):  # Not lanes.turns: it waits for the thread that is held here.
        lanes.background.run_turn(ChatLoad())
    release.set()
    lanes.background._tokenising.submit(lambda: None).result(WAIT_S)
    assert len(posted) == 1


def test_prompts_say_the_known_text_beside_a_chat(
    engine: Engine, results: Results, reader: Reader
) -> None:
    engine.submit_prompts(prompts("b", 20))
    engine.submit(sequence("hello", seed=3, max_tokens=5))
    assert reader.text("job") == answer("hello", 3, 5)
    lines = results.wait(20)
    assert all(right(one) for one in lines)
    assert {one.number for one in lines} == set(range(1, 21))
    assert lines[0].usage.completion_tokens == 8


def test_a_bad_prompt_and_a_stop_text_concern_one_line(engine: Engine, results: Results) -> None:
    first = answer("b 2", 2, 8).split()[3]
    engine.submit_prompts(
        [prompt(BAD_PROMPT, 1), prompt("b 2", 2, stop=(first,)), *prompts("b", 5)[2:]]
    )
    lines = {one.number: one for one in results.wait(5)}
    assert lines[1].error is not None
    assert lines[1].error[0] == "engine_failed"
    assert (lines[2].text, lines[2].finish_reason) == (
        " ".join(answer("b 2", 2, 8).split()[:3]) + " ",
        "stop",
    )
    assert all(right(lines[n]) for n in (3, 4, 5))


def test_a_step_that_raises_fails_its_culprit_and_the_rest_goes_on(
    engine: Engine, results: Results
) -> None:
    engine.submit_prompts([*prompts("b", 3), prompt(BAD_STEP, 4), *prompts("b", 6)[4:]])
    lines = {one.number: one for one in results.wait(6)}
    assert lines[4].error == ("engine_failed", "Generation failed (RuntimeError).")
    good = [one for one in lines.values() if one.error is None]
    assert len(good) >= 2
    assert all(right(one) for one in good)


def test_parked_prompts_go_on_at_the_exact_next_token(lanes: Lanes) -> None:
    lanes.submit(*prompts("b", 4))
    lanes.turns(4)
    halfway = [len(s.generated) for s in lanes.background._running]
    assert all(0 < count < 8 for count in halfway)
    lanes.turns(2, ChatLoad(inside=3))  # all but one row are needed
    assert len(lanes.running()) == 1
    lanes.turns(2, ChatLoad(inside=1))
    lanes.turns(20)
    lines = lanes.results.wait(4)
    assert all(right(one) for one in lines)
    assert [one.usage.completion_tokens for one in lines] == [8] * 4


def test_no_step_is_made_while_a_chat_waits_for_its_first_token(lanes: Lanes) -> None:
    lanes.submit(*prompts("b", 4))
    lanes.turns(2)
    before = lanes.counters.work().batch_tokens
    lanes.turns(50, ChatLoad(inside=1, waiting=1))
    lanes.turns(50, ChatLoad(inside=SLOTS))
    assert lanes.counters.work().batch_tokens == before
    assert lanes.background.rest_s > 0, "no loop that keeps busy"
    lanes.turns(1, ChatLoad(inside=1))
    assert lanes.counters.work().batch_tokens > before
    assert lanes.background.rest_s == 0


def test_a_share_of_the_time_is_theirs_however_many_chats_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.batch_scheduler.time.monotonic", lambda: clock[0])
    lanes = Lanes(share=0.1)
    step = EchoBackend.step

    def slow(backend: EchoBackend, others_waiting: bool = False) -> Step:
        clock[0] += 0.01
        return step(backend, others_waiting)

    monkeypatch.setattr(EchoBackend, "step", slow)
    lanes.submit(*prompts("b", 4, max_tokens=1000))
    spent, began = 0.0, clock[0]
    while clock[0] - began < 20.0:
        clock[0] += 0.01  # a step of the chats
        before = clock[0]
        lanes.turns(1, ChatLoad(inside=40, waiting=10))
        spent += clock[0] - before
    lanes.close()
    assert 0.08 < spent / (clock[0] - began) < 0.12


def test_a_chat_that_comes_does_not_wait_for_a_turn_on_credit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    beside_others: list[bool] = []
    monkeypatch.setattr("worker.engine.batch_scheduler.time.monotonic", lambda: clock[0])
    lanes = Lanes(share=0.1)
    step = EchoBackend.step

    def slow(backend: EchoBackend, others_waiting: bool = False) -> Step:
        clock[0] += 0.01
        beside_others.append(others_waiting)
        return step(backend, others_waiting)

    monkeypatch.setattr(EchoBackend, "step", slow)
    lanes.submit(*prompts("b", 4, max_tokens=1000))
    lanes.turns(20)
    assert beside_others
    assert not any(beside_others)
    beside_others.clear()
    for _ in range(9):  # A tenth of nine steps is less than a turn takes.
        clock[0] += 0.01
        lanes.turns(1, ChatLoad(inside=1, waiting=1))
    assert not beside_others
    lanes.turns(1, ChatLoad())
    assert beside_others == [True], (
        "another chat is likely to follow, so a step counts as beside others"
    )
    clock[0] += 10.0
    lanes.turns(1, ChatLoad())
    assert beside_others == [True, False]
    lanes.close()


def test_batches_take_turns_whichever_was_there_first(lanes: Lanes) -> None:
    lanes.submit(*prompts("long", 40, max_tokens=2), *prompts("short", 4, max_tokens=2))
    lanes.turns(60)
    ended = [one.batch_id for one in lanes.results.ended]
    assert ended.index("short") < 4
    assert max(place for place, batch in enumerate(ended) if batch == "short") < 12
    assert len(ended) == 44


def test_a_flood_of_one_key_delays_anothers_prompt_by_the_rows_in_front_of_it(
    lanes: Lanes,
) -> None:
    """However many prompts the one has, and in however many batches: by those in the batch."""
    for batch in range(5):
        lanes.background.submit(prompts(f"ann-{batch}", 100, max_tokens=2, owner="ann"))
    lanes.turns(40)
    before = [*lanes.results.ended, *lanes.background._running]
    lanes.background.submit([prompt("one", batch="ben", max_tokens=2, owner="ben")])
    lanes.tokenised()
    lanes.turns(40)
    ended = [one.batch_id for one in lanes.results.ended]
    assert len(ended) > len(before) + 4 * SLOTS
    assert ended.index("ben") == len(before)


def test_dropped_slices_end_without_a_result_and_others_go_on(lanes: Lanes) -> None:
    lanes.submit(*prompts("gone", 6), *prompts("b", 6))
    lanes.turns(3)
    lanes.background.drop("slice-gone")
    lanes.turns(60)
    assert {one.batch_id for one in lanes.results.ended} == {"b"}
    assert all(right(one) for one in lanes.results.wait(6))
    assert lanes.background.idle


def test_a_model_that_cannot_be_loaded_fails_its_lines_at_once(lanes: Lanes) -> None:
    lanes.loads.fault = RuntimeError("no")
    lanes.submit(*prompts("b", 5))
    lanes.turns(3)
    assert {one.error[0] for one in lanes.results.wait(5) if one.error} == {"load_failed"}
    assert lanes.background.idle


def test_no_model_is_loaded_for_a_batch_while_chats_are_inside(lanes: Lanes) -> None:
    lanes.background.submit(prompts("b", 2))
    lanes.turns(5, ChatLoad(inside=1))
    assert lanes.loads.opened == []
