"""Constrained answers in the engine: masks are computed off its thread, and a broken one fails
its chat."""

from __future__ import annotations

import threading

import pytest

from tests.mlx.conftest import Bench
from tests.mlx.sampling.schema_chats import constrained
from tests.support.chats import Reader
from tests.support.lanes import Results
from wire.batches import BatchLine, BatchSlice
from wire.messages import Failed, Finished
from worker.backends.sampling import json_schema
from worker.backends.sampling.json_schema import Constraint
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext
from worker.engine.engine import Engine
from worker.models.loaded import LoadedModels


def models_of(demo: Bench) -> LoadedModels:
    """The demo model for an engine, which will close it."""
    find = {demo.record.id: demo.record}.get
    return LoadedModels(
        find, lambda _: Bench(demo.record).backend, budget=1 << 30, available=lambda: 1 << 30
    )


def test_the_engine_makes_it_on_another_thread(
    demo: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    make, reader = Constraint._compute_bits, Reader()

    def counted(self: Constraint) -> None:
        made.append((threading.current_thread().name, len(self._answer)))
        make(self)

    monkeypatch.setattr(Constraint, "_compute_bits", counted)
    models = models_of(demo)
    engine = Engine(models, reader)
    engine.start()
    engine.submit(constrained(demo, "Hello!", max_tokens=4))
    assert isinstance(reader.wait("job")[-1], Finished)
    engine.close(10)
    assert [thread for thread, tokens in made if tokens == 0] == ["tokenise_0"]
    assert {thread for thread, tokens in made if tokens > 0} == {"engine"}


class Breaks(Constraint):
    """A constraint that breaks after two tokens."""

    def _compute_bits(self) -> None:
        super()._compute_bits()
        if len(self._answer) > 1:
            self._break("its parts contradict each other")


@pytest.mark.parametrize("in_a_batch", [False, True])
def test_an_answer_that_breaks_off_fails_with_the_reason(
    demo: Bench, monkeypatch: pytest.MonkeyPatch, in_a_batch: bool
) -> None:
    monkeypatch.setattr(json_schema, "Constraint", Breaks)
    reader, results = Reader(), Results()
    models = models_of(demo)
    context = EngineContext()
    engine = Engine(
        models,
        reader,
        context=context,
        prompts=BatchScheduler(models, slots=4, share=0.0, context=context, on_end=results),
    )
    engine.start()
    chat = constrained(demo, "Hello!")
    if in_a_batch:
        names = ("model_id", "model_revision", "messages", "sampling", "form")
        line = BatchLine.model_validate(
            {"number": 1, "custom_id": "c"} | {n: getattr(chat.job, n) for n in names}
        )
        part = BatchSlice(job_id="slice", batch_id="b", owner="everyone", number=0)
        engine.submit_prompts([BatchSequence(line, part, 1)])
        [result] = results.wait(1)
        failure = result.error
    else:
        engine.submit(chat)
        end = reader.wait("job")[-1]
        failure = (end.code, end.message) if isinstance(end, Failed) else None
    engine.close(10)
    reason = "The answer can't be held to its schema: its parts contradict each other."
    assert failure == ("invalid_schema", reason)
