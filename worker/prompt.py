"""From messages to token ids: the chat template, and shortening a conversation that doesn't fit.

Pure: it gets the model's template as a function and knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.messages import Message, too_long
from worker.errors import WorkerError

Encode = Callable[[Sequence[Message]], list[int]]
LARGEST_RESERVE = 4
"""At most a quarter of the context window is reserved for the answer before turns are dropped."""
BLOCKS = 2
"""Old turns are dropped in blocks; a prompt's least room is this many."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids for the model, the messages they encode, and how many older ones were dropped."""

    token_ids: list[int]
    messages: tuple[Message, ...] = ()
    dropped: int = 0


def build(
    messages: Sequence[Message],
    encode: Encode,
    *,
    context_window: int,
    max_tokens: int,
    shorten: bool = True,
) -> Prompt:
    """Encode a conversation, dropping its oldest turns until the prompt and a useful answer fit.

    Tokens are dropped in whole blocks, counted from the conversation's beginning. So the next turns
    drop the same messages, until one more block is too much, and their prompts begin as an earlier
    one in the prompt cache does. System messages and everything from the last user message on are
    never dropped. The last call of ``encode`` is for the messages of the result.

    ``context_window`` and ``max_tokens`` are in tokens. Unless it may ``shorten``, a conversation
    may leave room for one token only. Raises WorkerError ``template_failed`` when the model's
    chat template refuses the conversation, ``prompt_too_long`` when even the shortest form doesn't
    fit.
    """
    room = context_window - (min(max_tokens, context_window // LARGEST_RESERVE) if shorten else 1)
    whole = _encode(encode, messages)
    if len(whole) <= room:
        return Prompt(whole, tuple(messages))
    if not shorten:
        raise WorkerError("prompt_too_long", too_long(context_window, len(whole), room))
    droppable = droppable_messages(messages)
    shortest = len(_encode(encode, without(messages, droppable))) if droppable else len(whole)
    if shortest > room:
        raise WorkerError(
            "prompt_too_long",
            f"The prompt is {shortest} tokens with the oldest turns left out; this model takes "
            f"{room} beside an answer of {context_window - room}: {shortest - room} too many.",
        )
    # Of the least room, so that requests for longer and shorter answers drop the same messages.
    block = max(1, (context_window - context_window // LARGEST_RESERVE) // BLOCKS)
    dropped = _tokens_to_drop(len(whole) - room, len(whole) - shortest, block)
    return _shortened(messages, encode, len(whole) - dropped)


def _tokens_to_drop(least: int, most: int, block: int) -> int:
    """The fewest whole blocks that are at least ``least``; smaller blocks, halved until they are
    not more than ``most``, where a long system prompt or last message leaves little to drop."""
    while (dropped := -(-least // block) * block) > most:
        block = max(1, block // 2)
    return dropped


def _shortened(messages: Sequence[Message], encode: Encode, length: int) -> Prompt:
    """The prompt without the fewest of its oldest messages that leave ``length`` tokens at most;
    without all that may be dropped it must be no longer."""
    droppable = droppable_messages(messages)
    # Each dropped message makes the prompt shorter: a binary search finds the fewest.
    low, high = 1, len(droppable)
    while True:
        middle = (low + high) // 2
        kept = without(messages, droppable[:middle])
        ids = _encode(encode, kept)
        if low >= high:
            return Prompt(ids, tuple(kept), len(messages) - len(kept))
        low, high = (low, middle) if len(ids) <= length else (middle + 1, high)


def droppable_messages(messages: Sequence[Message]) -> list[int]:
    """Indexes of the messages that may be left out, oldest first."""
    last_user = max(
        (i for i, m in enumerate(messages) if m.role == "user"), default=len(messages) - 1
    )
    return [i for i, m in enumerate(messages[:last_user]) if m.role != "system"]


def without(messages: Sequence[Message], dropped: Sequence[int]) -> list[Message]:
    """The conversation without some messages, and without answers whose question is among them."""
    left_out = set(dropped)
    kept: list[Message] = []
    for index, message in enumerate(messages):
        if index in left_out:
            continue
        orphan = (
            message.role in ("assistant", "tool")
            and all(m.role == "system" for m in kept)
            and left_out
        )
        if not orphan:
            kept.append(message)
    return kept


def _encode(encode: Encode, messages: Sequence[Message]) -> list[int]:
    try:
        ids = encode(messages)
    except WorkerError:
        raise
    except Exception as exc:
        # The error's message may quote the conversation, so only its type is passed on.
        raise WorkerError(
            "template_failed",
            f"The model's chat template refused these messages ({type(exc).__name__}).",
        ) from exc
    if not ids:
        raise WorkerError("bad_prompt", "The messages make an empty prompt.")
    return ids


def warnings(built: Prompt, messages: Sequence[Message], *, sees_images: bool) -> list[str]:
    """What the reader should know about the prompt, in sentences."""
    result = []
    if not sees_images and any(message.images() for message in messages):
        result.append("This model does not support images. Text-only response.")
    if built.dropped:
        many = (
            "the oldest message was"
            if built.dropped == 1
            else f"the {built.dropped} oldest messages were"
        )
        result.append(f"The prompt was shortened: {many} left out.")
    return result
