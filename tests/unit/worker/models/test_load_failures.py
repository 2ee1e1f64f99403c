"""The memory of a model that can't be loaded goes back when nothing holds the model any more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.support.lanes import InlineLoads
from wire.model_registry import ModelRecord
from worker.backends.cpu import malloc
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.errors import WorkerError
from worker.models import load

MakeError = Callable[[], Exception]


class Failing(EchoBackend):
    def __init__(self, make_error: MakeError, weights: object) -> None:
        super().__init__(0, 16)
        self._make_error, self._weights = make_error, weights

    def start(self) -> Iterator[None]:
        yield
        raise self._make_error()


class Weights:
    """Something to be held."""


@pytest.mark.parametrize(
    "make_error",
    [lambda: WorkerError("load_failed", "no"), lambda: ValueError("no")],
    ids=["refused", "another error"],
)
@pytest.mark.parametrize("fails_when", ["opened", "started"])
def test_it_is_freed_before_its_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch, make_error: MakeError, fails_when: str
) -> None:
    held: list[weakref.ref[Weights]] = []
    freed: list[bool] = []

    def open_backend(_: ModelRecord) -> EchoBackend:
        weights = Weights()
        held.append(weakref.ref(weights))
        if fails_when == "opened":
            raise make_error()
        return Failing(make_error, weights)

    def give_back() -> None:
        gc.collect()
        freed.append(held[0]() is None)

    monkeypatch.setattr(malloc, "give_back", give_back)
    monkeypatch.setattr(load.log, "disabled", True)  # pytest would keep the traceback.
    models = InlineLoads(
        lambda _: ECHO_MODEL, open_backend, budget=1 << 30, available=lambda: 1 << 30
    )
    with pytest.raises(WorkerError):
        models.of(ECHO_MODEL)
    assert freed == [True]
