"""Where checkpoints are made, for templates of every kind. A token is a character here."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from wire.messages import ImagePart, Message, TextPart
from worker.backends.batching.checkpoints import checkpoints, chosen_places

Template = Callable[[list[Message]], str]


def plain(messages: list[Message]) -> str:
    """A template that repeats a conversation as it was."""
    turns = "".join(f"<{message.role}>{message.text()}</>" for message in messages)
    return f"{turns}<assistant>"


def thinking(messages: list[Message]) -> str:
    """A template that begins the answer's thinking, and leaves it out later."""
    return plain(messages) + "<think>"


def closing(messages: list[Message]) -> str:
    """A template that refuses two messages of one role in a row."""
    roles = [message.role for message in messages]
    if any(a == b for a, b in itertools.pairwise(roles)):
        raise ValueError("roles must alternate")
    return plain(messages)


SYSTEM = Message(role="system", content="be brief")
TURNS = [
    SYSTEM,
    Message(role="user", content="hello"),
    Message(role="assistant", content="yes?"),
    Message(role="user", content="what now?"),
]


def behind(template: Template, messages: list[Message]) -> list[str]:
    """The ends of the prompts up to each checkpoint."""
    ids = [ord(character) for character in template(messages)]
    places = checkpoints(lambda some: [ord(c) for c in template(some)], messages, ids)
    return [template(messages)[:place] for place in places]


@pytest.mark.parametrize("template", [plain, thinking, closing])
def test_behind_the_system_part_before_the_last_question_and_behind_what_is_repeated(
    template: Template,
) -> None:
    whole = plain(TURNS)
    system = "<system>be brief</><user>"
    asked = "<system>be brief</><user>hello</><assistant>yes?</><user>"
    assert behind(template, TURNS) == [system, asked, whole]


def test_without_a_system_message_a_prompt_begins_with_what_all_prompts_begin_with() -> None:
    assert behind(plain, TURNS[1:2]) == ["<user>", "<user>hello</><assistant>"]


def test_a_template_that_refuses_the_other_conversations_has_nochosen_places() -> None:
    def refuses(messages: list[Message]) -> str:
        if messages != TURNS:
            raise ValueError("no")
        return plain(messages)

    assert behind(refuses, TURNS) == []


def test_images_are_counted_with_all_their_tokens() -> None:
    shown = Message(
        role="user",
        content=(ImagePart(sha256="a" * 64, width=9, height=9), TextPart(text="what?")),
    )

    def encode(messages: list[Message]) -> list[int]:
        assert not any(message.images() for message in messages)
        return [ord(character) for character in thinking(messages)]

    whole = thinking([SYSTEM, shown]).replace("what?", "#" * 50 + "what?")
    places = checkpoints(encode, [SYSTEM, shown], [ord(character) for character in whole])
    assert [whole[:place] for place in places] == [
        "<system>be brief</><user>",
        whole.removesuffix("<think>"),
    ]


def test_a_checkpoint_before_the_answer_is_not_made_twice() -> None:
    assert chosen_places((100, 292), 299) == {100, 292}
    assert chosen_places((100, 200), 299) == {100, 200, 299}
    assert chosen_places((100, 300), 299) == {100, 299}
    assert chosen_places((), 0) == set()


def test_long_prompts_have_checkpoints_on_the_way() -> None:
    assert chosen_places((5_000,), 9_000) == {2_048, 5_000, 6_144, 9_000}
