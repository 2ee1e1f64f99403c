"""Chats on the service's backend, in process and without the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tests.model_kinds.pictures import IMAGES
from tests.model_kinds.tokenizer import CHARACTERS
from wire.messages import ChatJob, Message, Sampling
from wire.settings import Settings
from worker.backends import new_prompt_cache, open_backend
from worker.models.folders import describe, with_kv
from worker.sequence import Sequence

ANSWER = 10
"""Tokens of an answer that doesn't end by itself."""
CHUNK = 64


class Chats:
    """One loaded model. Raises WorkerError where the service refuses it."""

    def __init__(
        self, folder: Path, *, kv: Literal[4, 8] | None = None, remembers: bool = True
    ) -> None:
        """``remembers``: whether prompts are kept for later ones."""
        record = describe(folder)
        assert record is not None
        self.record = with_kv(record, kv)
        settings = Settings(
            slots=8, prefill_step=CHUNK, prompt_cache_mb=256 if remembers else 0, models=(folder,)
        )
        self.backend = open_backend(self.record, settings, new_prompt_cache(settings))
        self.backend.start()

    def sequence(
        self, messages: list[Message], *, emitted: tuple[int, ...] = (), tokens: int = ANSWER
    ) -> Sequence:
        job = ChatJob(
            job_id="job",
            owner="everyone",
            model_id=self.record.id,
            model_revision=self.record.revision,
            messages=tuple(messages),
            sampling=Sampling(
                seed=1, max_tokens=tokens, temperature=0.0, top_p=1.0, repetition_penalty=0.0
            ),
            submitted_ms=0,
        )
        return Sequence(job, emitted=emitted, images=IMAGES)

    def start(self, *sequences: Sequence) -> None:
        for sequence in sequences:
            self.backend.prepare(sequence)
            self.backend.add(sequence)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Step until every chat has ended, or until the condition holds."""
        while self.backend.sequences() and not until():
            for token in self.backend.step().tokens:
                if token.end == "stop":
                    token.sequence.accept_last(token.token_id)
                else:
                    token.sequence.accept(token.token_id)

    def answered(self, messages: list[Message], **more: object) -> Sequence:
        """One chat alone, from start to end."""
        sequence = self.sequence(messages, **more)  # type: ignore[arg-type]
        self.start(sequence)
        self.run()
        return sequence

    def close(self) -> None:
        self.backend.close()


def text_of(token_ids: list[int]) -> str:
    """What an answer's tokens spell, without the token that ended it."""
    return "".join(CHARACTERS[i] for i in token_ids if i < len(CHARACTERS))
