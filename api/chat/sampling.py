"""The sampling fields that the request bodies of every API have, and what they ask for.

Knows no models: what a request leaves open is settled by ``ChatSpec.fitting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from api.errors import ApiError
from api.schemas import INTEGRAL, Text
from wire.messages import Sampling
from wire.model_registry import SamplingDefaults

MAX_TOKENS = 32768
"""The most tokens an answer may have; who names no limit gets this or the model's context."""
WHAT_IS_LEFT = -1
"""A ``max_tokens`` that means what the context leaves."""
MOST_STOPS = 64
MOST_BIASES = 300
MOST_BIAS = 100
MOST_TOP_K = 1_000_000
"""More than any vocabulary has."""
MOST_TOKEN_ID = 2**31 - 1
XTC_THRESHOLD = 0.1
"""Of a request that sets ``xtc_probability`` alone: mlx_lm's default."""
_OF_NATIVE = Field(ge=WHAT_IS_LEFT, le=MAX_TOKENS, json_schema_extra={"not": {"const": 0}})
_OF_OPENAI = Field(ge=WHAT_IS_LEFT, json_schema_extra={"not": {"const": 0}})


def _some(tokens: int) -> int:
    if tokens == 0:
        raise ValueError("an answer has 1 token at least; -1 is what the context leaves")
    return tokens


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


def _distinct(biases: dict[str, float]) -> dict[str, float]:
    ids = {int(key) for key in biases}
    if len(ids) < len(biases):
        raise ValueError("two of its keys are the same token id")
    if max(ids, default=0) > MOST_TOKEN_ID:
        raise ValueError(f"a token id is {MOST_TOKEN_ID} at most")
    return biases


TokenLimit = Annotated[int, _OF_NATIVE, AfterValidator(_some), INTEGRAL]
CappedTokenLimit = Annotated[int, _OF_OPENAI, AfterValidator(_some), INTEGRAL]
EchoTokenLimit = Annotated[int, Field(ge=WHAT_IS_LEFT), INTEGRAL]
"""Of a completion: it may have no more than its prompt."""
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0, allow_inf_nan=False)]
Stop = Annotated[
    list[Text],
    Field(max_length=MOST_STOPS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
_TokenId = Annotated[int, Field(ge=0, le=MOST_TOKEN_ID), INTEGRAL]
_Bias = Annotated[float, Field(ge=-MOST_BIAS, le=MOST_BIAS, allow_inf_nan=False)]
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern="^[0-9]{1,10}$")], _Bias],
    Field(max_length=MOST_BIASES),
    AfterValidator(_distinct),
]


class SamplingFields(BaseModel):
    """Base of request bodies. What is None isn't asked for.

    ``top_k`` 0 and -1 are off, as is ``min_p`` 0. The keys of ``logit_bias`` are token ids.
    """

    top_k: Annotated[int, Field(ge=-1, le=MOST_TOP_K), INTEGRAL] | None = None
    min_p: Share | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Annotated[float, Field(ge=0.0, le=0.5, allow_inf_nan=False)] | None = None
    logit_bias: LogitBias | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_context_size: Annotated[int, Field(ge=1, le=MAX_TOKENS), INTEGRAL] | None = None
    stop: Stop | None = None
    stop_token_ids: Annotated[list[_TokenId], Field(max_length=MOST_STOPS)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS), INTEGRAL] | None = None

    def sampling(self, **others: Any) -> Sampling:
        """The sampling that is asked for; ``others`` are the fields that not all bodies have alike.

        Raises ApiError where fields contradict each other.
        """
        sampling = Sampling(**others, **self._asked())
        if sampling.min_tokens > sampling.max_tokens:
            sentence = f"min_tokens is more than max_tokens, which is {sampling.max_tokens}."
            raise ApiError("invalid_request", sentence, param="min_tokens")
        return sampling

    def left_open(self) -> frozenset[str]:
        """The fields that this doesn't set, and for which a model may have defaults."""
        names = SamplingDefaults.model_fields
        return frozenset(name for name in names if getattr(self, name) is None)

    def _asked(self) -> Mapping[str, Any]:
        asked = {name: getattr(self, name) for name in SamplingFields.model_fields}
        asked["stop"] = tuple(text for text in self.stop or () if text)
        asked["stop_token_ids"] = tuple(dict.fromkeys(self.stop_token_ids or ()))
        asked["top_k"] = max(0, self.top_k or 0)
        biases = (self.logit_bias or {}).items()
        asked["logit_bias"] = tuple((int(key), float(bias)) for key, bias in biases if bias)
        if not self.xtc_probability:
            del asked["xtc_threshold"]  # Says nothing by itself.
        elif self.xtc_threshold is None:
            asked["xtc_threshold"] = XTC_THRESHOLD
        return {name: value for name, value in asked.items() if value is not None}


def token_limit(asked: int) -> int:
    """The most tokens of an answer, for a ``max_tokens``."""
    return MAX_TOKENS if asked == WHAT_IS_LEFT else min(MAX_TOKENS, asked)
