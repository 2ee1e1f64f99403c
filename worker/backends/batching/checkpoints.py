"""Where in a prompt later prompts are likely to part from it.

The places are found by rendering other conversations and comparing tokens, so they are right for
every template: also for those that leave out earlier thinking or end a turn in the history with
another mark than the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from wire.messages import Message
from worker.prompt_cache import common_prefix

_TEXT = "\u2042 another message"
"""Begins with a character that hardly any message begins with."""

CHECKPOINT_EVERY = 2048
"""Tokens between two checkpoints in a long prompt: so many at most are read again when a client
edits a message far behind."""
CLOSE = 16
"""Tokens between two checkpoints that are not worth a second: that of a sliding window of 1,024
takes hundreds of MiB in models of 12 billion parameters."""

Encode = Callable[[list[Message]], list[int]]


def checkpoints(
    encode: Encode, messages: Sequence[Message], prompt_ids: list[int]
) -> tuple[int, ...]:
    """Positions in ``prompt_ids``, the tokens of ``messages``: behind the system part, before the
    text of the last message of the user, and behind what the next turn will repeat.

    ``encode`` is called without images; a place with images on both sides isn't found.
    """
    user = Message(role="user", content=_TEXT)
    texts = [_without_images(message) for message in messages]
    text_ids = prompt_ids if texts == list(messages) else encode(texts)
    places = set()
    for end, other in _others(texts, user):
        try:
            place = common_prefix(encode(other), text_ids)
        except Exception:  # The template refuses such a conversation: then no client sends it.
            continue
        if not any(message.images() for message in messages[:end]):
            places.add(place)
        elif not any(message.images() for message in messages[end:]):
            places.add(len(prompt_ids) - (len(text_ids) - place))
    return tuple(sorted(places))


def _others(messages: list[Message], user: Message) -> Iterator[tuple[int, list[Message]]]:
    """Conversations that begin with so many of the messages and go on differently."""
    system = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    yield system, [*messages[:system], user]
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    if asked and asked[-1] > system:
        yield asked[-1], [*messages[: asked[-1]], user]
    if messages[-1].role == "assistant":
        yield len(messages), [*messages, user]
        return
    answer = Message(role="assistant", content=_TEXT)
    yield len(messages), [*messages, answer, user]


def _without_images(message: Message) -> Message:
    return message.model_copy(update={"content": message.text()}) if message.images() else message


def chosen_places(likely: tuple[int, ...], last: int) -> set[int]:
    """Where to make checkpoints in a prompt that is read up to ``last``: none in one of a single
    token, of which nothing is read ahead."""
    places = {place for place in likely if 0 < place <= last}
    if last and not any(place > last - CLOSE for place in places):
        places.add(last)
    for place in range(CHECKPOINT_EVERY, last, CHECKPOINT_EVERY):
        if not any(abs(place - other) < CHECKPOINT_EVERY // 2 for other in places):
            places.add(place)
    return places
