"""The sampling that a job or a line of a batch ran with, as it is kept for those who ask how it was
answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wire.messages import Sampling

SamplingUsed = dict[str, Any]
"""Every field of :class:`~wire.messages.Sampling` as a request would send it, but for the stop
texts, which are the request's own words, and what is told of the tokens."""
_NOT_TOLD = ("stop", "logprobs", "prompt_logprobs", "thinking_budget")


def used(sampling: Sampling) -> SamplingUsed:
    """What a client is told: also what it left to the model or to this service, and the seed."""
    names = (name for name in type(sampling).model_fields if name not in _NOT_TOLD)
    told = {name: getattr(sampling, name) for name in names}
    told["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    told["stop_token_ids"] = list(sampling.stop_token_ids)
    if sampling.thinking_budget is not None:  # Only OpenAI's routes have it, under this name.
        told["thinking_token_budget"] = sampling.thinking_budget
    return told


_DEFAULTS = used(Sampling(seed=-1))
"""Left out of what is kept: records for a week, results with each of 50,000 lines."""


def short(sampling: Sampling) -> SamplingUsed:
    """The seed, and what differs from the defaults of a :class:`~wire.messages.Sampling`, which are
    those of the native API."""
    told = used(sampling).items()
    changed = {name: value for name, value in told if value != _DEFAULTS.get(name)}
    return {"seed": sampling.seed} | changed


def completed(kept: Mapping[str, Any]) -> SamplingUsed:
    """All fields of what was made short."""
    return {**_DEFAULTS, **kept}


def stored(sampling: Sampling) -> str:
    """The form in which a job's record keeps it."""
    return json.dumps(short(sampling), separators=(",", ":"))


def read(text: str | None) -> SamplingUsed | None:
    """What a job's record keeps; None of a job of a release that kept nothing."""
    return None if text is None else completed(json.loads(text))
