"""Cached prompts on disk, with every kind of cache: a hit is what the memory would have had, bit for
bit, and the answer the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import mlx.core as mx
import pytest

from scripts.training.random_vision_model import make as make_vision_model
from tests.mlx.conftest import Bench
from tests.mlx.disk_cache.conftest import DiskBench
from tests.mlx.vision.vision_bench import VisionBench
from tests.model_kinds.kinds import make_folder
from wire.messages import Message
from wire.model_registry import ModelRecord
from worker.models.folders import describe
from worker.prompt_cache import encoded
from worker.sequence import Sequence

OpenBench = Callable[..., DiskBench]
FIRST = "Tell me about rivers, and what they carry to the sea. " * 12
"""Some hundreds of tokens."""
KINDS = ["qwen3", "gemma3_text", "qwen3_5", "llama4"]
"""Keys and values of all tokens, a sliding window, a state, chunks."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    return _record(request.param, tmp_path_factory.mktemp("kinds"))


def _record(kind: str, below: Path) -> ModelRecord:
    found = describe(make_folder(kind, below / kind))
    assert found is not None
    return found


def _second_turn(answer: str) -> list[Message]:
    said = (("user", FIRST), ("assistant", answer), ("user", "And the lakes?"))
    return [Message(role=role, content=text) for role, text in said]  # type: ignore[arg-type]


def _ask(bench: Bench, text: str | list[Message]) -> tuple[list[int], int]:
    """The tokens of an answer, and how many of the prompt's came from a cache."""
    chat = bench.chat(text, max_tokens=12, temperature=0.0)
    bench.start(chat)
    bench.run()
    return chat.generated, chat.cached_tokens


def _same(one: Any, other: Any) -> bool:
    """Whether two caches, or parts of them, are the same to the bit."""
    if isinstance(one, mx.array):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return bytes(memoryview(mx.contiguous(one))) == bytes(memoryview(mx.contiguous(other)))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if one is None or isinstance(one, (int, float, str)):
        return bool(one == other)
    return type(one) is type(other) and _same(_held(one), _held(other))


def _held(layer: Any) -> list[Any]:
    """What is in a layer's cache, without room for more tokens."""
    if type(layer).__name__ == "QuantizedKVCache":
        parts = [part[..., : layer.offset, :] for part in (*layer.keys, *layer.values)]
        return [layer.offset, layer.bits, layer.group_size, *parts]
    return list(vars(layer).items())


@pytest.mark.parametrize("kv", [None, 8])
def test_a_hit_is_the_cache_in_memory_bit_for_bit_and_says_the_same(
    kind: ModelRecord, kv: Literal[8] | None, open_bench: OpenBench
) -> None:
    memory = Bench(kind, kv)
    _ask(memory, FIRST)
    second = memory.chat(_second_turn("They carry silt."), max_tokens=1)
    memory.backend.prepare(second)
    row, key = second.prompt_ids, (kind.id, kind.revision, kv)
    in_memory = memory.cache.fetch(key, row)
    assert in_memory.length >= 256
    answer, cached = _ask(memory, _second_turn("They carry silt."))

    before = open_bench(kind, kv=kv)
    assert _ask(before, FIRST)[1] == 0
    before.written(1)
    after = open_bench(kind, kv=kv)
    assert after.disk.find(key, encoded(row), 0, float("inf")) is not None
    after.serve(until=lambda: after.store.counts.hits == 1)
    from_disk = after.cache.fetch(key, row)
    assert from_disk.length == in_memory.length
    assert _same(from_disk.cache, in_memory.cache)
    assert _same(list(from_disk.checkpoints.items()), list(in_memory.checkpoints.items()))
    after.cache.clear()
    assert _ask(after, _second_turn("They carry silt.")) == (answer, cached)
    assert after.store.counts.hits == 2


class Pictures:
    """Asks benches about pictures, and then about the lakes."""

    def __init__(self, record: ModelRecord) -> None:
        self.memory = VisionBench(record)
        self._key = record.cache_key

    def ask(self, bench: Bench, picture: int, *, again: bool) -> tuple[list[int], int]:
        """The tokens of an answer, and how many of the prompt's came from a cache."""
        chat = self._chat(bench, picture, again=again)
        bench.start(chat)
        bench.run()
        return chat.generated, chat.cached_tokens

    def reused(self, bench: Bench, picture: int) -> Any:
        """What the cache in memory has of a second turn."""
        chat = self._chat(bench, picture, again=True)
        bench.backend.prepare(chat)
        row = bench.backend._model.open(chat).key_ids  # type: ignore[attr-defined]
        return bench.cache.fetch(self._key, row)

    def _chat(self, bench: Bench, picture: int, *, again: bool) -> Sequence:
        turns = [self.memory.shown(FIRST, picture), *_second_turn("A thing.")[1:]]
        chat = bench.chat(turns if again else turns[:1], max_tokens=6, temperature=0.0)
        chat.images = self.memory.images
        return chat


def test_a_picture_is_part_of_what_an_entry_is_found_by(
    tmp_path: Path, open_bench: OpenBench
) -> None:
    found = describe(make_vision_model(tmp_path / "vision"))
    assert found is not None
    chats = Pictures(found)
    chats.ask(chats.memory, 1, again=False)
    in_memory = chats.reused(chats.memory, 1)
    answer = chats.ask(chats.memory, 1, again=True)
    assert in_memory.length >= 256

    before = open_bench(found)
    chats.ask(before, 1, again=False)
    before.written(1)
    after = open_bench(found)
    assert chats.ask(after, 2, again=True)[1] < 16
    assert after.store.counts.hits == 0
    after.cache.clear()
    assert chats.ask(after, 1, again=True) == answer
    assert after.store.counts.hits == 1
    last = open_bench(found)
    chats.ask(last, 1, again=False)
    assert last.store.counts.hits == 1
    assert _same(chats.reused(last, 1).cache, in_memory.cache)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_wait_may_end_between_any_two_looks_at_it(bench: Bench, looks: int) -> None:
    class Wait:
        left = looks

        @property
        def pending(self) -> bool:
            self.left -= 1
            return self.left >= 0

    expected = _ask(bench, FIRST)
    bench.cache.clear()
    disk = Mock()
    disk.find.return_value = Wait()
    bench.cache.disk = disk
    assert _ask(bench, FIRST) == expected
    assert disk.find.call_count == 1
