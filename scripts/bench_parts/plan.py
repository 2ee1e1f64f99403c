"""What one run measures: sizes, repetitions, settings. Every process of a run gets the same plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CLIENTS = (1, 8, 32)
ALONE_REPEATS = 5
"""Requests one after another in each round with one client, which is short and would give few values."""
TOKENS = 64
PROMPT_TOKENS = 32
LONG_TOKENS = 1600
"""Tokens of the long conversation's first message; with the answer and the second question it has about 1,700."""
BATCH_PROMPTS = 1000
"""Prompts of the batch; each has an answer of the usual length."""
TEXT_PARTS = ("throughput", "turn2", "join", "stop")
PARTS = (*TEXT_PARTS, "batch", "vision", "start", "durability", "equal-text")
DEFAULT_PARTS = PARTS[:-2]


class BenchError(Exception):
    """A measurement is not possible or means nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. A seeded request carries a seed of its own."""

    name: str
    temperature: float
    top_p: float
    seeded: bool = False


GREEDY = Sampling("greedy", 0.0, 1.0)
SAMPLED = Sampling("sampled", 0.7, 0.9)
SEEDED = Sampling("seeded", 0.7, 0.9, seeded=True)
SAMPLINGS = (GREEDY, SAMPLED, SEEDED)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. ``model`` is the folder of the text model, ``vision_model`` that of the vision model."""

    model: str
    vision_model: str
    rounds: int
    parts: tuple[str, ...]
    openblas: str = ""
    """The library to preload; empty for the BLAS that MLX brings."""

    @property
    def batch_rounds(self) -> int:
        """A batch takes as long as all the rest of a round."""
        return min(self.rounds, 2)

    @property
    def models(self) -> Path:
        """The folder that holds both models."""
        return Path(self.model).parent

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "parts": tuple(values["parts"])})


@dataclass(slots=True)
class Figures:
    """What was measured of one system in one case: each request's TTFT in seconds, each round's tokens per second."""

    ttft: list[float]
    rate: list[float]
