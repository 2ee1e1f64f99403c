"""Fields that request bodies below ``/v1`` have alike, and what they ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.chat.request import MaxQueue, NotBefore, seed_or_any
from api.chat.sampling import MAX_TOKENS, WHAT_IS_LEFT, SamplingFields, token_limit
from api.jobs.policy import Policy
from api.schemas import INTEGRAL, KeepAlive
from wire.messages import Sampling
from wire.queueing.turns import Tier

DEFAULT_TEMPERATURE = 1.0
DEFAULT_TOP_P = 1.0
NO_PENALTY = 1.0

Budget = Annotated[int, Field(ge=-1), INTEGRAL]
"""Of thinking, in tokens; -1 is none."""


class Sampled(SamplingFields):
    """Base of request bodies: the sampling whose defaults are OpenAI's."""

    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.0, le=5.0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1), INTEGRAL] | None = None

    def sampled(self, most: int | None) -> Sampling:
        """The sampling of an answer of ``most`` tokens; None is what the context leaves.

        Raises ApiError where fields contradict each other.
        """
        return self.sampling(
            temperature=_given(self.temperature, DEFAULT_TEMPERATURE),
            top_p=_given(self.top_p, DEFAULT_TOP_P),
            repetition_penalty=_given(self.repetition_penalty, NO_PENALTY),
            max_tokens=token_limit(WHAT_IS_LEFT if most is None else most),
            seed=seed_or_any(self.seed),
        )


class Waiting(BaseModel):
    """Base of request bodies: how long the answer may wait for its turn, and from when on; and how
    long its model stays in memory, by Ollama's name."""

    max_queue_s: MaxQueue | None = None
    not_before: NotBefore | None = None
    keep_alive: KeepAlive | None = None

    @property
    def tier(self) -> Tier | None:
        """The class that is asked for; None leaves it to the service."""
        return None

    def policy(self, on_disconnect: Literal["cancel", "continue"] = "cancel") -> Policy:
        """What the fields ask for of the job."""
        return Policy(
            on_disconnect,
            tier=self.tier,
            max_queue_s=self.max_queue_s,
            not_before_ms=self.not_before or 0,
            keep_alive_s=self.keep_alive,
        )


class Tiered(Waiting):
    """The same with the class of service, by OpenAI's name."""

    service_tier: Literal["auto", "default", "flex", "priority"] | None = None

    @property
    def tier(self) -> Tier | None:
        return None if self.service_tier == "auto" else self.service_tier


class ThinkingLimit(BaseModel):
    """Base of request bodies: the limit of thinking by vLLM's name, and by llama-server's."""

    thinking_token_budget: Budget | None = None
    reasoning_budget_tokens: Budget | None = None

    @property
    def thinking_budget(self) -> int | None:
        """The limit in tokens, if there is one."""
        budget = self.thinking_token_budget
        budget = self.reasoning_budget_tokens if budget is None else budget
        return None if budget in (None, -1) else min(budget, MAX_TOKENS)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
