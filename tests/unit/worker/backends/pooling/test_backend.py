"""The pooling backend on the echo model: the order of rows, turns, resumption, and failures."""

from __future__ import annotations

import base64
from collections.abc import Generator
from collections.abc import Sequence as Items

import numpy as np
import pytest

from wire.messages import ChatJob, Message, OutputFormat, Pooling, Sampling, rows_in
from worker.backends.pooling import backend as pooling_backend
from worker.backends.pooling.backend import PoolingBackend
from worker.backends.pooling.echo import EchoPooling, vector
from worker.backends.pooling.model import Input, Rows
from worker.sequence import Sequence


def job(texts: list[str], job_id: str = "job", **pooling: object) -> ChatJob:
    asked = Pooling.model_validate({"task": "embed", **pooling})
    return ChatJob(
        job_id=job_id,
        owner="everyone",
        model_id="echo-embeddings",
        model_revision="echo",
        messages=tuple(Message(role="user", content=text) for text in texts),
        sampling=Sampling(seed=0, max_tokens=len(texts)),
        form=OutputFormat(raw=True, truncation="disabled", pooling=asked),
        submitted_ms=0,
    )


class Watched(EchoPooling):
    """Notes the texts of each pass, and takes some pieces for one."""

    def __init__(self, pieces: int = 1) -> None:
        super().__init__(0.0, 4096)
        self.passes: list[list[str]] = []
        self._pieces = pieces

    def run(self, inputs: Items[Input]) -> Generator[None, None, Rows]:
        self.passes.append([bytes(one.ids).decode() for one in inputs])
        for _ in range(self._pieces - 1):
            yield
        return (yield from super().run(inputs))


@pytest.fixture(autouse=True)
def piece_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends after each piece, however quick it was."""
    monkeypatch.setattr(pooling_backend, "STEP_S", 0.0)


def begun(backend: PoolingBackend, made: ChatJob, emitted: tuple[int, ...] = ()) -> Sequence:
    sequence = Sequence(made, emitted=emitted)
    backend.prepare(sequence)
    backend.add(sequence)
    return sequence


def run(backend: PoolingBackend) -> dict[str, list[np.ndarray]]:
    """The rows that come until nothing is left, by job."""
    rows: dict[str, list[np.ndarray]] = {}
    while backend.sequences():
        for token in backend.step().tokens:
            for event in token.sequence.accept(token.token_id):
                rows.setdefault(token.sequence.job_id, []).extend(
                    np.frombuffer(base64.b64decode(row), "<f4") for row in rows_in(event.text)
                )
    return rows


def test_a_long_request_and_a_short_one_share_passes_and_each_gets_its_rows_in_order() -> None:
    backend = PoolingBackend(model := Watched())
    backend._tokens = 64
    many = [f"long {number:03}" for number in range(40)]
    long, short = begun(backend, job(many, "long")), begun(backend, job(["one"], "short"))
    rows = run(backend)
    assert model.passes[0][:2] == ["long 000", "one"]
    assert [list(row) for row in rows["long"]] == [
        pytest.approx(vector(text), abs=1e-6) for text in many
    ]
    assert list(rows["short"][0]) == pytest.approx(vector("one"), abs=1e-6)
    assert long.stopped_by_text
    assert short.stopped_by_text
    assert long.usage.prompt_tokens == sum(map(len, many))


def test_a_request_goes_on_behind_the_texts_that_an_earlier_worker_did() -> None:
    backend = PoolingBackend(model := Watched())
    sequence = begun(backend, job(["a", "bb", "ccc"]), emitted=(1, 2))
    rows = run(backend)
    assert model.passes == [["ccc"]]
    assert len(rows["job"]) == 1
    assert sequence.usage.prompt_tokens == 6


def test_the_query_is_read_again_by_who_goes_on_with_a_ranking() -> None:
    asked = {"task": "rerank", "query": "q"}
    backend = PoolingBackend(Watched())
    begun(backend, job(["a", "b"], **asked))
    whole = [float(row[0]) for row in run(backend)["job"]]

    backend = PoolingBackend(model := Watched())
    begun(backend, job(["a", "b"], **asked), emitted=(10,))
    assert [float(row[0]) for row in run(backend)["job"]] == whole[1:]
    assert model.passes == [["query: q", "document: b"]]


def test_a_pass_is_cut_into_steps_and_a_request_can_leave_in_between() -> None:
    backend = PoolingBackend(Watched(pieces=3))
    stays, leaves = begun(backend, job(["a"], "stays")), begun(backend, job(["b"], "leaves"))
    assert not backend.step().tokens
    backend.remove(leaves)
    assert backend.sequences() == [stays]
    assert list(run(backend)) == ["stays"]


def test_a_batch_line_that_makes_way_keeps_its_rows() -> None:
    backend = PoolingBackend(model := Watched())
    backend._tokens = 1
    sequence = begun(backend, job(["a", "b"]))
    while not sequence.generated:
        for token in backend.step().tokens:
            sequence.accept(token.token_id)
    backend.remove(sequence)
    backend.add(sequence)
    run(backend)
    assert [text for texts in model.passes for text in texts].count("a") == 1
    assert len(sequence.rows) == 2


def test_after_a_failed_pass_its_texts_are_the_suspects_and_others_go_on() -> None:
    class Failing(Watched):
        def run(self, inputs: Items[Input]) -> Generator[None, None, Rows]:
            if any(bytes(one.ids) == b"bad" for one in inputs):
                raise RuntimeError("a pass failed")
            return (yield from super().run(inputs))

    backend = PoolingBackend(Failing())
    backend._tokens = 1
    bad = begun(backend, job(["bad"], "bad"))
    good = begun(backend, job(["good"], "good"))
    with pytest.raises(RuntimeError):
        backend.step()
    assert backend.prefilling() == [bad]
    backend.reset()
    backend.add(good)
    assert list(run(backend)) == ["good"]
