"""Batches whose lines name several models, or a model that is gone, changed or doesn't fit in
memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.support.chats import MODEL, Reader, sequence
from tests.support.lanes import SLOTS, WAIT_S, Lanes, Results, prompt, prompts, right
from wire.messages import OutputFormat, Pooling
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.echo import ECHO_MODEL, EchoBackend, answer, word
from worker.backends.pooling.backend import PoolingBackend
from worker.backends.pooling.echo import EchoPooling
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.context import ChatLoad, EngineContext
from worker.engine.engine import Engine
from worker.engine.model_turn import MODEL_TURN_S
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence


class HeldLoads:
    """Opens echo backends; that of the model "other" only once it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, record: ModelRecord) -> EchoBackend:
        if record.id == "other":
            self.begun.set()
            assert self.go.wait(WAIT_S)
        return EchoBackend(0, prefill_step=16)


class Other(EchoBackend):
    """An echo backend with a vocabulary of its own: another model's token ids mean something else
    to it."""

    def prepare(self, sequence: Sequence) -> list[str]:
        warnings = super().prepare(sequence)
        sequence.prompt_ids = [id + 7 for id in sequence.prompt_ids]
        return warnings

    def batch_lane(self) -> Other:
        return Other(0, 16)


@pytest.mark.parametrize("first", [MODEL, "other"])
def test_each_line_of_a_batch_is_prepared_by_its_own_model(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(
        lanes.models, "_open", lambda r: (Other if r.id == "other" else EchoBackend)(0, 16)
    )
    second = "other" if first == MODEL else MODEL
    shared = "the same long beginning, which both models would read: "
    models = {n: first if n % 2 else second for n in range(1, 7)}
    lanes.submit(*(prompt(f"{shared}{n}", n, model=model) for n, model in models.items()))
    lanes.turns(60)
    ended = {one.line.number: one for one in lanes.results.ended}
    assert set(ended) == set(models)
    for n, model in models.items():
        ids = [i + 7 * (model == "other") for i in f"user:{shared}{n}\n".encode()]
        assert ended[n].prompt_ids == ids
        assert ended[n].result().sampling == ended[n].line.sampling
        assert ended[n].result().text == "".join(f"w{word(ids, n, place)} " for place in range(8))


def test_two_batches_of_a_model_that_cannot_be_loaded_fail_and_the_engine_goes_on(
    lanes: Lanes,
) -> None:
    lanes.loads.fault = RuntimeError("no")
    lanes.background.submit([*prompts("b", 2), *prompts("c", 2), *prompts("d", 2, suspect=True)])
    lanes.turns(5)
    assert {one.error[0] for one in lanes.results.wait(6) if one.error} == {"load_failed"}
    assert (lanes.background.idle, lanes.background.suspect) == (True, False)


def test_lines_of_changed_model_files_fail_alone(lanes: Lanes) -> None:
    old, new = prompt("old", 1), prompt("new", 2, batch="c")
    old.job = old.job.model_copy(update={"model_revision": "older"})
    lanes.submit(old, new)
    lanes.turns(30)
    lines = {one.number: one for one in lanes.results.wait(2)}
    assert lines[1].error is not None
    assert lines[1].error[0] == "model_changed"
    assert lines[2].text == answer("new", 2, 8)


@pytest.mark.parametrize("stop", [(), ("no such word",)])
def test_a_prompt_whose_model_was_unloaded_meanwhile_is_prepared_anew_and_goes_on(
    lanes: Lanes, stop: tuple[str, ...]
) -> None:
    half_said = prompt("b 1", 1, stop=stop)
    lanes.submit(half_said)
    lanes.turns(4)
    assert 0 < len(half_said.generated) < 8
    lanes.background.make_way()
    [key] = [key for key, _ in lanes.models.resident()]
    lanes.models.unload(key)
    lanes.turns(30)
    [line] = lanes.results.wait(1)
    assert right(line)
    assert len(lanes.loads.opened) == 2


def test_a_cancelled_batch_that_waited_for_memory_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("worker.engine.model_turn.time.monotonic", lambda: clock[0])
    lanes = Lanes()
    monkeypatch.setattr(lanes.models, "has_room", lambda job: job.model_id == MODEL)
    lanes.submit(*prompts("b", 1, model="other"))
    lanes.turns(1)
    lanes.background.drop("slice-b")
    clock[0] += 2 * MODEL_TURN_S
    lanes.submit(*prompts("c", 2))
    lanes.turns(30)
    assert len(lanes.results.ended) == 2
    lanes.close()


def test_texts_of_two_models_take_their_turns_together_beside_chats(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes a part of the time; the other model's texts must not wait for its end."""
    monkeypatch.setattr(lanes.models, "_open", lambda _: PoolingBackend(EchoPooling(0.001, 4096)))
    both = [prompt("text", number, model=model) for number, model in ((1, MODEL), (2, "other"))]
    form = OutputFormat(raw=True, pooling=Pooling(task="embed"))
    for one in both:
        one.job = one.job.model_copy(update={"form": form})
    lanes.submit(*both)
    stepped: list[Backend] = []
    step = lanes.background._step

    def counted(lane: Backend) -> None:
        stepped.append(lane)
        step(lane)

    monkeypatch.setattr(lanes.background, "_step", counted)
    lanes.turns(1, ChatLoad(inside=1))
    assert len(set(stepped)) == len(stepped) == 2


def test_chats_are_answered_while_the_model_of_a_batch_is_loaded() -> None:
    records = {name: ECHO_MODEL.model_copy(update={"id": name}) for name in (MODEL, "other")}
    loads, results, reader, context = HeldLoads(), Results(), Reader(), EngineContext()
    models = LoadedModels(records.get, loads, budget=1 << 30, available=lambda: 1 << 30)
    background = BatchScheduler(models, slots=SLOTS, share=0, context=context, on_end=results)
    engine = Engine(models, reader, context=context, prompts=background)
    engine.start()
    engine.submit(sequence("first", job_id="first"))
    reader.wait("first")
    engine.submit_prompts(prompts("b", 3, model="other"))
    assert loads.begun.wait(WAIT_S)
    engine.submit(sequence("hello", seed=3, max_tokens=5))
    assert reader.text("job") == answer("hello", 3, 5)
    assert results.ended == []
    loads.go.set()
    assert all(right(line) for line in results.wait(3))
    engine.close()


def test_a_suspect_stays_marked_while_its_model_is_loaded_whatever_chats_want(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A load can't be interrupted: if it ends the process, that is known to be the suspect's."""
    lanes = Lanes()
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr(lanes.context, "post", ends.append)
    lanes.background.submit([prompt("b 1", suspect=True)])
    lanes.background.run_turn(ChatLoad())
    lanes.background.make_way()
    assert lanes.suspects == ["in 1"]
    lanes.background.drop("slice-b")
    assert lanes.background.suspect
    [end] = ends
    end()
    lanes.models.start_all()
    assert (lanes.background.suspect, lanes.background.idle) == (False, True)
    lanes.close()
