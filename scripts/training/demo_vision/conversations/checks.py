"""Reads the facts out of a reply, so that a right answer in other words passes and a wrong claim never does."""

import re
from collections import Counter
from dataclasses import dataclass

from ..pictures.scenes import BACKGROUNDS, COLOURS, SHAPES

_PLACE = re.compile(r"\b(?:(top|bottom) (left|right)|(left|right|top|bottom|middle))\b")
_COUNTS = ("no", "one", "two", "three", "four", "five", "six")
_NUMBER = {word: count for count, name in enumerate(_COUNTS) for word in (name, str(count))}
_SIZE = {"small": "small", "large": "large", "big": "large"}
_WORD = re.compile(r"[a-z]+|\d+")


@dataclass(frozen=True)
class Claim:
    """What one part of a reply says; sets, since a wrong reply may say several things at once."""

    shapes: frozenset[str]
    colours: frozenset[str]
    places: frozenset[str]
    sizes: frozenset[str]
    numbers: frozenset[int]


def read_claim(text: str) -> Claim:
    """Give everything that a piece of text claims."""
    lower = re.sub(r"\bcent(?:er|re)\b", "middle", text.lower())
    words = _WORD.findall(lower)
    return Claim(
        frozenset(shape for shape in SHAPES if shape in words or f"{shape}s" in words),
        frozenset(word for word in words if word in COLOURS or word in BACKGROUNDS),
        frozenset(" ".join(filter(None, match)) for match in _PLACE.findall(lower)),
        frozenset(_SIZE[word] for word in words if word in _SIZE),
        frozenset(_NUMBER[word] for word in words if word in _NUMBER),
    )


def read_claims(text: str) -> list[Counter[Claim]]:
    """Give the claims of each sentence; within one, those joined by "and" may come in any order."""
    sentences = [
        sentence for sentence in re.split(r"[.;!?]", text.lower()) if _WORD.search(sentence)
    ]
    return [
        Counter(read_claim(part) for part in re.split(r"\band\b", sentence))
        for sentence in sentences
    ]


def accepts(answer: str, reply: str) -> bool:
    """Tell whether a reply makes the claims of the model answer, and no others.

    An answer that claims nothing about a picture (a refusal) is compared word for word.
    """
    expected = read_claims(answer)
    if all(claim == _EMPTY for sentence in expected for claim in sentence):
        return _WORD.findall(answer.lower()) == _WORD.findall(reply.lower())
    return expected == read_claims(reply)


_EMPTY = read_claim("")
