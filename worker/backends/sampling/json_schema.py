"""JSON schemas and grammars as masks over a model's vocabulary: which token may come next.

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

import numpy as np
from numpy.typing import NDArray

from wire.messages import OutputFormat
from wire.schemas import matching
from wire.schemas.check import SchemaCheck
from worker.backends.sampling.answer_grammar import either_grammar
from worker.backends.sampling.matcher import Kind, Matcher, Vocabulary
from worker.backends.text.chat_template import end_of_open_thinking
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.formats.prompt_tools import ANSWER_WITH_CALLS
from worker.backends.text.tokenizer_file import tokenizer_json
from worker.errors import WorkerError, invalid_schema

Mask = NDArray[np.bool_]


@cache
def schema_check() -> SchemaCheck:
    """The process that reads schemas first: not every job in Redis comes from an API that has had
    its schema read."""
    check = SchemaCheck()
    atexit.register(check.close)
    return check


def warnings_of(schema: str | None) -> list[str]:
    """Warnings about the parts of a job's schema that are not enforced, written by the API."""
    warnings = json.loads(schema).get(matching.WARNINGS_KEY) if schema is not None else None
    return [str(warning) for warning in warnings] if isinstance(warnings, list) else []


class Grammars:
    """Makes constraints for one model; converts its vocabulary with the first schema, in up to
    seconds in which other threads go on."""

    def __init__(self, tokenizer: Any, ends: Sequence[int]) -> None:
        """``ends`` are the tokens that end an answer."""
        self._tokenizer = tokenizer
        self._ends = list(ends)
        self._lock = threading.Lock()
        self._vocabulary: Vocabulary | None = None

    def constraint(
        self, form: OutputFormat, prompt_ids: Sequence[int], answer: Sequence[int] = ()
    ) -> Constraint:
        """The constraint of one answer, its next mask computed. Raises WorkerError for schemas and
        grammars that can't be enforced.

        ``answer`` is the part of the answer that exists already. After a prompt that ends in the
        middle of the model's thinking, the schema holds once the thinking has ended. Not for the
        engine's thread: reading a schema and computing its first mask may take long.
        """
        kind, text = _refuse_unread(form)
        after = end_of_open_thinking(self._tokenizer, prompt_ids)
        if form.may_call:
            kind, text = "lark", self._either(form, thinks=bool(after))
        vocabulary = self._llguidance_vocabulary()
        matcher = Matcher(vocabulary, text, kind)
        if error := matcher.error:
            # The matcher's message may quote the schema at length.
            raise invalid_schema(
                matching.known_reason(error) or "this model's matcher can't read it"
            )
        constraint = Constraint(matcher, vocabulary.ends, after)
        constraint.prepare(answer)
        if constraint.broken:
            raise invalid_schema(constraint.why)
        return constraint

    def _either(self, form: OutputFormat, *, thinks: bool) -> str:
        added = self._tokenizer._tokenizer.added_tokens_decoder
        special = {token.content: number for number, token in added.items() if token.special}
        marks = chat_format(self._tokenizer)
        return either_grammar(form, marks, special, self._ends, thinks=thinks)

    def _llguidance_vocabulary(self) -> Vocabulary:
        with self._lock:
            if self._vocabulary is None:
                try:
                    self._vocabulary = vocabulary_of(self._tokenizer, self._ends)
                except Exception as error:
                    raise WorkerError(
                        "unsupported", "This model's tokeniser knows no schemas."
                    ) from error
            return self._vocabulary


def vocabulary_of(tokenizer: Any, ends: Sequence[int]) -> Vocabulary:
    """``tokenizer`` is mlx_lm's wrapper. A model's files may name ends that it doesn't have, and
    llguidance would refuse them."""
    backend = tokenizer._tokenizer.backend_tokenizer
    known = set(tokenizer.get_vocab().values())
    return Vocabulary(
        tokenizer_json(tokenizer),
        lambda text: list(backend.encode(text, add_special_tokens=False).ids),
        [end for end in ends if end in known],
    )


def _refuse_unread(form: OutputFormat) -> tuple[Kind, str]:
    """The kind and the text of what an answer is held to. Raises WorkerError if the reading process
    refuses it."""
    kind: Kind = "json_schema" if form.grammar is None else form.grammar.kind
    text = form.json_schema if form.grammar is None else form.grammar.text
    assert text is not None, "only guided answers have a constraint"
    text = _read(kind, text)
    if form.call_schema is not None:
        _read("json_schema", form.call_schema)
    return ("lark", ANSWER_WITH_CALLS + text) if form.holds_calls else (kind, text)


def _read(kind: Kind, text: str) -> str:
    """The text as the reading process has it."""
    try:
        verdict = schema_check().verdict("kept" if kind == "json_schema" else kind, text)
    except OSError:
        raise WorkerError(
            "engine_failed", "The schema can't be read: no process can be started."
        ) from None
    if verdict.reason:
        raise invalid_schema(verdict.reason)
    return verdict.text or text


class Constraint:
    """One answer's state in its schema or grammar. Once ``broken`` it can't be followed and the
    answer may only end; ``why`` gives the reason.
    """

    def __init__(self, matcher: Matcher, ends: Sequence[int], after: tuple[int, ...]) -> None:
        """``after`` are the tokens after which the schema holds; without any, from the start."""
        self.broken = False
        self.why = ""
        self._matcher = matcher
        self._ends = list(ends)
        self._after = after
        self._thinking: list[int] | None = [] if after else None
        """The last tokens of thinking; None once the schema holds."""
        self._answer: list[int] = []
        self._bits = matcher.allocate_bits()
        self._bits_current = False
        """Whether ``_bits`` belong to the matcher's present state."""

    def prepare(self, answer: Sequence[int]) -> None:
        """Start after this part of the answer, and compute the next mask."""
        self.start(answer)
        if not self.broken and not self._matcher.stopped:
            self._compute_bits()

    def start(self, answer: Sequence[int]) -> None:
        """Start after this part of the answer; does nothing if the matcher is there already."""
        if list(answer) == self._answer:
            return
        self._matcher.reset()
        self._bits_current, self._answer = False, []
        self._thinking = [] if self._after else None
        for token in answer:
            self.accept(token)

    def accept(self, token: int) -> None:
        """The answer's next token."""
        self._answer.append(token)
        if self.broken:  # The token that ends the answer then is not the schema's.
            return
        if self._thinking is not None:
            self._thinking = [*self._thinking, token][-len(self._after) :]
            if tuple(self._thinking) == self._after:
                self._thinking = None
        elif not self._matcher.stopped:
            self._bits_current = False
            if not self._matcher.consume(token):
                self._break(matching.CONTRADICTION)

    def fill_mask(self, mask: Mask) -> None:
        """Write which tokens may come next; while the model is thinking all but those that end the
        answer. A model may have more logits than tokens, or fewer."""
        ends = [end for end in self._ends if end < len(mask)]
        if self._thinking is not None:
            mask[ends] = False
            return
        mask[:] = False
        if not self.broken and not self._matcher.stopped and not self._bits_current:
            self._compute_bits()
        if self.broken or self._matcher.stopped:
            mask[ends] = True
            return
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: len(mask)]
        mask[: len(bits)] = bits

    def _compute_bits(self) -> None:
        self._matcher.fill_bits(self._bits)
        self._bits_current = True
        if not self._bits.any():
            self._break(matching.CONTRADICTION)

    def _break(self, otherwise: str) -> None:
        self.broken = True
        self.why = matching.known_reason(self._matcher.error) or otherwise
