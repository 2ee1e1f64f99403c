"""A job's events as OpenAI's clients read them: a stream of chunks. Knows nothing of RQ or Redis
names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from api.chat.stream import Stream, StreamOptions
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.openai.responses import Answer, Json
from api.serving.reading import interrupted, refused
from wire.log_entries import Entry
from wire.messages import Failed, Finished

DONE = b"data: [DONE]\n\n"


def sse(data: Json) -> bytes:
    """A chunk as an event."""
    return f"data: {json.dumps(data)}\n\n".encode("ascii")


class ChunkStream(Stream):
    """The bytes of a streamed answer, from a beginning that has been read already.

    After an error comes the same last line as after a good end.
    """

    def __init__(
        self,
        reader: Reader,
        records: JobRecords,
        keepalive_s: float,
        answer: Answer,
        begun: Sequence[Entry] = (),
    ) -> None:
        super().__init__(reader, records, StreamOptions(frozenset(), keepalive_s), "queued")
        self._answer = answer
        self._begun = begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in super().__aiter__():
            yield chunk
        if not self._reader.ended:
            yield sse(interrupted().openai()) + DONE

    def _beginning(self) -> bytes:
        return b"".join(self._frame(entry) for entry in self._begun)

    def _frame(self, entry: Entry) -> bytes:
        event = entry.event
        if isinstance(event, Failed):
            return sse(refused(event, self._answer).openai()) + DONE
        chunks = b"".join(sse(chunk) for chunk in self._answer.chunks(event))
        return chunks + DONE if isinstance(event, Finished) else chunks
