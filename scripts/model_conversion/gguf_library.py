"""A GGUF file through the gguf package, which knows every kind of tensor: for tests' models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from worker.models.packaged.gguf_file import Array


class LibraryFile:
    """Reads one file; tensors stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        self._reader = GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def __getitem__(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def names(self) -> list[str]:
        return list(self._tensors)

    def array(self, name: str) -> Array:
        """A tensor in float32, rows first."""
        tensor = self._tensors[name]
        shape = [int(length) for length in reversed(tensor.shape)]
        values = dequantize(tensor.data, tensor.tensor_type)
        return values.reshape(shape).astype(np.float32, copy=False)
