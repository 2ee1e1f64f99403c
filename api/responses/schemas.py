"""The body of ``POST /v1/responses``: every field here is honoured; see fields for others.

Turns a body into what the service is asked for. Knows no models, queue or Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from api.chat.frames import Likeliest
from api.chat.json_schema import ANY_OBJECT, as_text
from api.chat.request import ChatSpec
from api.chat.sampling import CappedTokenLimit
from api.chat.template_options import TemplateKwargs, options_of
from api.errors import ApiError
from api.openai import other_fields
from api.openai.guided import Guided, ObjectFormat, TextFormat, several_guides
from api.openai.tools import calls_of
from api.responses import fields
from api.responses.items import AdditionalTools, Input
from api.responses.tools import Choice, Tools, ToolSet, offered
from api.responses.turns import Turns
from api.schemas import Lenient, Text, whole
from api.serving.fields import unknown as unknown_fields
from api.serving.generation import Sampled, ThinkingLimit, Tiered
from api.serving.output_format import Guide, format_of_chat
from wire.messages import OutputFormat, Sampling
from wire.models.reasoning_effort import ReasoningEffort

FORMAT = "text.format"
MOST_METADATA = 16
HIGHEST = "high"
_NOT_HIGHER = f"The highest effort is {HIGHEST}: reasoning.effort counts as that."

Short = Annotated[str, Field(max_length=512), AfterValidator(whole)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64), AfterValidator(whole)], Short],
    Field(max_length=MOST_METADATA),
]
Effort = Literal[ReasoningEffort, "xhigh", "max"]
Summary = Literal["auto", "concise", "detailed"]


class JsonSchemaFormat(Lenient):
    """A named JSON schema; ``strict`` asks to refuse what can't be enforced."""

    type: Literal["json_schema"]
    name: Text
    definition: dict[str, Any] = Field(alias="schema")
    description: Text | None = None
    strict: bool | None = None


class TextConfig(Lenient):
    """``verbosity`` is accepted without effect."""

    format: TextFormat | ObjectFormat | JsonSchemaFormat | None = Field(None, discriminator="type")
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Lenient):
    """``generate_summary`` is an older name for ``summary``."""

    effort: Effort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Literal["standard"] | None = None


class StreamOptions(Lenient):
    without_effect: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for: the chat, its tools, and the fields that were ignored."""

    spec: ChatSpec
    tools: ToolSet
    ignored: tuple[str, ...]


class ResponsesBody(Sampled, ThinkingLimit, Guided, Tiered):
    """``POST /v1/responses``. Without a ``model`` the default one is meant."""

    model: Annotated[str, Field(max_length=255), AfterValidator(whole)] | None = None
    input: Input
    instructions: Text | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    include: Annotated[list[Short], Field(max_length=64)] | None = None
    max_output_tokens: CappedTokenLimit | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Likeliest | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: Short | None = None
    metadata: Metadata | None = None
    user: Short | None = None
    safety_identifier: Short | None = None
    prompt_cache_key: Short | None = None
    chat_template_kwargs: TemplateKwargs | None = None

    @property
    def one_call(self) -> bool:
        """Whether of several calls only the first is wanted."""
        return self.parallel_tool_calls is False

    @property
    def summary(self) -> Summary | None:
        """How the thinking is to be summed up, by its newer name or its older."""
        if self.reasoning is None:
            return None
        return self.reasoning.summary or self.reasoning.generate_summary

    def includes(self, what: str) -> bool:
        return what in (self.include or ())

    def asked(self, earlier: Sequence[Any] = ()) -> Asked:
        """What is asked for, also without submitting it, behind the items of the conversation
        before. Raises ApiError for what can't be had."""
        other_fields.refuse(self.others, fields.REFUSED, sentences=fields.SENTENCES)
        self._check_includes()
        tools = self._tool_set(earlier)
        turns = Turns(self.instructions)
        turns.add(earlier, "previous_response_id")
        turns.add(self.input)
        context = None if self.reasoning is None else self.reasoning.context
        drafts = turns.drafts(past_thinking=context != "current_turn")
        guide = self._guide()
        form = self._form(tools, guide)
        spec = ChatSpec(
            drafts,
            self._sampling(),
            self.policy("continue" if self.background else "cancel"),
            form,
            warnings=(_NOT_HIGHER,) if self._effort_is_capped else (),
            held_by=FORMAT if guide is None else guide.param,
            left_open=self.left_open(),
            call_schema=partial(calls_of, form.tools, None),
        )
        known = (fields.REFUSED, fields.WITHOUT_EFFECT)
        unknown = [*unknown_fields(self.others, *known), *self.unknown_below]
        return Asked(spec, tools, (*unknown, *tools.dropped, *turns.ignored))

    def _check_includes(self) -> None:
        for number, name in enumerate(self.include or ()):
            if name not in fields.INCLUDES:
                sentence = "There is nothing of this name to include."
                raise ApiError("invalid_request", sentence, param=f"include[{number}]")

    def _tool_set(self, earlier: Sequence[Any]) -> ToolSet:
        tools = ToolSet()
        tools.add(self.tools or (), "tools")
        for number, item in enumerate((*earlier, *self.input), -len(earlier)):
            if isinstance(item, AdditionalTools):
                tools.add(item.tools, f"input[{number}].tools", anew=True)
        return tools

    @property
    def _effort_is_capped(self) -> bool:
        return self.reasoning is not None and self.reasoning.effort in ("xhigh", "max")

    def _sampling(self) -> Sampling:
        asks = bool(self.top_logprobs) or self.includes(fields.LOGPROBS)
        more = {
            "thinking_budget": self.thinking_budget,
            "logprobs": (self.top_logprobs or 0) if asks else None,
        }
        return self.sampled(self.max_output_tokens).model_copy(update=more)

    def _guide(self) -> Guide | None:
        guide, schema = self.guide(), self._schema()
        if schema is None:
            return guide
        if guide is not None:
            raise several_guides(FORMAT, guide.param)
        return Guide(FORMAT, json_schema=schema)

    def _schema(self) -> str | None:
        wanted = None if self.text is None else self.text.format
        if isinstance(wanted, JsonSchemaFormat):
            return as_text(wanted.definition, strict=bool(wanted.strict), param=FORMAT)
        if isinstance(wanted, ObjectFormat):
            return as_text(wanted.definition or ANY_OBJECT, param=FORMAT)
        return None

    def _form(self, tools: ToolSet, guide: Guide | None) -> OutputFormat:
        functions, must_call = offered(tools, self.tool_choice)
        form = format_of_chat(
            functions,
            guide,
            called=partial(calls_of, functions, "required") if must_call else None,
            truncation=self.truncation or "disabled",
        )
        effort = None if self.reasoning is None else self.reasoning.effort
        options = options_of(
            self.chat_template_kwargs, HIGHEST if self._effort_is_capped else effort
        )
        return form.model_copy(update={"template_options": options})
