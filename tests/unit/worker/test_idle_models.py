"""Idle models are unloaded after the time that was asked for last; busy and pinned ones stay."""

from __future__ import annotations

import pytest

from tests.support.chats import chat_job
from tests.support.lanes import InlineLoads
from wire.messages import ChatJob
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.idle_models import IdleModels
from worker.models.memory import ModelKey


def job(name: str, keep_alive_s: float | None = None) -> ChatJob:
    named = {"model_id": name, "model_revision": "1", "keep_alive_s": keep_alive_s}
    return chat_job().model_copy(update=named)


class Service:
    """Two models, and a clock that a test moves."""

    def __init__(self, ttl_s: float = -1) -> None:
        named = ({"id": name, "name": name, "revision": "1"} for name in "ab")
        records = {one["id"]: ECHO_MODEL.model_copy(update=one) for one in named}
        self.models = InlineLoads(
            records.get, lambda _: EchoBackend(0, 16), budget=1 << 30, available=lambda: 1 << 30
        )
        self.now, self.busy = 100.0, set[str]()
        self.idle = IdleModels(self.models, ttl_s, lambda: self.now)

    def chat(self, name: str, keep_alive_s: float | None = None) -> None:
        self.idle.asked(job(name, keep_alive_s))
        self.models.loaded(job(name))

    def after(self, seconds: float) -> list[str]:
        """The models in memory so many seconds later, looked at each second."""
        for _ in range(int(seconds)):
            self.now += 1
            self.idle.unload(self._is_busy)
        return sorted(key.model_id for key, _ in self.models.resident())

    def _is_busy(self, key: ModelKey) -> bool:
        return key.model_id in self.busy


def test_without_a_limit_a_model_stays() -> None:
    service = Service()
    service.chat("a")
    assert service.after(10_000) == ["a"]
    assert service.models.expiries == {}


def test_the_limit_is_the_requests_then_the_models_then_the_workers() -> None:
    service = Service(ttl_s=30)
    service.models.ttls = {"a": 20.0}
    service.chat("a")
    service.chat("b")
    assert service.after(19) == ["a", "b"]
    assert service.models.expiries == {"a": 1.0, "b": 11.0}
    assert service.after(2) == ["b"]
    service.chat("b", keep_alive_s=5)
    assert service.after(4) == ["b"]
    assert service.after(1) == []
    service.chat("b")
    assert service.after(29) == ["b"], "what was asked went with the model"


@pytest.mark.parametrize("kept", [0, 3])
def test_a_busy_model_stays_and_its_time_begins_with_its_end(kept: float) -> None:
    service = Service()
    service.chat("a", keep_alive_s=kept)
    service.busy = {"a"}
    assert service.after(50) == ["a"]
    service.busy = set()
    assert service.after(kept) == (["a"] if kept == 0 else [])
    assert service.after(1) == []


def test_a_pinned_model_stays_and_for_ever_is_without_limit() -> None:
    service = Service(ttl_s=5)
    service.chat("a")
    service.chat("b", keep_alive_s=-1)
    service.models.pinned = frozenset("a")
    assert service.after(100) == ["a", "b"]
    service.models.pinned = frozenset()
    assert service.after(1) == ["b"]


def test_a_load_by_an_operator_counts_more_than_the_request_before() -> None:
    service = Service()
    service.chat("a", keep_alive_s=5)
    service.models.ttls = {"a": 10.0}
    service.idle.loaded("a")
    assert service.after(9) == ["a"]
    assert service.after(1) == []


def test_what_is_asked_while_a_model_is_away_holds_once_it_is_loaded() -> None:
    service = Service()
    service.chat("a", keep_alive_s=2)
    assert service.after(2) == []
    service.idle.asked(job("a", keep_alive_s=7))
    assert service.after(3) == []
    service.chat("a")
    assert service.after(6) == ["a"]
    assert service.after(1) == []
