"""The checks of answers: right ones pass in other words, and wrong ones fail."""

from random import Random

import pytest

from scripts.training.demo_vision.conversations.checks import accepts
from scripts.training.demo_vision.conversations.questions import ask
from scripts.training.demo_vision.conversations.small_talk import NO_PICTURE
from tests.unit.training.demo_vision.drawn_scenes import scenes


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
    """The same facts in other words pass."""
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
