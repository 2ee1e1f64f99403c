"""From token ids to text, exactly: every blank that a model says is kept, and pieces make the same
text as the whole.

mlx_lm's own detokenisers take the first blank of every answer, and one at the start of a line from
some models. Which kind a tokeniser needs is still its finding.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, SPMStreamingDetokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
CONTEXT_TOKENS = 5
"""Tokens of a prompt that a text continues: what stands before a token may decide how it is
written. As in vLLM."""
_LONGEST_HELD = 16
"""Tokens without a whole character: more than any character has."""
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class Detokenizer(Protocol):
    """One answer's."""

    def add(self, token: int) -> str:
        """What became certain with this token: whole characters."""

    def finish(self) -> str:
        """What is still held back; a character cut in the middle becomes a replacement
        character."""


Make = Callable[[Sequence[int] | None], Detokenizer]


def detokenizers(tokenizer: Any) -> Make:
    """The maker of a model's detokenisers, for mlx_lm's wrapper of a tokeniser.

    It gets the prompt of an answer that continues it as text. None stands for a text that begins
    anew: the blank that SentencePiece puts before such a text is no part of it.
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
    """For tokenisers whose every token stands for the same bytes wherever it is."""

    def __init__(self, table: Sequence[bytes], trims: bool = False) -> None:
        """``table``: the bytes of each token; ``trims``: whether a blank that comes first is
        left out."""
        self._table = table
        self._trims = trims
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        # A model may have more logits than its tokeniser has tokens.
        return self._trimmed(
            self._decoder.decode(self._table[token] if token < len(self._table) else b"")
        )

    def finish(self) -> str:
        return self._trimmed(self._decoder.decode(b"", True))

    def _trimmed(self, text: str) -> str:
        if self._trims and text:
            self._trims = False
            return text.removeprefix(" ")
        return text


class ContextDetokenizer:
    """For any tokeniser: decodes the last tokens with and without the new one, and tells the
    difference."""

    def __init__(self, tokenizer: Any, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(before)
        """What was told last, and what is held back."""
        self._told = len(self._ids)

    def add(self, token: int) -> str:
        self._ids.append(token)
        text = self._new()
        if not text or (text.endswith(REPLACEMENT) and len(self._ids) - self._told < _LONGEST_HELD):
            return ""
        self._ids = self._ids[self._told :]
        self._told = len(self._ids)
        return text

    def finish(self) -> str:
        return self._new()

    def _new(self) -> str:
        return self._decode(self._ids)[len(self._decode(self._ids[: self._told])) :]

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
        chr(256 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _written_bytes()
