"""Whole conversations about pictures: what training rows and test cases are made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from ..pictures.scenes import Scene, draw_scene
from .phrasings import PICTURE_WORDS
from .questions import Question, ask, kinds_for, type_carelessly
from .small_talk import BEYOND, FACTS, GREETINGS, NO_PICTURE, SUBJECTS, SYSTEM_PROMPTS, UNKNOWABLE

ORDINALS = ("first", "second")
_FOR_TWO = (
    "{question} Answer for the {ordinal} picture.",
    "In the {ordinal} picture: {question}",
    "Look at the {ordinal} picture. {question}",
    "About the {ordinal} image: {question}",
    "{ordinal} picture: {question}",
)
_BOTH = (
    "Describe both pictures.",
    "Describe these pictures.",
    "Describe the two images.",
    "What is in these pictures?",
    "What do you see?",
    "What do the pictures show?",
)

# A row has room for one to four questions, so what comes late is seldom asked, and what comes after a description can
# be read off it. Counting and describing are learned slowly, the background at once. "count none" comes on top: that a
# shape is not there must be seen as often as that it is.
_LATENESS = {
    "describe": 0.3,
    "count": 0.35,
    "count none": 0.7,
    "place": 0.5,
    "at": 0.8,
    "colour": 1.5,
    "background": 3,
}


@dataclass(frozen=True)
class Turn:
    """A message of the user with its pictures, and the answer to learn."""

    text: str
    answer: str
    scenes: tuple[Scene, ...] = ()


@dataclass
class Dialogue:
    """A conversation: perhaps a system prompt, then turns of user and model."""

    system: str
    turns: list[Turn] = field(default_factory=list)

    @property
    def scenes(self) -> list[Scene]:
        """All pictures in their order."""
        return [scene for turn in self.turns for scene in turn.scenes]


def draw_dialogue(
    rng: Random, new_scene: Callable[[], Scene], has_room: Callable[[Dialogue], bool]
) -> Dialogue:
    """Make up a conversation, adding questions while there is room."""
    dialogue = Dialogue(rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.12 else "")
    layout = rng.choices(
        ("one picture", "another later", "two at once", "none"), (0.87, 0.06, 0.04, 0.03)
    )[0]
    if layout == "none":
        while not dialogue.turns or has_room(dialogue):
            dialogue.turns.append(Turn(_talk(rng), NO_PICTURE))
        return dialogue
    if rng.random() < 0.06:
        dialogue.turns.append(Turn(_talk(rng), NO_PICTURE))
    scenes = tuple(new_scene() for _ in range(2 if layout == "two at once" else 1))
    source = _about_two(rng, scenes) if len(scenes) == 2 else _about_one(rng, scenes[0])
    dialogue.turns.append(replace(next(source), scenes=scenes))
    if layout == "another later":
        dialogue.turns += islice(source, rng.randint(0, 1))
        scene = new_scene()
        source = _about_one(rng, scene)
        dialogue.turns.append(replace(next(source), scenes=(scene,)))
    while has_room(dialogue):
        dialogue.turns.append(next(source))
    return dialogue


def _about_one(rng: Random, scene: Scene) -> Iterator[Turn]:
    """Give questions about a scene without end, each kind once, then again; slowly learned kinds tend to come first."""
    kinds = sorted(
        (*kinds_for(scene), "count none"), key=lambda kind: rng.random() * _LATENESS.get(kind, 1.0)
    )
    while True:
        for kind in kinds:
            if rng.random() < 0.04:
                yield Turn(type_carelessly(rng, unknowable(rng, UNKNOWABLE)), BEYOND)
            question = ask(rng, scene, kind)
            yield Turn(type_carelessly(rng, question.text), question.answer)


def _about_two(rng: Random, scenes: Sequence[Scene]) -> Iterator[Turn]:
    sources = [
        [ask(rng, scene, kind) for kind in rng.sample(kinds_for(scene), 4)] for scene in scenes
    ]
    if rng.random() < 0.4:
        yield Turn(type_carelessly(rng, rng.choice(_BOTH)), describe_both(rng, scenes))
    while True:
        which = rng.randrange(2)
        question = rng.choice(sources[which])
        yield Turn(point_at(rng, question, which), question.answer)


def describe_both(rng: Random, scenes: Sequence[Scene]) -> str:
    """Give the description of two pictures."""
    first, second = (ask(rng, scene, "describe").answer for scene in scenes)
    return f"First: {first[0].lower()}{first[1:]} Second: {second[0].lower()}{second[1:]}"


def point_at(rng: Random, question: Question, which: int) -> str:
    """Say which of two pictures a question is about."""
    text = rng.choice(_FOR_TWO).format(question=question.text, ordinal=ORDINALS[which])
    return text[0].upper() + text[1:]


def unknowable(rng: Random, phrasings: tuple[str, ...]) -> str:
    """Ask something that no drawn picture answers."""
    return rng.choice(phrasings).format(picture=rng.choice(PICTURE_WORDS))


def _talk(rng: Random) -> str:
    """Say something without a picture, half of the time a question that would need one."""
    draw = rng.random()
    if draw < 0.3:
        return type_carelessly(rng, rng.choice(GREETINGS))
    if draw < 0.6:
        return type_carelessly(rng, rng.choice(FACTS).format(thing=rng.choice(SUBJECTS)))
    return type_carelessly(rng, blind_question(rng))


def blind_question(rng: Random, held_out: bool = False) -> str:
    """Ask about a picture that was not shown."""
    scene = draw_scene(rng, 100, 100)
    return ask(rng, scene, rng.choice(kinds_for(scene)), held_out).text
