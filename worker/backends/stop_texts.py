"""The stop texts of an answer. Knows no MLX."""

from __future__ import annotations

from collections.abc import Iterable


class StopTexts:
    """``texts`` end the answer, but not within its first ``min_tokens`` tokens: there they are
    text."""

    def __init__(self, texts: Iterable[str], min_tokens: int) -> None:
        self.heeded = min_tokens <= 0
        """Whether a text that ends with the newest token ends the answer."""
        self._texts = tuple(texts)
        self._unheeded = min_tokens

    def count_token(self) -> None:
        """Note that the answer has one more token."""
        self.heeded = self._unheeded <= 0
        self._unheeded -= 1

    def at_end(self, text: str) -> str | None:
        """The longest of them that a text ends with."""
        return max((stop for stop in self._texts if text.endswith(stop)), key=len, default=None)

    def inside(self, text: str) -> str | None:
        """The first of them, in the request's order, that a text contains."""
        return next((stop for stop in self._texts if stop in text), None)
