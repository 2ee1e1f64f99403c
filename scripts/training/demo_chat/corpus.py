"""Training chats: questions of all skills, facts stated and asked for, with the noise of real
typing."""

from random import Random

from .knowledge.text import parse_words
from .recall import SLOTS, ask, draw_value, tell
from .skills import draw_exchange

Message = tuple[str, str]  # role, text
Turn = tuple[str, str]  # the user's text, the model's answer

OPENERS = [
    "Please, ",
    "Hey, ",
    "One question: ",
    "Quick question: ",
    "Ok. ",
    "Hello! ",
    "Now: ",
    "Hi, ",
    "So, ",
]
OPENERS.append("And ")
QUESTION_OPENERS = [
    "Answer this: ",
    "I have a question: ",
    "I wonder: ",
    "Next question: ",
    "My question is: ",
    "Listen: ",
]
# Ways to ask for something; an imperative goes into the place of {r}.
REQUESTS = [
    "I need you to {r}",
    "I would like you to {r}",
    "Would you {r}?",
    "Will you {r}?",
    "Try to {r}",
    "You must {r}",
    "Would you please {r}?",
    "I ask you to {r}",
    "I want that you {r}",
    "Let me see you {r}",
]
IMPERATIVES = parse_words("""
Add Calculate Count Define Describe Explain Give List Name Say Show Solve Spell Start Subtract Take Tell Work Write
""")
CLOSERS = [" Thanks.", " Please.", " Thank you!", " :)"]
SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a small chat model.",
    "Be helpful and short.",
    "You are a friendly assistant. Answer in short sentences.",
    "Answer the user's questions.",
    "You are a helpful, honest and kind assistant.",
    "Be brief.",
    "You answer in English.",
    "You are an assistant who likes to talk to people.",
    "Keep your answers short. If you do not know something, say so.",
]


def request(frame: str, imperative: str) -> str:
    """Put an imperative into a frame: `Count to 3` becomes `I need you to count to 3`."""
    return frame.format(r=imperative[0].lower() + imperative[1:].rstrip("."))


def type_carelessly(rng: Random, text: str, keep_case: bool = False) -> str:
    """Write a question as people type it: with a polite word, in lower case, with or without the last mark."""
    if text.split()[0] in IMPERATIVES and rng.random() < 0.3:
        text = request(rng.choice(REQUESTS), text)
    elif text.endswith("?") and rng.random() < 0.08:
        text = rng.choice(QUESTION_OPENERS) + text
    chance = rng.random()
    if chance < 0.10:
        text = rng.choice(OPENERS) + text
    elif chance < 0.14:
        text = text + ("" if text[-1] in ".?!" else ".") + rng.choice(CLOSERS)
    if text[-1].isalnum():
        text += rng.choice(("", ".", ".", "!"))
    elif text[-1] == "?" and rng.random() < 0.15:
        text = text[:-1]
    if not keep_case and rng.random() < 0.2:
        text = text.lower()
    return text


def _fill(rng: Random, count: int) -> list[Turn]:
    """Give turns about anything, with short answers."""
    exchanges = [draw_exchange(rng, short=True) for _ in range(count)]
    return [(type_carelessly(rng, item.question), item.answer) for item in exchanges]


def _question_chat(rng: Random) -> list[Turn]:
    first = draw_exchange(rng)
    turns = [(type_carelessly(rng, first.question), first.answer)]
    return turns + _fill(rng, rng.choice((0, 0, 0, 0, 1, 2)))


def _recall_chat(rng: Random, stage: float) -> list[Turn]:
    names = list(SLOTS)
    slots = ["name"] if rng.random() < 0.5 else rng.sample(names, rng.choice((1, 1, 2)))
    values = {slot: draw_value(rng, slot, held_out=False) for slot in slots}
    turns = _fill(rng, 1) if rng.random() < 0.15 else []
    for slot in slots:
        statement, reply = tell(rng, slot, values[slot])
        turns.append((type_carelessly(rng, statement, keep_case=True), reply))
    turns += _fill(
        rng,
        rng.choice((0, 1, 1, 2, 2, 3)) if stage >= 1 else rng.choice((0, 0, 1)) if stage > 0 else 0,
    )
    for slot in rng.sample(slots, len(slots)):
        question, answer = ask(rng, slot, values[slot])
        turns.append((type_carelessly(rng, question), answer))
    return turns


def _not_told_chat(rng: Random) -> list[Turn]:
    asked, given = rng.sample(list(SLOTS), 2)
    turns = _fill(rng, rng.choice((0, 1)))
    if rng.random() < 0.4:
        turns.append(tell(rng, given, draw_value(rng, given, held_out=False)))
    question, answer = ask(rng, asked, None)
    return [*turns, (type_carelessly(rng, question), answer)]


def _long_chat(rng: Random) -> list[Turn]:
    """A chat of many turns, so that late positions and far-back facts are seen too."""
    name = draw_value(rng, "name", held_out=False)
    turns = [tell(rng, "name", name), *_fill(rng, rng.randint(4, 8))]
    return [*turns, ask(rng, "name", name), *_fill(rng, 1)]


def training_chat(rng: Random, stage: float = 1.0) -> list[Message]:
    """Draw one chat; `stage` grows from 0 to 1 in training and lengthens the gaps that recall has to bridge."""
    chance = rng.random()
    if chance < 0.28:
        turns = _recall_chat(rng, stage)
    elif chance < 0.32:
        turns = _not_told_chat(rng)
    elif chance < 0.345 and stage >= 1:
        turns = _long_chat(rng)
    else:
        turns = _question_chat(rng)
    messages: list[Message] = []
    if rng.random() < 0.08:
        messages.append(("system", rng.choice(SYSTEM_PROMPTS)))
    for question, answer in turns:
        messages += [("user", question), ("assistant", answer)]
    return messages
