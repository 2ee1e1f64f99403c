"""What one run measures: sizes, repetitions, settings. Every process of a run gets the same
plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPEATS = {1: 5, 4: 3, 8: 3, 32: 1}
"""How often so many clients are measured in a round, whose figure is the median: a few are served
in tenths of a second."""
CLIENTS = (1, 8, 32)
CLIENTS_OF_OWN_MODEL = (1, 4, 8)
"""A model that somebody brings is larger than the generated ones."""
TOKENS = 64
PROMPT_TOKENS = 32
LONG_TOKENS = 1600
"""Tokens of the long conversation's first message; with the answer and the second question it
has about 1,700."""
READ_TOKENS = 1000
"""Tokens of the prompt whose reading is measured by itself."""
BATCH_PROMPTS = 1000
"""Prompts of the batch; each has an answer of the usual length."""
WARM_UP_PROMPTS = 64
"""Prompts of a batch that is not counted."""
PARTS = (
    "throughput",
    "prefill",
    "turn2",
    "join",
    "stop",
    "batch",
    "vision",
    "start",
    "disk-cache",
    "durability",
    "equal-text",
)
DEFAULT_PARTS = PARTS[:-3]
PARTS_OF_OWN_MODEL = ("throughput", "prefill", "turn2", "join", "stop", "batch", "disk-cache")
"""What can be measured with any text model; the last two take long on a large one."""


class BenchError(Exception):
    """A measurement is not possible or invalid; the message says why."""


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
WARM_UP = -1
"""The turn that each system takes before the first round of a case, and that is not counted."""
IN_TURN = {
    "throughput": ("limit", "peer", "ours"),
    "prefill": ("limit", "peer", "ours"),
    "turn2": ("limit", "peer", "ours"),
    "join": ("peer", "ours"),
    "batch": ("limit", "ours"),
}
"""The parts that compare systems, and the systems that take turns in each."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared at a time: a part, or of throughput one sampling with one number of
    clients."""

    part: str
    sampling: Sampling = GREEDY
    clients: int = 1

    @property
    def name(self) -> str:
        return f"{self.sampling.name} {self.clients}"

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Case:
        """The case that ``asdict`` made these of."""
        return cls(**{**fields, "sampling": Sampling(**fields["sampling"])})


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. ``model`` is the folder of the text model, ``vision_model`` that of the vision
    model."""

    model: str
    vision_model: str
    rounds: int
    parts: tuple[str, ...]
    openblas: str = ""
    """The library to preload; empty for the BLAS that MLX brings."""
    clients: tuple[int, ...] = CLIENTS
    """How many clients there are at once, case by case."""
    own_model: str = ""
    """The name of a text model that somebody brought; empty for a generated one."""

    @property
    def cases(self) -> list[Case]:
        """The parts in which systems take turns, in their order."""
        streams = [
            Case("throughput", sampling, clients)
            for sampling in self.samplings
            for clients in self.clients
        ]
        cases = [*streams, *(Case(part) for part in IN_TURN if part != "throughput")]
        return [case for case in cases if case.part in self.parts]

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """How tokens are sampled costs little beside a step of a model that is not tiny."""
        return (GREEDY,) if self.own_model else SAMPLINGS

    def repeats_of(self, clients: int) -> int:
        return 1 if self.own_model else REPEATS[clients]

    def first_turn_of(self, case: Case) -> int:
        """The warm-up, or the first round: a large model is warm after its first case."""
        return 0 if self.own_model and case != self.cases[0] else WARM_UP

    def rounds_of(self, case: Case) -> int:
        """A batch takes as long as all the rest of a round: beside other parts it has one round
        each way."""
        return (
            min(self.rounds, 2)
            if case.part == "batch" and self.parts != ("batch",)
            else self.rounds
        )

    @property
    def models(self) -> Path:
        """The folder that holds both models."""
        return Path(self.model).parent

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        values: dict[str, Any] = json.loads(text)
        lists = {name: tuple(values[name]) for name in ("parts", "clients")}
        return cls(**(values | lists))


@dataclass(slots=True)
class Figures:
    """What was measured of one system in one case: each request's TTFT in seconds, each round's
    tokens per second."""

    ttft: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def add(self, more: Figures) -> None:
        self.ttft += more.ttft
        self.rate += more.rate


Results = dict[str, Figures]
"""The figures of one system, by the name of the case."""
