"""From token ids to text, exactly: every blank is kept, and pieces give the same text as the whole.

mlx_lm's own detokenisers drop the first blank of every answer, and with some models one at the
start of a line. Which kind a tokeniser needs is still determined by mlx_lm.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, SPMStreamingDetokenizer

from worker.logprobs import CONTEXT_TOKENS

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_HELD = 16
"""Tokens without a whole character: more than any character has."""
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class Detokenizer(Protocol):
    """The detokeniser of one answer."""

    def add(self, token: int) -> str:
        """The text that this token completes: whole characters."""

    def finish(self) -> str:
        """The text still held back; an incomplete character becomes a replacement character."""

    def bytes_of(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:
        """The bytes of a token behind others of the answer, or of its prompt. What an answer
        continues comes before these."""


DetokenizerFactory = Callable[[Sequence[int] | None], Detokenizer]


def detokenizers(tokenizer: Any) -> DetokenizerFactory:
    """The factory of a model's detokenisers, for mlx_lm's wrapper of a tokeniser.

    Its argument is the prompt of an answer that continues it as text, or None for a text that
    restarts: the blank that SentencePiece puts before such a text isn't part of it.
    """
    kind = tokenizer.detokenizer
    if isinstance(kind, BPEStreamingDetokenizer):
        table = [_byte_level(token) for token in _tokens(tokenizer)]
        return lambda _: ByteDetokenizer(table)
    if isinstance(kind, SPMStreamingDetokenizer):
        table, trims = [_sentencepiece(token) for token in _tokens(tokenizer)], kind.trim_space
        return lambda before: ByteDetokenizer(table, trims=trims and before is None)
    return lambda before: ContextDetokenizer(
        tokenizer, [] if before is None else before[-CONTEXT_TOKENS:]
    )


class ByteDetokenizer:
    """For tokenisers whose tokens stand for the same bytes in every context."""

    def __init__(self, table: Sequence[bytes], trims: bool = False) -> None:
        """``table``: the bytes of each token; ``trims``: whether a blank that comes first is
        left out."""
        self._table = table
        self._trims = self._begins_trimmed = trims
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        return self._trimmed(self._decoder.decode(self._bytes(token)))

    def finish(self) -> str:
        return self._trimmed(self._decoder.decode(b"", True))

    def bytes_of(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:
        begins = self._begins_trimmed and not before and not of_prompt
        return self._bytes(token).removeprefix(b" ") if begins else self._bytes(token)

    def _bytes(self, token: int) -> bytes:
        # A model may have more logits than its tokeniser has tokens.
        return self._table[token] if token < len(self._table) else b""

    def _trimmed(self, text: str) -> str:
        if self._trims and text:
            self._trims = False
            return text.removeprefix(" ")
        return text


class ContextDetokenizer:
    """For any tokeniser: decodes the last tokens with and without the new one, and returns the
    difference."""

    def __init__(self, tokenizer: Any, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(before)
        """The tokens returned last, and those held back."""
        self._returned = len(self._ids)
        self._continued = list(before)
        self._context: list[int] = []
        self._context_text = ""
        """What the tokens say behind which bytes were last asked for."""

    def add(self, token: int) -> str:
        self._ids.append(token)
        text = self._new()
        if not text or (
            text.endswith(REPLACEMENT) and len(self._ids) - self._returned < _LONGEST_HELD
        ):
            return ""
        self._ids = self._ids[self._returned :]
        self._returned = len(self._ids)
        return text

    def finish(self) -> str:
        return self._new()

    def bytes_of(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:
        name = self._tokenizer.convert_ids_to_tokens(token)
        if isinstance(name, str) and _BYTE.fullmatch(name):
            return bytes([int(name[3:5], 16)])
        context = [*([] if of_prompt else self._continued), *before][-CONTEXT_TOKENS:]
        if context != self._context:
            self._context, self._context_text = context, self._decode(context)
        return self._decode([*context, token])[len(self._context_text) :].encode()

    def _new(self) -> str:
        return self._decode(self._ids)[len(self._decode(self._ids[: self._returned])) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)) if ids else ""


def _tokens(tokenizer: Any) -> list[str]:
    return [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]


def _byte_level(token: str) -> bytes:
    """The bytes of a token of a byte-level BPE; added tokens are written as they are."""
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    return (
        bytes([int(token[3:5], 16)])
        if _BYTE.fullmatch(token)
        else token.replace("\u2581", " ").encode()
    )


def _written_bytes() -> dict[str, int]:
    """The characters that stand for bytes in GPT-2's vocabulary: printable ones for themselves, the
    others from 256 on.

    Radford et al., Language models are unsupervised multitask learners, 2019.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


_BYTES = _written_bytes()
