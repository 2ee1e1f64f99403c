"""Lets a vision model's processor encode text whose control tokens are escaped (see
``control_tokens``).

A processor puts a picture's tokens where its placeholder stands and has its tokeniser encode the
whole: an escaped placeholder in a client's text is none, and this tokeniser removes the escapes.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import BatchEncoding

from worker.backends.text.control_tokens import ControlTokens


class EscapedTokenizer:
    """Encodes escaped text; in all other respects the tokeniser that it wraps."""

    def __init__(self, tokenizer: Any, controls: ControlTokens, escape: str) -> None:
        self._tokenizer, self._controls, self._escape = tokenizer, controls, escape
        self.was_used = False

    def inside(self, processor: Any) -> Any:
        """A copy of the processor that encodes with this."""
        if processor is self._tokenizer:
            return self
        other = copy.copy(processor)
        other.tokenizer = self
        return other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def encode(self, text: str, *, add_special_tokens: bool = True, **_: Any) -> list[int]:
        self.was_used = True
        return self._controls.encode(text, self._escape, add_special_tokens=add_special_tokens)

    def __call__(
        self, text: Any = None, *, return_tensors: Any = None, **options: Any
    ) -> BatchEncoding:
        """Like a tokeniser's; there is one prompt, so nothing is padded."""
        several = isinstance(text, (list, tuple))
        rows = [self.encode(one, **options) for one in (text if several else [text])]
        masks = [[1] * len(row) for row in rows]
        if several or return_tensors is not None:
            return BatchEncoding(
                {"input_ids": rows, "attention_mask": masks}, tensor_type=return_tensors
            )
        return BatchEncoding({"input_ids": rows[0], "attention_mask": masks[0]})
