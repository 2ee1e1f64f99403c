"""Where in a prompt later prompts are likely to part from it.

The places are found by rendering other conversations and comparing tokens, so they are right for
every template: also for those that leave out earlier thinking or end a turn in the history with
another mark than the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wire.messages import Message
from worker.prompt_cache import common_prefix

_TEXT = "\u2042 another message"
"""Begins with a character that hardly any message begins with."""

Encode = Callable[[list[Message]], list[int]]


def checkpoints(encode: Encode, messages: Sequence[Message], prompt_ids: list[int]) -> tuple[int, ...]:
    """Positions in ``prompt_ids``, the tokens of ``messages``: behind the system part, before the
    text of the last message of the user, and behind what the next turn will repeat."""
    user = Message(role="user", content=_TEXT)
    asked = [i for i, message in enumerate(messages) if message.role == "user"]
    system = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    others = [
        [*messages[:system], user],
        [*messages, Message(role="assistant", content=_TEXT), user],
    ]
    if asked and asked[-1] > system:
        others.append([*messages[: asked[-1]], user])
    places = set()
    for other in others:
        try:
            places.add(common_prefix(encode(other), prompt_ids))
        except Exception:  # The template refuses such a conversation: then no client sends it.
            continue
    return tuple(sorted(places))
