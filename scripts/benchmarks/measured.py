"""The results of one run."""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.benchmarks.parts.in_process.equal_text import Row
from scripts.benchmarks.systems.plan import Results


@dataclass(slots=True)
class Measured:
    """The results of one run by system."""

    limit: Results = field(default_factory=dict)
    peer: Results = field(default_factory=dict)
    ours: Results = field(default_factory=dict)
    equal: list[Row] = field(default_factory=list)
    blas: list[str] = field(default_factory=list)
    """What each system computed with, as its process reports."""
    generated: bool = True
    """Whether the text model was made for the benchmark: a tiny one."""
