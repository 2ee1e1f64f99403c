"""A limit on how much a model thinks: when it has thought so many tokens, those that end its
thinking are forced, one after another.

What is forced depends on the answer's tokens alone. So an answer that a crash cut in the middle of
the forced tokens goes on in the middle of them. Knows no batch and no MLX.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from wire.messages import ChatJob
from worker.backends.text.chat_template import end_of_open_thinking
from worker.backends.text.decoder import Decoders
from worker.backends.text.formats import harmony
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.reasoning_effort import ends_thinking_at_once

_THOUGHT, _SAID = "probethought", "probesaid"
_PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": "probeasked"},
    {"role": "assistant", "content": _SAID, "reasoning_content": _THOUGHT},
]
Render = Callable[[list[dict[str, Any]]], str]
"""A conversation that has ended in, its text out. Raises an error of any type if the template
refuses it."""


class Reader(Protocol):
    """Reads an answer's tokens, and counts those that are thinking."""

    @property
    def thinks(self) -> bool: ...

    @property
    def reasoning_tokens(self) -> int: ...

    def add(self, token: int) -> object: ...


class ThinkingBudget:
    """The limit of one answer, in tokens between the marks. ``closing`` are the tokens that end the
    thinking; ``read`` makes a reader of the answer."""

    def __init__(
        self,
        tokens: int,
        closing: Sequence[int],
        read: Callable[[], Reader],
        answer: Sequence[int] = (),
    ) -> None:
        """``answer`` is the part of the answer that exists already."""
        self._tokens = tokens
        self._closing = tuple(closing)
        self._read = read
        self._begin(answer)

    def _begin(self, answer: Sequence[int]) -> None:
        self._answer: list[int] = []
        self._reader = self._read()
        self._last: tuple[int, ...] = ()
        """The answer's last tokens, fewer than those that end the thinking."""
        self._due: tuple[int, ...] = ()
        self._look()
        for token in answer:
            self.accept(token)

    def start(self, answer: Sequence[int]) -> None:
        """Start after this part of the answer; does nothing if it is there already."""
        if list(answer) != self._answer:
            self._begin(answer)

    @property
    def forced(self) -> int | None:
        """The only token that may come next; None if any may."""
        return self._due[0] if self._due else None

    def accept(self, token: int) -> None:
        """The answer's next token."""
        self._answer.append(token)
        self._reader.add(token)
        self._last = (*self._last, token)[-len(self._closing) + 1 :] if self._closing[1:] else ()
        self._due = self._due[1:]
        self._look()

    def _look(self) -> None:
        if self._due or not self._reader.thinks or self._reader.reasoning_tokens < self._tokens:
            return
        # The model may have begun to end its thinking by itself.
        begun = (n for n in range(len(self._last), 0, -1) if self._last[-n:] == self._closing[:n])
        self._due = self._closing[next(begun, 0) :]


class ThinkingBudgets:
    """Makes the budgets of one model's answers. Thread-safe."""

    def __init__(self, tokenizer: Any, decoders: Decoders, render: Render) -> None:
        """``tokenizer`` is mlx_lm's wrapper; ``render`` is the model's chat template."""
        self._tokenizer = tokenizer
        self._decoders = decoders
        self._render = render
        self._format = chat_format(tokenizer)
        self._lock = threading.Lock()
        self._closing: tuple[int, ...] | None = None

    def of(
        self, job: ChatJob, prompt_ids: Sequence[int], answer: Sequence[int] = ()
    ) -> ThinkingBudget | None:
        """The budget of an answer, of which a part may exist already; None without a limit, or for
        a model without marks of thinking."""
        tokens = job.sampling.thinking_budget
        if job.form.raw or not self._format.marks_thinking:
            return None
        if tokens is None and ends_thinking_at_once(job.form, self._tokenizer):
            tokens = 0
        if tokens is None:
            return None
        closing = self._closing_tokens()
        if job.form.is_guided:
            # The schema holds right behind the mark, and has no place for what a template writes.
            closing = end_of_open_thinking(self._tokenizer, prompt_ids)
            if job.form.may_call and self._format.is_harmony:
                closing = self._encoded(harmony.END_OF_THINKING)
            if not closing:
                return None
        return ThinkingBudget(tokens, closing, lambda: self._decoders.of(job, prompt_ids), answer)

    def _closing_tokens(self) -> tuple[int, ...]:
        with self._lock:
            if self._closing is None:
                text = self._closing_text()
                ids = self._encoded(text)
                if self._tokenizer.decode(list(ids)) != text:
                    # The tokeniser changes blanks behind the mark.
                    ids = self._encoded(self._format.thinking_end or "")
                self._closing = ids
            return self._closing

    def _closing_text(self) -> str:
        """The mark that ends the thinking, and what the template writes between it and a text."""
        if self._format.is_harmony:
            return harmony.FINAL_AFTER_THINKING
        end = self._format.thinking_end or ""
        try:
            rendered = self._render(_PROBE)
        except Exception:  # Templates raise errors of any type.
            return end
        between = rendered.partition(_THOUGHT)[2].partition(_SAID)
        found = between[0].find(end)
        return between[0][found:] if between[1] and found >= 0 else end

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(int(i) for i in self._tokenizer.encode(text, add_special_tokens=False))
