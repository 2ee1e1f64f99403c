"""Test conversations about pictures that training never drew, half of them in phrasings that it never used."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from PIL import Image

from .checks import accepts
from .dialogues import blind_question, describe_both, point_at, unknowable
from .drawing import ASPECTS, decode, draw_other_size, draw_picture, draw_size, encode
from .questions import ask, kinds_for
from .scenes import IN_SCOPE, TRIED, Scene
from .small_talk import (
    BEYOND,
    HELD_OUT_SYSTEM_PROMPTS,
    HELD_OUT_TALK,
    HELD_OUT_UNKNOWABLE,
    NO_PICTURE,
)

# Apart from every seed that a training run takes, so that no picture comes twice.
_SEED_OFFSET = 1_000_003
_FILES = ("PNG", "JPEG")
_OTHER_SIZES = 0.3


@dataclass(frozen=True)
class Asked:
    """A message of the user and the pictures that come with it."""

    text: str
    pictures: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class Case:
    """Messages to ask one after the other, and the right answer to the last; groups are the table rows it counts in."""

    messages: tuple[Asked, ...]
    answer: str
    groups: dict[str, str]
    picture: int = -1
    system: str = ""

    def accepts(self, reply: str) -> bool:
        """Tell whether a reply to the last message is right."""
        return accepts(self.answer, reply)


@dataclass(frozen=True)
class Shown:
    """A picture as it comes out of its file."""

    image: Image.Image
    scene: Scene
    aspect: str
    file: str
    size: str


def draw_shown(
    rng: Random,
    number: int,
    layouts: tuple[str, ...] = IN_SCOPE,
    aspects: tuple[str, ...] = tuple(ASPECTS),
) -> Shown:
    """Draw a picture and send it through a file: PNG and JPEG in turn, all aspects in turn."""
    aspect, file = aspects[number // 2 % len(aspects)], _FILES[number % 2]
    other = rng.random() < _OTHER_SIZES
    size = draw_other_size(rng, aspect) if other else draw_size(rng, aspect)
    image, scene = draw_picture(rng, size, layouts)
    return Shown(
        decode(encode(image, file)), scene, aspect, file, "other" if other else "as in training"
    )


def build_cases(seed: int, pictures: int) -> list[Case]:
    """Give all questions about `pictures` pictures of what the model has to know, and everything else that is tried."""
    rng = Random(seed + _SEED_OFFSET)
    cases = [case for number in range(pictures) for case in _all_questions(rng, number)]
    for number in range(max(8, pictures // 4)):
        cases += _conversations(rng, number)
        cases += _about_a_pair(rng, number)
    return cases


def _all_questions(rng: Random, number: int) -> Iterator[Case]:
    shown = draw_shown(rng, number)
    for i, kind in enumerate(kinds_for(shown.scene)):
        held_out = (number // 2 + i) % 2 == 1
        question = ask(rng, shown.scene, kind, held_out)
        groups = {
            "question": kind,
            "phrasing": "held out" if held_out else "trained",
            "file": shown.file,
            "aspect": shown.aspect,
            "size": shown.size,
            "layout": {"one": "one", "several": "two or three alike"}[shown.scene.layout],
        }
        yield Case((Asked(question.text, (shown.image,)),), question.answer, groups, number)


def _about_a_pair(rng: Random, number: int) -> Iterator[Case]:
    """Ask everything about two unlike things, which training shows but which the model has not to know."""
    shown = draw_shown(rng, number, TRIED)
    for kind in kinds_for(shown.scene):
        question = ask(rng, shown.scene, kind)
        yield Case((Asked(question.text, (shown.image,)),), question.answer, {"pair": kind})


def _conversations(rng: Random, number: int) -> Iterator[Case]:
    """Give one conversation of each other form."""
    shown, other, alike = (draw_shown(rng, number + i, aspects=("1:1", "4:3")) for i in (0, 1, 0))

    def of(form: str, messages: list[Asked], answer: str, system: str = "") -> Case:
        return Case(tuple(messages), answer, {"conversation": form}, system=system)

    def question(scene: Scene) -> tuple[str, str]:
        asked = ask(rng, scene, rng.choice(kinds_for(scene)), rng.random() < 0.5)
        return asked.text, asked.answer

    (first, answer), (second, later), (third, last) = (question(shown.scene) for _ in range(3))
    start = Asked(first, (shown.image,))
    yield of("with a system prompt", [start], answer, rng.choice(HELD_OUT_SYSTEM_PROMPTS))
    yield of("second question, same picture", [start, Asked(second)], later)
    yield of("third question, same picture", [start, Asked(second), Asked(third)], last)
    yield of("a greeting first, then a picture", [Asked("Hello!"), start], answer)
    text, answer = question(other.scene)
    yield of("another picture in the second turn", [start, Asked(text, (other.image,))], answer)
    pair, which = (shown, alike), rng.randrange(2)
    about = ask(rng, pair[which].scene, rng.choice(kinds_for(pair[which].scene)))
    both = (shown.image, alike.image)
    yield of(
        "two pictures at once, asked about one",
        [Asked(point_at(rng, about, which), both)],
        about.answer,
    )
    yield of(
        "two pictures at once, describe both",
        [Asked("Describe both pictures.", both)],
        describe_both(rng, [each.scene for each in pair]),
    )
    yield of(
        "no picture: small talk", [Asked(HELD_OUT_TALK[number % len(HELD_OUT_TALK)])], NO_PICTURE
    )
    yield of(
        "no picture: a question that needs one",
        [Asked(blind_question(rng, held_out=True))],
        NO_PICTURE,
    )
    yield of(
        "beyond what it knows",
        [Asked(unknowable(rng, HELD_OUT_UNKNOWABLE), (shown.image,))],
        BEYOND,
    )
