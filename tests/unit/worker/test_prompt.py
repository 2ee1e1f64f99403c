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


def test_whole_blocks_are_dropped_and_no_message_more() -> None:
    built = prompt.build(conversation(5), encode, context_window=120, max_tokens=20)
    # Twelve messages of ten tokens into a hundred, in blocks of 45 tokens: five messages, and the
    # answer whose question is among them.
    assert built.dropped == 6
    assert len(built.token_ids) == 60


def test_where_no_whole_block_can_be_dropped_half_a_block_is() -> None:
    long = Message(role="system", content="rules")

    def weighing(messages: Sequence[Message]) -> list[int]:
        return [token for m in messages for token in [ord(m.role[0])] * (70 if m == long else 5)]

    messages = [long, *conversation(4)[1:]]
    built = prompt.build(messages, weighing, context_window=120, max_tokens=20)
    # 115 tokens into 100: 45 can't be dropped, since only 40 may be; 22 are five messages and an
    # orphan.
    assert (built.dropped, len(built.token_ids)) == (6, 85)


@pytest.mark.parametrize("max_tokens", [1, 100, 1000])
def test_over_many_turns_past_the_limit_the_beginning_seldom_changes(max_tokens: int) -> None:
    window, starts = 1000, []
    for turn in range(1, 120):
        messages = conversation(turn)
        built = prompt.build(messages, encode, context_window=window, max_tokens=max_tokens)
        assert len(built.token_ids) <= window - min(max_tokens, window // 4)
        assert built.dropped == len(messages) - len(built.messages)
        assert built.messages == (messages[0], *messages[1 + built.dropped :])
        starts.append(built.dropped)
    # 2,400 tokens in the end, in blocks of 375.
    assert starts == sorted(starts)
    assert len(set(starts)) <= 7
    past = next(turn for turn, dropped in enumerate(starts) if dropped)
    assert len(set(starts[past : past + 10])) == 1


def test_what_a_turn_drops_is_the_same_for_longer_and_shorter_answers() -> None:
    dropped = {
        prompt.build(conversation(60), encode, context_window=1000, max_tokens=limit).dropped
        for limit in (1, 64, 100)
    }
    assert len(dropped) == 1


def test_a_prompt_that_can_not_lose_a_block_loses_only_what_it_must() -> None:
    messages = conversation(1)
    built = prompt.build(messages, encode, context_window=26, max_tokens=6)
    assert (built.dropped, len(built.token_ids)) == (2, 20)


def test_a_last_message_that_alone_is_too_long_is_refused_with_numbers() -> None:
    with pytest.raises(WorkerError, match="20 tokens") as caught:
        prompt.build(conversation(4), encode, context_window=20, max_tokens=5)
    assert caught.value.code == "prompt_too_long"
    assert caught.value.message == (
        "The prompt is 20 tokens with the oldest turns left out; this model takes 15 beside an answer of 5: 5 too many."
    )


@pytest.mark.parametrize(("window", "excess"), [(100, "1 token"), (90, "11 tokens")])
def test_what_may_not_be_shortened_is_refused_by_how_much(window: int, excess: str) -> None:
    with pytest.raises(WorkerError) as caught:
        prompt.build(conversation(4), encode, context_window=window, max_tokens=5, shorten=False)
    assert caught.value.message == (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in 100 tokens. Please "
        f"reduce the length of the messages. The prompt is {excess} too long: {window - 1} fit beside the answer."
    )


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
