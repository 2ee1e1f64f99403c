"""The corpus of the demo chat model: seeded, with right answers, and without the held-out
phrasings."""

import itertools
import re
import subprocess
import sys
from random import Random

import pytest

from scripts.training.demo_chat import recall, skills
from scripts.training.demo_chat.cases import Case, build_cases
from scripts.training.demo_chat.corpus import (
    CLOSERS,
    IMPERATIVES,
    OPENERS,
    QUESTION_OPENERS,
    REQUESTS,
    request,
    training_chat,
    type_carelessly,
)
from scripts.training.demo_chat.knowledge import language_tables, world_tables
from scripts.training.demo_chat.knowledge.relations import RELATIONS
from scripts.training.demo_chat.knowledge.text import has_word, normalise
from tests.support.paths import ROOT

CASES = build_cases(seed=3, per_skill=30)


def test_needs_no_mlx() -> None:
    """The corpus and its checks import no mlx."""
    code = "import sys, scripts.training.demo_chat.cases, scripts.training.demo_chat.corpus; sys.exit('mlx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_one_seed_gives_one_corpus() -> None:
    """Equal seeds give equal chats and cases; other seeds give others."""

    def draw(seed: int) -> list[list[tuple[str, str]]]:
        rng = Random(seed)
        return [training_chat(rng) for _ in range(300)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert build_cases(5, 4) == build_cases(5, 4)
    assert build_cases(5, 4) != build_cases(6, 4)


def test_a_chat_alternates_and_ends_with_the_model() -> None:
    """A chat is an optional system prompt, then turns of user and model, none of them empty."""
    rng = Random(1)
    for _ in range(2000):
        chat = training_chat(rng)
        roles = [role for role, _ in chat]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert roles
        assert all(text.strip() for _, text in chat)


def test_no_text_has_an_unfilled_placeholder() -> None:
    """Every phrasing finds the columns that it names."""
    rng = Random(2)
    texts = [text for _ in range(5000) for _, text in training_chat(rng)]
    texts += [message["content"] for case in CASES for message in case.messages]
    assert not [text for text in texts if "{" in text or "}" in text or "|" in text]


def test_held_out_phrasings_are_not_trained() -> None:
    """No held-out phrasing equals a trained one, whatever polite words surround the latter."""
    trained, held_out = skills.phrasings()
    more_trained, more_held_out = recall.phrasings()
    forbidden = {normalise(phrase) for phrase in held_out | more_held_out}
    plain = trained | more_trained
    framed = {
        request(frame, phrase)
        for frame in REQUESTS
        for phrase in plain
        if phrase.split()[0] in IMPERATIVES
    }
    noisy = itertools.product(["", *OPENERS, *QUESTION_OPENERS], plain | framed, ["", *CLOSERS])
    shown = {normalise(f"{opener}{phrase} {closer}") for opener, phrase, closer in noisy}
    assert sorted(shown & forbidden) == []


def test_held_out_questions_never_occur_in_training_chats() -> None:
    """The same on drawn text: no final question of a case is ever a training turn, and no
    held-out name either."""
    asked = {normalise(case.messages[-1]["content"]) for case in CASES}
    names = re.compile(rf"\b({'|'.join(language_tables.HELD_OUT_NAMES)})\b")
    rng = Random(4)
    for _ in range(20_000):
        for role, text in training_chat(rng):
            assert role != "user" or normalise(text) not in asked
            assert not names.search(text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.skill)
def test_a_check_accepts_the_expected_answer_and_no_wrong_one(case: Case) -> None:
    """Every check accepts its own answer and rejects other skills' answers, an empty reply and an
    echo."""
    assert case.accepts(case.expected)
    assert case.accepts(f" {case.expected}\n")
    assert not case.accepts("")
    assert not case.accepts("Zzz.")
    if "do not know" not in case.expected:
        assert not case.accepts("I do not know that. I am a very small demo model.")
    if case.exact:
        assert not case.accepts(case.expected[:-2])


def test_sums_are_checked_by_their_result() -> None:
    """A sum with the right terms and a wrong result is wrong."""
    case = Case("adding 0-10", (), "4 + 1 = 5.", ("= 5",))
    assert case.accepts("4 + 1 = 5.")
    assert not case.accepts("4 + 1 = 50.")
    assert not case.accepts("5 + 1 = 6.")


def test_sums_and_differences_are_right() -> None:
    """Every drawn sum holds."""
    rng = Random(7)
    drawn = [skills.draw_exchange(rng) for _ in range(5000)]
    sums = [
        exchange.answer
        for exchange in drawn
        if exchange.skill in ("adding 0-10", "subtracting 0-10")
    ]
    assert len(sums) > 300
    for answer in sums:
        first, sign, second, _, result = answer.rstrip(".").split()
        assert int(result) == int(first) + (int(second) if sign == "+" else -int(second))


def test_counts_to_a_hundred_right() -> None:
    """The longest answer holds every number once, in order."""
    assert skills.number_line(1, 100).rstrip(".").split(", ") == [
        str(number) for number in range(1, 101)
    ]
    hundreds = [case for case in CASES if case.skill == "counting to 100"]
    assert hundreds
    assert all(case.expected == skills.number_line(1, 100) for case in hundreds)


def test_tables_have_one_answer_for_one_question() -> None:
    """No row contradicts another of its table."""
    for relation in RELATIONS:
        answers: dict[str, str] = {}
        for row in relation.rows:
            question = relation.trained[0].format(**row)
            assert answers.setdefault(question, row[relation.key]) == row[relation.key], question
    opposites = [word for row in language_tables.OPPOSITES for word in row]
    assert len(opposites) == len(set(opposites))
    assert len(world_tables.COUNTRIES) == len({row[0] for row in world_tables.COUNTRIES})


def test_recall_answers_with_the_stated_value() -> None:
    """In each recall case the expected value stands in an earlier turn of the user."""
    recalling = [case for case in CASES if case.skill.startswith("recalling")]
    assert len(recalling) > 60
    for case in recalling:
        assert any(has_word(case.keys[0], message["content"]) for message in case.messages[:-1])


def test_careless_typing_keeps_the_question() -> None:
    """Noise adds words around a question or drops its mark, and never changes its own words."""
    rng = Random(9)
    for _ in range(500):
        assert "what is the capital of peru" in normalise(
            type_carelessly(rng, "What is the capital of Peru?")
        )
