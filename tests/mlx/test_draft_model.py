"""A draft model changes no answer: the same ids with and without, alone and in company, whatever is
drawn and however many of its guesses are right."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from scripts.training.random_text_model import SMALL, train_tokenizer
from tests.mlx.conftest import Bench
from tests.mlx.test_drafts import SAMPLINGS, TEXTS, Always, chats_of, run
from tests.model_kinds.kinds import make_folder
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker.backends import lm, open_backend
from worker.backends.batching import kv_cache
from worker.backends.draft_model import draft_rows
from worker.backends.draft_model.draft_rows import MOST_BEHIND
from worker.errors import WorkerError
from worker.models.folders import describe, with_kv
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence

MOST = 5
CHATS = 9


def described(folder: Path) -> ModelRecord:
    found = describe(folder)
    assert found is not None
    return found


def changed(record: ModelRecord, folder: Path, noise: float, vocabulary: int) -> ModelRecord:
    """A model with other weights, and with as many of its tokens' embeddings and logits."""
    shutil.copytree(record.path, folder)
    file, config = folder / "model.safetensors", folder / "config.json"
    mx.random.seed(7)
    weights = {}
    for name, w in mx.load(str(file)).items():
        noisy = w + noise * mx.random.normal(w.shape)
        weights[name] = noisy[:vocabulary] if "embed" in name or "head" in name else noisy
    mx.save_safetensors(str(file), weights, {"format": "mlx"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": vocabulary}))
    return described(folder)


@pytest.fixture(scope="module")
def near(record: ModelRecord, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    """A draft model many of whose guesses are right, and not all. Its vocabulary is padded less."""
    return changed(record, tmp_path_factory.mktemp("draft") / "near", 0.006, SMALL.vocabulary - 16)


@pytest.fixture(scope="module")
def drafting(record: ModelRecord, near: ModelRecord) -> Bench:
    """The model with a draft model, which guesses in every step."""
    bench = Bench(record, draft=near)
    bench.backend._draft_model._length = Always(MOST)  # type: ignore[attr-defined]
    bench.backend.reset()
    return bench


@pytest.fixture(scope="module")
def expected(record: ModelRecord) -> list[Sequence]:
    """The answers without guesses."""
    plain = Bench(record)
    chats = chats_of(plain, range(CHATS))
    run(plain, chats)
    return chats


@pytest.fixture(autouse=True)
def _empty(drafting: Bench) -> Iterator[None]:
    yield
    drafting.cache.clear()


@pytest.mark.parametrize("numbers", [[0], [1], [8], range(CHATS)], ids=len)
def test_the_same_ids_with_and_without(
    drafting: Bench, expected: list[Sequence], numbers: Items[int]
) -> None:
    chats = chats_of(drafting, numbers)
    counts = run(drafting, chats)
    assert counts["drafted"] > counts["accepted"]
    if len(numbers) > 1:
        assert counts["accepted"] > 3 * len(numbers)
    for number, chat in zip(numbers, chats, strict=True):
        assert chat.generated == expected[number].generated, chat.job.sampling
        assert chat._told == expected[number]._told


def test_rows_join_leave_and_are_continued(drafting: Bench, expected: list[Sequence]) -> None:
    """The draft model's caches follow: also that of a row that goes on after a crash, for which
    what has been read of it is still there."""
    chats = chats_of(drafting, range(5))
    drafting.start(*chats[:3])
    drafting.run(until=lambda: len(chats[0].generated) > 9)
    drafting.backend.remove(chats[1])
    cut = list(chats[1].generated)
    run(drafting, chats[3:])
    again = drafting.chat(TEXTS[1], seed=1, max_tokens=31, emitted=tuple(cut), **SAMPLINGS[1])
    read = _read_tokens(drafting)
    assert run(drafting, [again])["drafted"]
    assert max(read) < MOST_BEHIND
    chats[1] = again
    for chat, whole in zip(chats, expected, strict=False):
        assert [*chat.emitted, *chat.generated] == whole.generated


def _read_tokens(bench: Bench) -> list[int]:
    """How many tokens the draft model is fed at once from now on."""
    model = bench.backend._draft_model._model  # type: ignore[attr-defined]
    read: list[int] = []
    forward = type(model).forward

    def counting(ids: mx.array, cache: list[object]) -> mx.array:
        read.append(ids.shape[1])
        logits: mx.array = forward(model, ids, cache)
        return logits

    model.forward = counting
    return read


def test_many_plain_steps_are_caught_up_with(drafting: Bench, expected: list[Sequence]) -> None:
    chats = chats_of(drafting, range(4))
    length = drafting.backend._draft_model._length  # type: ignore[attr-defined]
    drafting.start(*chats)
    drafting.run(until=lambda: len(chats[0].generated) > 4)
    length.choose = lambda *_: 0  # plain steps alone
    drafting.run(until=lambda: len(chats[0].generated) > 8 + MOST_BEHIND)
    del length.choose
    assert run(drafting, [])["accepted"]
    assert [chat.generated for chat in chats] == [one.generated for one in expected[:4]]


def test_a_row_that_is_behind_holds_up_no_other(
    drafting: Bench, expected: list[Sequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = chats_of(drafting, range(CHATS))
    length = drafting.backend._draft_model._length  # type: ignore[attr-defined]
    drafting.start(*chats)
    drafting.run(until=lambda: len(chats[-1].generated) > 4)
    monkeypatch.setattr(draft_rows, "MOST_BEHIND", 1)  # as one of which all guesses were right
    monkeypatch.setattr(length, "may_read", lambda _: False)
    assert run(drafting, [])["drafted"]
    assert [chat.generated for chat in chats] == [one.generated for one in expected]


def test_its_load_is_in_the_progress_and_its_cache_is_not_quantised(
    record: ModelRecord, near: ModelRecord
) -> None:
    told: list[float] = []
    backend = lm.open_model(
        with_kv(record, 8),
        slots=1,
        prefill_step=32,
        cache=PromptCache(1 << 20, kv_cache),
        draft=with_kv(near, 8),
        report=told.append,
    )
    assert told == [record.size / (record.size + near.size), 1.0]
    caches = backend._draft_model._model.caches.new()  # type: ignore[attr-defined]
    assert {type(layer).__name__ for layer in caches} == {"KVCache"}


def test_what_it_keeps_is_told_to_no_other_worker_and_goes_with_its_model(
    record: ModelRecord, near: ModelRecord
) -> None:
    one, two = (record.model_copy(update={"id": name}) for name in ("one", "two"))
    benches = [Bench(one, draft=near)]
    cache = benches[0].cache
    cache.observer = told = Told()
    benches.append(copy.copy(benches[0]))
    benches[1].backend = open_backend(two, Settings(slots=4), cache, draft=near)
    list(benches[1].backend.start())
    for bench, large in zip(benches, (one, two), strict=True):
        bench.record = large
        run(bench, chats_of(bench, [0]))
    assert [model[0] for model in told.added_models] == ["one", "two"]
    assert len(cache) == 4
    benches[0].backend.close()
    assert len(cache) == 2
    benches[1].backend.close()
    assert (len(cache), cache.nbytes, told.added_models) == (0, 0, told.dropped_models)


class Told:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.added_models: list[Any] = []
        self.dropped_models: list[Any] = []

    def added(self, model: Any, _: bytes) -> None:
        self.added_models.append(model)

    def dropped(self, model: Any, _: bytes) -> None:
        self.dropped_models.append(model)


def test_what_can_not_draft_is_refused_by_name(
    record: ModelRecord, near: ModelRecord, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(near.path, other)
    train_tokenizer(SMALL.vocabulary - 100).save_pretrained(other)
    with pytest.raises(WorkerError, match=r"other can't be .* of random: .* another vocabulary"):
        Bench(record, draft=described(other))
    plain, windowed, recurrent = (
        described(make_folder(kind, tmp_path / kind))
        for kind in ("qwen3", "gemma3_text", "qwen3_next")
    )
    with pytest.raises(WorkerError, match=r"gemma3_text can't be a draft model: its cache"):
        Bench(plain, draft=windowed)
    with pytest.raises(WorkerError, match=r"qwen3_next takes no draft model: its cache"):
        Bench(recurrent, draft=plain)
    Bench(windowed, draft=plain)
