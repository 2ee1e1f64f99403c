"""JSON schemas as masks over a model's tokens: which token may come next, so that an answer keeps
its schema.

llguidance does the matching, on the host. A schema gets here only after a process of its own has
read it. Knows no batch and no MLX.
"""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import llguidance.numpy
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from wire.schemas import matching as matching
from wire.schemas.check import SchemaCheck
from worker.backends.text.chat_template import is_thinking
from worker.errors import WorkerError, invalid_schema

Mask = NDArray[np.bool_]


@cache
def schema_check() -> SchemaCheck:
    """What reads schemas first: jobs come from Redis, and not every writer there has had them
    read."""
    check = SchemaCheck()
    atexit.register(check.close)
    return check


def warnings_of(schema: str | None) -> list[str]:
    """What of a job's schema the answer won't keep, as the API has found it."""
    told = json.loads(schema).get(matching.WARNINGS_KEY) if schema is not None else None
    return [str(sentence) for sentence in told] if isinstance(told, list) else []


class Grammars:
    """One model's vocabulary as matchers need it, made with the first schema: it takes up to a
    second."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        """``ends`` are the tokens that end an answer."""
        self._tokenizer = tokenizer
        self._ends = list(ends)
        self._lock = threading.Lock()
        self._vocabulary: LLTokenizer | None = None

    def constraint(
        self, schema: str, prompt_ids: Sequence[int], said: Sequence[int] = ()
    ) -> Constraint:
        """What holds one answer to a schema, its next mask made. Raises WorkerError if that can't
        be.

        ``said`` is what the answer has already. A prompt that ends in the middle of the model's
        thinking lets it think to the end first. Not for the engine's thread: a first mask may take
        long, and so may the reading.
        """
        _refuse_unread(schema)
        after = (
            tuple(self._tokenizer.think_end_tokens)
            if is_thinking(self._tokenizer, prompt_ids)
            else ()
        )
        vocabulary = self._made()
        grammar = LLMatcher.grammar_from_json_schema(schema)
        matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=matching.limits())
        if matcher.is_error():
            # What the matcher says may quote the schema at length.
            reason = (
                matching.known_reason(matcher.get_error()) or "this model's matcher can't read it"
            )
            raise invalid_schema(reason)
        constraint = Constraint(matcher, vocabulary.vocab_size, self._ends, after)
        constraint.prepare(said)
        if constraint.broken:
            raise invalid_schema(constraint.why)
        return constraint

    def _made(self) -> LLTokenizer:
        with self._lock:
            if self._vocabulary is None:
                try:
                    self._vocabulary = from_tokenizer(
                        self._tokenizer._tokenizer, eos_token=self._ends
                    )
                except Exception as error:
                    raise WorkerError(
                        "unsupported", "This model's tokeniser knows no schemas."
                    ) from error
            return self._vocabulary


def _refuse_unread(schema: str) -> None:
    """Raises WorkerError for a schema that the process which reads them refuses."""
    try:
        verdict = schema_check().kept(schema)
    except OSError:
        raise WorkerError(
            "engine_failed", "The schema can't be read: no process can be started."
        ) from None
    if verdict.reason:
        raise invalid_schema(verdict.reason)


class Constraint:
    """One answer's way through its schema. Once ``broken`` it can't be followed, and the answer may
    only end.

    ``why`` says then what broke it.
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: int, ends: Sequence[int], after: tuple[int, ...]
    ) -> None:
        """``after`` are the tokens behind which the schema begins to hold; at once, without any."""
        self.broken = False
        self.why = ""
        self._matcher = matcher
        self._ends = list(ends)
        self._after = after
        self._thoughts: list[int] | None = [] if after else None
        self._said: list[int] = []
        self._bits = llguidance.numpy.allocate_token_bitmask(1, vocabulary)
        self._made = False
        """Whether ``_bits`` are of the place where the matcher is."""

    def prepare(self, said: Sequence[int]) -> None:
        """Go behind what the answer has already, and make the mask that comes next."""
        self.start(said)
        if not self.broken and not self._matcher.is_stopped():
            self._make()

    def start(self, said: Sequence[int]) -> None:
        """Begin anew, behind what the answer has already.

        Nothing is to be done where it was prepared for.
        """
        if list(said) == self._said:
            return
        self._matcher.reset()
        self._made, self._said = False, []
        self._thoughts = [] if self._after else None
        for token in said:
            self.take(token)

    def take(self, token: int) -> None:
        """The answer's next token."""
        self._said.append(token)
        if self.broken:  # What ends the answer then is not the schema's.
            return
        if self._thoughts is not None:
            self._thoughts = [*self._thoughts, token][-len(self._after) :]
            if tuple(self._thoughts) == self._after:
                self._thoughts = None
        elif not self._matcher.is_stopped():
            self._made = False
            if not self._matcher.consume_token(token):
                self._break(matching.CONTRADICTION)

    def allow(self, mask: Mask) -> None:
        """Write into a row of the batch which tokens may come next. A model may have more logits
        than tokens."""
        if self._thoughts is not None:
            return
        mask[:] = False
        if not self.broken and not self._matcher.is_stopped() and not self._made:
            self._make()
        if self.broken or self._matcher.is_stopped():
            mask[self._ends] = True
            return
        bits = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[: len(mask)]
        mask[: len(bits)] = bits

    def _make(self) -> None:
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits)
        self._made = True
        if self._matcher.is_error() or not self._bits.any():
            self._break(matching.CONTRADICTION)

    def _break(self, otherwise: str) -> None:
        self.broken = True
        self.why = matching.known_reason(self._matcher.get_error()) or otherwise
