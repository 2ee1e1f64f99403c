"""What is said to the models: prompts of unequal lengths, and conversations that go on."""

from __future__ import annotations

from wire.messages import Message

_WORDS = [
    "tell",
    "me",
    "why",
    "the",
    "sea",
    "is",
    "salt",
    "and",
    "the",
    "sky",
    "is",
    "blue",
    "and",
    "how",
    "far",
    "a",
    "swallow",
    "flies",
    "in",
    "one",
    "day",
]
TURNS = 4


def system(name: str) -> Message:
    """A system prompt of its own for each conversation, so that only its own turns are reused."""
    return Message(role="system", content=f"{name}: you help with short and friendly answers.")


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def unequal(count: int) -> list[list[Message]]:
    """Chats whose prompts have 40 to 350 tokens, in no order."""
    lengths = [3, 60, 12, 35, 1, 22]
    return [
        [user(f"{i}: " + " ".join(_WORDS[j % len(_WORDS)] for j in range(lengths[i])))]
        for i in range(count)
    ]


def question(turn: int) -> Message:
    """What the user says in one turn of a conversation."""
    return user(f"question {turn}, please: " + " ".join(_WORDS[turn * 3 : turn * 3 + 8]) + "?")
