"""The file of a cached prompt: safetensors, so that other tools can look into it.

    8 bytes   length of the header
    header    JSON: the tensors by name, and ``__metadata__``
    data      ``tokens`` first, then the cache's arrays, last ``sha256``: of all bytes before it

What is read is believed only after the hash of the whole file has been compared: a file that is cut
off, damaged or somebody else's is a :class:`BadEntry`. The head alone is read unchecked, to find
entries by; what it says is checked when the entry is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.prompt_cache import WIDTH

FORMAT = "1"
"""Raised when the file's layout changes: others are deleted."""
READ_BYTES = 8 << 20
"""Bytes that are read and hashed in one go: both release Python's interpreter lock."""
_TOKENS, _DIGEST = "tokens", "sha256"
_DIGEST_BYTES = 32
_MOST_HEADER = 16 << 20
_CARRIERS = {
    "BOOL": "u1",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "U32": "u4",
    "I32": "i4",
    "U64": "u8",
    "I64": "i8",
    "F16": "f2",
    "BF16": "u2",
    "F32": "f4",
    "F64": "f8",
}
"""What numpy carries each type's bytes in; it has no bfloat16."""


class BadEntry(Exception):
    """A file that isn't an entry, or not any longer."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """The type, by its name in safetensors, and the shape of an array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(_CARRIERS[self.dtype]).itemsize


@dataclass(frozen=True, slots=True)
class Head:
    """What an entry is, without its arrays.

    ``row`` are its token ids as ``worker.prompt_cache.encoded`` writes them; ``places`` the numbers
    of tokens to which it can be cut, None for any. ``created`` is the time at which the chat ended,
    seconds since the epoch. ``structure`` says what the codec makes of the arrays: any JSON.
    """

    fingerprint: str
    row: bytes
    places: tuple[int, ...] | None
    created: float
    structure: Any
    arrays: tuple[ArraySpec, ...]

    @property
    def tokens(self) -> int:
        return len(self.row) // WIDTH

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays)


def file_order(arrays: Sequence[ArraySpec]) -> list[int]:
    """The numbers of the arrays as they follow each other in the file: large elements first, so
    that each is aligned."""
    sizes = [np.dtype(_CARRIERS[array.dtype]).itemsize for array in arrays]
    return sorted(range(len(arrays)), key=lambda index: -sizes[index])


def encode_head(head: Head) -> bytes:
    """The beginning of a file, up to the first array, whose bytes follow in ``file_order``."""
    tensors: dict[str, Any] = {}
    end = 0

    def add(name: str, array: ArraySpec) -> None:
        nonlocal end
        offsets = [end, end := end + array.nbytes]
        tensors[name] = {
            "dtype": array.dtype,
            "shape": list(array.shape),
            "data_offsets": offsets,
        }

    add(_TOKENS, ArraySpec("I64", (head.tokens,)))
    for index in file_order(head.arrays):
        add(str(index), head.arrays[index])
    add(_DIGEST, ArraySpec("U8", (_DIGEST_BYTES,)))
    tensors["__metadata__"] = {
        "format": FORMAT,
        "fingerprint": head.fingerprint,
        "places": json.dumps(head.places),
        "created": repr(head.created),
        "structure": json.dumps(head.structure, separators=(",", ":")),
    }
    text = json.dumps(tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + head.row


def file_bytes(head: Head) -> int:
    """The size of the whole file."""
    return len(encode_head(head)) + head.nbytes + _DIGEST_BYTES


class FileWriter:
    """Writes an entry to a new file, piece by piece."""

    def __init__(self, descriptor: int, head: Head) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self.written = 0
        self.write(encode_head(head))

    def write(self, piece: bytes) -> None:
        """Raises OSError, as of a full disk."""
        self._hash.update(piece)
        self._put(piece)

    def finish(self) -> None:
        self._put(self._hash.digest())

    def _put(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            count = os.write(self._descriptor, left)
            self.written += count
            left = left[count:]


def read_head(descriptor: int) -> Head:
    """The head of a file, unchecked but for its shape. Raises BadEntry, OSError."""
    size = os.fstat(descriptor).st_size
    start = os.pread(descriptor, 8, 0)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 0 < length <= min(_MOST_HEADER, size - 8):
        raise BadEntry("no header")
    header = os.pread(descriptor, length, 8)
    head, tokens = _parsed(header, size - 8 - length)
    row = os.pread(descriptor, tokens, 8 + length)
    return _with_row(head, row, tokens)


def read_entry(descriptor: int) -> tuple[Head, list[NDArray[Any]]]:
    """An entry whose hash is right, with its arrays as views of one buffer.

    Raises BadEntry, OSError; MemoryError if the file claims more than there is.
    """
    size = os.fstat(descriptor).st_size
    if size < 8 + _DIGEST_BYTES:
        raise BadEntry("too short")
    data = np.empty(size, np.uint8)
    found = _hash_into(descriptor, data)
    if found != data[-_DIGEST_BYTES:].tobytes():
        raise BadEntry("its hash is another")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 0 < length <= size - 8:
        raise BadEntry("no header")
    head, tokens = _parsed(data[8 : 8 + length].tobytes(), size - 8 - length)
    at = 8 + length
    head = _with_row(head, data[at : at + tokens].tobytes(), tokens)
    arrays: dict[int, NDArray[Any]] = {}
    at += tokens
    for index in file_order(head.arrays):
        spec = head.arrays[index]
        carrier = np.dtype(_CARRIERS[spec.dtype])
        arrays[index] = data[at : at + spec.nbytes].view(carrier).reshape(spec.shape)
        at += spec.nbytes
    return head, [arrays[index] for index in range(len(arrays))]


def _hash_into(descriptor: int, data: NDArray[np.uint8]) -> bytes:
    """Read a file from its start into a buffer of its size; the hash of all but its last bytes."""
    digest, view, at = hashlib.sha256(), data.data, 0
    end = len(data) - _DIGEST_BYTES
    while at < len(data):
        count = os.preadv(descriptor, [view[at : at + READ_BYTES]], at)
        if not count:
            raise BadEntry("cut off")
        digest.update(view[at : min(at + count, end)] if at < end else b"")
        at += count
    return digest.digest()


def _parsed(header: bytes, data_bytes: int) -> tuple[Head, int]:
    """A head without its row, and how many bytes the row has. Raises BadEntry."""
    try:
        tensors = json.loads(header)
        meta = tensors["__metadata__"]
        if meta["format"] != FORMAT:
            raise BadEntry("another format")
        places = json.loads(meta["places"])
        count = len(tensors) - 3
        arrays = tuple(_spec(tensors[str(index)]) for index in range(count))
        head = Head(
            fingerprint=str(meta["fingerprint"]),
            row=b"",
            places=None if places is None else tuple(int(place) for place in places),
            created=float(meta["created"]),
            structure=json.loads(meta["structure"]),
            arrays=arrays,
        )
        tokens = _spec(tensors[_TOKENS]).nbytes
        if tokens % 8 or tokens + head.nbytes + _DIGEST_BYTES != data_bytes:
            raise BadEntry("its parts have another size")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BadEntry(f"a header that isn't ours ({type(error).__name__})") from error
    return head, tokens


def _spec(tensor: Any) -> ArraySpec:
    shape = tuple(int(n) for n in tensor["shape"])
    if any(n < 0 for n in shape) or tensor["dtype"] not in _CARRIERS:
        raise ValueError
    return ArraySpec(tensor["dtype"], shape)


def _with_row(head: Head, row: bytes, tokens: int) -> Head:
    if len(row) != tokens or not row:
        raise BadEntry("no tokens")
    return replace(head, row=row)


def blocks(array: NDArray[Any], most_bytes: int) -> Iterator[NDArray[Any]]:
    """An array in consecutive parts of about so many bytes, without copying: along its first axes,
    all but the last two."""
    if not array.size:
        return
    flat = array.reshape(-1, *array.shape[-2:]) if array.ndim > 2 else array[None]
    count = max(1, most_bytes // flat[0].nbytes)
    for start in range(0, len(flat), count):
        yield flat[start : start + count]
