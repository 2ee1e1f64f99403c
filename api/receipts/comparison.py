"""Two answers, token by token: a chat's and its replay's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from wire.messages import Delta, Event, Failed, Finished

Result = Literal["identical", "differs"]


class Comparison(BaseModel):
    """``compared_tokens`` of the answer are the same from its start on.

    If the answers differ, ``token`` is the number of the first token that does, from 1;
    ``original_token`` and ``replay_token`` are the ids there, null for an answer that has ended by
    then.
    """

    result: Result
    compared_tokens: int
    token: int | None = None
    original_token: int | None = None
    replay_token: int | None = None


def compared(original: Sequence[Event], replay: Sequence[Event]) -> Comparison | None:
    """The comparison of two whole logs; None if the replay was ended before it told anything.

    Of an answer that was stopped, or has failed, there is nothing to compare behind its end.
    """
    was, now = _token_ids(original), _token_ids(replay)
    same = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), None)
    if same is None:
        same = min(len(was), len(now))
        if same == len(was) and _is_cut(original[-1]):
            return Comparison(result="identical", compared_tokens=same)
        if same == len(now) and _is_cut(replay[-1]):
            return None
        if len(was) == len(now) and _how_it_ended(original[-1]) == _how_it_ended(replay[-1]):
            return Comparison(result="identical", compared_tokens=same)
    return Comparison(
        result="differs",
        compared_tokens=same,
        token=same + 1,
        original_token=was[same] if same < len(was) else None,
        replay_token=now[same] if same < len(now) else None,
    )


def _token_ids(events: Sequence[Event]) -> list[int]:
    return [token for event in events if isinstance(event, Delta) for token in event.token_ids]


def _is_cut(end: Event) -> bool:
    return not isinstance(end, Finished) or end.finish_reason == "cancelled"


def _how_it_ended(end: Event) -> tuple[str, int]:
    """Also the number of tokens: the last of them may be no text, and in no delta."""
    assert isinstance(end, (Finished, Failed))
    reason = end.finish_reason if isinstance(end, Finished) else end.code
    return reason, end.usage.completion_tokens
