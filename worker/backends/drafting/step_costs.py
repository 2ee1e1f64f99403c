"""How long steps take that feed several tokens a row, in relation to plain ones: measured, because
it depends on the machine, the model and the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

SMOOTHING = 0.2
"""Weight of a new time among those before."""
STALE_STEPS = 2000
"""A measurement that is so many steps old is made again."""


@dataclass(slots=True)
class _Ratio:
    value: float
    step: int


class StepCosts:
    """Times of one batch's steps. ``width`` is how many tokens a row is fed; plain steps have 1."""

    def __init__(self) -> None:
        self._steps = 0
        self._plain: dict[int, float] = {}
        """Seconds of a plain step by the number of rows."""
        self._ratios: dict[tuple[int, int], _Ratio] = {}

    def plain_s(self, rows: int) -> float | None:
        """Seconds of a plain step with so many rows; None before one was measured."""
        return self._plain.get(rows)

    def note(self, rows: int, width: int, seconds: float) -> None:
        """Take in a step's time."""
        self._steps += 1
        plain = self._plain.get(rows)
        if width == 1:
            self._plain[rows] = _smoothed(plain, seconds)
        elif plain is not None:
            key = (_like(rows), width)
            known = self._ratios.get(key)
            old = None if known is None else known.value
            self._ratios[key] = _Ratio(_smoothed(old, seconds / plain), self._steps)

    def ratio(self, rows: int, width: int) -> float | None:
        """How many plain steps a step of this width takes as long as; None if that isn't known, or
        was measured long ago."""
        known = self._ratios.get((_like(rows), width))
        if known is None or self._steps - known.step > STALE_STEPS:
            return None
        return known.value


def _like(rows: int) -> int:
    """Numbers of rows between two powers of two are taken for alike."""
    return rows.bit_length()


def _smoothed(old: float | None, new: float) -> float:
    # A pause of the whole machine is no news about a step.
    return new if old is None else old + SMOOTHING * (min(new, 3 * old) - old)
