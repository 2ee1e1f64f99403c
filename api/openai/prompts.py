"""The prompts of a completion: a text, several, the token ids of one, or those of several.

Knows no models: whether ids are in a vocabulary is looked at where the tokeniser is known.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from api.schemas import Text, integral, whole

MOST_PROMPTS = 64
LARGEST_ID = 2**31 - 1
Prompt = str | tuple[int, ...]
"""A text, or token ids."""
_FORM = "a prompt is a text, a list of texts, a list of token ids, or a list of such lists"

_Text = Annotated[Text, Field(min_length=1)]
_Ids = Annotated[list[Annotated[int, Field(ge=0, le=LARGEST_ID)]], Field(min_length=1)]
_Sent = (
    _Text
    | Annotated[list[_Text], Field(min_length=1, max_length=MOST_PROMPTS)]
    | _Ids
    | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
)


def _read(sent: Any) -> tuple[Prompt, ...]:
    """The prompts, in whichever of the four forms they were sent."""
    if isinstance(sent, str):
        return (_text(sent),)
    if not isinstance(sent, list):
        raise ValueError(_FORM)
    if not sent:
        raise ValueError("there must be a prompt")
    if type(sent[0]) in (int, float):
        return (_ids(sent),)
    if len(sent) > MOST_PROMPTS:
        raise ValueError(f"a request has {MOST_PROMPTS} prompts at most")
    kind = type(sent[0])
    if kind not in (str, list) or any(type(prompt) is not kind for prompt in sent):
        raise ValueError(_FORM)
    return tuple(_text(prompt) if kind is str else _ids(prompt) for prompt in sent)


def _text(text: str) -> str:
    if not text:
        raise ValueError("a prompt must not be empty")
    return whole(text)


def _ids(ids: list[Any]) -> tuple[int, ...]:
    if not ids:
        raise ValueError("a prompt must not be empty")
    read = tuple(map(integral, ids)) if float in set(map(type, ids)) else tuple(ids)
    # To Python, true is an integer as well.
    if set(map(type, read)) != {int} or min(read) < 0 or max(read) > LARGEST_ID:
        raise ValueError(f"a token id is an integer from 0 to {LARGEST_ID}")
    return read


Prompts = Annotated[tuple[Prompt, ...], PlainValidator(_read, json_schema_input_type=_Sent)]
