"""A processor's arrays on the host, which any thread may have made, and on the device again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Bfloat16:
    """An array of a type that the host has no arrays of: its ``bits`` are 16-bit integers."""

    bits: NDArray[np.uint16]


def on_host(value: Any) -> Any:
    """An array of the processor's, or a list of arrays, as the host's."""
    if isinstance(value, (list, tuple)):
        return [on_host(part) for part in value]
    if not isinstance(value, mx.array):
        return value
    if value.dtype == mx.bfloat16:
        return Bfloat16(np.array(value.view(mx.uint16)))
    return np.array(value)


def on_device(value: Any) -> Any:
    """What :func:`on_host` made, as the device's."""
    if isinstance(value, Bfloat16):
        return mx.array(value.bits).view(mx.bfloat16)
    if isinstance(value, np.ndarray):
        return mx.array(value)
    return [on_device(part) for part in value] if isinstance(value, list) else value
