"""The demo vision model's pictures: seeded, drawn as their scenes say, with answers that the
checks can tell apart."""

import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from scripts.training.demo_vision.cases import build_cases
from scripts.training.demo_vision.checks import accepts
from scripts.training.demo_vision.dialogues import Dialogue, draw_dialogue
from scripts.training.demo_vision.drawing import (
    ASPECTS,
    decode,
    draw_picture,
    draw_size,
    encode,
    render,
    silhouette,
)
from scripts.training.demo_vision.phrasings import PHRASINGS
from scripts.training.demo_vision.questions import ask, kinds_for, place_phrase, type_carelessly
from scripts.training.demo_vision.scenes import (
    COLOURS,
    LARGE,
    NUMBERS,
    PLACES,
    SHAPES,
    SMALL,
    Scene,
    Thing,
    draw_scene,
)
from scripts.training.demo_vision.small_talk import (
    FACTS,
    GREETINGS,
    HELD_OUT_SYSTEM_PROMPTS,
    HELD_OUT_TALK,
    HELD_OUT_UNKNOWABLE,
    NO_PICTURE,
    SYSTEM_PROMPTS,
    UNKNOWABLE,
)
from tests.support.paths import ROOT


def scenes(count: int, seed: int = 1) -> list[Scene]:
    """Draw scenes of all aspects."""
    rng = Random(seed)
    return [draw_scene(rng, *draw_size(rng)) for _ in range(count)]


def test_needs_no_mlx() -> None:
    """Pictures, questions and checks run where the model could not."""
    code = "import sys, scripts.training.demo_vision.cases; sys.exit('mlx' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_one_seed_gives_one_set_of_pictures() -> None:
    """Equal seeds give equal pixels, files and questions; other seeds give others."""

    def draw(seed: int) -> list[bytes]:
        rng = Random(seed)
        return [encode(draw_picture(rng, draw_size(rng))[0], "JPEG") for _ in range(12)]

    assert draw(4) == draw(4)
    assert draw(4) != draw(5)

    def asked(seed: int) -> list[tuple[str, str]]:
        return [(case.messages[-1].text, case.answer) for case in build_cases(seed, 8)]

    assert asked(4) == asked(4)
    assert asked(4) != asked(5)


def test_things_lie_inside_and_apart() -> None:
    """No thing touches the edge or another thing's box."""
    for scene in scenes(1500):
        boxes = []
        for thing in scene.things:
            across, down = scene.reach(thing)
            boxes.append((thing.x - across, thing.y - down, thing.x + across, thing.y + down))
            assert min(boxes[-1]) > 0
            assert max(boxes[-1]) < 1
        for i, one in enumerate(boxes):
            for other in boxes[:i]:
                assert (
                    one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
                )


def test_places_and_sizes_are_beyond_doubt() -> None:
    """A thing's named place is where its centre lies, away from the borders; no size is between
    small and large."""
    for scene in scenes(1500):
        for thing in scene.things:
            if not thing.place:
                assert scene.layout == "several"
                continue
            for word, low, high in (("left", 0.0, 0.36), ("right", 0.64, 1.0)):
                assert (word in thing.place) == (low < thing.x < high)
            for word, low, high in (("top", 0.0, 0.36), ("bottom", 0.64, 1.0)):
                assert (word in thing.place) == (low < thing.y < high)
            if scene.layout == "one":
                assert thing.size in ("small", "large")
    assert SMALL[1] < LARGE[0]


def test_the_picture_shows_the_scene() -> None:
    """The pixel at each thing's centre has its colour, and the thing's corners tell its shape."""
    rng = Random(3)
    for scene in scenes(200, seed=3):
        image = render(rng, replace(scene, width=4 * scene.width, height=4 * scene.height))
        background = image.getpixel((0, 0))
        for thing in scene.things:
            across, down = scene.reach(thing)

            def at(right: float, below: float) -> object:
                x, y = thing.x + right * across, thing.y + below * down  # noqa: B023
                return image.getpixel((int(x * image.width), int(y * image.height)))  # noqa: B023

            filled = at(0, 0)
            assert filled != background
            assert (at(-0.9, -0.9) == filled) == (thing.shape == "square")
            assert (at(-0.9, 0.93) == filled) == (thing.shape in ("square", "triangle"))


def test_silhouettes_show_where_things_are() -> None:
    """White at the centres of things, black at the picture's corners, also when the picture is
    resized."""
    for scene in scenes(100, seed=5):
        drawn = silhouette(scene, 140, 112)
        assert {drawn.getpixel(corner) for corner in ((0, 0), (139, 0), (0, 111), (139, 111))} == {
            0
        }
        assert all(
            drawn.getpixel((int(thing.x * 140), int(thing.y * 112))) == 255
            for thing in scene.things
        )


@pytest.mark.parametrize("aspect", list(ASPECTS))
def test_aspects(aspect: str) -> None:
    """Sizes have the aspect they are listed under."""
    wide, high = (int(side) for side in aspect.split(":"))
    for width, height in ASPECTS[aspect][1]:
        assert abs(width * high - height * wide) <= max(wide, high)


def test_files_keep_the_picture() -> None:
    """PNG is exact; JPEG is close."""
    rng = Random(6)
    for _ in range(20):
        image, _ = draw_picture(rng, draw_size(rng))
        assert decode(encode(image, "PNG")).tobytes() == image.tobytes()
        again = decode(encode(image, "JPEG"))
        corner = zip(again.getpixel((0, 0)), image.getpixel((0, 0)), strict=True)
        assert max(abs(a - b) for a, b in corner) < 12


def test_answers_state_the_scene() -> None:
    """Every answer follows from the scene and passes its own check."""
    rng = Random(8)
    for scene in scenes(600, seed=8):
        first = scene.things[0]
        for kind in kinds_for(scene):
            question = ask(rng, scene, kind, held_out=rng.random() < 0.5)
            assert accepts(question.answer, question.answer)
            assert "{" not in question.text
            if kind == "describe":
                assert first.colour in question.answer
                assert first.shape in question.answer
                assert (NUMBERS[len(scene.things)].capitalize() in question.answer) == (
                    scene.layout == "several"
                )
            if kind == "count" and not any(shape in question.text for shape in SHAPES):
                assert f" {NUMBERS[len(scene.things)]} " in question.answer
            if kind == "place" and scene.layout == "one":
                assert question.answer == f"It is {place_phrase(first.place)}."
            if kind == "background":
                assert scene.background in question.answer


def test_questions_about_one_of_two_are_answered_for_that_one() -> None:
    """The thing that a question singles out is the one that the answer is about."""
    rng = Random(9)
    pairs = [scene for scene in scenes(2000, seed=9) if scene.layout == "pair"]
    assert len(pairs) > 100
    for scene in pairs:
        for thing in scene.things:
            colour, place = (ask(rng, scene, kind) for kind in ("colour", "place"))
            other = next(one for one in scene.things if one is not thing)
            if place_phrase(thing.place) in colour.text or (
                thing.shape in colour.text and thing.shape != other.shape
            ):
                assert colour.answer == f"It is {thing.colour}."
            named = [word for word in (thing.shape, thing.colour) if word in place.text]
            if named and all(word not in (other.shape, other.colour) for word in named):
                assert place.answer == f"It is {place_phrase(thing.place)}."


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("A large red circle at the top left.", "There is a big red circle at the top left"),
        ("It is in the middle.", "In the center."),
        ("There are three circles.", "3 circles."),
        (
            "A red circle on the left and a blue square on the right.",
            "A blue square on the right and a red circle on the left.",
        ),
        ("Three blue squares.", "I see three blue squares!"),
        (NO_PICTURE, "Please show me a picture"),
    ],
)
def test_right_answers_in_other_words_pass(answer: str, reply: str) -> None:
    """The wording is free."""
    assert accepts(answer, reply)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("A large red circle at the top left.", "A large red circle at the top."),
        ("A large red circle at the top left.", "A large red circle."),
        ("A large red circle at the top left.", "A large red square at the top left."),
        ("It is red.", "It is red or blue."),
        ("It is red.", "It is on the left."),
        ("It is red.", ""),
        ("There are three circles.", "There are four circles."),
        ("There are three circles.", "There are three squares."),
        ("It is small.", "It is small large."),
        (
            "A red circle on the left and a blue square on the right.",
            "A blue circle on the left and a red square on the right.",
        ),
        ("A red circle on the left and a blue square on the right.", "A red circle on the left."),
        (
            "First: a red circle. Second: two blue squares.",
            "First: two blue squares. Second: a red circle.",
        ),
        (NO_PICTURE, "It is red."),
        (NO_PICTURE, ""),
        ("It is red.", NO_PICTURE),
    ],
)
def test_wrong_answers_fail(answer: str, reply: str) -> None:
    """A missing, added or swapped fact fails."""
    assert not accepts(answer, reply)


def test_another_scene_of_the_same_kind_fails() -> None:
    """A description of any other scene is rejected."""
    rng = Random(10)
    answers = {ask(rng, scene, "describe").answer for scene in scenes(60, seed=10)}
    for answer in answers:
        assert [other for other in answers if accepts(answer, other)] == [answer]


def test_held_out_phrasings_are_not_trained() -> None:
    """What the tests ask is never said in training."""
    for phrasings in PHRASINGS.values():
        assert phrasings.held_out
        assert not set(phrasings.trained) & set(phrasings.held_out)
    assert not set(HELD_OUT_TALK) & {*GREETINGS, *FACTS}
    assert not set(HELD_OUT_UNKNOWABLE) & set(UNKNOWABLE)
    assert not set(HELD_OUT_SYSTEM_PROMPTS) & set(SYSTEM_PROMPTS)


def test_careless_typing_keeps_the_question() -> None:
    """Noise adds words around a question or drops its mark, and never changes its own words."""
    rng = Random(11)
    for _ in range(500):
        assert (
            "what colour is the circle"
            in type_carelessly(rng, "What colour is the circle?").lower()
        )


def test_dialogues_bring_their_pictures_once() -> None:
    """Each conversation shows no, one or two pictures, and talks about a picture only after it
    came."""
    rng = Random(12)
    counts = set()
    for _ in range(500):
        dialogue = draw_dialogue(rng, lambda: draw_scene(rng, 100, 100), _has_room)
        counts.add(len(dialogue.scenes))
        seen = 0
        for turn in dialogue.turns:
            seen += len(turn.scenes)
            assert turn.text.strip()
            assert (turn.answer == NO_PICTURE) == (seen == 0)
    assert counts == {0, 1, 2}


def _has_room(dialogue: Dialogue) -> bool:
    return len(dialogue.turns) < 5


def test_cases_cover_every_kind_file_and_aspect() -> None:
    """The measurement leaves no kind of question, file or aspect out."""
    cases = build_cases(2, 60)
    wanted_groups = {
        "question": set(PHRASINGS) - {"at"},
        "pair": set(PHRASINGS) - {"size"},
        "file": {"PNG", "JPEG"},
        "aspect": set(ASPECTS),
    }
    for heading, wanted in wanted_groups.items():
        assert {case.groups[heading] for case in cases if heading in case.groups} == wanted
    assert {case.picture for case in cases} == {-1, *range(60)}


def test_tables_name_each_thing_once() -> None:
    """No colour is a background too, and no name is part of another, or the checks could not
    tell them apart."""
    assert len(set(COLOURS)) == len(COLOURS)
    assert len(set(PLACES)) == 9
    assert Thing("circle", "red", 0.5, 0.5, 0.1).size == "small"
    assert Thing("circle", "red", 0.5, 0.5, 0.16).size == ""
