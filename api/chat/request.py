"""A chat as a client asks for it, whatever API the request came by. Knows no request's shape."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from api.errors import ApiError
from api.images.draft import DraftMessage
from api.jobs.policy import Policy
from api.schemas import epoch_ms
from wire.messages import MAX_SEED, PLAIN_TEXT, ChatJob, Message, OutputFormat, Sampling
from wire.model_registry import ModelRecord, Task
from wire.versions import VERSION, needs

MaxQueue = Annotated[float, Field(ge=0.001, le=7 * 24 * 3600, allow_inf_nan=False)]
"""How long a chat may wait for its turn, seconds."""
NotBefore = Annotated[
    int, BeforeValidator(epoch_ms, json_schema_input_type=float | str), Field(ge=0, le=10**14)
]
"""A time, as milliseconds since the epoch."""
_PLAIN_SAMPLING = Sampling(seed=0)
WITHOUT_TOOLS = "This model has no way to call tools. Answered without them."
TOOLS_AS_TEXT = "This model's chat template has no place for tools: its prompt tells them as text."
WithoutTemplate = Literal["generic", "ignore", "refuse"]
"""What becomes of tools where a model's chat template has no place for them: told as text in the
prompt, left out with a warning, or refused."""


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """A chat as requested: messages whose images aren't stored yet, sampling, policy, format.

    ``call_schema`` makes the schema of a call of any of its tools. ``warnings`` are sentences about
    what was ignored. ``left_open`` are the fields of the sampling
    that the request didn't set, and for which a model may have defaults of its own. ``held_by`` is
    the field that asks for the answer's schema or grammar. ``choices`` is how many answers are
    wanted. ``asked`` is what the result of a batch's line is to tell of its request, as its reader
    packs it.
    """

    messages: Sequence[DraftMessage]
    sampling: Sampling
    policy: Policy
    form: OutputFormat = PLAIN_TEXT
    warnings: tuple[str, ...] = ()
    held_by: str = "response_format"
    left_open: frozenset[str] = frozenset()
    choices: int = 1
    call_schema: Callable[[], str] | None = None
    asked: str = ""

    @property
    def task(self) -> Task:
        """What a model must be for to do it."""
        return "chat" if self.form.pooling is None else self.form.pooling.task

    def fitting(
        self,
        model: ModelRecord,
        version: int = VERSION,
        *,
        without_template: WithoutTemplate = "generic",
    ) -> ChatSpec:
        """The same for a model: with its own defaults for what the request left open, and with its
        tools as the model can take them.

        ``version`` is what all living workers read. Defaults that are newer are left out: nobody
        asked for them, and the request must not be refused for them.

        Raises ApiError for tools that are refused, and for vectors of a length that the model can't
        make.
        """
        if self.form.pooling is not None:
            _check_dimensions(self.form.pooling.dimensions, model)
            return self
        settled = {
            name: value
            for name, value in model.sampling_defaults.given().items()
            if name in self.left_open
            and needs(_PLAIN_SAMPLING.model_copy(update={name: value})) <= version
        }
        sampling = self.sampling.model_copy(update=settled) if settled else self.sampling
        fitting = replace(self, sampling=sampling)
        if not self.form.tools or model.takes_tools:
            return fitting
        return fitting._without_template(without_template)

    def job(
        self, job_id: str, model: ModelRecord, messages: tuple[Message, ...], owner: str
    ) -> ChatJob:
        """The job of it, its messages as they are kept. Its time is set when it is queued."""
        return ChatJob(
            job_id=job_id,
            owner=owner,
            model_id=model.id,
            model_revision=model.revision,
            messages=messages,
            sampling=self.sampling,
            form=self.form,
            submitted_ms=0,
            keep_alive_s=self.policy.keep_alive_s,
        )

    def in_call_pieces(self) -> ChatSpec:
        """The same with its tool calls told in pieces, as the model writes them."""
        if not self.form.tools:
            return self
        return replace(self, form=self.form.model_copy(update={"call_pieces": True}))

    def _without_template(self, policy: WithoutTemplate) -> ChatSpec:
        if policy == "refuse" or (policy == "ignore" and self.form.must_call):
            raise ApiError(
                "unsupported", "This model has no way to call tools: send none.", param="tools"
            )
        changes: dict[str, Any] = {"prompt_tools": True}
        if policy == "ignore":
            changes = {"tools": (), "call_schema": None}
        if policy == "generic" and not self.form.is_guided and self.call_schema is not None:
            changes["json_schema"] = self.call_schema()
        warning = WITHOUT_TOOLS if policy == "ignore" else TOOLS_AS_TEXT
        form = self.form.model_copy(update=changes)
        return replace(self, form=form, warnings=(*self.warnings, warning))


def _check_dimensions(wanted: int | None, model: ModelRecord) -> None:
    shorter = model.shorter_dimensions
    if wanted in (None, model.dimensions):
        return
    if shorter is None:
        sentence = f"This model's vectors have {model.dimensions} dimensions and no other number."
    elif wanted not in shorter and (shorter or wanted > model.dimensions):
        listed = ", ".join(map(str, sorted({*shorter, model.dimensions})))
        sentence = f"This model's vectors have {listed} dimensions"
        sentence += "." if shorter else ", or fewer."
    else:
        return
    raise ApiError("unsupported", sentence, param="dimensions")


def seed_or_any(seed: int | None) -> int:
    """The seed of an answer: a random one, kept with the job, for a request without."""
    return secrets.randbelow(MAX_SEED + 1) if seed is None else seed


def seed_of_choice(seed: int, number: int) -> int:
    """The seed of one of several answers to a prompt, counted from 0: the first has the request's.

    The others have the first 63 bits of SHA-256 of "<seed>:<number>". Neighbouring numbers, as vLLM
    has them, would make two requests with neighbouring seeds give the same answers.
    """
    if number == 0:
        return seed
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
