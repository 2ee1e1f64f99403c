"""The body of Anthropic's messages, and what it asks the service for.

Knows no models, queue or Redis.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, FailFast, Field

from api.anthropic.blocks import TextBlock, as_blocks
from api.anthropic.tools import ToolChoice, Tools, forced, functions_of
from api.anthropic.turns import Conversation, Turn, system_message
from api.chat.json_schema import as_text
from api.chat.request import ChatSpec
from api.chat.sampling import MAX_TOKENS, MOST_STOPS, MOST_TOP_K
from api.chat.template_options import options_of
from api.errors import ApiError
from api.images.draft import DraftMessage
from api.jobs.policy import AskedTier
from api.schemas import INTEGRAL, Lenient, Text, whole
from api.serving.fields import ADAPTERS, Harmless, refuse, unknown, unset
from api.serving.generation import Sampled, Waiting
from api.serving.open_body import Open
from api.serving.output_format import Guide, format_of_chat
from api.serving.tools import schema_of_call
from wire.messages import OutputFormat, Sampling
from wire.model_registry import SamplingDefaults

REFUSED: dict[str, Harmless] = {"thread": unset, **ADAPTERS}
"""What would change the answer and can't be had: a conversation that is kept elsewhere."""
WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "cache_control",
        "inference_geo",
        "speed",
        "diagnostics",
        "billing_policy",
        "user_profile_id",
        "workspace_id",
        "betas",
    }
)
"""Accepted: who asks, what it costs, where it runs. The answer is the same with them."""
_FORMAT = "output_config.format"
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_USUAL_EFFORT = "medium"
_Display = Literal["summarized", "omitted"]


class ThinkingOn(Lenient):
    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    display: _Display | None = None


class ThinkingFree(Lenient):
    """Left to the model, and to the effort that the request names."""

    type: Literal["adaptive", "between_tools"]
    display: _Display | None = None


class ThinkingOff(Lenient):
    type: Literal["disabled"]


class JsonFormat(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"name"})

    type: Literal["json_schema"]
    definition: dict[str, Any] = Field(alias="schema")


class OutputConfig(Lenient):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class MessagesBody(Open, Waiting):
    """What a conversation is, and how it is answered; ``max_tokens`` may be missing where only its
    tokens are counted."""

    model: Annotated[str, Field(max_length=255), AfterValidator(whole)] | None = None
    messages: Annotated[list[Turn], FailFast(), Field(min_length=1)]
    system: (
        Annotated[
            list[TextBlock],
            BeforeValidator(as_blocks, json_schema_input_type=str | list[TextBlock]),
        ]
        | None
    ) = None
    max_tokens: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    stream: bool | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    thinking: (
        Annotated[ThinkingOn | ThinkingFree | ThinkingOff, Field(discriminator="type")] | None
    ) = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    stop_sequences: Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MOST_TOP_K), INTEGRAL] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1), INTEGRAL] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    def asked_tier(self) -> AskedTier | None:
        standard = self.service_tier == "standard_only"
        return AskedTier("default", "service_tier") if standard else None

    def spec(self) -> ChatSpec:
        """The chat that is asked for. Raises ApiError for what can't be had."""
        refuse(self.others, REFUSED)
        guide = self._guide()
        form, drafts = self._form(guide), self._drafts()
        shape = {
            "template_options": options_of(None, self._effort),
            "continue_final": drafts[-1].can_go_on and not form.is_guided,
        }
        names = SamplingDefaults.model_fields
        return ChatSpec(
            drafts,
            self._sampling(),
            self.policy(),
            form.model_copy(update=shape),
            held_by=_FORMAT if guide is None else guide.param,
            left_open=frozenset(name for name in names if getattr(self, name, None) is None),
            call_schema=partial(schema_of_call, [tool["function"] for tool in form.tools]),
        )

    def ignored(self) -> list[str]:
        """The fields that change nothing here and might have been meant to, to be named."""
        turns = [
            name for turn in self.messages for name in (*turn.unknown_below, *unknown(turn.others))
        ]
        server_tools = [f"tools[].{tool.type}" for tool in self.tools or () if not tool.is_offered]
        # What describes a server tool says nothing by itself.
        below = [name for name in self.unknown_below if not (server_tools and "tools[]" in name)]
        return [
            *unknown(self.others, REFUSED, WITHOUT_EFFECT),
            *below,
            *(f"messages[].{name}" for name in turns),
            *server_tools,
        ]

    @property
    def one_call(self) -> bool:
        """Whether of several calls only the first is wanted."""
        return bool(self.tool_choice and self.tool_choice.disable_parallel_tool_use)

    @property
    def hides_thinking(self) -> bool:
        """Whether thinking is told of without its text."""
        return getattr(self.thinking, "display", None) == "omitted"

    def _drafts(self) -> list[DraftMessage]:
        conversation = Conversation(system_message(self.system or ()))
        for index, turn in enumerate(self.messages):
            conversation.add(turn, index)
        conversation.end()
        return conversation.messages

    def _form(self, guide: Guide | None) -> OutputFormat:
        has_none = self.tool_choice is not None and self.tool_choice.type == "none"
        functions = functions_of(self.tools or ())
        offered = [] if has_none else functions
        tools = [{"type": "function", "function": function} for function in offered]
        functions_to_call = forced(offered, self.tool_choice)
        called = None if functions_to_call is None else partial(schema_of_call, functions_to_call)
        return format_of_chat(tools, guide, called=called)

    def _guide(self) -> Guide | None:
        inner = self.output_config.format if self.output_config is not None else None
        if inner is not None and self.output_format is not None:
            raise ApiError("unsupported", f"Send {_FORMAT} alone.", param="output_format")
        name, asked = (_FORMAT, inner) if inner else ("output_format", self.output_format)
        if asked is None:
            return None
        return Guide(name, json_schema=as_text(asked.definition, param=name))

    @property
    def _effort(self) -> str | None:
        """How much the model is to think; None: as it does by itself."""
        if isinstance(self.thinking, ThinkingOff):
            return "none"
        asked = self.output_config.effort if self.output_config is not None else None
        if asked is not None:
            return _EFFORTS[asked]
        return _USUAL_EFFORT if isinstance(self.thinking, ThinkingOn) else None

    def _sampling(self) -> Sampling:
        budget = self.thinking.budget_tokens if isinstance(self.thinking, ThinkingOn) else None
        asked = Sampled(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=self.stop_sequences,
            seed=self.seed,
        )
        thinking_budget = None if budget is None else min(budget, MAX_TOKENS)
        return asked.sampled(self.max_tokens).model_copy(
            update={"thinking_budget": thinking_budget}
        )


class CreateBody(MessagesBody):
    """``POST /v1/messages``."""

    max_tokens: Annotated[int, Field(ge=1), INTEGRAL]
