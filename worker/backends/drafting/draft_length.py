"""How many guessed tokens are worth feeding in a step: none, where they don't pay.

The rule: feed as many as promise the most tokens a second, by the steps' measured times and by how
often each row's guesses were right. Where guesses turned out to cost time, they stop until that is
a hundredth of all the time, some steps at the beginning aside.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.backends.drafting.step_costs import StepCosts

PLAIN, BESIDE_GUESSES = 1, 0
"""Widths of steps without guesses."""
LEAST_GAIN = 1.05
"""Tokens a second with guesses, in relation to without: less is within the noise."""
LOST_SHARE = 0.01
"""Share of the time that may be lost to guesses that didn't pay, those that measure included."""
FREE_STEPS = 16
"""Plain steps' time that may be lost beside, so that a new model is soon measured."""
FIRST_RATE = 0.5
"""How often a row's guesses are taken to be right before any has been compared."""
RATE_WEIGHT = 0.15
"""Weight of a new comparison among those before."""


class AcceptanceRate:
    """How often one row's guessed tokens were right, 0 to 1, the latest ones counting most."""

    def __init__(self) -> None:
        self.value = FIRST_RATE

    def note(self, right: int, wrong: int) -> None:
        """Take in so many guesses that were right, and then so many that were wrong."""
        for hit in (1.0,) * right + (0.0,) * wrong:
            self.value += RATE_WEIGHT * (hit - self.value)

    def expected(self, length: int) -> float:
        """How many tokens of a draft are likely to be accepted: up to the first wrong one."""
        rate = self.value
        return rate * (1 - rate**length) / (1 - rate) if rate < 1 else float(length)


class DraftLength:
    """One batch's. ``most`` is the longest draft, ``num_draft_tokens``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._widths = [width for n in range(1, 8) if (width := 2**n) < most + 1] + [most + 1]
        """How many tokens a row may be fed. Few, so that each is measured often."""
        self._costs = StepCosts()
        self._spent_s = 0.0
        self._lost_s = 0.0
        self._read_s = 0.0
        """Time in which a draft model has read, as far as its guesses haven't won it back."""

    def note(self, rows: int, width: int, tokens: int, seconds: float) -> None:
        """Take in the time of a step that fed ``width`` tokens a row, and gave so many in all.
        ``BESIDE_GUESSES`` stands for a plain step before or behind one with guesses: it takes
        longer, as nothing is computed ahead."""
        if width != BESIDE_GUESSES:
            self._costs.note(rows, width, seconds)
        self._spent_s += seconds
        plain_s = self._costs.plain_s(rows)
        if width != PLAIN and plain_s is not None:
            won_s = plain_s * tokens / rows - seconds
            self._lost_s = max(0.0, self._lost_s - won_s)
            self._read_s = max(0.0, self._read_s - max(0.0, won_s))

    def note_reading(self, seconds: float) -> None:
        """A draft model has read for so long."""
        self._spent_s += seconds
        self._read_s += seconds

    def may_pay(self, rows: int) -> bool:
        """Whether guesses could pay if they were all right: else none are even looked for."""
        plain_s = self._costs.plain_s(rows)
        if not self.most or plain_s is None or self._lost_s > self._may_lose_s(plain_s):
            return False
        return any(width > ratio * LEAST_GAIN for width, ratio in self._ratios(rows))

    def may_read(self, rows: int) -> bool:
        """Whether a draft model may read more, of prompts above all: what it has read before has
        been won back."""
        plain_s = self._costs.plain_s(rows)
        return plain_s is not None and self._read_s <= self._may_lose_s(plain_s)

    def _may_lose_s(self, plain_s: float) -> float:
        return LOST_SHARE * self._spent_s + FREE_STEPS * plain_s

    def choose(self, rows: int, drafts: Sequence[tuple[AcceptanceRate, int]]) -> int:
        """How long drafts may be in this step, 0 for a plain one. ``drafts`` are the rates and the
        lengths of the rows that have a draft; ``rows`` are all."""
        best, gain = 0, LEAST_GAIN
        longest = max((length for _, length in drafts), default=0)
        for width, ratio in self._ratios(rows):
            if width - 1 > longest and best:
                break
            more = sum(rate.expected(min(length, width - 1)) for rate, length in drafts)
            if (rows + more) / rows > gain * ratio:
                best, gain = width - 1, (rows + more) / rows / ratio
        return best

    def _ratios(self, rows: int) -> list[tuple[int, float]]:
        """The widths that may be tried, with the times of their steps in plain steps. The first one
        that isn't measured is the last: it is taken to grow half as fast as from the width before
        the last to the last."""
        found = [(1, 1.0)]
        slope = 0.0
        for width in self._widths:
            before, ratio_before = found[-1]
            ratio = self._costs.ratio(rows, width)
            if ratio is None:
                found.append((width, ratio_before + (width - before) * slope / 2))
                break
            slope = max(0.0, (ratio - ratio_before) / (width - before))
            found.append((width, ratio))
        return found[1:]
