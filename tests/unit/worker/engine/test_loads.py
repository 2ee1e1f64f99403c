"""Models are loaded beside the streams: other chats go on, and those that need the model wait for
it together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.chats import REVISION, chat_job
from tests.unit.worker.engine.test_engine import WAIT_S, Reader
from wire.messages import Delta, Failed, Finished, Progress
from wire.model_registry import ModelRecord
from worker.backends.echo import ECHO_MODEL, EchoBackend, answer
from worker.engine.engine import Engine
from worker.errors import WorkerError
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

SIZE = 100 << 20
BUDGET = 250 << 20
PIECES = 20


class TriedOut(EchoBackend):
    """Is tried out in pieces; ``piece`` is called before each."""

    def __init__(self, piece: Callable[[], None]) -> None:
        super().__init__(0.001, prefill_step=16, context_window=1 << 20)
        self.closed = False
        self._piece = piece

    def start(self) -> Iterator[None]:
        for _ in range(PIECES):
            self._piece()
            yield

    def close(self) -> None:
        self.closed = True
        super().close()


class SlowLoads:
    """Opens echo backends; the one named slow only once it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.slow_begun = threading.Event()
        self.opened: list[str] = []
        self.threads: set[str] = set()
        self.fault: Exception | None = None
        self.piece: Callable[[], None] = lambda: None
        self.backends: list[TriedOut] = []

    def __call__(self, record: ModelRecord) -> EchoBackend:
        self.threads.add(threading.current_thread().name)
        self.opened.append(record.id)
        if record.id == "slow":
            self.slow_begun.set()
            assert self.go.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        backend = TriedOut(self.piece)
        backend.weight_bytes = record.size
        self.backends.append(backend)
        return backend


@pytest.fixture
def loads() -> SlowLoads:
    return SlowLoads()


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def models(loads: SlowLoads) -> LoadedModels:
    records = {
        name: ECHO_MODEL.model_copy(update={"id": name, "name": name, "size": SIZE})
        for name in ("quick", "slow", "third")
    }
    return LoadedModels(records.get, loads, budget=BUDGET, available=lambda: 1 << 40)


@pytest.fixture
def engine(models: LoadedModels, reader: Reader, loads: SlowLoads) -> Iterator[Engine]:
    running = Engine(models, reader)
    running.start()
    yield running
    loads.go.set()
    running.close()


def chat(name: str, model: str, text: str = "hello", **sampling: object) -> Sequence:
    job = chat_job(text, job_id=name, **sampling)
    return Sequence(job.model_copy(update={"model_id": model, "model_revision": REVISION}))


def inside(engine: Engine) -> None:
    """Wait until the engine has done what its inbox asked for so far, and made a step."""
    for _ in range(2):
        engine.call(lambda: None).result(WAIT_S)


def tokens(reader: Reader, job_id: str) -> int:
    return sum(isinstance(event, Delta) for event in reader.events.get(job_id, []))


def test_streams_go_on_and_others_come_in_while_a_model_is_loaded(
    engine: Engine, reader: Reader, loads: SlowLoads
) -> None:
    engine.submit(chat("before", "quick", max_tokens=100_000))
    reader.wait("before", least=5)
    for name in ("first", "second"):
        engine.submit(chat(name, "slow", name))
    reader.wait("second", least=1)
    engine.submit(chat("after", "quick", "newcomer"))
    assert reader.text("after") == answer("newcomer", 1, 8)
    since = tokens(reader, "before")
    reader.wait("before", least=since + 20)
    assert reader.events["first"] == reader.events["second"] == [Progress("loading")]
    assert loads.slow_begun.wait(WAIT_S)
    assert loads.opened == ["quick", "slow"]
    assert loads.threads == {"model-loads"}
    loads.go.set()
    for name in ("first", "second"):
        assert reader.text(name) == answer(name, 1, 8)
        end = reader.wait(name)[-1]
        assert isinstance(end, Finished)
        assert end.timings.load_ms > 0


def test_a_chat_can_be_stopped_while_its_model_is_loaded(
    engine: Engine, reader: Reader, loads: SlowLoads
) -> None:
    engine.submit(chat("stopped", "slow"))
    engine.submit(chat("waits", "slow"))
    reader.wait("waits", least=1)
    assert {one.job_id for one in engine.snapshot()} == {"stopped", "waits"}
    engine.cancel("stopped")
    end = reader.wait("stopped")[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "cancelled"
    loads.go.set()
    assert reader.text("waits") == answer("hello", 1, 8)
    assert reader.events["stopped"][-1] is end


@pytest.mark.parametrize(
    "fault", [WorkerError("load_failed", "It is broken."), SystemExit(1)], ids=["error", "exit"]
)
def test_all_that_wait_for_a_broken_model_fail_and_the_next_tries_again(
    engine: Engine, reader: Reader, loads: SlowLoads, fault: Exception
) -> None:
    loads.fault = fault
    for name in ("first", "second"):
        engine.submit(chat(name, "slow"))
    reader.wait("second", least=1)
    loads.go.set()
    for name in ("first", "second"):
        end = reader.wait(name)[-1]
        assert isinstance(end, Failed)
        assert end.code == "load_failed"
    assert loads.opened == ["slow"]
    loads.fault = None
    engine.submit(chat("third", "slow"))
    assert reader.text("third") == answer("hello", 1, 8)


def test_the_memory_of_a_model_that_is_being_loaded_is_taken(
    engine: Engine, reader: Reader, loads: SlowLoads
) -> None:
    engine.submit(chat("busy", "quick", max_tokens=100_000))
    reader.wait("busy", least=5)
    engine.submit(chat("slow", "slow", max_tokens=4))
    engine.submit(chat("third", "third", max_tokens=4))
    assert loads.slow_begun.wait(WAIT_S)
    inside(engine)
    assert loads.opened == ["quick", "slow"]
    loads.go.set()
    # The third model takes the place of the second once that is idle, and not before.
    assert reader.text("slow") == answer("hello", 1, 4)
    assert reader.text("third") == answer("hello", 1, 4)
    assert loads.opened == ["quick", "slow", "third"]
    engine.cancel("busy")


def test_a_suspect_is_inside_while_its_model_is_loaded(
    engine: Engine, reader: Reader, loads: SlowLoads
) -> None:
    written: list[tuple[str, list[str]]] = []
    engine._chats._on_suspect = lambda one: written.append((one.job_id, list(loads.opened)))
    for name in ("first", "second"):
        suspect = chat(name, "slow")
        suspect.suspect = True
        engine.submit(suspect)
    reader.wait("first", least=1)
    inside(engine)
    assert written == [("first", [])]
    loads.go.set()
    reader.wait("second")
    assert [name for name, _ in written] == ["first", "second"]


def test_a_load_is_no_hang_however_long_it_takes(
    engine: Engine, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.engine.LOADING_S", 0.001)
    engine.submit(chat("job", "slow"))
    reader.wait("job", least=1)
    came_round = threading.Event()
    step = engine._context.watchdog.step

    def noted() -> None:
        step()
        came_round.set()

    monkeypatch.setattr(engine._context.watchdog, "step", noted)
    assert came_round.wait(WAIT_S)


def test_a_command_loads_beside_the_streams_and_is_told_the_end(
    engine: Engine, reader: Reader, loads: SlowLoads, models: LoadedModels
) -> None:
    engine.submit(chat("before", "quick", max_tokens=100_000))
    reader.wait("before", least=5)
    record = models._find("slow")
    assert record is not None
    loading = engine.call(lambda: engine.load(record)).result(WAIT_S)
    since = tokens(reader, "before")
    reader.wait("before", least=since + 20)
    assert not loading.done()
    loads.go.set()
    assert loading.result(WAIT_S) in engine.call(models.backends).result(WAIT_S)
    engine.cancel("before")


def test_streams_go_on_between_the_pieces_of_a_trial(
    engine: Engine, reader: Reader, loads: SlowLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.models.load.PIECES_S", 0.0)
    engine.submit(chat("before", "quick", max_tokens=100_000))
    reader.wait("before", least=5)
    seen: list[int] = []
    loads.piece = lambda: seen.append(tokens(reader, "before"))
    loads.go.set()
    engine.submit(chat("job", "slow"))
    assert reader.text("job") == answer("hello", 1, 8)
    assert len(seen) == PIECES
    assert sorted(set(seen)) == seen, "a token between two pieces"
    engine.cancel("before")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (WorkerError("load_failed", "It can't be quantised."), "It can't be quantised."),
        (ValueError("no"), "The model could not be run (ValueError)."),
    ],
)
def test_a_model_that_fails_its_trial_is_closed_and_those_that_wait_are_told(
    engine: Engine, reader: Reader, loads: SlowLoads, fault: Exception, sentence: str
) -> None:
    def piece() -> None:
        raise fault

    loads.piece = piece
    loads.go.set()
    engine.submit(chat("job", "slow"))
    end = reader.wait("job")[-1]
    assert isinstance(end, Failed)
    assert (end.code, end.message[: len(sentence)]) == ("load_failed", sentence)
    assert loads.backends[0].closed
    loads.piece = lambda: None
    engine.submit(chat("again", "slow"))
    assert reader.text("again") == answer("hello", 1, 8)


def test_an_engine_that_ends_in_the_middle_of_a_trial_closes_the_model(
    models: LoadedModels, reader: Reader, loads: SlowLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.models.load.PIECES_S", 0.0)
    engine = Engine(models, reader)
    # The first piece asks the engine to end; it does so before the second.
    loads.piece = lambda: engine._inbox.put(engine._close)
    loads.go.set()
    engine.start()
    engine.submit(chat("job", "slow"))
    engine._thread.join(WAIT_S)
    engine.close()
    assert [backend.closed for backend in loads.backends] == [True]
