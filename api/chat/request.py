"""A chat as a client asks for it, whatever API the request came by. Knows no request's shape."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.errors import ApiError
from api.images.draft import DraftMessage
from api.jobs.queue import Policy
from wire.messages import MAX_SEED, PLAIN_TEXT, OutputFormat, Sampling
from wire.model_registry import ModelRecord

WITHOUT_TOOLS = "This model has no way to call tools. Answered without them."


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """A chat as requested: messages whose images aren't stored yet, sampling, policy, format.

    ``warnings`` are sentences about what was ignored.
    """

    messages: Sequence[DraftMessage]
    sampling: Sampling
    policy: Policy
    form: OutputFormat = PLAIN_TEXT
    warnings: tuple[str, ...] = ()

    def fitting(self, model: ModelRecord) -> ChatSpec:
        """The same without optional tools, if the model doesn't support tools.

        Raises ApiError if a call is required.
        """
        if not self.form.tools or model.takes_tools:
            return self
        if self.form.must_call:
            raise ApiError(
                "unsupported", "This model has no way to call tools: send none.", param="tools"
            )
        form = self.form.model_copy(update={"tools": ()})
        return replace(self, form=form, warnings=(*self.warnings, WITHOUT_TOOLS))


def seed_or_any(seed: int | None) -> int:
    """The seed of an answer: a random one, kept with the job, for a request without."""
    return secrets.randbelow(MAX_SEED + 1) if seed is None else seed
