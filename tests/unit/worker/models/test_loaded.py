"""The memory budget: idle models are unloaded, busy ones are waited for, and nothing is loaded that
can't fit."""

from __future__ import annotations

import sys
from typing import Literal

import pytest

from tests.support.chats import chat_job, sequence
from tests.support.lanes import InlineLoads
from wire.messages import ChatJob
from wire.model_registry import ModelRecord
from worker.backends.echo import ECHO_MODEL, EchoBackend
from worker.errors import WorkerError
from worker.models.folders import with_kv

MIB = 1 << 20


def model(name: str, size: int = 100 * MIB, revision: str = "1") -> ModelRecord:
    return ECHO_MODEL.model_copy(
        update={"id": name, "name": name, "size": size, "revision": revision}
    )


def job(name: str, revision: str = "1") -> ChatJob:
    return chat_job().model_copy(update={"model_id": name, "model_revision": revision})


class Sized(EchoBackend):
    def __init__(self, size: int) -> None:
        super().__init__(0, 16)
        self.weight_bytes = size
        self.closed = False

    def close(self) -> None:
        self.closed = True


class House:
    """Models that can be loaded, under a budget of 250 MiB: two of them at once."""

    def __init__(self, available: int = 1 << 40) -> None:
        self.records = {name: model(name) for name in "abc"}
        self.opened: dict[str, Sized] = {}
        self.models = InlineLoads(
            self.records.get, self._open, budget=250 * MIB, available=lambda: available
        )

    def _open(self, record: ModelRecord) -> Sized:
        self.opened[record.id] = Sized(record.size)
        return self.opened[record.id]

    def resident(self) -> list[str]:
        return [key.model_id for key, _ in self.models.resident()]


@pytest.fixture
def house() -> House:
    return House()


def test_the_least_recently_used_model_makes_room(house: House) -> None:
    for name in "abac":
        house.models.loaded(job(name))
    assert house.resident() == ["c", "a"]
    assert house.opened["b"].closed


def test_another_thread_may_list_models_while_they_change(house: House) -> None:
    """A dict asks its keys for their hashes, and other threads run meanwhile."""

    class Name(str):
        def __hash__(self) -> int:
            for name in changes:
                changes.clear()
                house.models.loaded(job(name))
            return super().__hash__()

    changes: list[str] = []
    house.records["a"] = model(Name("a"))
    for name in "ab":
        house.models.loaded(job(name))
    changes.append("c")
    assert house.resident() in (["b", "a"], ["c", "b"])


def test_a_busy_model_is_not_let_go_and_the_newcomer_waits(house: House) -> None:
    for name in "ab":
        backend = house.models.loaded(job(name))
        chat = sequence()
        backend.prepare(chat)
        backend.add(chat)
    assert not house.models.has_room(job("c"))
    house.opened["a"].reset()
    assert house.models.has_room(job("c"))
    house.models.loaded(job("c"))
    assert house.resident() == ["c", "b"]


def test_a_model_larger_than_the_budget_is_refused_before_it_is_opened(house: House) -> None:
    house.records["big"] = model("big", 300 * MIB)
    assert house.models.has_room(job("big"))
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("big"))
    assert caught.value.code == "insufficient_memory"
    assert "330 MiB" in caught.value.message
    assert house.opened == {}


def test_a_machine_without_memory_refuses() -> None:
    with pytest.raises(WorkerError) as caught:
        House(available=50 * MIB).models.loaded(job("a"))
    assert caught.value.code == "insufficient_memory"


@pytest.mark.parametrize("bits", [4, 8])
def test_another_quantisation_replaces_the_model_unless_it_is_busy(
    house: House, bits: Literal[4, 8]
) -> None:
    backend = house.models.loaded(job("a"))
    chat = sequence()
    backend.prepare(chat)
    backend.add(chat)
    with pytest.raises(WorkerError) as caught:
        house.models.of(with_kv(house.records["a"], bits))
    assert caught.value.code == "load_conflict"
    backend.reset()
    house.models.of(with_kv(house.records["a"], bits))
    assert [(key.model_id, key.kv_quantization) for key, _ in house.models.resident()] == [
        ("a", bits)
    ]


def test_a_draft_model_counts_and_makes_another_load(house: House) -> None:
    house.models.loaded(job("a"))
    house.models.of(house.records["a"].with_draft(house.records["b"]))
    assert [key.draft_model for key, _ in house.models.resident()] == ["b"]
    with pytest.raises(WorkerError) as caught:
        house.models.of(house.records["c"].with_draft(model("big", 200 * MIB)))
    assert caught.value.code == "insufficient_memory"
    assert "330 MiB" in caught.value.message


def test_changed_files_wait_for_the_chats_on_the_old_ones(house: House) -> None:
    backend = house.models.loaded(job("a"))
    chat = sequence()
    backend.prepare(chat)
    backend.add(chat)
    house.records["a"] = model("a", revision="2")
    assert not house.models.has_room(job("a", "2"))
    backend.reset()
    assert house.models.has_room(job("a", "2"))
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("a", "1"))
    assert caught.value.code == "model_changed"
    house.models.loaded(job("a", "2"))


def test_a_fault_of_the_library_is_a_named_error(house: House) -> None:
    def broken(_: ModelRecord) -> Sized:
        raise KeyError("/a/path")

    models = InlineLoads(house.records.get, broken, budget=250 * MIB, available=lambda: 1 << 40)
    with pytest.raises(WorkerError) as caught:
        models.loaded(job("a"))
    assert caught.value.code == "load_failed"
    assert "/a/path" not in caught.value.message


def test_a_library_that_ends_the_process_fails_the_load_alone(house: House) -> None:
    def leave(_record: ModelRecord) -> EchoBackend:
        sys.exit(1)

    house.models = InlineLoads(
        house.records.get, leave, budget=250 * MIB, available=lambda: 1 << 40
    )
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("a"))
    assert caught.value.code == "load_failed"


def test_a_model_that_a_chat_is_about_to_join_makes_no_room(house: House) -> None:
    for name in "ab":
        house.models.claim(f"chat of {name}", house.models.loaded(job(name)), name)
    assert not house.models.has_room(job("c"))
    house.models.unclaim("chat of b")
    assert house.models.has_room(job("c"))
    house.models.loaded(job("c"))
    assert house.resident() == ["c", "a"]


def test_a_pinned_model_makes_no_room_and_can_be_loaded_otherwise(house: House) -> None:
    for name in "ab":
        house.models.loaded(job(name))
    house.models.pinned = frozenset("a")
    house.models.loaded(job("c"))
    assert house.resident() == ["c", "a"]
    house.models.pinned = frozenset("ac")
    assert house.models.has_room(job("b"))  # Waiting won't help: the load says why.
    with pytest.raises(WorkerError) as caught:
        house.models.loaded(job("b"))
    assert caught.value.code == "insufficient_memory"
    assert caught.value.message.endswith("50 MiB can be had beside the pinned models.")
    house.models.of(with_kv(house.records["a"], 4))
    assert house.resident() == ["a", "c"]
    house.models.pinned = frozenset()
    house.models.loaded(job("b"))
    assert house.resident() == ["b", "a"]
