"""The values of ``reasoning_effort``: how much a model is asked to think, the least first."""

from __future__ import annotations

from typing import Literal, get_args

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high"]
EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)
