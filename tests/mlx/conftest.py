"""Real models for the MLX tests: random weights, made once a session; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from scripts.training.random_text_model import SMALL, make, train_tokenizer
from tests.model_kinds.kinds import make_folder
from wire.messages import ChatJob, Message, Sampling
from wire.model_registry import ModelRecord
from wire.settings import Settings
from worker.backends import open_backend
from worker.backends.base import Backend
from worker.backends.batching import kv_cache
from worker.models.folders import describe, with_kv
from worker.prompt_cache import PromptCache
from worker.sequence import Sequence


@pytest.fixture
def chunks_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that count chunks, however busy the machine is."""
    monkeypatch.setattr("worker.backends.batching.chunk.LONGEST_S", 3600.0)


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    described = describe(make(tmp_path_factory.mktemp("models") / "random", SMALL), name="random")
    assert described is not None
    return described


class Bench:
    """Runs chats on one backend and gives back their token ids."""

    def __init__(
        self,
        record: ModelRecord,
        kv: Literal[4, 8] | None = None,
        chunk: int = 32,
        *,
        cache_bytes: int = 1 << 28,
        num_draft_tokens: int = 0,
        draft: ModelRecord | None = None,
    ) -> None:
        self.record = with_kv(record, kv)
        self.cache = PromptCache(cache_bytes, kv_cache)
        settings = Settings(slots=32, prefill_step=chunk, num_draft_tokens=num_draft_tokens)
        self.backend: Backend = open_backend(self.record, settings, self.cache, draft=draft)
        list(self.backend.start())

    @property
    def tokenizer(self) -> Any:
        """The model's own."""
        return self.backend._model._text.tokenizer  # type: ignore[attr-defined]

    def prompt(self, chat: Sequence) -> str:
        """The text of a prompt that has been prepared."""
        return str(self.tokenizer.decode(chat.prompt_ids))

    def chat(
        self, text: str | list[Message], *, emitted: tuple[int, ...] = (), **sampling: Any
    ) -> Sequence:
        messages = [Message(role="user", content=text)] if isinstance(text, str) else text
        job = ChatJob(
            job_id="job",
            owner="everyone",
            model_id=self.record.id,
            model_revision=self.record.revision,
            messages=tuple(messages),
            sampling=Sampling(**{"seed": 1, "max_tokens": 32, **sampling}),
            submitted_ms=0,
        )
        return Sequence(job, emitted=emitted)

    def start(self, *chats: Sequence) -> None:
        for chat in chats:
            self.backend.prepare(chat)
            self.backend.add(chat)

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Step until every chat has ended, or until the condition holds."""
        while self.backend.sequences() and not until():
            for token in self.backend.step().tokens:
                if token.end == "stop":
                    token.sequence.accept_last(token.token_id)
                else:
                    token.sequence.accept(token.token_id)

    def forget(self) -> None:
        """Empty the prompt cache of the model."""
        self.cache.forget(self.record.cache_key)

    def answer(self, text: str | list[Message], **sampling: Any) -> list[int]:
        """One chat alone, from start to end."""
        chat = self.chat(text, **sampling)
        self.start(chat)
        self.run()
        return chat.generated


def bench_of_kind(kind: str, below: Path, *, num_draft_tokens: int = 0) -> Bench:
    """A bench of a small model of an architecture, made in a folder."""
    described = describe(make_folder(kind, below / kind))
    assert described is not None
    return Bench(described, num_draft_tokens=num_draft_tokens)


def bench_of_template(folder: Path, template: str, tokens: tuple[str, ...] = ()) -> Bench:
    """A bench of a small random model with a template, and with tokens that are marks of it.

    The weights are made in ``folder`` unless they are there.
    """
    if not (folder / "config.json").exists():
        make(folder, SMALL)
    train_tokenizer(SMALL.vocabulary, tokens, template).save_pretrained(folder)
    described = describe(folder)
    assert described is not None
    return Bench(described)


@pytest.fixture(scope="session")
def bench_of(record: ModelRecord) -> Callable[..., Bench]:
    return lambda kv=None, chunk=32: Bench(record, kv, chunk)


@pytest.fixture
def bench(bench_of: Callable[..., Bench]) -> Bench:
    return bench_of()
