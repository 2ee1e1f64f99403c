"""The memory of a model that is unloaded for idleness goes back to the system."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from transformers import PreTrainedTokenizerFast

from scripts.training import random_text_model
from scripts.training.random_text_model import Shape
from tests.support.chats import Reader, chat_job
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker import backends
from worker.backends.base import Backend
from worker.engine.counters import Counters
from worker.engine.engine import Engine
from worker.models.folders import describe
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

WIDE = Shape(hidden=512, layers=4, intermediate=2048)
"""About 17 million parameters, 70 MB."""


@pytest.fixture
def wide(record: ModelRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRecord:
    """A model with the tokeniser of the others: to train one takes longer than all the rest."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(record.path)
    monkeypatch.setattr(random_text_model, "train_tokenizer", lambda _: tokenizer)
    described = describe(random_text_model.make(tmp_path / "wide", WIDE))
    assert described is not None
    return described


def test_resident_memory_returns_after_keep_alive_0(wide: ModelRecord) -> None:
    settings, reader = Settings(slots=2), Reader()
    cache = backends.new_prompt_cache(settings)

    def open_backend(one: ModelRecord) -> Backend:
        return backends.open_backend(one, settings, cache)

    models = LoadedModels(lambda _: wide, open_backend, budget=1 << 30, available=lambda: 1 << 40)
    engine = Engine(models, reader, counters=Counters(backends.peak_memory(settings)))
    engine.start()
    about = {"model_id": wide.id, "model_revision": wide.revision, "keep_alive_s": 0}
    chat = Sequence(chat_job(max_tokens=2).model_copy(update=about))
    process = psutil.Process()
    engine.submit(chat)
    reader.wait("job")
    with_it = process.memory_info().rss
    assert chat.peak_memory_bytes > wide.size * 0.9
    engine.unload_idle()
    engine.call(lambda: None).result()
    assert models.resident() == []
    assert len(cache) == 0
    assert with_it - process.memory_info().rss > wide.size * 0.8
    engine.close(5)
