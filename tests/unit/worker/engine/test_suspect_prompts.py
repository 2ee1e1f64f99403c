"""Prompts suspected of killing their workers: run one at a time, marked first, and never beside a
suspect chat."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chats import MODEL, Loads, Reader, sequence
from tests.support.lanes import SLOTS, WAIT_S, Lanes, Results, prompt, prompts, right
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.echo import ECHO_MODEL, EchoBackend, answer
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.context import ChatLoad, EngineContext
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence


def test_suspects_come_in_one_at_a_time(lanes: Lanes) -> None:
    lanes.submit(*prompts("b", 4, suspect=True))
    for _ in range(60):
        lanes.turns(1)
        assert len(lanes.running()) <= 1
    assert all(right(one) for one in lanes.results.wait(4))
    assert lanes.suspects == ["in 1", "in 2", "in 3", "in 4"]


def test_a_suspect_is_written_down_before_anything_is_done_with_it(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may be killed by loading its model, by preparing its prompt, or in a step."""
    done: list[tuple[str, list[str]]] = []
    opened, prepare = lanes.models._open, EchoBackend.prepare

    def load(record: ModelRecord) -> Backend:
        done.append(("load", list(lanes.suspects)))
        return opened(record)

    def prepared(backend: EchoBackend, one: Sequence) -> list[str]:
        done.append((one.job_id, list(lanes.suspects)))
        return prepare(backend, one)

    monkeypatch.setattr(lanes.models, "_open", load)
    monkeypatch.setattr(EchoBackend, "prepare", prepared)
    lanes.background.submit(prompts("b", 2, suspect=True))
    lanes.turns(60)
    assert done == [("load", ["in 1"]), ("slice-b:1", ["in 1"]), ("slice-b:2", ["in 1", "in 2"])]


def test_while_a_suspect_is_prepared_no_other_is_let_in(lanes: Lanes) -> None:
    go_on = threading.Event()
    lanes.background._tokenising.submit(go_on.wait, WAIT_S)
    lanes.background.submit([*prompts("b", 2, suspect=True), *prompts("c", 2, suspect=True)])
    for _ in range(5):
        lanes.background.run_turn(ChatLoad())
    assert (lanes.suspects, lanes.background.suspect) == (["in 1"], True)
    go_on.set()
    lanes.turns(60)
    assert len(lanes.results.wait(4)) == 4
    assert lanes.suspects == ["in 1", "in 1", "in 2", "in 2"]


def test_a_suspect_chat_has_the_engine_without_prompts(lanes: Lanes) -> None:
    """A crash while a suspect chat runs must be the chat's own; and the chat never waits for a
    suspect prompt, whatever share prompts have."""
    lanes.submit(*prompts("b", 2, suspect=True), *prompts("c", 2))
    lanes.turns(3)
    assert set(lanes.running()) == {"b", "c"}
    lanes.turns(3, ChatLoad(inside=1, waiting=1, suspect=True))
    assert (lanes.running(), lanes.background.suspect, lanes.suspects) == (
        [],
        False,
        ["in 1", "out 1"],
    )
    lanes.turns(60)
    lines = lanes.results.wait(4)
    assert all(right(one, one.custom_id[0]) for one in lines if one.custom_id)
    assert lanes.suspects == ["in 1", "out 1", "in 1", "in 2"]


def test_the_good_prompts_of_a_batch_do_not_wait_behind_its_suspects(lanes: Lanes) -> None:
    lanes.submit(
        *prompts("b", 3, suspect=True, max_tokens=100), *(prompt(f"b {n}", n) for n in (4, 5, 6))
    )
    lanes.turns(30)
    assert [one.line.number for one in lanes.results.ended] == [4, 5, 6]


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One in which prompts have no share of the time, and a suspect chat is marked beside the
    loads."""
    loads = Loads()
    loads.delay_s = 0.002
    models = LoadedModels({MODEL: ECHO_MODEL}.get, loads, budget=1 << 30, available=lambda: 1 << 30)
    context = EngineContext()
    running = Engine(
        models,
        Reader(),
        context=context,
        prompts=BatchScheduler(models, slots=SLOTS, share=0, context=context, on_end=Results()),
    )
    yield running
    running.close()


def suspect_chat(**fields: Any) -> Sequence:
    chat = sequence("hello", **fields)
    chat.suspect = True
    return chat


def test_a_suspect_chat_is_written_down_before_its_model_is_loaded(engine: Engine) -> None:
    opened: list[int] = []
    engine._chats._on_suspect = lambda _: opened.append(len(engine._models.backends()))
    engine.submit(suspect_chat())
    engine.start()
    assert isinstance(engine._chats._sink, Reader)
    engine._chats._sink.wait("job")
    assert opened == [0]


def test_a_suspect_chat_does_not_wait_for_the_end_of_a_suspect_prompt(engine: Engine) -> None:
    """Prompts make no step while a chat waits: both would have waited for ever."""
    one = prompt("b 1", suspect=True, max_tokens=4000)
    engine.submit_prompts([one])
    engine.start()
    while not one.generated:
        engine.call(lambda: None).result(WAIT_S)
    engine.submit(suspect_chat())
    assert isinstance(engine._chats._sink, Reader)
    assert engine._chats._sink.text("job") == answer("hello", 1, 8)
    assert one.end is None
