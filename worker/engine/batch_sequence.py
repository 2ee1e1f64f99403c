"""One prompt of a batch inside the engine: a chat without a stream.

Its text is decoded after its end, off the engine's thread, unless it has stop texts to look for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from dataclasses import replace
from weakref import ReferenceType, ref

from wire.batches import BatchLine, BatchSlice, LineResult
from wire.messages import (
    ChatJob,
    Delta,
    Failed,
    Finished,
    FinishReason,
    LoggedEvent,
    TokenLogprob,
    whole_calls,
)
from worker.backends.base import Backend
from worker.logprobs import Measured, echo_of, with_bytes
from worker.sequence import Sequence
from worker.text_decoder import Output, TextDecoder

Group = tuple[str, str, bool]
"""Prompts of one batch and model; suspects are a group of their own."""


class BatchSequence(Sequence):
    """A line of a batch from the start of its slice to its result."""

    def __init__(self, line: BatchLine, part: BatchSlice, attempt: int) -> None:
        super().__init__(
            ChatJob(
                job_id=f"{part.job_id}:{line.number}",
                owner=part.owner,
                model_id=line.model_id,
                model_revision=line.model_revision,
                messages=line.messages,
                sampling=line.sampling,
                form=line.form,
                submitted_ms=0,
            ),
            attempt=attempt,
        )
        self.line = line
        self.part = part
        self.preparing = False
        """Whether its prompt is being tokenised or its model loaded, which can't be interrupted."""
        self.warnings = list(line.warnings)
        """Warnings for its result, in sentences."""
        self._prepared_for: ReferenceType[Backend] | None = None
        self._outputs: list[Output] = []
        self._measured: list[Measured] = []
        """Of the answer's tokens, if it is asked for; they get their bytes after the end, too."""
        self._of_prompt: list[Measured] = []
        self._shown: list[TokenLogprob] = []
        self._hidden = 0

    @property
    def batch_id(self) -> str:
        return self.part.batch_id

    @property
    def group(self) -> Group:
        return self.part.batch_id, self.job.model_id, self.suspect

    def same_model(self, other: BatchSequence) -> bool:
        """Whether both are for the same files of a model, so that their token ids agree."""
        mine, its = self.job, other.job
        return (mine.model_id, mine.model_revision) == (its.model_id, its.model_revision)

    def ready_for(self, lane: Backend) -> None:
        """Note which backend has prepared its prompt: that is lost when the model is unloaded."""
        self._prepared_for = ref(lane)

    def is_ready_for(self, lane: Backend) -> bool:
        return self._prepared_for is not None and self._prepared_for() is lane

    def begin(self, prompt_ids: list[int], decoder: TextDecoder) -> None:
        """Take the prompt's tokens; again, if its model was unloaded in between."""
        super().begin(prompt_ids, decoder)
        if self.job.sampling.stop:
            for token in self.generated:
                decoder.add(token)

    def echo(self, measured: Items[Measured] = ()) -> list[LoggedEvent]:
        """Keep what was measured of the prompt; nothing is streamed."""
        self._of_prompt, self._echoed = list(measured), True
        return []

    def accept(self, token: int, measured: Measured | None = None) -> list[LoggedEvent]:
        """Count one more token; nothing is streamed."""
        if self.job.sampling.stop:
            events = super().accept(token, measured)
            deltas = [event for event in events if isinstance(event, Delta)]
            self._outputs.append(Output.together(deltas))
            self._shown += (one for delta in deltas for one in delta.logprobs)
            return []
        if self._first_token is None:
            self._first_token = time.monotonic()
        if measured is not None:
            self._measured.append(measured)
        self.generated.append(token)
        return []

    def accept_last(self, token: int, measured: Measured | None = None) -> None:
        super().accept_last(token, measured)
        self._hidden = 1

    def finish(self, reason: FinishReason) -> list[LoggedEvent]:
        """End well; ``result`` decodes the text."""
        if self.end is None:
            self.end = Finished(reason, self.usage, self.timings, stop_reason=self.stop_reason)
        return []

    def result(self) -> LineResult:
        """The line's result. Not for the engine's thread: this decodes the text."""
        assert self.end is not None, "there is no result before the end"
        number, custom_id = self.line.number, self.line.custom_id
        if isinstance(self.end, Failed):
            error = (self.end.code, self.end.message)
            return LineResult(number, custom_id, error=error, param=self.end.param)
        output = self._whole_output()
        # Text that was held back until the end may have held a stop text.
        cut = self.end.finish_reason == "length" and self.stopped_by_text
        assert self._decoder is not None, "a sequence ends well only after begin()"
        usage = replace(self.end.usage, reasoning_tokens=self._decoder.reasoning_tokens)
        echo = self._echo()
        return LineResult(
            number,
            custom_id,
            self.job.model_id,
            output.text,
            "stop" if cut else self.end.finish_reason,
            usage,
            reasoning=output.reasoning,
            tool_calls=whole_calls(output.tool_calls),
            stop_reason=self.stop_reason if cut else self.end.stop_reason,
            warnings=tuple(self.warnings),
            logprobs=tuple(self._shown),
            prompt=None if echo is None else echo.text,
            prompt_logprobs=() if echo is None else echo.prompt or (),
            last=self.last if self.job.form.raw else None,
            sampling=self.job.sampling,
            asked=self.line.asked,
        )

    def _whole_output(self) -> Output:
        decoder = self._decoder
        assert decoder is not None, "a sequence ends well only after begin()"
        if not self.job.sampling.stop:
            shown = self.generated[: len(self.generated) - self._hidden]
            self._outputs = [decoder.add(token) for token in shown]
            if self._measured:
                before = self.prompt_ids if self.job.form.raw else ()
                self._shown = with_bytes(shown, self._measured, decoder, before)
        if not self.stopped_by_text:
            self._outputs.append(decoder.finish())
            self._shown += self._told
        return Output.together(self._outputs)

    def _echo(self) -> Delta | None:
        decoder = self._decoder
        assert decoder is not None, "a sequence ends well only after begin()"
        if not self.job.form.echo:
            return None
        return echo_of(self.job, self.prompt_ids, self._of_prompt, decoder)
