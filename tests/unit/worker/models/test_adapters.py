"""Adapters in memory with their bases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chats import chat_job, sequence
from tests.support.lanes import InlineLoads
from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.errors import WorkerError

MIB = 1 << 20


class Bank:
    def __init__(self) -> None:
        self.nbytes: dict[str, int] = {}
        self.readable = True

    def read(self, record: ModelRecord) -> None:
        if not self.readable:
            raise WorkerError("load_failed", f"The adapter {record.name} can't be used: no.")

    def attach(self, record: ModelRecord) -> Iterator[None]:
        yield
        self.nbytes[record.id] = record.size

    def detach(self, adapter_id: str) -> None:
        self.nbytes.pop(adapter_id, None)


class Base(EchoBackend):
    def __init__(self, size: int) -> None:
        super().__init__(0, 16)
        self.size = size
        self.bank = Bank()
        self.adapters: Any = self.bank

    @property
    def weight_bytes(self) -> int:
        return self.size + sum(self.bank.nbytes.values())

    @weight_bytes.setter
    def weight_bytes(self, _: int) -> None:
        """The echo backend has none."""


def model(name: str, size: int, base: str = "") -> ModelRecord:
    own = {"id": name, "name": name, "size": size * MIB, "revision": "1"}
    return ECHO_MODEL.model_copy(update=own | {"base_id": base, "adapter_path": base})


def job(name: str) -> ChatJob:
    return chat_job().model_copy(update={"model_id": name, "model_revision": "1"})


class House:
    """A base of 100 MiB with adapters of 30, and another model of 80, under a budget of 240."""

    def __init__(self) -> None:
        adapters = {f"a+{i}": model(f"a+{i}", 30, "a") for i in range(5)}
        self.records = {"a": model("a", 100), "b": model("b", 80), **adapters}
        self.opened: list[Base] = []
        self.models = InlineLoads(
            self.records.get, self._open, budget=240 * MIB, available=lambda: 1 << 40
        )

    def _open(self, record: ModelRecord) -> Base:
        self.opened.append(Base(record.size))
        return self.opened[-1]

    def there(self) -> list[str]:
        names = [key.model_id for key, _ in self.models.resident()]
        return sorted([*names, *(name for base in self.opened for name in base.bank.nbytes)])

    def run(self, name: str) -> Base:
        """Have a chat run."""
        backend = self.models.loaded(job(name))
        chat = sequence()
        chat.job = job(name)
        backend.prepare(chat)
        backend.add(chat)
        assert isinstance(backend, Base)
        return backend


@pytest.fixture
def house() -> House:
    return House()


def test_an_adapter_is_loaded_into_its_base_which_is_loaded_once(house: House) -> None:
    assert house.models.has_room(job("a+0"))
    base = house.models.loaded(job("a+0"))
    assert house.models.loaded(job("a+1")) is base
    assert house.models.loaded(job("a")) is base
    assert (len(house.opened), house.there()) == (1, ["a", "a+0", "a+1"])
    assert base.weight_bytes == 160 * MIB
    assert house.models.is_loaded(job("a+1"))
    assert not house.models.is_loaded(job("a+2"))


def test_idle_adapters_make_room_the_least_recently_used_first(house: House) -> None:
    for name in ("a+0", "a+1", "a+2", "a+0"):
        house.models.loaded(job(name))
    assert house.models.has_room(job("a+3"))
    for name in ("a+3", "a+4"):
        house.models.loaded(job(name))
    assert house.there() == ["a", "a+0", "a+2", "a+3", "a+4"]
    house.models.pinned = frozenset(["a+3"])
    assert house.models.has_room(job("b"))
    house.models.loaded(job("b"))
    assert house.there() == ["a", "a+3", "b"]


def test_an_adapter_in_use_stays_and_so_does_its_base(house: House) -> None:
    house.run("a+0")
    house.models.loaded(job("a+1"))
    with pytest.raises(WorkerError) as caught:
        house.models.unload_adapter("a+0")
    assert caught.value.code == "load_conflict"
    house.run("b")
    assert house.there() == ["a", "a+0", "b"]
    assert not house.models.has_room(job("a+1"))
    house.opened[0].reset()
    assert house.models.unload_adapter("a+0")
    assert house.there() == ["a", "b"]


def test_an_adapter_that_fails_leaves_its_base_running(house: House) -> None:
    base = house.run("a")
    base.bank.readable = False
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("a+0"))
    assert caught.value.message == "The adapter a+0 can't be used: no."
    base.bank.readable = True
    assert house.models.loaded(job("a+0")) is base
    assert base.sequences()


def test_a_refused_adapter_and_one_without_its_base_are_named(house: House) -> None:
    house.records["a+0"] = house.records["a+0"].model_copy(update={"problem": "It is a DoRA."})
    with pytest.raises(WorkerError, match=r"It is a DoRA\.") as caught:
        house.models.loaded(job("a+0"))
    assert caught.value.code == "load_failed"
    del house.records["a"]
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("a+1"))
    assert caught.value.code == "model_not_found"


def test_unloading_a_base_unloads_its_adapters(house: House) -> None:
    house.models.loaded(job("a+0"))
    [(key, _)] = house.models.resident()
    assert house.models.unload(key) == ["a", "a+0"]
    assert not house.models.is_loaded(job("a+0"))
    house.models.loaded(job("a+0"))
    assert len(house.opened) == 2


def test_bases_without_adapters_refuse_them(house: House) -> None:
    house.models._open = lambda _: EchoBackend(0, 16)
    with pytest.raises(WorkerError, match="its base takes none"):
        house.models.loaded(job("a+0"))
