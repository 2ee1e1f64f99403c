"""Single questions with their answers: every skill but recall over turns (see `recall.py`)."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .knowledge import language_tables as language
from .knowledge.relations import RELATIONS, Relation
from .knowledge.single_facts import SINGLE_FACTS
from .knowledge.small_talk import DONT_KNOW, SMALL_TALK, UNKNOWN_HELD_OUT, UNKNOWN_TRAINED
from .knowledge.text import parse_words, with_article
from .knowledge.topics import ENTERTAINMENT, LISTS, Topic, split_phrasings


@dataclass(frozen=True)
class Exchange:
    """A question, the answer to train on, and the keys of a right answer: it holds one of them, or is one if exact."""

    skill: str
    question: str
    answer: str
    keys: tuple[str, ...]
    exact: bool = False


Builder = Callable[[Random, bool], Exchange]

_ADD = split_phrasings(
    "What is {a} + {b}? | {a} + {b} | {a} + {b} = ? | {a}+{b} | {a}+{b}? | {a}+{b}= | {a} + {b}?"
    " | What is {a} plus {b}? | {a} plus {b} | Add {a} and {b} | How much is {a} plus {b}? | What's {a} + {b}?"
    " | Calculate {a} + {b}"
    " | What is the sum of {a} and {b}? | Can you add {a} and {b}? | What is {a}+{b}? | {a} and {b} is?"
    " | What do I get if I add {a} and {b}? | What does {a} + {b} give? | What does {a} plus {b} make?"
    " | {a} added to {b} | What is the result of {a} + {b}? | Work out {a} + {b} | What will {a} + {b} be?"
    " | Do you know {a} + {b}? | Tell me {a} + {b} | Give me {a} plus {b} | Can you tell me what {a} + {b} is?"
    " | What do you have if you add {a} and {b}? | Add {a} and then {b} | Put {a} and {b} together"
    " | How much are {a} and {b}? | Sum of {a} and {b}? | Solve {a} + {b} | Add up {a} and {b} | Take {a} and add {b}"
    " | What do I get adding {a} to {b}? | If you add {a} to {b}, what is it? | Add the number {a} to {b}"
    " | What is {a} added to {b}? | Let me add {a} to {b} | I add {a} to {b}"
)
_ADD_HELD_OUT = split_phrasings(
    "How much is {a} + {b}? | Add {a} to {b} | Tell me what {a} plus {b} is | What do you get for {a} + {b}?"
)
_SUBTRACT = split_phrasings(
    "What is {a} - {b}? | {a} - {b} | {a} - {b} = ? | {a}-{b} | {a}-{b}? | {a}-{b}= | {a} - {b}?"
    " | What is {a} minus {b}? | {a} minus {b} | Take {b} from {a} | How much is {a} minus {b}? | What's {a} - {b}?"
    " | Calculate {a} - {b}"
    " | Subtract {b} from {a} | Can you take {b} from {a}? | What is {a}-{b}?"
    " | What do I get if I take {b} from {a}? | What does {a} - {b} give? | What is left of {a} if you take {b}?"
    " | What is the result of {a} - {b}? | Work out {a} - {b} | What will {a} - {b} be? | Solve {a} - {b}"
    " | Do you know {a} - {b}? | Tell me {a} - {b} | Give me {a} minus {b} | Can you tell me what {a} - {b} is?"
    " | What do you have if you take {b} from {a}? | {a} less {b} | How much is left of {a} without {b}?"
)
_SUBTRACT_HELD_OUT = split_phrasings(
    "How much is {a} - {b}? | Take away {b} from {a} | Tell me what {a} minus {b} is | What do you get for {a} - {b}?"
)
_COUNT_TO = split_phrasings(
    "Count to {b} | Count up to {b} | Can you count to {b}? | Count from 1 to {b} | Please count to {b}"
    " | Count from one to {b} | Could you count to {b}? | Count to {b} for me | Count all the way to {b}"
    " | Write the numbers from 1 to {b}"
    " | Say the numbers up to {b} | Numbers from 1 to {b} | Start counting and stop at {b} | Keep counting until {b}"
    " | Give me all numbers up to {b} | Count for me, up to {b} | How do you count to {b}? | Count slowly to {b}"
)
_COUNT_TO_HELD_OUT = split_phrasings(
    "I want you to count to {b} | Now count up to {b} for me | Can you count up to {b}?"
)
_COUNT_BETWEEN = split_phrasings(
    "Count from {a} to {b} | Count {a} to {b} | Please count from {a} to {b} | Can you count from {a} to {b}?"
    " | List the numbers from {a} to {b} | Say the numbers from {a} to {b} | Count up from {a} to {b} | {a} to {b}"
    " | Begin at {a} and stop at {b} | Start with {a} and go up to {b} | Write the numbers from {a} to {b}"
    " | List the numbers between {a} and {b} | Which numbers come from {a} to {b}?"
    " | Give me all numbers from {a} to {b} | Show me the numbers from {a} to {b}"
    " | Go from {a} to {b} | Start counting at {a} and stop at {b}"
)
_COUNT_BETWEEN_HELD_OUT = split_phrasings(
    "Give me the numbers from {a} to {b} | Can you list the numbers from {a} to {b}? | Start at {a} and count to {b}"
)
_SPELL = split_phrasings(
    "Spell {w} | How do you spell {w}? | Spell the word {w} | Can you spell {w}? | What is the spelling of {w}?"
    " | Spell {w} for me | How is {w} spelled? | What letters are in {w}? | How is {w} written?"
    " | Give me the spelling of {w} | Tell me how to spell {w} | How should I spell {w}? | Write {w} letter by letter"
    " | Say the letters of {w} | Do you know how to spell {w}? | How would you spell {w}? | How can I spell {w}?"
)
_SPELL_HELD_OUT = split_phrasings(
    "How do I spell {w}? | Can you spell the word {w}? | I want you to spell {w}"
)
_PRODUCT = split_phrasings(
    "{a} * {b} | {a} x {b} | What is {a} times {b}? | {a} / {b} | Divide {a} by {b} | Multiply {a} by {b} | {a}*{b}"
    " | {a}/{b} | What is {a} * {b}? | What is {a} divided by {b}? | {a} times {b}"
    " | Multiply {a} and {b} | What's {a} x {b}?"
)
_PRODUCT_HELD_OUT = split_phrasings(
    "How much is {a} times {b}? | Tell me what {a} times {b} is | Calculate {a} * {b}"
)
_UNKNOWN, _UNKNOWN_HELD_OUT = split_phrasings(UNKNOWN_TRAINED), split_phrasings(UNKNOWN_HELD_OUT)

# Relations whose phrasings need nothing but a name, so that a made-up one can be asked for.
_ASKED_BY_NAME = parse_words("capitals continents languages opposites animals definitions")

_CONSONANTS = parse_words(
    "b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl st tr sh ch th x y qu"
)
_ENDINGS = ["", "", "", "n", "l", "r", "s", "k", "m", "t", "x", "nd", "ck", "ng"]


def made_up_word(rng: Random) -> str:
    """Join random syllables: a word that the model can only know from the question itself."""
    syllables = [
        rng.choice(_CONSONANTS) + rng.choice("aeiou") for _ in range(rng.choice((1, 2, 2, 2, 3)))
    ]
    return "".join(syllables) + rng.choice(_ENDINGS)


def number_line(first: int, last: int) -> str:
    """Write the answer to a counting question."""
    return ", ".join(str(n) for n in range(first, last + 1)) + "."


def _from_topics(skill: str, topics: list[Topic], exact: bool = False) -> Builder:
    def build(rng: Random, held_out: bool) -> Exchange:
        chosen = rng.choice(topics)
        question = rng.choice(chosen.held_out if held_out else chosen.trained)
        keys = chosen.answers if exact else chosen.keys
        return Exchange(skill, question, rng.choice(chosen.answers), keys, exact)

    return build


def _from_relation(relation: Relation) -> Builder:
    def build(rng: Random, held_out: bool) -> Exchange:
        row = rng.choice(relation.rows)
        question = rng.choice(relation.held_out if held_out else relation.trained).format(**row)
        return Exchange(
            relation.skill, question, relation.answer.format(**row), (row[relation.key],)
        )

    return build


def _add(rng: Random, held_out: bool) -> Exchange:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    question = rng.choice(_ADD_HELD_OUT if held_out else _ADD).format(a=a, b=b)
    return Exchange("adding 0-10", question, f"{a} + {b} = {a + b}.", (f"= {a + b}",))


def _subtract(rng: Random, held_out: bool) -> Exchange:
    a = rng.randint(0, 10)
    b = rng.randint(0, a)
    question = rng.choice(_SUBTRACT_HELD_OUT if held_out else _SUBTRACT).format(a=a, b=b)
    return Exchange("subtracting 0-10", question, f"{a} - {b} = {a - b}.", (f"= {a - b}",))


def _count_between(rng: Random, held_out: bool) -> Exchange:
    first = rng.randint(0, 95) if rng.random() < 0.6 else rng.randint(0, 12)
    last = min(100, first + rng.randint(1, 14))
    question = rng.choice(_COUNT_BETWEEN_HELD_OUT if held_out else _COUNT_BETWEEN).format(
        a=first, b=last
    )
    answer = number_line(first, last)
    return Exchange("counting a to b", question, answer, (answer,), exact=True)


def _count_to(rng: Random, held_out: bool) -> Exchange:
    last = rng.randint(2, 30) if rng.random() < 0.65 else rng.randint(31, 99)
    question = rng.choice(_COUNT_TO_HELD_OUT if held_out else _COUNT_TO).format(b=last)
    answer = number_line(1, last)
    return Exchange("counting to n", question, answer, (answer,), exact=True)


def _count_to_hundred(rng: Random, held_out: bool) -> Exchange:
    phrasing = rng.choice(_COUNT_TO_HELD_OUT if held_out else _COUNT_TO)
    question = phrasing.format(b=rng.choice(("100", "100", "a hundred", "one hundred")))
    answer = number_line(1, 100)
    return Exchange("counting to 100", question, answer, (answer,), exact=True)


def _spell(rng: Random, held_out: bool) -> Exchange:
    word = rng.choice(language.SPELLING_WORDS)
    question = rng.choice(_SPELL_HELD_OUT if held_out else _SPELL).format(w=word)
    answer = " ".join(word.upper()) + "."
    return Exchange("spelling", question, answer, (answer,), exact=True)


def _unknown_row(rng: Random, word: str) -> Exchange:
    """Ask a table for a word that it does not have, in the same phrasing as for a known one."""
    relation = rng.choice([relation for relation in RELATIONS if relation.skill in _ASKED_BY_NAME])
    if relation.skill in ("capitals", "continents", "languages") and rng.random() < 0.8:
        word = word.capitalize()
    article = with_article(word)
    question = rng.choice(relation.trained).format(x=word, X=word, a=article, A=article)
    return Exchange("saying that it does not know", question, DONT_KNOW, ("do not know",))


def _unknown(rng: Random, held_out: bool) -> Exchange:
    words = [made_up_word(rng) for _ in range(2)]
    if not held_out and rng.random() < 0.35:
        return _unknown_row(rng, words[0])
    if rng.random() < 0.6:
        words = [word.capitalize() for word in words]
    phrasing = rng.choice(_UNKNOWN_HELD_OUT if held_out else _UNKNOWN)
    question = phrasing.format(z=words[0], y=words[1], n=rng.randint(11, 999))
    return Exchange("saying that it does not know", question, DONT_KNOW, ("do not know",))


def _beyond(rng: Random, held_out: bool) -> Exchange:
    """Ask for sums of larger numbers, products, and the spelling of unknown words: near to what the model can do."""
    trained, kept = rng.choice(
        ((_ADD, _ADD_HELD_OUT), (_SUBTRACT, _SUBTRACT_HELD_OUT), (_PRODUCT, _PRODUCT_HELD_OUT))
    )
    phrasings_of_kind = kept if held_out else trained
    numbers = [rng.randint(0, 100), rng.randint(11, rng.choice((40, 100, 999)))]
    rng.shuffle(numbers)
    if trained is _PRODUCT and rng.random() < 0.5:
        numbers = [rng.randint(0, 10), rng.randint(0, 10)]
    question = rng.choice(phrasings_of_kind).format(a=numbers[0], b=numbers[1])
    if rng.random() < 0.3:
        question = rng.choice(_SPELL_HELD_OUT if held_out else _SPELL).format(w=made_up_word(rng))
    return Exchange("saying that it does not know", question, DONT_KNOW, ("do not know",))


def _relation_weight(relation: Relation) -> float:
    """Weigh a table by its rows, and more where each answer is a sentence of its own."""
    return (0.12 if relation.skill == "definitions" else 0.05) * max(25, len(relation.rows))


# (weight, builder): how often a skill is drawn.
_SKILLS: list[tuple[float, Builder]] = [
    (14.0, _from_topics("small talk", SMALL_TALK)),
    (2.5, _from_topics("jokes, stories, poems", ENTERTAINMENT, exact=True)),
    (2.0, _from_topics("lists", LISTS)),
    (5.0, _from_topics("other facts", SINGLE_FACTS)),
    (11.0, _add),
    (5.0, _subtract),
    (3.5, _count_between),
    (3.0, _count_to),
    (1.0, _count_to_hundred),
    (5.0, _spell),
    (8.0, _unknown),
    (6.0, _beyond),
    *((_relation_weight(relation), _from_relation(relation)) for relation in RELATIONS),
]
_WEIGHTS = [weight for weight, _ in _SKILLS]
_BUILDERS = [builder for _, builder in _SKILLS]
# Answers too long to be worth their tokens in the middle of a chat of several turns.
_SHORT_ANSWER = 90


def draw_exchange(rng: Random, held_out: bool = False, short: bool = False) -> Exchange:
    """Draw a question of a random skill, if asked one with a short answer."""
    while True:
        exchange = rng.choices(_BUILDERS, _WEIGHTS)[0](rng, held_out)
        if not short or len(exchange.answer) <= _SHORT_ANSWER:
            return exchange


def all_builders() -> list[Builder]:
    """Give every skill's builder, for the tests of each."""
    return list(_BUILDERS)


def phrasings() -> tuple[set[str], set[str]]:
    """Give every trained and every held-out phrasing, as templates."""
    trained = {*_ADD, *_SUBTRACT, *_PRODUCT, *_COUNT_TO, *_COUNT_BETWEEN, *_SPELL, *_UNKNOWN}
    held_out = {*_ADD_HELD_OUT, *_SUBTRACT_HELD_OUT, *_COUNT_TO_HELD_OUT, *_COUNT_BETWEEN_HELD_OUT}
    held_out |= {*_SPELL_HELD_OUT, *_UNKNOWN_HELD_OUT, *_PRODUCT_HELD_OUT}
    sources: list[Topic | Relation] = [
        *SMALL_TALK,
        *ENTERTAINMENT,
        *LISTS,
        *SINGLE_FACTS,
        *RELATIONS,
    ]
    for source in sources:
        trained |= set(source.trained)
        held_out |= set(source.held_out)
    return trained, held_out
