"""Refuses a prompt that can't fit its model's context window, before a job exists.

Counts texts alone, and of a conversation that may be shortened only what is never left out: system
messages and the last user message. The worker counts the whole prompt later, and may have to refuse
one that passed here. Knows tokenisers by their file; a model of another machine isn't checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from tokenizers import Tokenizer

from api.errors import ApiError
from wire.messages import PLAIN_TEXT, Message, OutputFormat, too_long
from wire.model_registry import ModelRecord

SLICE = 16_384
"""Characters that are counted at once: a prompt a hundred times too long is refused after the
first few."""
_KEPT_TOKENISERS = 4


class PromptLimit:
    """Counts one prompt at a time, on a thread: a long one must not block the event loop."""

    def __init__(self) -> None:
        self._thread = CapacityLimiter(1)

    async def check(
        self, model: ModelRecord, messages: Sequence[Message], form: OutputFormat = PLAIN_TEXT
    ) -> None:
        """Raises ApiError ``prompt_too_long`` for a prompt that can't fit, shortened if it may
        be."""
        kept = unshortened(messages) if form.truncation == "auto" else messages
        texts = [message.text() for message in kept]
        # A token is at least one byte, and a character at most four.
        if 4 * sum(map(len, texts)) <= model.context_window:
            return
        limit = model.context_window
        tokens = await to_thread.run_sync(
            beyond,
            model.path,
            model.revision,
            texts,
            limit,
            limiter=self._thread,
            abandon_on_cancel=True,
        )
        if tokens:
            raise _refused(limit, tokens, form)


def unshortened(messages: Sequence[Message]) -> list[Message]:
    """The messages that are in every shortened form of a conversation."""
    last_user = max(
        (i for i, message in enumerate(messages) if message.role == "user"),
        default=len(messages) - 1,
    )
    return [
        message for i, message in enumerate(messages) if i >= last_user or message.role == "system"
    ]


def _refused(limit: int, tokens: int, form: OutputFormat) -> ApiError:
    """The error for a prompt of at least this many tokens."""
    if form.truncation == "auto":
        return ApiError(
            "prompt_too_long", f"The prompt is too long: this model takes {limit} tokens in all."
        )
    param = "prompt" if form.raw else "messages"
    return ApiError("prompt_too_long", too_long(limit, f"at least {tokens}"), param=param)


def beyond(path: str, revision: str, texts: Sequence[str], limit: int) -> int:
    """How many tokens the texts have at least, if more than ``limit``; else 0.

    0 as well if the model's tokeniser can't be read here.
    """
    tokeniser = _tokeniser(path, revision)
    if tokeniser is None:
        return 0
    count = 0
    for text in texts:
        for start in range(0, len(text), SLICE):
            # Cutting a text can split one token in two.
            count += len(
                tokeniser.encode(text[start : start + SLICE], add_special_tokens=False).ids
            ) - (start > 0)
            if count > limit:
                return count
    return 0


@lru_cache(maxsize=_KEPT_TOKENISERS)
def _tokeniser(path: str, revision: str) -> Tokenizer | None:  # noqa: ARG001 (other files, another entry)
    file = Path(path) / "tokenizer.json"
    if not path or not file.is_file():
        return None
    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # the library raises a bare Exception for a bad file
        return None
