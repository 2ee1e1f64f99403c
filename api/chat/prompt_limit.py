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
        """Raises ApiError ``prompt_too_long`` for a prompt that can't fit, shortened if it may be,
        ``bad_prompt`` for token ids that the model doesn't have."""
        if form.pooling is not None:
            return  # Of several texts each has to fit: the worker looks before it begins.
        if form.prompt_ids:
            await self._check_ids(model, form.prompt_ids)
            return
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

    async def _check_ids(self, model: ModelRecord, ids: Sequence[int]) -> None:
        limit = model.context_window
        if len(ids) >= limit:  # One token is left for the answer.
            sentence = too_long(limit, len(ids), limit - 1)
            raise ApiError("prompt_too_long", sentence, param="prompt")
        if await to_thread.run_sync(
            any_unknown, model.path, model.revision, ids, limiter=self._thread
        ):
            sentence = "The prompt has a token id that is not in the model's vocabulary."
            raise ApiError("bad_prompt", sentence, param="prompt")


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
    param = "prompt" if form.raw else "messages"
    if form.truncation == "auto":
        sentence = (
            f"The prompt is too long: it has at least {tokens} tokens with the oldest turns left "
            f"out, and this model takes {limit} in all: at least {tokens - limit} too many."
        )
        return ApiError("prompt_too_long", sentence, param=param)
    sentence = too_long(limit, tokens, limit - 1, at_least=True)
    return ApiError("prompt_too_long", sentence, param=param)


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


def any_unknown(path: str, revision: str, ids: Sequence[int]) -> bool:
    """Whether any of the token ids is not in the model's vocabulary.

    False as well if the model's tokeniser can't be read here.
    """
    tokeniser = _tokeniser(path, revision)
    return tokeniser is not None and any(tokeniser.id_to_token(i) is None for i in set(ids))


@lru_cache(maxsize=_KEPT_TOKENISERS)
def _tokeniser(path: str, revision: str) -> Tokenizer | None:  # noqa: ARG001 (other files, another entry)
    file = Path(path) / "tokenizer.json"
    if not path or not file.is_file():
        return None
    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # the library raises a bare Exception for a bad file
        return None
