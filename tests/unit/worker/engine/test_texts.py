"""Texts beside chats in one engine, on the echo backends: ends, stops, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chats import Reader, sequence
from wire.messages import (
    ChatJob,
    Delta,
    Finished,
    Message,
    OutputFormat,
    Pooling,
    Sampling,
    Usage,
    rows_in,
)
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.backends.pooling.backend import PoolingBackend
from worker.backends.pooling.echo import ECHO_EMBEDDINGS, EchoPooling
from worker.engine.engine import Engine
from worker.engine.time_share import BEFORE_FIRST_TOKEN, BESIDE_CHATS, TextTurns
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence


def opened(record: ModelRecord, *_: object) -> Backend:
    if record is ECHO_EMBEDDINGS:
        return PoolingBackend(EchoPooling(0.002, 4096))
    return EchoBackend(0.001, prefill_step=16)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def engine(reader: Reader) -> Iterator[Engine]:
    find = {record.id: record for record in (ECHO_MODEL, ECHO_EMBEDDINGS)}.get
    models = LoadedModels(find, opened, budget=1 << 30, available=lambda: 1 << 30)
    running = Engine(models, reader)
    running.start()
    yield running
    running.close()


def texts(job_id: str, count: int) -> Sequence:
    words = tuple(Message(role="user", content=f"text {number}") for number in range(count))
    return Sequence(
        ChatJob(
            job_id=job_id,
            owner="everyone",
            model_id=ECHO_EMBEDDINGS.id,
            model_revision=ECHO_EMBEDDINGS.revision,
            messages=words,
            sampling=Sampling(seed=0, max_tokens=count),
            form=OutputFormat(raw=True, pooling=Pooling(task="embed")),
            submitted_ms=0,
        )
    )


def test_chats_end_beside_texts_and_texts_end_as_stopped(engine: Engine, reader: Reader) -> None:
    many = texts("texts", 2000)
    engine.submit(many)
    for number in range(5):
        engine.submit(sequence(job_id=f"chat {number}", max_tokens=5))
    for number in range(5):
        assert isinstance(reader.wait(f"chat {number}")[-1], Finished)
    end = reader.wait("texts")[-1]
    assert isinstance(end, Finished)
    tokens = sum(len(f"text {number}") for number in range(2000))
    assert (end.finish_reason, end.usage) == ("stop", Usage(tokens))
    assert len(rows_in(reader.text("texts"))) == 2000


def test_texts_are_stopped_with_the_vectors_so_far(engine: Engine, reader: Reader) -> None:
    engine.submit(texts("texts", 20_000))
    reader.wait("texts", least=4)  # The loading of its model, and some vectors.
    engine.cancel("texts")
    events = reader.wait("texts")
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    told = sum(len(event.token_ids) for event in events if isinstance(event, Delta))
    assert 0 < told < 20_000


def test_texts_wait_so_long_that_chats_keep_their_part_of_the_time() -> None:
    turns = TextTurns()
    turns.spend(10.0, 11.0)  # A step of a second.
    for share, waits in ((BESIDE_CHATS, False), (BEFORE_FIRST_TOKEN, True)):
        pause_s = 1 / share - 1
        due_in_s = turns.due_in(11.0 + pause_s - 0.01, chats=True, chat_waits=waits)
        assert due_in_s == pytest.approx(0.01)
        assert not turns.due_in(11.0 + pause_s + 0.01, chats=True, chat_waits=waits)
    assert not turns.due_in(11.0, chats=False, chat_waits=False)
