"""Batches of freshly drawn chats: no chat is seen twice but by chance, and only the model's turns are learned."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from .corpus import Message, training_chat
from .tokenizer import END, START

# Rows are padded to the next of these lengths; more of them mean less padding.
ROW_LENGTHS = (24, 32, 40, 48, 64, 80, 104, 136, 176, 232, 304, 400)
_DRAWN_AT_ONCE = 512
# A batch is picked at random among this many, so that neighbours don't share their length.
_POOL = 24


@dataclass(frozen=True)
class Batch:
    """Token rows, the flat positions whose next token is learned, and those tokens."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    targets: NDArray[np.int32]


class BatchSource:
    """An endless, seeded source of batches of about `size` positions."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, size: int) -> None:
        self.stage = 0.0
        self.dropped = 0
        self._encoder = tokenizer.backend_tokenizer
        self._rng = Random(seed)
        self._size = size
        self._bins: dict[int, list[tuple[list[int], list[bool]]]] = {
            length: [] for length in ROW_LENGTHS
        }
        self._ready: list[Batch] = []
        self._heads = {
            role: self._encode(f"{START}{role}\n") for role in ("system", "user", "assistant")
        }
        self._tail = self._encode(f"{END}\n")

    def next(self) -> Batch:
        """Give the next batch."""
        while len(self._ready) < _POOL:
            self._draw([training_chat(self._rng, self.stage) for _ in range(_DRAWN_AT_ONCE)])
        return self._ready.pop(self._rng.randrange(len(self._ready)))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._encoder.encode(text, add_special_tokens=False).ids
        return ids

    def _draw(self, chats: Iterable[list[Message]]) -> None:
        for chat in chats:
            tokens, learned = self._flatten(chat)
            length = next((length for length in ROW_LENGTHS if len(tokens) <= length + 1), None)
            if length is None:
                self.dropped += 1
                continue
            rows = self._bins[length]
            rows.append((tokens, learned))
            if len(rows) * length >= self._size:
                self._ready.append(_pack(rows, length))
                rows.clear()

    def _flatten(self, chat: list[Message]) -> tuple[list[int], list[bool]]:
        """Join a chat's messages as the chat template does; the model's words and its end mark are learned."""
        tokens: list[int] = []
        learned: list[bool] = []
        for role, text in chat:
            body = self._encode(text)
            tokens += self._heads[role] + body + self._tail
            mine = role == "assistant"
            learned += (
                [False] * len(self._heads[role])
                + [mine] * (len(body) + 1)
                + [False] * (len(self._tail) - 1)
            )
        return tokens, learned


def _pack(rows: list[tuple[list[int], list[bool]]], length: int) -> Batch:
    inputs = np.zeros((len(rows), length), np.int32)
    outputs = np.zeros((len(rows), length), np.int32)
    wanted = np.zeros((len(rows), length), bool)
    for i, (tokens, learned) in enumerate(rows):
        last = len(tokens) - 1
        inputs[i, :last], outputs[i, :last], wanted[i, :last] = tokens[:-1], tokens[1:], learned[1:]
    positions = np.flatnonzero(wanted.reshape(-1)).astype(np.int32)
    return Batch(inputs, positions, outputs.reshape(-1)[positions])
