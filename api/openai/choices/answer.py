"""Several answers as one response: their indexes, their usage, their warnings. Pure: events in,
JSON out.

Knows no requests, no readers and no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from api.openai.responses import Answer, Json, usage_of
from wire.messages import Event, Finished, Usage


class ChoicesAnswer:
    """One response with a choice for each answer, built chunk by chunk or whole.

    ``answers`` are to the first prompt, then to the second, and so on, ``each`` to each; they say
    nothing of usage themselves.
    """

    def __init__(self, answers: Sequence[Answer], each: int, *, with_usage: bool = False) -> None:
        self._answers = answers
        self._each = each
        self._with_usage = with_usage
        self._told: set[str] = set()

    @property
    def first(self) -> Answer:
        return self._answers[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences known before any event."""
        return tuple(dict.fromkeys(text for one in self._answers for text in one.warnings))

    def chunks(self, index: int, event: Event) -> list[Json]:
        """The chunks that an event of one answer brings."""
        chunks = [self._placed(chunk, index) for chunk in self._answers[index].chunks(event)]
        return [chunk | {"usage": None} for chunk in chunks] if self._with_usage else chunks

    def last(self, ends: Sequence[Finished]) -> list[Json]:
        """What follows the end of the last answer."""
        return [self.first.usage_chunk(self._usage(ends))] if self._with_usage else []

    def whole(self, events: Sequence[Sequence[Event]], ends: Sequence[Finished]) -> Json:
        """The answer to a request without a stream."""
        bodies = [
            answer.whole(said, end)
            for answer, said, end in zip(self._answers, events, ends, strict=True)
        ]
        choices = [
            choice
            for index, body in enumerate(bodies)
            for choice in self._placed(body, index)["choices"]
        ]
        body = bodies[0] | {"choices": choices, "usage": usage_of(self._usage(ends))}
        warnings = list(dict.fromkeys(text for one in bodies for text in one.get("warnings", ())))
        if warnings:
            body["warnings"] = warnings
        if any(one.get("cancelled") for one in bodies):
            body["cancelled"] = True
        return body

    def _placed(self, body: Json, index: int) -> Json:
        """A body with the index of its answer, and without warnings that were told before."""
        placed: Json = body | {"choices": [one | {"index": index} for one in body["choices"]]}
        untold = [text for text in placed.pop("warnings", ()) if text not in self._told]
        self._told.update(untold)
        return placed | {"warnings": untold} if untold else placed

    def _usage(self, ends: Sequence[Finished]) -> Usage:
        return usage_together([end.usage for end in ends], self._each)


def usage_together(usages: Sequence[Usage], each: int) -> Usage:
    """The usage of several answers, ``each`` to every prompt: a prompt counts once, as in OpenAI's
    API and vLLM, and so do those of its tokens that none of its answers read."""
    summed: dict[str, Any] = {
        field.name: sum(getattr(usage, field.name) for usage in usages) for field in fields(Usage)
    }
    prompts = [usages[start : start + each] for start in range(0, len(usages), each)]
    summed["prompt_tokens"] = sum(answers[0].prompt_tokens for answers in prompts)
    summed["cached_tokens"] = sum(min(one.cached_tokens for one in answers) for answers in prompts)
    return Usage(**summed)
