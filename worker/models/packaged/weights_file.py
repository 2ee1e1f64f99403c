"""A model's weights in a safetensors file.

Written here and not by a library: the bytes are the same on every machine and with every version,
so that a folder has one hash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {np.dtype("<f4"): "F32", np.dtype("<u4"): "U32"}


def write(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays of float32 or uint32, in the order of their names."""
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    start = 0
    for name, array in sorted(arrays.items()):
        header[name] = {
            "dtype": _KINDS[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for _, array in sorted(arrays.items()):
            opened.write(np.ascontiguousarray(array).data)
