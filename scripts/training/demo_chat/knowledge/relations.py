"""Facts in tables: the questions about each table, and the model's answers."""

from dataclasses import dataclass

from . import language_tables as language
from . import world_tables as world
from .text import capitalise, with_article
from .topics import split_phrasings

Row = dict[str, str]


@dataclass(frozen=True)
class Relation:
    """A table with its phrasings; `key` names the column that a right answer must hold."""

    skill: str
    rows: tuple[Row, ...]
    answer: str
    key: str
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


def _relation(
    skill: str, rows: list[Row], answer: str, key: str, trained: str, held_out: str
) -> Relation:
    return Relation(
        skill, tuple(rows), answer, key, split_phrasings(trained), split_phrasings(held_out)
    )


def _pairs(table: list[list[str]], first: int = 0, second: int = 1) -> list[Row]:
    """Two columns of a table as x and y, with X for a sentence's start; rows with a gap ('-') are left out."""
    return [
        {"x": row[first], "X": capitalise(row[first]), "y": row[second]}
        for row in table
        if row[second] != "-"
    ]


def _neighbours(sequence: list[str] | str, circular: bool) -> list[Row]:
    """What comes after and before each element of a sequence."""
    rows = []
    for word, step in (("after", 1), ("before", -1)):
        for i, element in enumerate(sequence):
            if circular or 0 <= i + step < len(sequence):
                rows.append({"x": element, "w": word, "y": sequence[(i + step) % len(sequence)]})
    return rows


_COUNTRIES = [{"x": x, "y": y, "c": c, "l": spoken} for x, y, c, spoken in world.COUNTRIES]
# Countries with several official languages would make the single answer wrong.
_ONE_LANGUAGE = [
    row
    for row in _COUNTRIES
    if row["x"] not in ("Canada", "Scotland", "Ireland", "Kenya", "Pakistan")
]
_OPPOSITES = _pairs(language.OPPOSITES) + _pairs(language.OPPOSITES, 1, 0)
_KINDS = [{"x": x, "X": capitalise(x), "y": y, "Y": with_article(y)} for x, y in world.KINDS]
_AMOUNTS = [{"u": u, "x": x, "X": capitalise(x), "y": y} for u, x, y in world.AMOUNTS]
# The question is asked about oneself ("my teeth"), the answer speaks to the asker ("your teeth").
_TOOLS = [{"x": x, "z": x.replace(" my ", " your "), "y": y} for x, y in world.TOOLS]
_DEFINITIONS = [
    {"x": x, "a": with_article(x), "A": capitalise(with_article(x)), "y": y}
    for x, y in world.DEFINITIONS
]

RELATIONS: list[Relation] = [
    _relation(
        "capitals",
        _COUNTRIES,
        "The capital of {x} is {y}.",
        "y",
        "What is the capital of {x}? | Tell me the capital of {x} | Capital of {x}? | Which city is the capital of {x}?"
        " | What's the capital of {x}? | Name the capital of {x} | Do you know the capital of {x}? | {x} capital"
        " | What is the capital city of {x}? | Can you tell me the capital of {x}? | The capital of {x}?"
        " | I need the capital of {x} | What is {x}'s capital?",
        "What city is the capital of {x}? | I want to know the capital of {x} | Could you name the capital of {x}?",
    ),
    _relation(
        "continents",
        _COUNTRIES,
        "{x} is in {c}.",
        "c",
        "Which continent is {x} in? | Where is {x}? | On which continent is {x}? | What continent is {x} in?"
        " | Tell me the continent of {x} | Where can I find {x}? | Where in the world is {x}? | Continent of {x}?"
        " | On what continent is {x}? | In which part of the world is {x}? | {x} is on which continent?"
        " | To which continent does {x} belong? | Which part of the world is {x} in? | Can you tell me where {x} is?"
        " | Which continent has {x}? | Do you know where {x} is?",
        "Where is {x} in the world? | Tell me where {x} is | Which continent does {x} belong to?",
    ),
    _relation(
        "languages",
        _ONE_LANGUAGE,
        "People in {x} speak {l}.",
        "l",
        "What language do people speak in {x}? | Which language is spoken in {x}? | What do people speak in {x}?"
        " | Language of {x}? | Which language do they speak in {x}? | What is the language of {x}?"
        " | Tell me the language of {x} | What do they speak in {x}?"
        " | What language is used in {x}? | Which language do people speak in {x}? | What do they talk in {x}?",
        "What language is spoken in {x}? | What language do they speak in {x}?",
    ),
    _relation(
        "colours",
        _pairs(world.COLOURS_OF_THINGS),
        "{X} is {y}.",
        "y",
        "What colour is {x}? | What is the colour of {x}? | Which colour is {x}? | Tell me the colour of {x}"
        " | What color is {x}? | Do you know the colour of {x}? | Colour of {x}? | What colour does {x} have?"
        " | What is the color of {x}? | What's the colour of {x}?",
        "Can you tell me the colour of {x}? | Name the colour of {x} | Which color is {x}?",
    ),
    _relation(
        "opposites",
        _OPPOSITES,
        "The opposite of {x} is {y}.",
        "y",
        "What is the opposite of {x}? | Opposite of {x}? | Tell me the opposite of {x} | What's the opposite of {x}?"
        " | Give me the opposite of {x} | Which word is the opposite of {x}? | Name the opposite of {x}"
        " | What word means the opposite of {x}? | Do you know the opposite of {x}? | The opposite of {x}?",
        "Can you tell me the opposite of {x}? | I need the opposite of {x} | What would be the opposite of {x}?",
    ),
    _relation(
        "animals",
        _pairs(language.ANIMALS),
        "A baby {x} is called a {y}.",
        "y",
        "What is a baby {x} called? | What do you call a baby {x}? | Baby {x}? | What is the name of a baby {x}?"
        " | A baby {x} is called what? | Tell me the name of a baby {x} | What's a baby {x} called?"
        " | What is the word for the baby of a {x}? | What's the name for a baby {x}? | How do you call a baby {x}?",
        "Tell me what a baby {x} is called | What is the word for a baby {x}?",
    ),
    _relation(
        "animals",
        _pairs(language.ANIMALS, 0, 2),
        "A {x} says {y}.",
        "y",
        "What does a {x} say? | What sound does a {x} make? | Which sound does a {x} make? | How does a {x} sound?"
        " | Tell me what a {x} says | What noise does a {x} make? | What does the {x} say?"
        " | What is the noise of a {x}? | Sound of a {x}? | How does a {x} cry? | What sound do you hear from a {x}?"
        " | What sound comes from a {x}? | Give me the sound of a {x}",
        "What is the sound of a {x}? | Which noise does a {x} make?",
    ),
    _relation(
        "animals",
        _pairs(language.ANIMALS, 0, 3),
        "A {x} lives in the {y}.",
        "y",
        "Where does a {x} live? | Where do you find a {x}? | What is the home of a {x}? | Home of a {x}?"
        " | In what place does a {x} live? | Where does the {x} live?"
        " | Where can I find a {x}? | Where would I look for a {x}? | Where is a {x} at home?"
        " | Where can you see a {x} live? | Do you know where a {x} lives? | Where could I see a {x}?",
        "Tell me where a {x} lives | Where can I see a {x}?",
    ),
    _relation(
        "animals",
        _pairs(language.LEGS),
        "{X} has {y} legs.",
        "y",
        "How many legs does {x} have? | Number of legs of {x}? | How many legs has {x}? | Legs of {x}?"
        " | Tell me how many legs {x} has | What number of legs does {x} have?"
        " | How many legs are there on {x}? | Say how many legs {x} has | With how many legs does {x} walk?",
        "Do you know how many legs {x} has? | How many legs are on {x}?",
    ),
    _relation(
        "plurals and past tenses",
        _pairs(language.PLURALS),
        "The plural of {x} is {y}.",
        "y",
        "What is the plural of {x}? | Plural of {x}? | Tell me the plural of {x} | What's the plural of {x}?"
        " | Give me the plural of {x} | One {x}, two what? | The plural of {x}?"
        " | Say the plural of {x} | What is {x} in the plural? | I need the plural of {x}",
        "Name the plural of {x} | Do you know the plural of {x}?",
    ),
    _relation(
        "plurals and past tenses",
        _pairs(language.PAST_TENSES),
        "The past tense of {x} is {y}.",
        "y",
        "What is the past of {x}? | What is the past tense of {x}? | Past tense of {x}? | Tell me the past tense of {x}"
        " | What's the past tense of {x}? | Give me the past tense of {x} | Past of {x}?"
        " | Say the past tense of {x} | What is {x} in the past tense? | I need the past tense of {x}"
        " | Name the past of {x}",
        "Do you know the past tense of {x}? | Tell me the past of {x}",
    ),
    _relation(
        "numbers of things",
        _AMOUNTS,
        "{X} has {y} {u}.",
        "y",
        "How many {u} are in {x}? | How many {u} does {x} have? | How many {u} are there in {x}? | {u} in {x}?"
        " | Tell me how many {u} are in {x} | Number of {u} in {x}? | How many {u} make {x}? | How many {u} has {x}?"
        " | What number of {u} does {x} have? | Say how many {u} are in {x} | How many {u} can I count in {x}?",
        "What is the number of {u} in {x}? | Do you know how many {u} are in {x}?",
    ),
    _relation(
        "kinds of things",
        _KINDS,
        "{X} is {Y}.",
        "y",
        "What kind of thing is {x}? | What is {x}? | What sort of thing is {x}? | Tell me what {x} is"
        " | What type of thing is {x}? | Do you know what {x} is? | What's {x}?",
        "Tell me what kind of thing {x} is | Can you tell me what {x} is?",
    ),
    _relation(
        "tools",
        _TOOLS,
        "You use {y} to {z}.",
        "y",
        "What do you use to {x}? | What do I need to {x}? | How can I {x}? | With what do you {x}? | How do I {x}?"
        " | I want to {x}. What do I need? | I want to {x} | What do you need to {x}?"
        " | What could I use to {x}? | Which thing do I need to {x}? | What should I use to {x}?"
        " | What is used to {x}?",
        "What can I use to {x}? | What do I use to {x}? | I need to {x}",
    ),
    _relation(
        "definitions",
        _DEFINITIONS,
        "{A} is {y}.",
        "y",
        "What is {a}? | Explain what {a} is | What does {x} mean? | Define {x} | Tell me what {a} is | What's {a}?"
        " | Can you explain what {a} is? | Do you know what {a} is? | Explain {x} | Meaning of {x}? | Describe {a}"
        " | {x}?"
        " | What's the meaning of {x}? | Tell me the meaning of {x} | What does the word {x} mean?"
        " | What do you mean by {x}? | Give me a definition of {x} | How would you define {x}?"
        " | What is meant by {x}? | Could you define {x}? | Explain to me what {x} means | Meaning of the word {x}?",
        "Explain to me what {a} is | Can you define {x}? | What is the meaning of {x}?",
    ),
    _relation(
        "days, months, letters",
        _neighbours(language.DAYS, True),
        "{y} comes {w} {x}.",
        "y",
        "What day comes {w} {x}? | Which day is {w} {x}? | What day is {w} {x}? | Which day comes {w} {x}?"
        " | Tell me the day {w} {x} | The day {w} {x}? | What is the day {w} {x}?",
        "Name the day {w} {x} | Do you know which day comes {w} {x}?",
    ),
    _relation(
        "days, months, letters",
        _neighbours(language.MONTHS, True),
        "{y} comes {w} {x}.",
        "y",
        "What month comes {w} {x}? | Which month is {w} {x}? | What month is {w} {x}? | Which month comes {w} {x}?"
        " | Tell me the month {w} {x} | The month {w} {x}? | What is the month {w} {x}?",
        "Name the month {w} {x} | Do you know which month comes {w} {x}?",
    ),
    _relation(
        "days, months, letters",
        _pairs([[m, n] for m, n in language.MONTH_LENGTHS.items()]),
        "{x} has {y} days.",
        "y",
        "How many days are in {x}? | How many days does {x} have? | Number of days in {x}? | How many days has {x}?"
        " | Days in {x}?",
        "Tell me how many days {x} has | Do you know how many days are in {x}?",
    ),
    _relation(
        "days, months, letters",
        _neighbours(language.ALPHABET, False),
        "{y} comes {w} {x}.",
        "y",
        "What letter comes {w} {x}? | Which letter is {w} {x}? | Which letter comes {w} {x}? | What letter is {w} {x}?"
        " | The letter {w} {x}? | What is the letter {w} {x}?",
        "Tell me the letter {w} {x} | Name the letter {w} {x}",
    ),
]
