"""JSON schemas as masks over a model's tokens: which token may come next, so that an answer keeps its schema.

llguidance does the matching, on the host. Knows no batch and no MLX.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import llguidance.numpy
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from worker.backends.conversation import is_thinking
from worker.errors import WorkerError

Mask = NDArray[np.bool_]


class Grammars:
    """One model's vocabulary as matchers need it, made with the first schema: it takes up to a second."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        """``ends`` are the tokens that end an answer."""
        self._tokenizer = tokenizer
        self._ends = list(ends)
        self._lock = threading.Lock()
        self._vocabulary: LLTokenizer | None = None

    def constraint(self, schema: str, prompt_ids: Sequence[int]) -> Constraint:
        """What holds one answer to a schema. Raises WorkerError for one that this model can't be held to.

        A prompt that ends in the middle of the model's thinking lets it think to the end first.
        """
        after = tuple(self._tokenizer.think_end_tokens) if is_thinking(self._tokenizer, prompt_ids) else ()
        vocabulary = self._made()
        matcher = LLMatcher(vocabulary, LLMatcher.grammar_from_json_schema(schema), log_level=0)
        if (
            matcher.is_error()
        ):  # The API has looked at the schema already. What the matcher says may quote it at length.
            raise WorkerError("invalid_schema", "The schema can't be used with this model.")
        return Constraint(matcher, vocabulary.vocab_size, self._ends, after)

    def _made(self) -> LLTokenizer:
        with self._lock:
            if self._vocabulary is None:
                try:
                    self._vocabulary = from_tokenizer(self._tokenizer._tokenizer, eos_token=self._ends)
                except Exception as error:
                    raise WorkerError("unsupported", "This model's tokeniser knows no schemas.") from error
            return self._vocabulary


class Constraint:
    """One answer's way through its schema. Once ``broken`` it can't be followed, and the answer may only end."""

    def __init__(self, matcher: LLMatcher, vocabulary: int, ends: Sequence[int], after: tuple[int, ...]) -> None:
        """``after`` are the tokens behind which the schema begins to hold; at once, without any."""
        self.broken = False
        self._untouched = matcher
        self._ends = list(ends)
        self._after = after
        self._bits = llguidance.numpy.allocate_token_bitmask(1, vocabulary)
        self.start(())

    def start(self, said: Sequence[int]) -> None:
        """Begin anew, behind what the answer has already."""
        self._matcher = self._untouched.deep_copy()
        self._thoughts: list[int] | None = [] if self._after else None
        for token in said:
            self.take(token)

    def take(self, token: int) -> None:
        """The answer's next token."""
        if self._thoughts is not None:
            self._thoughts = [*self._thoughts, token][-len(self._after) :]
            if tuple(self._thoughts) == self._after:
                self._thoughts = None
        elif not self._matcher.is_stopped():
            self.broken = not self._matcher.consume_token(token)

    def allow(self, mask: Mask) -> None:
        """Write into a row of the batch which tokens may come next. A model may have more logits than tokens."""
        if self._thoughts is not None:
            return
        mask[:] = False
        if self._matcher.is_stopped():
            mask[self._ends] = True
            return
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        bits = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[: len(mask)]
        mask[: len(bits)] = bits
        if not bits.any() or self._matcher.is_error():
            self.broken = True
            mask[self._ends] = True
