"""A job's events as OpenAI's clients read them: a stream of chunks. Knows nothing of RQ or Redis
names."""

from __future__ import annotations

import json
from collections.abc import Sequence

from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.jobs.waiting.queue_look import Held, Place
from api.openai.responses import Answer, Json
from api.serving.reading import AnswerStream, interrupted, refused
from wire.log_entries import Entry
from wire.messages import Failed, Finished

DONE = b"data: [DONE]\n\n"


def sse(data: Json) -> bytes:
    """A chunk as an event."""
    return f"data: {json.dumps(data)}\n\n".encode("ascii")


class ChunkStream(AnswerStream):
    """The bytes of a streamed answer. After an error comes the same last line as after a good
    end."""

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        answer: Answer,
        begun: Sequence[Entry] = (),
    ) -> None:
        super().__init__(reader, records, keepalive_s, begun, "queued")
        self._answer = answer
        self._waits = not begun

    def _told(self, held: Held | None, place: Place | None) -> bytes:
        """A comment: no client takes it for a part of the answer."""
        said: list[str] = [held or "queued"]
        if place is not None:
            said += [f"position {place.position}", f"about {place.wait_s:.1f} s"]
        return f": {', '.join(said)}\n\n".encode("ascii")

    def _cut_off(self) -> bytes:
        return sse(interrupted().openai()) + DONE

    def _frame(self, entry: Entry) -> bytes:
        self._waits = False
        event = entry.event
        if isinstance(event, Failed):
            return sse(refused(event, self._answer).openai()) + DONE
        chunks = b"".join(sse(chunk) for chunk in self._answer.chunks(event))
        return chunks + DONE if isinstance(event, Finished) else chunks
