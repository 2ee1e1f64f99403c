"""What a backend's decoder makes of an answer's tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from wire.messages import Delta, ToolCallDelta
from worker.logprobs import TokenWriter


class Output(NamedTuple):
    """Decoded output of a model: text, reasoning, tool calls."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    @classmethod
    def together(cls, pieces: Iterable[Output | Delta]) -> Output:
        """Several pieces as one."""
        parts = list(pieces)
        return cls(
            "".join(piece.text for piece in parts),
            "".join(piece.reasoning for piece in parts),
            tuple(call for piece in parts for call in piece.tool_calls),
        )


class TextDecoder(TokenWriter, Protocol):
    """Turns token ids into text that is safe to show: whole characters, no part of a stop text."""

    @property
    def stopped(self) -> bool:
        """Whether a stop text has been seen; the text after it is dropped."""

    @property
    def stop_text(self) -> str | None:
        """The stop text that has been seen."""

    @property
    def has_open_call(self) -> bool:
        """Whether a call that was begun to be told can't be read, or has no end yet."""

    @property
    def reasoning_tokens(self) -> int:
        """How many of the tokens are thinking."""

    def add(self, token: int) -> Output:
        """The output that is safe to show with this token; may be empty."""

    def finish(self) -> Output:
        """The output that is still held back."""
