"""Questions about a scene with their answers, and what makes another wording of an answer right."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ..pictures.scenes import NUMBERS, SHAPES, Scene, Thing
from .phrasings import CLOSERS, OPENERS, PHRASINGS, PICTURE_WORDS, THING_WORDS


@dataclass(frozen=True)
class Question:
    """A question, its kind and the model answer."""

    kind: str
    text: str
    answer: str


def kinds_for(scene: Scene) -> tuple[str, ...]:
    """Give the kinds of question that a scene has an answer to."""
    return {
        "one": ("describe", "count", "colour", "shape", "place", "size", "background"),
        "pair": ("describe", "count", "colour", "shape", "place", "at", "background"),
        "several": ("describe", "count", "colour", "shape", "background"),
    }[scene.layout]


def ask(rng: Random, scene: Scene, kind: str, held_out: bool = False) -> Question:
    """Put a question of a kind that fits the scene. "count none" fits all, and only training asks it by itself."""
    noun, answer = _BUILDERS[kind](rng, scene)
    phrasings = PHRASINGS[kind.removesuffix(" none")]
    phrasing = rng.choice(phrasings.held_out if held_out else phrasings.trained)
    return Question(
        kind, _agree(phrasing.format(noun=noun, picture=rng.choice(PICTURE_WORDS)), noun), answer
    )


def type_carelessly(rng: Random, text: str) -> str:
    """Add what people type around a question, or leave out what they leave out. The question's own words stay."""
    if rng.random() < 0.12:
        opener = rng.choice(OPENERS).format(picture=rng.choice(PICTURE_WORDS))
        text = opener + (text if opener[-2] in ".!" else text[0].lower() + text[1:])
    if rng.random() < 0.08:
        text += rng.choice(CLOSERS)
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.12:
        text = text.rstrip(".?!")
    return text


def article(word: str) -> str:
    """Put the indefinite article before a word."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def place_phrase(place: str) -> str:
    """Say where a place is: "on the left", "at the top", "at the bottom right", "in the middle"."""
    return (
        f"{'in' if place == 'middle' else 'on' if place in ('left', 'right') else 'at'} the {place}"
    )


def _agree(text: str, noun: str) -> str:
    """Make the verb agree with a plural noun in phrasings written for one thing."""
    if noun in ("they", "the shapes") or (noun.endswith("s") and noun.startswith("the ")):
        for one, many in (
            (f"is {noun}", f"are {noun}"),
            (f"does {noun}", f"do {noun}"),
            (f"{noun} is", f"{noun} are"),
        ):
            text = text.replace(one, many)
    return text.replace("of they", "of them")


def _describe(_rng: Random, scene: Scene) -> tuple[str, str]:
    first = scene.things[0]
    if scene.layout == "one":
        sentence = f"{article(first.size)} {first.colour} {first.shape} {place_phrase(first.place)}"
    elif scene.layout == "pair":
        parts = (
            f"{article(thing.colour)} {thing.shape} {place_phrase(thing.place)}"
            for thing in scene.things
        )
        sentence = " and ".join(parts)
    else:
        sentence = f"{NUMBERS[len(scene.things)]} {first.colour} {first.shape}s"
    return "", f"{sentence[0].upper()}{sentence[1:]}."


def _count(rng: Random, scene: Scene) -> tuple[str, str]:
    """Ask for all things, or for those of one shape, which may be absent."""
    draw = rng.random()
    if draw < 0.5:
        noun, count = rng.choice(THING_WORDS), len(scene.things)
    else:
        present = [thing.shape for thing in scene.things]
        absent = [shape for shape in SHAPES if shape not in present]
        shape = rng.choice(absent if draw < 0.65 else present)
        noun, count = f"{shape}s", present.count(shape)
    return (
        noun,
        f"There {'is' if count == 1 else 'are'} {NUMBERS[count]} {noun[:-1] if count == 1 else noun}.",
    )


def _count_none(rng: Random, scene: Scene) -> tuple[str, str]:
    """Ask for the things of a shape that is not there."""
    absent = [shape for shape in SHAPES if all(thing.shape != shape for thing in scene.things)]
    noun = f"{rng.choice(absent)}s"
    return noun, f"There are no {noun}."


def _single_out(rng: Random, scene: Scene, by: tuple[str, ...]) -> tuple[str, Thing]:
    """Choose a thing and words that single it out: its shape, its colour, its place, or "it" where there is but one."""
    thing = rng.choice(scene.things)
    names = {
        "shape": f"the {thing.shape}",
        "colour": f"the {thing.colour} shape",
        "both": f"the {thing.colour} {thing.shape}",
    }
    if scene.layout == "pair":
        first, second = scene.things
        unclear = (
            {"shape"}
            if first.shape == second.shape
            else {"colour"}
            if first.colour == second.colour
            else set()
        )
        names["place"] = f"the shape {place_phrase(thing.place)}"
        return names[rng.choice([way for way in by if way not in unclear] or ["place"])], thing
    plain = ["the shape", "it", "the object", *(names[way] for way in by if way != "place")]
    if scene.layout == "several":
        plain = [
            "the shapes",
            "they",
            "the objects",
            *(f"{names[way]}s" for way in by if way != "place"),
        ]
    return rng.choice(plain), thing


def _colour(rng: Random, scene: Scene) -> tuple[str, str]:
    noun, thing = _single_out(rng, scene, ("shape", "shape", "place"))
    return noun, f"{_subject(scene)} {thing.colour}."


def _shape(rng: Random, scene: Scene) -> tuple[str, str]:
    noun, thing = _single_out(rng, scene, ("colour", "colour", "place"))
    return (
        noun,
        f"{_subject(scene)} {thing.shape + 's' if scene.layout == 'several' else article(thing.shape)}.",
    )


def _place(rng: Random, scene: Scene) -> tuple[str, str]:
    noun, thing = _single_out(rng, scene, ("shape", "shape", "colour", "both"))
    return noun, f"It is {place_phrase(thing.place)}."


def _size(rng: Random, scene: Scene) -> tuple[str, str]:
    noun, thing = _single_out(rng, scene, ("shape", "both"))
    return noun, f"It is {thing.size}."


def _background(rng: Random, scene: Scene) -> tuple[str, str]:
    noun = "the shapes" if len(scene.things) > 1 else rng.choice(("it", "the shape"))
    return noun, f"The background is {scene.background}."


def _at(rng: Random, scene: Scene) -> tuple[str, str]:
    thing = rng.choice(scene.things)
    return place_phrase(thing.place), f"{article(thing.colour).capitalize()} {thing.shape}."


def _subject(scene: Scene) -> str:
    return "They are" if scene.layout == "several" else "It is"


_BUILDERS: dict[str, Callable[[Random, Scene], tuple[str, str]]] = {
    "describe": _describe,
    "count": _count,
    "count none": _count_none,
    "colour": _colour,
    "shape": _shape,
    "place": _place,
    "size": _size,
    "background": _background,
    "at": _at,
}
