"""Chats that fail in the engine: each alone, and the next one is answered."""

from __future__ import annotations

import pytest

from tests.support.chats import Loads, Reader, chat_job, sequence
from wire.messages import Failed
from worker.backends.base import Step
from worker.backends.echo import BAD_PROMPT, BAD_STEP, EchoBackend, answer
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.sequence import Sequence


def test_a_prompt_that_fails_ends_its_chat_alone(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence("good", job_id="good", max_tokens=50))
    engine.submit(sequence(BAD_PROMPT, job_id="bad"))
    end = reader.wait("bad")[-1]
    assert isinstance(end, Failed)
    assert end.code == "engine_failed"
    assert reader.text("good") == answer("good", 1, 50)


def test_an_exception_in_a_step_fails_the_newcomer_and_the_others_go_on(
    engine: Engine, reader: Reader, loads: Loads
) -> None:
    loads.delay_s = 0.001
    engine.submit(sequence("good", job_id="good", max_tokens=300))
    reader.wait("good", least=5)
    engine.submit(sequence(BAD_STEP, job_id="bad"))
    end = reader.wait("bad")[-1]
    assert isinstance(end, Failed)
    assert BAD_STEP not in end.message
    assert reader.text("good") == answer("good", 1, 300)
    engine.submit(sequence("later", job_id="later"))
    assert reader.text("later") == answer("later", 1, 8)


def test_a_chat_that_fails_in_every_step_is_failed_after_one_rescue(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: EchoBackend) -> Step:
        raise RuntimeError("always")

    monkeypatch.setattr(EchoBackend, "step", broken)
    engine.submit(sequence("a"))
    assert isinstance(reader.wait("job")[-1], Failed)
    monkeypatch.undo()
    engine.submit(sequence("b", job_id="b"))
    assert reader.text("b") == answer("b", 1, 8)


def test_a_model_that_does_not_load_fails_the_chat_and_heals(
    engine: Engine, reader: Reader, loads: Loads
) -> None:
    loads.fault = WorkerError("load_failed", "The model could not be loaded.")
    engine.submit(sequence("a"))
    end = reader.wait("job")[-1]
    assert isinstance(end, Failed)
    assert end.code == "load_failed"
    loads.fault = None
    engine.submit(sequence("b", job_id="b"))
    assert reader.text("b") == answer("b", 1, 8)


def test_a_chat_for_a_model_that_changed_is_failed(engine: Engine, reader: Reader) -> None:
    job = chat_job().model_copy(update={"model_revision": "another"})
    engine.submit(Sequence(job))
    end = reader.wait("job")[-1]
    assert isinstance(end, Failed)
    assert end.code == "model_changed"


def test_a_prompt_that_cannot_fit_is_failed_with_its_length(engine: Engine, reader: Reader) -> None:
    engine.submit(sequence("x" * 9000))
    end = reader.wait("job")[-1]
    assert isinstance(end, Failed)
    assert end.code == "prompt_too_long"
    assert "9006 tokens" in end.message
