"""Whether an answer goes on in the words of the last message, or is a turn of its own."""

from __future__ import annotations

from collections.abc import Sequence

from api.errors import ApiError
from api.images.draft import DraftMessage

FIELD, NEW_TURN = "continue_final_message", "add_generation_prompt"


def goes_on(
    drafts: Sequence[DraftMessage],
    *,
    asked: bool | None,
    prefixes: Sequence[bool],
    new_turn: bool | None,
    has_schema: bool,
) -> bool:
    """Whether the last message goes on: by default one of the assistant's that has text and calls
    no tools does, unless the answer is held to a schema.

    ``asked`` is what the request says of it, ``prefixes`` what each message does, ``new_turn``
    whether the request wants the beginning of an answer behind the messages. Raises ApiError for
    what can't be had.
    """
    *before, is_prefix = prefixes
    if any(before):
        sentence = "Only the last message is continued: prefix must be false in others."
        raise ApiError("invalid_request", sentence, param=f"messages[{before.index(True)}].prefix")
    field = f"messages[{len(before)}].prefix" if is_prefix else FIELD
    if is_prefix and asked is False:
        sentence = f"A prefix is continued: {FIELD} can't be false beside it."
        raise ApiError("invalid_request", sentence, param=FIELD)
    if is_prefix or asked:
        _check_can_go_on(drafts[-1], field, new_turn=new_turn, has_schema=has_schema)
        return True
    by_default = drafts[-1].can_go_on and not has_schema
    if new_turn is False and (asked is False or not by_default):
        raise ApiError(
            "unsupported",
            f"An answer that continues no message is a turn of its own: {NEW_TURN} must be true.",
            param=NEW_TURN,
        )
    return asked is None and not new_turn and by_default


def _check_can_go_on(
    last: DraftMessage, field: str, *, new_turn: bool | None, has_schema: bool
) -> None:
    """Raises ApiError, which names the field that asks for it, if the message can't go on."""
    if new_turn:
        name = field.rsplit(".")[-1]
        raise ApiError("invalid_request", f"{name} and {NEW_TURN} can't both be true.", param=field)
    if not last.can_go_on:
        raise ApiError(
            "invalid_request",
            "Only a last message of role assistant that has text and calls no tools is continued.",
            param=field,
        )
    if has_schema:
        raise ApiError(
            "unsupported",
            "An answer that is held to a schema begins with it: it continues no message.",
            param=field,
        )
