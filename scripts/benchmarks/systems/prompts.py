"""Prompts of an exact length in tokens, no two alike, the same in every process of a run.

Different texts are not in a prompt cache; equal lengths keep the figures comparable.
"""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path

from tokenizers import Tokenizer

from scripts.benchmarks.systems.plan import LONG_TOKENS, PROMPT_TOKENS, TOKENS, BenchError

Messages = list[dict[str, object]]
_SPACES = "Ġ▁"
"""How a byte-level vocabulary and one of SentencePiece write the space before a word."""
IMAGE_SIDE = 560


class Prompts:
    """Texts for one model's tokeniser. A label always gives the same text, and another label
    another one."""

    def __init__(self, model: str) -> None:
        self._tokenizer = Tokenizer.from_file(str(Path(model, "tokenizer.json")))
        words = sorted(self._tokenizer.get_vocab())
        self._first = [
            word for word in words if word.isascii() and word.isalpha() and len(word) > 2
        ]
        self._next = [
            word[1:]
            for word in words
            if word[0] in _SPACES and word[1:].isascii() and word[1:].isalpha()
        ]

    def text(self, label: str, tokens: int = PROMPT_TOKENS) -> str:
        """Words that the tokeniser turns into exactly so many tokens."""
        chance = random.Random(label)
        for _ in range(100):
            words = [chance.choice(self._first), *chance.choices(self._next, k=tokens - 1)]
            text = " ".join(words)
            if len(self._tokenizer.encode(text, add_special_tokens=False).ids) == tokens:
                return text
        raise BenchError(f"no text of {tokens} tokens was found")

    def chat(self, label: str, tokens: int = PROMPT_TOKENS) -> Messages:
        """One question, by default a short one."""
        return [user(self.text(label, tokens))]

    def long_chat(self, label: str) -> Messages:
        """The first turn of the long conversation."""
        return [user(self.text(label, LONG_TOKENS))]

    def second_turn(self, first: Messages, answer: str, label: str) -> Messages:
        """The conversation with its answer and one more question."""
        return [*first, {"role": "assistant", "content": answer}, user(self.text(f"{label} again"))]

    def unseen_second_turn(self, label: str) -> Messages:
        """A second turn whose first turn was never sent."""
        return self.second_turn(self.long_chat(label), self.text(f"{label} answer", TOKENS), label)

    def image_chat(self, label: str) -> Messages:
        """A short question about an image that no other label has."""
        image = {"type": "image_url", "image_url": {"url": picture(label)}}
        return [{"role": "user", "content": [image, {"type": "text", "text": self.text(label)}]}]


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def picture(label: str) -> str:
    """A PNG of coloured rectangles as a data URL."""
    from PIL import Image, ImageDraw

    chance = random.Random(label)
    image = Image.new("RGB", (IMAGE_SIDE, IMAGE_SIDE), _colour(chance))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = chance.randrange(IMAGE_SIDE - 60), chance.randrange(IMAGE_SIDE - 60)
        draw.rectangle(
            (left, top, left + chance.randrange(20, 60), top + chance.randrange(20, 60)),
            _colour(chance),
        )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)
