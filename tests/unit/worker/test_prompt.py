"""Shortening a conversation: oldest turns first, never the system message nor the last user
message."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wire.messages import ImagePart, Message, TextPart
from worker import prompt
from worker.errors import WorkerError


def encode(messages: Sequence[Message]) -> list[int]:
    """Ten tokens a message."""
    return [ord(m.role[0]) for m in messages for _ in range(10)]


def conversation(turns: int) -> list[Message]:
    rows = [Message(role="system", content="be brief")]
    for i in range(turns):
        rows += [
            Message(role="user", content=f"question {i}"),
            Message(role="assistant", content=f"answer {i}"),
        ]
    return [*rows, Message(role="user", content="the last question")]


def test_a_conversation_that_fits_is_left_whole() -> None:
    built = prompt.build(conversation(3), encode, context_window=100, max_tokens=10)
    assert built == prompt.Prompt(encode(conversation(3)), tuple(conversation(3)), 0)


def test_the_oldest_turns_go_first_and_no_answer_is_left_without_its_question() -> None:
    messages = conversation(5)
    seen: list[list[Message]] = []

    def noting(rows: Sequence[Message]) -> list[int]:
        seen.append(list(rows))
        return encode(rows)

    built = prompt.build(messages, noting, context_window=80, max_tokens=10)
    assert len(built.token_ids) <= 70
    kept = next(rows for rows in seen if encode(rows) == built.token_ids)
    assert kept[0].role == "system"
    assert kept[1].role == "user"
    assert kept[-1].content == "the last question"
    assert built.dropped > 0


def test_as_few_messages_as_possible_are_dropped() -> None:
    built = prompt.build(conversation(5), encode, context_window=120, max_tokens=20)
    # Twelve messages of ten tokens into a hundred: two must go.
    assert built.dropped == 2
    assert len(built.token_ids) == 100


def test_a_last_message_that_alone_is_too_long_is_refused_with_numbers() -> None:
    with pytest.raises(WorkerError, match="20 tokens") as caught:
        prompt.build(conversation(4), encode, context_window=20, max_tokens=5)
    assert caught.value.code == "prompt_too_long"


def test_a_template_that_raises_is_a_named_error_without_its_words() -> None:
    def broken(_: Sequence[Message]) -> list[int]:
        raise ValueError("the secret prompt")

    with pytest.raises(WorkerError) as caught:
        prompt.build(conversation(1), broken, context_window=100, max_tokens=5)
    assert caught.value.code == "template_failed"
    assert "secret" not in caught.value.message


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(WorkerError) as caught:
        prompt.build(conversation(1), lambda _: [], context_window=100, max_tokens=5)
    assert caught.value.code == "bad_prompt"


def test_warnings_are_the_contracts_sentences() -> None:
    image = ImagePart(sha256="0" * 64, width=1, height=1)
    messages = [Message(role="user", content=(TextPart(text="what is this?"), image))]
    built = prompt.Prompt([1], dropped=3)
    assert prompt.warnings(built, messages, sees_images=False) == [
        "This model does not support images. Text-only response.",
        "The prompt was shortened: the 3 oldest messages were left out.",
    ]
    assert prompt.warnings(prompt.Prompt([1]), messages, sees_images=True) == []
