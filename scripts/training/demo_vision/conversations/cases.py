"""Test conversations about pictures that training never drew, half of them in phrasings that it never used."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from PIL import Image

from ..pictures.drawing import ASPECTS, decode, draw_other_size, draw_picture, draw_size, encode
from ..pictures.scenes import IN_SCOPE, TRIED, Scene
from .checks import accepts
from .dialogues import blind_question, describe_both, point_at, unknowable
from .questions import ask, kinds_for
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
class UserMessage:
    """A message of the user and the pictures that come with it."""

    text: str
    pictures: tuple[Image.Image, ...] = ()


@dataclass(frozen=True)
class Case:
    """Messages to ask one after the other, and the right answer to the last; groups are the table rows it counts in."""

    messages: tuple[UserMessage, ...]
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
        yield Case((UserMessage(question.text, (shown.image,)),), question.answer, groups, number)


def _about_a_pair(rng: Random, number: int) -> Iterator[Case]:
    """Ask everything about two unlike things, which training shows but which the model has not to know."""
    shown = draw_shown(rng, number, TRIED)
    for kind in kinds_for(shown.scene):
        question = ask(rng, shown.scene, kind)
        yield Case((UserMessage(question.text, (shown.image,)),), question.answer, {"pair": kind})


def _conversations(rng: Random, number: int) -> Iterator[Case]:
    """Give one conversation of each other form."""
    shown, other, alike = (draw_shown(rng, number + i, aspects=("1:1", "4:3")) for i in (0, 1, 0))
    yield from _several_turns(rng, shown, other)
    yield from _two_pictures_at_once(rng, shown, alike)
    yield from _without_an_answer(rng, number, shown)


def _conversation(form: str, messages: list[UserMessage], answer: str, system: str = "") -> Case:
    return Case(tuple(messages), answer, {"conversation": form}, system=system)


def _question(rng: Random, scene: Scene) -> tuple[str, str]:
    """Give a question of any kind and its answer."""
    asked = ask(rng, scene, rng.choice(kinds_for(scene)), rng.random() < 0.5)
    return asked.text, asked.answer


def _several_turns(rng: Random, shown: Shown, other: Shown) -> Iterator[Case]:
    """Ask about one picture again and again, and about another one after it."""
    (first, answer), (second, later), (third, last) = (
        _question(rng, shown.scene) for _ in range(3)
    )
    start = UserMessage(first, (shown.image,))
    system = rng.choice(HELD_OUT_SYSTEM_PROMPTS)
    yield _conversation("with a system prompt", [start], answer, system)
    yield _conversation("second question, same picture", [start, UserMessage(second)], later)
    messages = [start, UserMessage(second), UserMessage(third)]
    yield _conversation("third question, same picture", messages, last)
    yield _conversation("a greeting first, then a picture", [UserMessage("Hello!"), start], answer)
    text, answer = _question(rng, other.scene)
    messages = [start, UserMessage(text, (other.image,))]
    yield _conversation("another picture in the second turn", messages, answer)


def _two_pictures_at_once(rng: Random, shown: Shown, alike: Shown) -> Iterator[Case]:
    pair, which = (shown, alike), rng.randrange(2)
    about = ask(rng, pair[which].scene, rng.choice(kinds_for(pair[which].scene)))
    both = (shown.image, alike.image)
    messages = [UserMessage(point_at(rng, about, which), both)]
    yield _conversation("two pictures at once, asked about one", messages, about.answer)
    yield _conversation(
        "two pictures at once, describe both",
        [UserMessage("Describe both pictures.", both)],
        describe_both(rng, [each.scene for each in pair]),
    )


def _without_an_answer(rng: Random, number: int, shown: Shown) -> Iterator[Case]:
    """Say something without a picture, or ask for something that the model doesn't know."""
    talk = UserMessage(HELD_OUT_TALK[number % len(HELD_OUT_TALK)])
    yield _conversation("no picture: small talk", [talk], NO_PICTURE)
    blind = UserMessage(blind_question(rng, held_out=True))
    yield _conversation("no picture: a question that needs one", [blind], NO_PICTURE)
    beyond = UserMessage(unknowable(rng, HELD_OUT_UNKNOWABLE), (shown.image,))
    yield _conversation("beyond what it knows", [beyond], BEYOND)
