"""Fields that request bodies below ``/v1`` have alike, and what they ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.chat.request import MaxQueue, NotBefore, seed_or_any
from api.chat.sampling import MAX_TOKENS, WHAT_IS_LEFT, SamplingFields, token_limit
from api.errors import ApiError
from api.jobs.policy import AskedTier, Policy
from api.jobs.waiting.priorities import ServiceTier
from api.schemas import INTEGRAL, KeepAlive
from wire.messages import Sampling

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

    def asked_tier(self) -> AskedTier | None:
        """The class of service that is asked for; None leaves it to the service."""
        return None

    def policy(self, on_disconnect: Literal["cancel", "continue"] = "cancel") -> Policy:
        """What the fields ask for of the job. Raises ApiError where they contradict each other."""
        return Policy(
            on_disconnect,
            asked=self.asked_tier(),
            max_queue_s=self.max_queue_s,
            not_before_ms=self.not_before or 0,
            keep_alive_s=self.keep_alive,
        )


class Tiered(Waiting):
    """The same with the class of service, by OpenAI's name and by vLLM's: of its numbers lower ones
    go first, and 0 is what it takes for none."""

    service_tier: ServiceTier | None = None
    priority: Annotated[int, Field(ge=-(2**63), le=2**63 - 1), INTEGRAL] | None = Field(
        default=None,
        description="Which waiting chats go first, as vLLM has it: one below 0 is `service_tier` "
        "`priority`, one above is `flex`; 0 asks for nothing.",
    )

    def asked_tier(self) -> AskedTier | None:
        by_name = by_number = None
        if self.service_tier is not None and self.service_tier != "auto":
            by_name = AskedTier(self.service_tier, "service_tier")
        if self.priority:
            by_number = AskedTier("priority" if self.priority < 0 else "flex", "priority")
        if by_name and by_number and by_name.tier != by_number.tier:
            sentence = f"It asks for {by_number.tier}, and service_tier for {by_name.tier}."
            raise ApiError("invalid_request", sentence, param="priority")
        return by_name or by_number


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
