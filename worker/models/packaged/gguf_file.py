"""A GGUF file's values and tensors, as numpy arrays in MLX's layout.

Reads the kinds of tensors that the packaged models have; each file's hash is known, so nothing in
it is a stranger's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
GROUP = 32
"""Values that share a scale: a block of Q4_1 and of Q8_0, and a group size that MLX has."""
_MAGIC = b"GGUF"
_VERSION = 3
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""GGUF's numbers for types of values, and how ``struct`` reads them."""
_KINDS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    3: ("Q4_1", GROUP, 20),
    6: ("Q5_0", GROUP, 22),
    8: ("Q8_0", GROUP, 34),
}
"""GGUF's numbers for kinds of tensors: name, values in a block, bytes of a block."""
_PLAIN = {"F32": np.float32, "F16": np.float16}


class Quantised(NamedTuple):
    """A matrix in MLX's affine quantisation: a value is ``scale * integer + bias``.

    Scales and biases are float32: on the CPU a product takes the type of its scales, and is many
    times slower and less exact in bfloat16 or float16.
    """

    weight: Array
    scales: Array
    biases: Array
    bits: int

    def reordered(self, order: Array) -> Quantised:
        """The same rows in another order."""
        return Quantised(self.weight[order], self.scales[order], self.biases[order], self.bits)


class _Tensor(NamedTuple):
    """``shape`` is rows first; ``start`` counts from the first tensor's byte."""

    shape: tuple[int, ...]
    kind: int
    start: int


class _Head:
    """Reads the values at a file's start, one after another."""

    def __init__(self, data: Array) -> None:
        self._data, self.at = data, 0

    def bytes(self, count: int) -> bytes:
        self.at += count
        return bytes(self._data[self.at - count : self.at])

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.bytes(self.number("<Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.number(_SCALARS[kind])

    def tensor(self) -> tuple[str, _Tensor]:
        name, dimensions = self.text(), self.number("<I")
        shape = [self.number("<Q") for _ in range(dimensions)]
        return name, _Tensor(tuple(reversed(shape)), self.number("<I"), self.number("<Q"))


class GgufFile:
    """Reads one file; tensors stay on disk until they are asked for.

    Raises ValueError for what is not a GGUF file of version 3.
    """

    def __init__(self, path: Path) -> None:
        self._data: Array = np.memmap(path, mode="r", dtype=np.uint8)
        head = _Head(self._data)
        if head.bytes(4) != _MAGIC or head.number("<I") != _VERSION:
            raise ValueError(f"{path.name} is not a GGUF file of version {_VERSION}")
        tensors, values = head.number("<Q"), head.number("<Q")
        self._values = {head.text(): head.value(head.number("<I")) for _ in range(values)}
        self._tensors = dict(head.tensor() for _ in range(tensors))
        alignment = int(self._values.get("general.alignment", 32))
        self._start = -(-head.at // alignment) * alignment

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def names(self) -> list[str]:
        return list(self._tensors)

    def is_quantised(self, name: str) -> bool:
        return self._kind(name)[0] not in _PLAIN

    def array(self, name: str) -> Array:
        """A tensor in float32, rows first. Raises ValueError for a kind that isn't known here."""
        shape = self._tensors[name].shape
        if (plain := _PLAIN.get(self._kind(name)[0])) is not None:
            return self._raw(name).view(plain).reshape(shape).astype(np.float32)
        integers, scales, biases, _ = self._unpacked(name)
        return (scales[:, None] * integers + biases[:, None]).reshape(shape)

    def quantised(self, name: str) -> Quantised:
        """A tensor of 4 or 8 bits with the very numbers of the file.

        Raises ValueError for kinds of blocks that MLX has no equal of.
        """
        rows, columns = self._tensors[name].shape
        integers, scales, biases, bits = self._unpacked(name)
        return Quantised(
            packed(integers.reshape(rows, columns), bits),
            scales.reshape(rows, -1),
            biases.reshape(rows, -1),
            bits,
        )

    def _kind(self, name: str) -> tuple[str, int, int]:
        number = self._tensors[name].kind
        if number not in _KINDS:
            raise ValueError(f"{name} is of a kind that can't be read here ({number})")
        return _KINDS[number]

    def _raw(self, name: str) -> Array:
        """The bytes of a tensor."""
        tensor, (_, block, size) = self._tensors[name], self._kind(name)
        start = self._start + tensor.start
        return self._data[start : start + int(np.prod(tensor.shape)) // block * size]

    def _unpacked(self, name: str) -> tuple[Array, Array, Array, int]:
        kind, _, size = self._kind(name)
        unpack = _UNPACK.get(kind)
        if unpack is None:
            raise ValueError(f"{name} is {kind}, which MLX can't hold exactly")
        return unpack(self._raw(name).reshape(-1, size))


def _unpack_q4_1(blocks: Array) -> tuple[Array, Array, Array, int]:
    """A block is a scale, a minimum, and 16 bytes: their low halves are the first 16 values."""
    heads = blocks[:, :4].copy().view(np.float16).astype(np.float32)
    low, high = blocks[:, 4:] & 15, blocks[:, 4:] >> 4
    return np.concatenate([low, high], axis=1), heads[:, 0], heads[:, 1], 4


def _unpack_q8_0(blocks: Array) -> tuple[Array, Array, Array, int]:
    """A block is a scale and 32 signed bytes; MLX's integers have no sign."""
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)[:, 0]
    integers = (blocks[:, 2:].view(np.int8).astype(np.int16) + 128).astype(np.uint8)
    return integers, scales, -128 * scales, 8


_UNPACK: dict[str, Callable[[Array], tuple[Array, Array, Array, int]]] = {
    "Q4_1": _unpack_q4_1,
    "Q8_0": _unpack_q8_0,
}


def packed(integers: Array, bits: int) -> Array:
    """Rows of small integers as MLX's rows of 32-bit words, the first value in the lowest bits."""
    if bits == 4:
        integers = integers[:, ::2] | (integers[:, 1::2] << 4)
    return np.ascontiguousarray(integers).view("<u4")
