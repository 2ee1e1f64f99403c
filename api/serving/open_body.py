"""Request bodies that keep unknown fields, so that they can be honoured, refused or named."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, PrivateAttr, model_validator

from api.schemas import Lenient
from api.serving.fields import unknown


@functools.cache
def _names(shape: type[BaseModel]) -> frozenset[str]:
    """The names that the fields of a body have in JSON."""
    return frozenset(field.alias or name for name, field in shape.model_fields.items())


class Open(Lenient):
    """A body that keeps unknown fields, so that they can be honoured, refused or named."""

    _others: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _below: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="wrap")
    @classmethod
    def _noting_others(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        read = handler(data)
        if isinstance(data, dict):
            others = {name: value for name, value in data.items() if name not in _names(cls)}
            if others:  # Setting it costs, and most messages have none.
                read._others = others
            if below := frozenset(unknown_below(read, data)):
                read._below = below
        return read

    @property
    def others(self) -> Mapping[str, Any]:
        """The fields that this shape doesn't have, as they were sent."""
        return self._others

    @property
    def unknown_below(self) -> frozenset[str]:
        """The unknown fields of what its fields hold, such as ``content[].cache_control``."""
        return self._below


def unknown_below(read: BaseModel, sent: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The unknown fields, of those that are set, of the shapes in a shape; but for those of open
    shapes, which note their own."""
    for name, value in sent.items():
        if isinstance(value, (list, dict)) and name in type(read).model_fields:
            yield from _unknown_in(getattr(read, name), value, f"{prefix}{name}")


def _unknown_in(read: Any, sent: Any, place: str) -> Iterator[str]:
    if isinstance(read, list) and isinstance(sent, list):
        for one, value in zip(read, sent, strict=False):
            yield from _unknown_in(one, value, f"{place}[]")
    elif isinstance(read, Lenient) and not isinstance(read, Open) and isinstance(sent, dict):
        yield from unknown(sent, known_to(type(read)), prefix=f"{place}.")
        yield from unknown_below(read, sent, f"{place}.")


@functools.cache
def known_to(shape: type[Lenient]) -> frozenset[str]:
    """The fields of a shape, and those that may stand there without effect."""
    own = {field.alias or name for name, field in shape.model_fields.items()}
    return frozenset(own | shape.without_effect)
