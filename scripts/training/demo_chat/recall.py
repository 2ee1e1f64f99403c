"""Recall over turns: the user states something about themselves and asks for it later."""

from dataclasses import dataclass
from random import Random

from .knowledge import language_tables as language
from .knowledge.text import capitalise
from .knowledge.topics import split_phrasings
from .knowledge.world_tables import COUNTRIES
from .skills import made_up_word


@dataclass(frozen=True)
class Slot:
    """A fact about the user: how it is stated, acknowledged, asked for and answered."""

    name: str
    tell: tuple[str, ...]
    tell_held_out: tuple[str, ...]
    reply: str
    ask: tuple[str, ...]
    ask_held_out: tuple[str, ...]
    answer: str
    unknown: str


SLOTS: dict[str, Slot] = {
    "name": Slot(
        "name",
        split_phrasings(
            "My name is {v} | I am {v} | Call me {v} | Hello, I am {v} | Hi, my name is {v} | I'm {v} | Hi! I'm {v}"
            " | My friends call me {v} | Hi, I am {v} | Hello, my name is {v} | Hello! My name is {v} | Hi I'm {v}"
            " | My name's {v} | People call me {v} | Hello, I'm {v} | my name is {v}, hello"
        ),
        split_phrasings("You can call me {v} | They call me {v} | Good day, I am {v}"),
        "Nice to meet you, {v}!",
        split_phrasings(
            "What is my name? | Do you remember my name? | Who am I? | What's my name? | Tell me my name"
            " | Do you know my name? | Say my name | What am I called? | Do you still know my name? | My name?"
            " | Can you remember my name?"
        ),
        split_phrasings("Can you tell me my name? | Do you know who I am? | What was my name?"),
        "Your name is {v}.",
        "I do not know your name yet.",
    ),
    "favourite colour": Slot(
        "favourite colour",
        split_phrasings(
            "My favourite colour is {v} | I like {v} best | The colour I like best is {v} | I love the colour {v}"
            " | My favorite color is {v} | {V} is my favourite colour | I love {v}"
        ),
        split_phrasings("I like the colour {v} best | I think {v} is the best colour"),
        "{V} is a nice colour!",
        split_phrasings(
            "What is my favourite colour? | Which colour do I like? | What colour do I like best?"
            " | Do you remember my favourite colour? | Tell me my favourite colour | What is my favorite color?"
            " | Which colour do I like best?"
        ),
        split_phrasings(
            "What's my favourite colour? | Do you know my favourite colour? | What colour do I like?"
        ),
        "Your favourite colour is {v}.",
        "I do not know your favourite colour yet.",
    ),
    "pet": Slot(
        "pet",
        split_phrasings(
            "My pet is called {v} | I have a pet. Its name is {v} | The name of my pet is {v} | I have a dog called {v}"
            " | I have a cat called {v} | My dog is called {v} | My cat is called {v} | I have a pet called {v}"
        ),
        split_phrasings("My pet's name is {v} | I have a pet and it is called {v}"),
        "{v} is a nice name for a pet!",
        split_phrasings(
            "What is my pet called? | What is the name of my pet? | Do you remember my pet? | What's my pet called?"
            " | Tell me the name of my pet | What is my pet's name?"
        ),
        split_phrasings("Do you know the name of my pet? | Can you tell me what my pet is called?"),
        "Your pet is called {v}.",
        "I do not know your pet yet.",
    ),
    "city": Slot(
        "city",
        split_phrasings(
            "I live in {v} | My home is in {v} | My city is {v} | I come from {v} | I am from {v} | I'm from {v}"
            " | My home town is {v}"
        ),
        split_phrasings("My home is {v} | I have a flat in {v}"),
        "{v} sounds like a nice place!",
        split_phrasings(
            "Where do I live? | What is my city? | Which city do I live in? | Do you remember where I live?"
            " | Where am I from? | Tell me where I live"
        ),
        split_phrasings("Do you know where I live? | Can you tell me where I live?"),
        "You live in {v}.",
        "I do not know where you live yet.",
    ),
}


def draw_value(rng: Random, slot: str, held_out: bool) -> str:
    """Draw a value; most names are made up, since only copying works for a name never seen."""
    if slot == "favourite colour":
        return (
            rng.choice(language.COLOUR_NAMES)
            if held_out or rng.random() < 0.8
            else made_up_word(rng)
        )
    if slot != "city" and held_out:
        return rng.choice(language.HELD_OUT_NAMES)
    known = rng.choice(COUNTRIES)[1] if slot == "city" else rng.choice(language.NAMES)
    value = made_up_word(rng).capitalize() if rng.random() < 0.6 else known
    if held_out:
        return value
    # People also type their names in lower case, or in full.
    if rng.random() < 0.06:
        value = f"{value} {made_up_word(rng).capitalize()}"
    return value.lower() if rng.random() < 0.12 else value


def tell(rng: Random, slot: str, value: str, held_out: bool = False) -> tuple[str, str]:
    """Give the user's statement and the model's reply."""
    entry = SLOTS[slot]
    statement = rng.choice(entry.tell_held_out if held_out else entry.tell)
    forms = {"v": value, "V": capitalise(value)}
    return statement.format(**forms), entry.reply.format(**forms)


def ask(rng: Random, slot: str, value: str | None, held_out: bool = False) -> tuple[str, str]:
    """Give the question for a value and the answer: the value, or that it was never stated."""
    entry = SLOTS[slot]
    question = rng.choice(entry.ask_held_out if held_out else entry.ask)
    return question, entry.unknown if value is None else entry.answer.format(v=value)


def phrasings() -> tuple[set[str], set[str]]:
    """Give every trained and every held-out phrasing of statements and questions, as templates."""
    trained = {phrase for slot in SLOTS.values() for phrase in (*slot.tell, *slot.ask)}
    held_out = {
        phrase for slot in SLOTS.values() for phrase in (*slot.tell_held_out, *slot.ask_held_out)
    }
    return trained, held_out
