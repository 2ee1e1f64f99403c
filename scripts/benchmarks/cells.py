"""Figures as cells of a table, and what they are computed by."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from scripts.benchmarks.systems.plan import Figures

NOTHING = "–"


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def paired(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured in the same round: the machine's drift affects
    both, and cancels out."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def p95(values: Sequence[float]) -> float:
    """The nearest-rank percentile: a value that was measured."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


def ttft(figures: Figures | None) -> str:
    return (
        f"{p50(figures.ttft) * 1000:.1f} / {p95(figures.ttft) * 1000:.1f}" if figures else NOTHING
    )


def rate(figures: Figures | None) -> str:
    return f"{p50(figures.rate):,.0f}" if figures else NOTHING


def met(yes: bool) -> str:
    return "yes" if yes else "**no**"
