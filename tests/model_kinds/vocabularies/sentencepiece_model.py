"""A SentencePiece model of single characters, written as the protocol buffer that it is: the package
that reads it has no public way to write one.

Numbers are those of sentencepiece_model.proto: fields of ModelProto, SentencePiece, TrainerSpec and
NormalizerSpec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_NORMAL, _UNKNOWN, _USER_DEFINED = 1, 2, 4
_UNIGRAM = 1


def sentencepiece_model(characters: Iterable[str], special: tuple[str, ...]) -> bytes:
    """The bytes of tokenizer.model. The first of the ``special`` tokens is the unknown one."""
    unknown, *others = special
    pieces = [(character.replace(" ", "\u2581"), _NORMAL) for character in characters]
    pieces += [(unknown, _UNKNOWN), *((token, _USER_DEFINED) for token in others)]
    normalizer = _bytes(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    return (
        b"".join(_bytes(1, _piece(text, kind)) for text, kind in pieces)
        + _bytes(2, _number(3, _UNIGRAM))
        + _bytes(3, normalizer)
    )


def _piece(text: str, kind: int) -> bytes:
    score = _key(2, 5) + struct.pack("<f", 0.0)
    return _bytes(1, text.encode()) + score + _number(3, kind)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits in each byte, the lowest first."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
