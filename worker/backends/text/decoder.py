"""From token ids to output: whole characters, without stop texts, split into text, thinking and
tool calls; and how many of the tokens are thinking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wire.messages import ChatJob
from worker.backends.text.chat_template import end_of_open_thinking
from worker.backends.text.continuation import is_thought
from worker.backends.text.detokenizer import REPLACEMENT, Detokenizer, detokenizers
from worker.backends.text.formats.chat_format import ChatFormat, chat_format
from worker.backends.text.formats.syntax import OutputSyntax
from worker.backends.text.output_parser import OutputParser
from worker.backends.text.output_syntax import syntax_of, thinking_syntax_of
from worker.text_decoder import Output


def parser_of(syntax: OutputSyntax, job: ChatJob) -> OutputParser:
    """What splits a job's answer."""
    sampling, form = job.sampling, job.form
    return OutputParser(
        syntax, sampling.stop, job.job_id, sampling.min_tokens, call_pieces=form.call_pieces
    )


class ReasoningCounter:
    """Counts the tokens between the marks of thinking; those of the marks aren't counted.

    ``parser`` finds the marks; nothing else may add text to it.
    """

    def __init__(self, parser: OutputParser) -> None:
        self.parser = parser
        self._counted = 0
        self._held = 0
        """The last tokens, which may be the beginning of the mark that ends the thinking."""

    @property
    def tokens(self) -> int:
        return self._counted + self._held

    def add(self, text: str) -> Output:
        """Count a token by its text, and return what the parser makes of it."""
        thought = self.parser.thinks
        output = self.parser.add(text)
        if not (thought and self.parser.thinks):
            self._held = 0
            return output
        self._held += 1
        if len(self.parser.held) < max(1, len(text)):
            self._counted, self._held = self.tokens, 0
        return output


class StreamingDecoder:
    """A detokeniser, followed by an output parser if there is anything to split, and by a counter
    if the model marks its thinking: the parser's, or one with a parser of its own.

    ``hidden`` are tokens that are no text.
    """

    def __init__(
        self,
        detokenizer: Detokenizer,
        parser: OutputParser | None = None,
        counter: ReasoningCounter | None = None,
        *,
        hidden: frozenset[int] = frozenset(),
    ) -> None:
        self._detokenizer = detokenizer
        self._parser = parser
        self._counter = counter
        self._hidden = hidden

    @property
    def stopped(self) -> bool:
        return self._parser is not None and self._parser.stopped

    @property
    def stop_text(self) -> str | None:
        return None if self._parser is None else self._parser.stop_text

    @property
    def has_open_call(self) -> bool:
        return self._parser is not None and self._parser.has_open_call

    @property
    def reasoning_tokens(self) -> int:
        return 0 if self._counter is None else self._counter.tokens

    @property
    def thinks(self) -> bool:
        """Whether the next token is thinking, or of the mark that ends it."""
        return self._counter is not None and self._counter.parser.thinks

    def add(self, token: int) -> Output:
        text = "" if token in self._hidden else self._detokenizer.add(token)
        if self._counter is not None:
            output = self._counter.add(text)
            if self._counter.parser is self._parser:
                return output
        return Output(text) if self._parser is None else self._parser.add(text)

    def finish(self) -> Output:
        # An incomplete character becomes a replacement character: clients get only whole ones.
        text = self._detokenizer.finish().rstrip(REPLACEMENT)
        if self._parser is None:
            return Output(text)
        return self._parser.finish(text)

    def token_bytes(self, token: int, before: Sequence[int], *, of_prompt: bool = False) -> bytes:
        return self._detokenizer.bytes_of(token, before, of_prompt=of_prompt)


class Decoders:
    """Makes the decoders of one model. ``tokenizer`` is mlx_lm's wrapper of its tokeniser, ``ends``
    are its end-of-text tokens, which are no text where they don't end the answer."""

    def __init__(self, tokenizer: Any, ends: frozenset[int] = frozenset()) -> None:
        self._tokenizer = tokenizer
        self._ends = ends
        self._detokenizers = detokenizers(tokenizer)

    def of(self, job: ChatJob, prompt_ids: Sequence[int]) -> StreamingDecoder:
        """The decoder of one answer; without a parser unless there is something to parse."""
        form, goes_on = chat_format(self._tokenizer), job.form.continue_final
        begun = {
            "opens_thinking": bool(end_of_open_thinking(self._tokenizer, prompt_ids))
            or (goes_on and is_thought(job.messages[-1], form)),
            "goes_on": goes_on,
        }
        syntax, sampling = syntax_of(form, job, **begun), job.sampling
        parser = None
        if syntax.transitions or sampling.stop:
            parser = parser_of(syntax, job)
        return StreamingDecoder(
            self._detokenizers(prompt_ids if job.form.raw or goes_on else None),
            parser,
            self._counter(job, form, parser, begun),
            hidden=self._ends if sampling.ignore_eos else frozenset(),
        )

    def _counter(
        self, job: ChatJob, form: ChatFormat, parser: OutputParser | None, begun: dict[str, bool]
    ) -> ReasoningCounter | None:
        """What counts an answer's thinking."""
        if not form.marks_thinking or job.form.raw:
            return None
        if parser is not None and job.form.separate:
            return ReasoningCounter(parser)
        return ReasoningCounter(
            OutputParser(thinking_syntax_of(form, job, **begun), (), job.job_id)
        )
