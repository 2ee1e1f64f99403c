"""What the service must do with every kind of vision model, beside the checks of text."""

from __future__ import annotations

from tests.model_kinds.chats import ANSWER, Chats
from tests.model_kinds.checks import Case, miscounted
from tests.model_kinds.conversations import assistant, user
from tests.model_kinds.pictures import shown
from tests.model_kinds.references.vision import VisionReference
from wire.messages import Message
from worker.errors import WorkerError

WIDE, TALL = 0, 1
ALONE: dict[str, list[Message]] = {
    "one picture": [shown("what is this?", WIDE)],
    "a tall picture": [shown("and what is this one?", TALL)],
    "two pictures of one size": [shown("which is it?", WIDE, WIDE + 2)],
    "pictures of two sizes": [shown("which of them?", WIDE, TALL)],
    "a picture, then words": [
        shown("what is it?", WIDE + 4),
        assistant("a box."),
        user("of which colour?"),
    ],
}

OTHERS: dict[str, tuple[list[Message], list[Message]]] = {
    name: ([shown("what is this?", *seeds)], [shown("what is this?", *others)])
    for name, seeds, others in (
        ("one picture", (WIDE,), (WIDE + 2,)),
        ("the first of two", (WIDE, WIDE + 2), (WIDE + 4, WIDE + 2)),
        ("the second of two", (WIDE, WIDE + 2), (WIDE, WIDE + 4)),
        ("the second, of another size", (WIDE, TALL), (WIDE, TALL + 2)),
    )
}
"""Chats, and the same about other pictures."""


def pictures_counted(case: Case) -> list[str]:
    """A prompt with pictures has as many tokens where it is counted without the weights."""
    taken = _taken(case, ALONE)
    found = {name: miscounted(case, messages) for name, messages in taken.items()}
    return [f"{name}: {why}" for name, why in found.items() if why]


def pictures_alone(case: Case) -> list[str]:
    """A chat that shows pictures says what mlx_vlm says."""
    reference, chats = case.reference(), case.chats(remembers=False)
    found = {
        name: reference.differs(
            messages, chats.answered(messages).generated, reference.answer(messages)
        )
        for name, messages in _taken(case, ALONE).items()
    }
    return [
        *(f"{name}: {why}" for name, why in found.items() if why),
        *(
            f"{name}: not refused"
            for name, messages in ALONE.items()
            if name not in found and not _is_refused(chats, messages)
        ),
    ]


def pictures_seen(case: Case) -> list[str]:
    """Every picture of a conversation matters: another one in its place changes what the likeliest
    next tokens are. The service's answers are the library's by the other checks."""
    reference = case.reference()
    assert isinstance(reference, VisionReference)
    found = {
        name: reference.changes(*asked)
        for name, asked in OTHERS.items()
        if len(asked[0][0].images()) == 1 or not case.one_picture
    }
    return [f"{name}: not seen" for name, changes in found.items() if not changes]


def _taken(case: Case, chats: dict[str, list[Message]]) -> dict[str, list[Message]]:
    """The chats that a kind takes: some take one picture and no more."""
    if not case.one_picture:
        return chats
    return {
        name: messages
        for name, messages in chats.items()
        if sum(len(message.images()) for message in messages) < 2
    }


def _is_refused(chats: Chats, messages: list[Message]) -> bool:
    try:
        chats.answered(messages)
    except WorkerError as error:
        return "one image" in error.message
    return False


def pictures_at_once(case: Case) -> list[str]:
    """Chats with pictures and without say at once what each says alone; two join late."""
    reference, chats = case.reference(), case.chats(remembers=False)
    asked = {**_taken(case, ALONE), "words alone": [user("only words, " * 6)]}
    running = {name: chats.sequence(messages) for name, messages in asked.items()}
    first, *others = running.values()
    chats.start(first, *others[:-2])
    chats.run(until=lambda: len(first.generated) >= 5)
    chats.start(*others[-2:])
    chats.run()
    found = {
        name: reference.differs(messages, running[name].generated, reference.answer(messages))
        for name, messages in asked.items()
    }
    return [f"{name}: {why}" for name, why in found.items() if why]


def pictures_remembered(case: Case) -> list[str]:
    """With a prompt cache: the next turn, the same again, and the same words about another picture
    say what a cold start says."""
    reference, chats = case.reference(), case.chats(remembers=True)
    first = [shown("and in this one?", WIDE + 6)]
    turns: dict[str, list[Message]] = {
        "first": first,
        "next turn": [*first, assistant("a line."), user("and its colour?")],
        "again": first,
        "another picture": [shown("and in this one?", WIDE + 8)],
        "a second picture": [*first, assistant("a line."), shown("and here?", TALL + 2)],
    }
    found = {
        name: reference.differs(
            messages, chats.answered(messages).generated, reference.answer(messages)
        )
        for name, messages in _taken(case, turns).items()
    }
    return [f"{name}: {why}" for name, why in found.items() if why]


def pictures_continued(case: Case) -> list[str]:
    """An answer about a picture that was cut by a crash goes on as it would have without."""
    reference, chats = case.reference(), case.chats(remembers=False)
    messages = ALONE["one picture"]
    right = reference.answer(messages)
    rest = chats.answered(messages, emitted=tuple(right[: ANSWER // 2]))
    why = reference.differs(messages, [*right[: ANSWER // 2], *rest.generated], right)
    return [why] if why else []
