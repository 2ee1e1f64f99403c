"""Chats whose prompts begin alike read the beginning once, also while the first is being read or
answered, whatever the model's layers keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.mlx.conftest import Bench
from wire.messages import Message
from worker.sequence import Sequence

SYSTEM = Message(role="system", content="these are the rules of this house, read them well. " * 12)
QUESTIONS = ("what is allowed?", "and what is not?", "who says so?")
GREEDY = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 0.0}


def asked(bench: Bench, question: str) -> Sequence:
    return bench.chat([SYSTEM, Message(role="user", content=question)], **GREEDY, max_tokens=12)


def alone(bench: Bench, question: str) -> list[int]:
    chat = asked(bench, question)
    bench.start(chat)
    bench.run()
    bench.forget()
    return chat.generated


def shared(chats: list[Sequence]) -> int:
    """Tokens that all prompts begin with."""
    prompts = [chat.prompt_ids for chat in chats]
    same = (len(set(tokens)) == 1 for tokens in zip(*prompts, strict=False))
    return next(i for i, equal in enumerate(same) if not equal)


def together(bench: Bench, chats: list[Sequence]) -> None:
    bench.start(*chats)
    bench.run()


def one_answers(bench: Bench, chats: list[Sequence]) -> None:
    first, *others = chats
    bench.start(first)
    bench.run(until=lambda: len(first.generated) >= 3)
    bench.start(*others)
    bench.run()


@pytest.mark.parametrize("arrive", [together, one_answers])
def test_the_beginning_is_read_by_the_first_alone(
    bench: Bench, arrive: Callable[[Bench, list[Sequence]], None]
) -> None:
    right = [alone(bench, question) for question in QUESTIONS]
    chats = [asked(bench, question) for question in QUESTIONS]
    arrive(bench, chats)
    assert chats[0].cached_tokens == 0
    # A first look-up cuts where the template's marks end, at most a token earlier.
    assert all(chat.cached_tokens >= shared(chats) - 1 for chat in chats[1:])
    assert [chat.generated for chat in chats] == right


def test_a_chat_that_waits_for_one_that_is_stopped_reads_for_itself(bench: Bench) -> None:
    right = alone(bench, QUESTIONS[1])
    stopped, waiting = (asked(bench, question) for question in QUESTIONS[:2])
    bench.start(stopped, waiting)
    bench.backend.step()
    bench.backend.remove(stopped)
    bench.run()
    assert waiting.generated == right
