"""From token ids to text that may be shown: whole characters, stop texts cut out, thinking and
calls told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wire.messages import ChatJob
from worker.backends.text.detokenizer import REPLACEMENT, Detokenizer, detokenizers
from worker.backends.text.output_parser import OutputParser, syntax_of
from worker.sequence import Output


class StreamingDecoder:
    """A detokeniser, followed by the answer's channels if there is anything to tell apart."""

    def __init__(self, detokenizer: Detokenizer, channels: OutputParser | None = None) -> None:
        self._detokenizer = detokenizer
        self._channels = channels

    @property
    def stopped(self) -> bool:
        return self._channels is not None and self._channels.stopped

    @property
    def stop_text(self) -> str | None:
        return None if self._channels is None else self._channels.stop_text

    def add(self, token: int) -> Output:
        text = self._detokenizer.add(token)
        return Output(text) if self._channels is None else self._channels.add(text)

    def finish(self) -> Output:
        # A character cut in the middle comes out as a replacement character: the reader gets only
        # whole ones.
        text = self._detokenizer.finish().rstrip(REPLACEMENT)
        if self._channels is None:
            return Output(text)
        return Output.together([self._channels.add(text), self._channels.finish()])


class Decoders:
    """One model's. ``tokenizer`` is mlx_lm's wrapper of its tokeniser."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._detokenizers = detokenizers(tokenizer)

    def of(self, job: ChatJob, prompt_ids: Sequence[int]) -> StreamingDecoder:
        """The decoder of one answer; plain, and so without cost, unless there is something to
        look for."""
        style, stop = syntax_of(self._tokenizer, job, prompt_ids), job.sampling.stop
        channels = OutputParser(style, stop, job.job_id) if style.transitions or stop else None
        return StreamingDecoder(self._detokenizers(prompt_ids if job.form.raw else None), channels)
