"""One prompt of a batch inside the engine: a chat without a stream.

Its text is decoded after its end, off the engine's thread, unless it has stop texts to look for.
"""

from __future__ import annotations

import time
from weakref import ReferenceType, ref

from wire.batches import BatchLine, BatchSlice, LineResult
from wire.messages import ChatJob, Delta, Failed, Finished, FinishReason, LoggedEvent
from worker.backends.base import Backend
from worker.sequence import Output, Sequence, TextDecoder

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
        """Whether its prompt is being tokenised."""
        self.warnings = list(line.warnings)
        """Warnings for its result, in sentences."""
        self._prepared_for: ReferenceType[Backend] | None = None
        self._outputs: list[Output] = []
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

    def accept(self, token: int) -> list[LoggedEvent]:
        """Count one more token; nothing is streamed."""
        if self.job.sampling.stop:
            deltas = [event for event in super().accept(token) if isinstance(event, Delta)]
            self._outputs.append(Output.together(deltas))
            return []
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.generated.append(token)
        return []

    def accept_last(self, token: int) -> None:
        super().accept_last(token)
        self._hidden = 1

    def finish(self, reason: FinishReason) -> list[LoggedEvent]:
        """End well; ``result`` decodes the text."""
        if self.end is None:
            self.end = Finished(reason, self.usage, self.timings, stop_reason=self.stop_text)
        return []

    def result(self) -> LineResult:
        """The line's result. Not for the engine's thread: this decodes the text."""
        assert self.end is not None, "there is no result before the end"
        number, custom_id = self.line.number, self.line.custom_id
        if isinstance(self.end, Failed):
            return LineResult(number, custom_id, error=(self.end.code, self.end.message))
        output = self._whole_output()
        return LineResult(
            number,
            custom_id,
            self.job.model_id,
            output.text,
            self.end.finish_reason,
            self.end.usage,
            reasoning=output.reasoning,
            tool_calls=output.tool_calls,
            stop_reason=self.end.stop_reason,
            warnings=tuple(self.warnings),
        )

    def _whole_output(self) -> Output:
        decoder = self._decoder
        assert decoder is not None, "a sequence ends well only after begin()"
        if not self.job.sampling.stop:
            shown = self.generated[: len(self.generated) - self._hidden]
            self._outputs = [decoder.add(token) for token in shown]
        if not self.stopped_by_text:
            self._outputs.append(decoder.finish())
        return Output.together(self._outputs)
