"""Test cases on phrasings (and names) that training never shows, with the check of each reply."""

from dataclasses import dataclass
from random import Random

from .knowledge.text import has_word
from .recall import ask, draw_value, tell
from .skills import Exchange, all_builders, draw_exchange

RECALL_GAPS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Case:
    """A conversation that ends in a question, the expected answer and what makes a reply right."""

    skill: str
    messages: tuple[dict[str, str], ...]
    expected: str
    keys: tuple[str, ...]
    exact: bool = False

    def accepts(self, reply: str) -> bool:
        """Tell whether a reply is right: it is one of the keys if exact, else it holds one of them."""
        if self.exact:
            return reply.strip() in self.keys
        return any(has_word(key, reply) for key in self.keys)


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _end_mark(text: str) -> str:
    return text if text[-1] in ".?!=" else text + "."


def _single(exchange: Exchange) -> Case:
    messages = (_user(_end_mark(exchange.question)),)
    return Case(exchange.skill, messages, exchange.answer, exchange.keys, exchange.exact)


def _recall(rng: Random, slot: str, gap: int) -> Case:
    value = draw_value(rng, slot, held_out=True)
    statement, reply = tell(rng, slot, value, held_out=True)
    messages = [_user(_end_mark(statement)), _assistant(reply)]
    for _ in range(gap):
        between = draw_exchange(rng, held_out=True, short=True)
        messages += [_user(_end_mark(between.question)), _assistant(between.answer)]
    question, answer = ask(rng, slot, value, held_out=True)
    messages.append(_user(question))
    skill = (
        f"recalling the name, {gap} turns between"
        if slot == "name"
        else "recalling colour, pet or city"
    )
    return Case(skill, tuple(messages), answer, (value,))


def _not_told(rng: Random) -> Case:
    slot = rng.choice(("name", "favourite colour", "pet", "city"))
    question, answer = ask(rng, slot, None, held_out=True)
    return Case("saying that it was not told", (_user(question),), answer, ("do not know",))


def build_cases(seed: int, per_skill: int) -> list[Case]:
    """Draw the test cases: about `per_skill` for each skill, the long answers fewer."""
    rng = Random(seed)
    by_skill: dict[str, list[Case]] = {}
    builders = all_builders()
    for builder in builders:
        for _ in range(per_skill):
            case = _single(builder(rng, True))
            by_skill.setdefault(case.skill, []).append(case)
    for gap in RECALL_GAPS:
        for _ in range(per_skill):
            for slot in ("name", rng.choice(("favourite colour", "pet", "city"))):
                case = _recall(rng, slot, gap)
                by_skill.setdefault(case.skill, []).append(case)
    by_skill["saying that it was not told"] = [_not_told(rng) for _ in range(per_skill)]
    # Skills made of several tables gathered more cases than the others: draw as many as the others have.
    return [
        case
        for cases in by_skill.values()
        for case in rng.sample(cases, min(per_skill, len(cases)))
    ]
