"""Questions about scenes, their answers, and the dialogues made of them."""

from random import Random

from scripts.training.demo_vision.conversations.cases import build_cases
from scripts.training.demo_vision.conversations.checks import accepts
from scripts.training.demo_vision.conversations.dialogues import Dialogue, draw_dialogue
from scripts.training.demo_vision.conversations.phrasings import PHRASINGS
from scripts.training.demo_vision.conversations.questions import (
    ask,
    kinds_for,
    place_phrase,
    type_carelessly,
)
from scripts.training.demo_vision.conversations.small_talk import (
    FACTS,
    GREETINGS,
    HELD_OUT_SYSTEM_PROMPTS,
    HELD_OUT_TALK,
    HELD_OUT_UNKNOWABLE,
    NO_PICTURE,
    SYSTEM_PROMPTS,
    UNKNOWABLE,
)
from scripts.training.demo_vision.pictures.drawing import ASPECTS
from scripts.training.demo_vision.pictures.scenes import NUMBERS, SHAPES, draw_scene
from tests.unit.training.demo_vision.drawn_scenes import scenes


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


def test_held_out_phrasings_are_not_trained() -> None:
    """No phrasing of the tests occurs in training."""
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
