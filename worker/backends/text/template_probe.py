"""Which messages a chat template takes as lists of parts alone: templates that loop over parts
render a string as nothing, without an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
_PROBES = {"system": "probesystem", "user": "probequestion", "assistant": "probeanswer"}
_CONVERSATIONS = (
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "user"),
    ("user",),
)
"""Roles of messages to try, until a template takes them: many refuse a system message."""


def text_parts(text: str) -> list[Row]:
    """A text as a list of parts. Templates read its words under ``text`` or under ``content``."""
    return [{"type": "text", "text": text, "content": text}]


def roles_in_parts(render: Callable[[list[Row]], str]) -> frozenset[str]:
    """The roles whose texts ``render`` shows when they are parts, and not when they are strings."""
    as_strings = _shown(render, str)
    if as_strings >= set(_PROBES):
        return frozenset()
    return frozenset(_shown(render, text_parts) - as_strings)


def _shown(render: Callable[[list[Row]], str], content: Callable[[str], Any]) -> set[str]:
    """The roles whose texts come out of the template."""
    for roles in _CONVERSATIONS:
        rows = [{"role": role, "content": content(_PROBES[role])} for role in roles]
        try:
            rendered = render(rows)
        except Exception:  # Whatever a template raises, it doesn't take this conversation.
            continue
        # Templates change the case of words and strip what is around them.
        return {role for role in roles if _PROBES[role] in rendered.lower()}
    return set()


def shows_beside(render: Callable[[list[Row]], str], part: Row) -> bool:
    """Whether ``render`` shows a user's text beside another part, such as an image."""
    rows = [{"role": "user", "content": [part, *text_parts(_PROBES["user"])]}]
    try:
        return _PROBES["user"] in render(rows).lower()
    except Exception:  # Such as one about joining a list and a text.
        return False
