"""The repetition penalty: on each row's last tokens, as many as the row asks for."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from typing import Protocol

import mlx.core as mx
import numpy as np

from wire.messages import REPETITION_CONTEXT_SIZE

NOTHING = -1
"""Stands where a row has no token."""


class Penalised(Protocol):
    """A row's sampler as this module needs it: ``penalty`` 1 changes nothing, ``context_size`` is
    the number of last tokens that it applies to."""

    @property
    def penalty(self) -> float: ...
    @property
    def context_size(self) -> int: ...


def context_size(asked: int, longest: int) -> int:
    """How many last tokens a row's penalty applies to: as many as are asked for, or all of them for
    0, as in mlx_lm. ``longest`` is how many the row may have at its end."""
    if 0 < asked <= REPETITION_CONTEXT_SIZE:
        return asked
    # Not below the default: rows of one size cost least.
    return min(asked or longest, max(longest, REPETITION_CONTEXT_SIZE))


def penalise(logits: mx.array, recent: mx.array, penalties: mx.array) -> mx.array:
    """Apply the repetition penalty to recent tokens: divide positive logits, multiply negative
    ones.

    From Keskar et al., CTRL, 2019 (section 4.1), in the form that mlx_lm and Hugging Face use.
    """
    chosen = mx.take_along_axis(logits, recent, axis=-1)
    chosen = mx.where(chosen < 0, chosen * penalties, chosen / penalties)
    return mx.put_along_axis(logits, recent, chosen, axis=-1)


class RecentTokens:
    """The tokens to which penalties apply, [rows, size], on the device; ``size`` is the largest of
    the rows that have a penalty.

    Rebuilt from the host's lists only when the rows change: a step must not wait for its own
    tokens.
    """

    def __init__(self) -> None:
        self._array: mx.array | None = None
        self._older: mx.array | None = None
        """Where a row holds tokens that are older than it asks for; None where no row does."""
        self._rows: tuple[object, ...] = ()

    def advance(
        self,
        rows: Rows[object],
        samplers: Rows[Penalised],
        histories: Rows[Rows[int]],
        inputs: mx.array,
        known: int = 0,
    ) -> mx.array | None:
        """Add this step's input tokens; returns what :func:`penalise` needs, None if no row has a
        penalty.

        ``rows`` identifies the rows; ``histories`` are their tokens before ``inputs``, which is
        [rows], and these too if they are ``known`` already, 1 or 0.
        """
        if all(sampler.penalty == 1.0 for sampler in samplers):
            self._array = None
            return None
        if self._array is None or self._rows != tuple(rows):
            self._begin(samplers, histories, known)
            self._rows = tuple(rows)
        assert self._array is not None, "it was made for these rows"
        column = inputs[:, None].astype(self._array.dtype)
        self._array = mx.concatenate([self._array[:, 1:], column], axis=1)
        mx.async_eval(self._array)
        nothing = self._array < 0
        if self._older is not None:
            nothing = mx.logical_or(nothing, self._older)
        # The newest token is always among them, and to name it twice changes nothing.
        return mx.where(nothing, column, self._array)

    def _begin(self, samplers: Rows[Penalised], histories: Rows[Rows[int]], known: int) -> None:
        sizes = [sampler.context_size for sampler in samplers if sampler.penalty != 1.0]
        size = max(sizes)
        made = np.full((len(samplers), size), NOTHING, dtype=np.int32)
        for row, (sampler, history) in enumerate(zip(samplers, histories, strict=True)):
            if sampler.penalty != 1.0:
                end = len(history) - known
                last = history[max(0, end - sampler.context_size) : end]
                made[row, size - len(last) :] = last
        self._array, self._older = mx.array(made), None
        if min(sizes) < size:
            own = np.array([[min(sampler.context_size, size)] for sampler in samplers])
            self._older = mx.array(np.arange(size) < size - own)
