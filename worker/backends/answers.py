"""What is made for each answer besides its prompt, for text and vision models alike: the decoder,
the limit on thinking and the constraint of a schema or a grammar. Knows no MLX arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wire.messages import OutputFormat
from worker.backends.sampling.json_schema import Grammars, warnings_of
from worker.backends.sampling.special_tokens import SpecialTokens
from worker.backends.sampling.thinking_budget import Render, ThinkingBudgets
from worker.backends.text.decoder import Decoders
from worker.backends.text.reasoning_effort import effort_warnings
from worker.sequence import Sequence


class Answers:
    """Begins the answers of one model. Thread-safe."""

    def __init__(self, tokenizer: Any, ends: Iterable[int], render: Render) -> None:
        """``tokenizer`` is mlx_lm's wrapper, ``ends`` are the model's end-of-text tokens, and
        ``render`` is its chat template."""
        self.special = SpecialTokens(frozenset(ends), frozenset(tokenizer.encode("\n")))
        self._tokenizer = tokenizer
        self._grammars = Grammars(tokenizer, sorted(self.special.ends))
        self._decoders = Decoders(tokenizer, self.special.ends)
        self._budgets = ThinkingBudgets(tokenizer, self._decoders, render)

    def begin(self, sequence: Sequence, prompt_ids: list[int]) -> None:
        """Give a sequence its prompt and what its answer needs. Raises WorkerError for a schema or
        a grammar that can't be enforced, and for a prompt with too many log-probabilities."""
        job, answer = sequence.job, [*sequence.emitted, *sequence.generated]
        sequence.begin(prompt_ids, self._decoders.of(job, prompt_ids))
        sequence.thinking_budget = self._budgets.of(job, prompt_ids, answer)
        if job.form.is_guided or job.form.holds_calls:
            sequence.constraint = self._grammars.constraint(job.form, prompt_ids, answer)

    def warnings(self, form: OutputFormat) -> list[str]:
        """What the client should know about the form of its answer, in sentences."""
        held = [*warnings_of(form.json_schema), *warnings_of(form.call_schema)]
        return [*held, *effort_warnings(form, self._tokenizer)]
