"""What following a chat that was queued before needs, whatever API the request came by."""

from __future__ import annotations

from dataclasses import dataclass

from api.chat.disconnects import DisconnectWatcher
from api.jobs.reader import Reader
from api.jobs.records import JobRecords
from api.jobs.relay import Relay


@dataclass(frozen=True, slots=True)
class ChatReaders:
    """Attaches clients to the logs of chats. ``keepalive_s`` is how long a stream may be silent."""

    records: JobRecords
    relay: Relay
    disconnects: DisconnectWatcher
    keepalive_s: float

    async def attach(self, job_id: str, cursor: int = 0, *, by_tokens: bool = True) -> Reader:
        """A reader of what the log holds after the cursor, and of what follows."""
        await self.disconnects.note([job_id])
        return self.relay.attach(job_id, cursor, replay=True, by_tokens=by_tokens)
