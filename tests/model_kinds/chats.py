"""Chats on the service's backend, in process and without the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tests.mlx.conftest import Bench
from tests.model_kinds.pictures import IMAGES
from tests.model_kinds.tokenizer import CHARACTERS
from wire.messages import Message
from worker.models.folders import describe
from worker.sequence import Sequence

ANSWER = 10
"""Tokens of an answer that doesn't end by itself."""
CHUNK = 64


class Chats(Bench):
    """One loaded model, whose chats are greedy. Raises WorkerError where the service refuses it."""

    def __init__(
        self, folder: Path, *, kv: Literal[4, 8] | None = None, remembers: bool = True
    ) -> None:
        """``remembers``: whether prompts are kept for later ones."""
        record = describe(folder)
        assert record is not None
        super().__init__(record, kv, CHUNK, cache_bytes=1 << 28 if remembers else 0)

    def sequence(
        self, messages: list[Message], *, emitted: tuple[int, ...] = (), tokens: int = ANSWER
    ) -> Sequence:
        greedy = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}
        sequence = self.chat(messages, emitted=emitted, max_tokens=tokens, **greedy)
        sequence.images = IMAGES
        return sequence

    def answered(self, messages: list[Message], **more: object) -> Sequence:
        """One chat alone, from start to end."""
        sequence = self.sequence(messages, **more)  # type: ignore[arg-type]
        self.start(sequence)
        self.run()
        return sequence


def text_of(token_ids: list[int]) -> str:
    """What an answer's tokens spell, without the token that ended it."""
    return "".join(CHARACTERS[i] for i in token_ids if i < len(CHARACTERS))


@contextmanager
def widest_batch(*models: Any) -> Iterator[Callable[[], int]]:
    """Watch the classes of these models; what is yielded tells the most rows of one decode step so far."""
    most, kinds = [0], {type(model) for model in models}
    originals = {kind: kind.__call__ for kind in kinds}

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if inputs.shape[1] == 1:
                most[0] = max(most[0], inputs.shape[0])
            return original(self, inputs, *args, **kwargs)

        return call

    try:
        for kind in kinds:
            kind.__call__ = watched(originals[kind])
        yield lambda: most[0]
    finally:
        for kind, original in originals.items():
            kind.__call__ = original
