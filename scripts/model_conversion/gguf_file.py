"""A GGUF file's values and tensors, as numpy arrays in MLX's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

Array = NDArray[Any]
GROUP = 32
"""Values that share a scale: a block of Q4_1 and of Q8_0, and a group size that MLX has."""


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


class GgufFile:
    """Reads one file; tensors stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def __getitem__(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def names(self) -> list[str]:
        return list(self._tensors)

    def is_quantised(self, name: str) -> bool:
        return self._tensors[name].tensor_type.name not in ("F32", "F16", "BF16")

    def array(self, name: str) -> Array:
        """A tensor in float32, rows first."""
        tensor = self._tensors[name]
        shape = [int(length) for length in reversed(tensor.shape)]
        values = dequantize(tensor.data, tensor.tensor_type)
        return values.reshape(shape).astype(np.float32, copy=False)

    def quantised(self, name: str) -> Quantised:
        """A tensor of 4 or 8 bits with the very numbers of the file.

        Raises ValueError for kinds of blocks that MLX has no equal of.
        """
        tensor = self._tensors[name]
        columns, rows = (int(length) for length in tensor.shape)
        unpack = {"Q4_1": _unpack_q4_1, "Q8_0": _unpack_q8_0}.get(tensor.tensor_type.name)
        if unpack is None:
            raise ValueError(f"{name} is {tensor.tensor_type.name}, which MLX can't hold exactly")
        raw = np.asarray(tensor.data).view(np.uint8).reshape(rows * columns // GROUP, -1)
        integers, scales, biases, bits = unpack(raw)
        return Quantised(
            packed(integers.reshape(rows, columns), bits),
            scales.reshape(rows, -1),
            biases.reshape(rows, -1),
            bits,
        )


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


def packed(integers: Array, bits: int) -> Array:
    """Rows of small integers as MLX's rows of 32-bit words, the first value in the lowest bits."""
    if bits == 4:
        integers = integers[:, ::2] | (integers[:, 1::2] << 4)
    return np.ascontiguousarray(integers).view("<u4")
