"""A linear layer with the deltas of several adapters, of which each row of the batch takes its own.

The sums are those of mlx_lm's LoRALinear: ``linear(x) + (scale * ((x @ a) @ b))``, rounded to the
type of ``x`` last. Those of a DoRA are multiplied by its gains, but for the layer's bias.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from worker.errors import WorkerError


class RowAdapters:
    """Which adapter each row has of the tokens that are fed next, by the adapters' ids; None: none.
    Set before each forward pass, on the engine's thread. ``scales`` are the adapters' own."""

    def __init__(self) -> None:
        self.scales: dict[str, float] = {}
        self._rows: tuple[str | None, ...] = ()
        self._found: dict[tuple[str, ...], Places | None] = {}

    def set(self, rows: Iterable[str | None]) -> None:
        wanted = tuple(rows)
        wanted = wanted if any(wanted) else ()
        if wanted != self._rows:
            self._rows, self._found = wanted, {}

    def among(self, adapters: tuple[str, ...]) -> Places | None:
        """The rows in a stack of these adapters. None if no row has one of them."""
        if not self._rows:
            return None
        if adapters not in self._found:
            self._found[adapters] = self._places(adapters)
        return self._found[adapters]

    def _places(self, adapters: tuple[str, ...]) -> Places | None:
        own = [row if row in adapters else None for row in self._rows]
        if not any(own):
            return None
        index = [0 if row is None else adapters.index(row) + 1 for row in own]
        scales = [0.0 if row is None else self.scales[row] for row in own]
        return Places(mx.array(index, dtype=mx.uint32), mx.array(scales)[:, None, None])


@dataclass(frozen=True, slots=True)
class Places:
    """Where the rows' adapters are in a stack whose first changes nothing, [rows], and their
    scales, [rows, 1, 1]."""

    index: mx.array
    scales: mx.array


@dataclass(frozen=True, slots=True)
class Delta:
    """What an adapter adds to a layer, but for its scale: ``a`` is [inputs, rank], ``b`` [rank,
    outputs]. ``gain``, [outputs], is a DoRA's."""

    a: mx.array
    b: mx.array
    gain: mx.array | None = None


class AdaptedLinear(nn.Module):
    """In place of a linear layer, quantised or not. Ranks are filled up with zeros to the largest;
    the first of each stack is zero, for rows without an adapter."""

    lora_a: mx.array
    lora_b: mx.array

    def __init__(self, path: str, linear: nn.Module, rows: RowAdapters) -> None:
        super().__init__()
        self.linear = linear
        self._path, self._rows = path, rows
        self._adapters: tuple[str, ...] = ()
        self._gains: dict[str, mx.array] = {}
        """Of the DoRAs among the adapters."""
        self._stacked_gains: mx.array | None = None
        """[1 + adapters, outputs], 1 for those that have none; None without any."""

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.linear(x)
        places = self._rows.among(self._adapters)
        if places is None:
            return y
        if x.ndim != 3 or x.shape[0] != places.index.size:
            raise WorkerError("load_failed", f"{self._path} isn't fed row by row")
        z = mx.gather_mm(x, self.lora_a, rhs_indices=places.index)
        z = mx.gather_mm(z, self.lora_b, rhs_indices=places.index)
        y = y + (places.scales.astype(z.dtype) * z).astype(x.dtype)
        if self._stacked_gains is None:
            return y
        gain = self._stacked_gains[places.index][:, None].astype(y.dtype)
        bias = self.linear.get("bias")
        # A row without a gain stays as it is to the bit.
        return gain * y if bias is None else gain * y + (1 - gain) * bias

    def put(self, adapter: str, delta: Delta) -> None:
        """Add an adapter, computed at once. The others keep their places."""
        a, b = delta.a[None], delta.b[None]
        if not self._adapters:
            self.lora_a, self.lora_b = mx.zeros_like(a), mx.zeros_like(b)
        self.lora_a = _joined(self.lora_a, a, rank_axis=2)
        self.lora_b = _joined(self.lora_b, b, rank_axis=1)
        mx.eval(self.lora_a, self.lora_b)
        self._adapters = (*self._adapters, adapter)
        if delta.gain is not None:
            self._gains[adapter] = delta.gain
        self._stack_gains()

    def drop(self, adapter: str) -> bool:
        """Take an adapter out; whether others are left. Without any this layer must go."""
        staying = [i for i, other in enumerate(self._adapters, 1) if other != adapter]
        if not staying:
            return False
        kept = mx.array([0, *staying])
        self.lora_a, self.lora_b = self.lora_a[kept], self.lora_b[kept]
        mx.eval(self.lora_a, self.lora_b)
        self._adapters = tuple(self._adapters[i - 1] for i in staying)
        self._gains.pop(adapter, None)
        self._stack_gains()
        return True

    def _stack_gains(self) -> None:
        self._stacked_gains = None
        if self._gains:
            ones = mx.ones_like(next(iter(self._gains.values())))
            gains = (self._gains.get(adapter, ones) for adapter in self._adapters)
            self._stacked_gains = mx.stack([ones, *gains])
            mx.eval(self._stacked_gains)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Their ids."""
        return self._adapters

    @property
    def adapter_bytes(self) -> int:
        """Bytes of each of its adapters in memory."""
        gains = 0 if self._stacked_gains is None else self._stacked_gains.nbytes
        return int(self.lora_a.nbytes + self.lora_b.nbytes + gains) // len(self._adapters)


def _joined(stack: mx.array, one: mx.array, *, rank_axis: int) -> mx.array:
    """One delta's factor behind others, filled up with zeros to the same rank."""
    rank = max(stack.shape[rank_axis], one.shape[rank_axis])
    return mx.concatenate([_filled_up(part, rank, rank_axis) for part in (stack, one)])


def _filled_up(factors: mx.array, rank: int, axis: int) -> mx.array:
    missing = [(0, rank - factors.shape[axis] if i == axis else 0) for i in range(factors.ndim)]
    return mx.pad(factors, missing)
