"""What answers are held to under the names of vLLM and llama-server: a schema, a choice, a regular
expression or a grammar.

OpenAI's own name for a schema is ``response_format``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core import from_json

from api.chat.json_schema import ANY_OBJECT, MOST_CHARACTERS, as_text
from api.errors import ApiError
from api.openai import other_fields
from api.schemas import Lenient, Text, whole
from api.serving.open_body import Open
from api.serving.output_format import Guide
from wire.messages import Grammar
from wire.schemas.rules import any_of

MOST_CHOICES = 1_000
_NESTED = "structured_outputs"

Pattern = Annotated[str, Field(max_length=MOST_CHARACTERS), AfterValidator(whole)]
SchemaOrText = dict[str, Any] | Text


def _not_too_long(choices: list[str]) -> list[str]:
    if sum(map(len, choices)) > MOST_CHARACTERS:
        raise ValueError(f"the choices have more than {MOST_CHARACTERS} characters together")
    return choices


Choices = Annotated[
    list[Annotated[str, Field(min_length=1), AfterValidator(whole)]],
    Field(max_length=MOST_CHOICES),
    AfterValidator(_not_too_long),
]


class TextFormat(Lenient):
    type: Literal["text"]


class ObjectFormat(Lenient):
    """Any JSON object, or as llama-server has it one of a schema."""

    type: Literal["json_object"]
    definition: dict[str, Any] | None = Field(None, alias="schema")


class Schema(Lenient):
    """A named JSON schema; ``strict`` asks to refuse what can't be enforced."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"name", "description"})

    definition: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Lenient):
    type: Literal["json_schema"]
    json_schema: Schema


class StructuredOutputs(Open):
    """vLLM's newer place for the same."""

    json_: SchemaOrText | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: Pattern | None = None
    choice: Choices | None = None
    grammar: Pattern | None = None


class Guided(Open):
    """Fields of chats and of completions. An empty text or list asks for nothing."""

    structured_outputs: StructuredOutputs | None = None
    guided_json: SchemaOrText | None = None
    guided_regex: Pattern | None = None
    guided_choice: Choices | None = None
    guided_grammar: Pattern | None = None
    grammar: Pattern | None = None

    def guide(self) -> Guide | None:
        """What the answer is to be held to. Raises ApiError for several things at once, and for
        fields of ``structured_outputs`` that can't be had."""
        asked = [
            _schema("guided_json", self.guided_json),
            _regex("guided_regex", self.guided_regex),
            _choice("guided_choice", self.guided_choice),
            _lark("guided_grammar", self.guided_grammar),
            _lark("grammar", self.grammar),
        ]
        if (inner := self.structured_outputs) is not None:
            other_fields.refuse_all(inner.others, f"{_NESTED}.")
            asked += [
                _schema(f"{_NESTED}.json", inner.json_),
                _regex(f"{_NESTED}.regex", inner.regex),
                _choice(f"{_NESTED}.choice", inner.choice),
                _schema(f"{_NESTED}.json_object", ANY_OBJECT if inner.json_object else None),
                _lark(f"{_NESTED}.grammar", inner.grammar),
            ]
        found = [guide for guide in asked if guide is not None]
        if len(found) > 1:
            raise several_guides(found[0].param, found[1].param)
        return found[0] if found else None


def several_guides(one: str, other: str) -> ApiError:
    sentence = f"An answer is held to one thing: send {one} or {other}."
    return ApiError("unsupported", sentence, param=other)


def _schema(param: str, schema: SchemaOrText | None) -> Guide | None:
    """The schema, which may be an object or its JSON."""
    if schema in (None, ""):
        return None
    if isinstance(schema, str) and len(schema) > MOST_CHARACTERS:
        sentence = f"{param} is longer than {MOST_CHARACTERS} characters."
        raise ApiError("invalid_schema", sentence, param=param)
    try:
        # Refuses what is nested too deeply; json.loads would exhaust the stack.
        read = from_json(schema) if isinstance(schema, str) else schema
    except ValueError:
        raise ApiError("invalid_schema", f"{param} is not JSON.", param=param) from None
    if not isinstance(read, dict):
        raise ApiError("invalid_schema", f"{param} is not an object.", param=param)
    return Guide(param, json_schema=as_text(read, param=param))


def _regex(param: str, regex: str | None) -> Guide | None:
    return Guide(param, grammar=Grammar(kind="regex", text=regex)) if regex else None


def _choice(param: str, choices: list[str] | None) -> Guide | None:
    return _regex(param, any_of(choices)) if choices else None


def _lark(param: str, grammar: str | None) -> Guide | None:
    return Guide(param, grammar=Grammar(kind="lark", text=grammar)) if grammar else None
