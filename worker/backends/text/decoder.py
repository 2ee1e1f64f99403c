"""From token ids to output: whole characters, without stop texts, split into text, thinking and
tool calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wire.messages import ChatJob
from worker.backends.text.chat_template import end_of_open_thinking
from worker.backends.text.detokenizer import REPLACEMENT, Detokenizer, detokenizers
from worker.backends.text.formats.chat_format import chat_format
from worker.backends.text.output_parser import OutputParser
from worker.backends.text.output_syntax import syntax_of
from worker.sequence import Output


class StreamingDecoder:
    """A detokeniser, followed by an output parser if there is anything to split."""

    def __init__(self, detokenizer: Detokenizer, parser: OutputParser | None = None) -> None:
        self._detokenizer = detokenizer
        self._parser = parser

    @property
    def stopped(self) -> bool:
        return self._parser is not None and self._parser.stopped

    @property
    def stop_text(self) -> str | None:
        return None if self._parser is None else self._parser.stop_text

    def add(self, token: int) -> Output:
        text = self._detokenizer.add(token)
        return Output(text) if self._parser is None else self._parser.add(text)

    def finish(self) -> Output:
        # An incomplete character becomes a replacement character: clients get only whole ones.
        text = self._detokenizer.finish().rstrip(REPLACEMENT)
        if self._parser is None:
            return Output(text)
        return Output.together([self._parser.add(text), self._parser.finish()])


class Decoders:
    """Makes the decoders of one model. ``tokenizer`` is mlx_lm's wrapper of its tokeniser."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._detokenizers = detokenizers(tokenizer)

    def of(self, job: ChatJob, prompt_ids: Sequence[int]) -> StreamingDecoder:
        """The decoder of one answer; without a parser unless there is something to parse."""
        is_thinking = bool(end_of_open_thinking(self._tokenizer, prompt_ids))
        syntax = syntax_of(chat_format(self._tokenizer), job, opens_thinking=is_thinking)
        stop = job.sampling.stop
        parser = OutputParser(syntax, stop, job.job_id) if syntax.transitions or stop else None
        return StreamingDecoder(self._detokenizers(prompt_ids if job.form.raw else None), parser)
