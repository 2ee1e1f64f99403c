"""Commands about models, carried out by a worker: queued like a chat, answered by the log's end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api.errors import RETRY_SOON_S, ApiError, no_worker
from api.jobs.queue import JobQueue
from api.jobs.reader import LOOK_AGAIN_S, Reader
from api.jobs.records import JobRecords
from api.jobs.relay import Relay
from api.registry import RegistryReader
from wire.messages import Failed, Finished, ModelCommand


@dataclass(frozen=True, slots=True)
class ModelCommands:
    """What running a model command needs."""

    registry: RegistryReader
    jobs: JobQueue
    relay: Relay
    records: JobRecords

    async def run(self, command: ModelCommand) -> dict[str, Any]:
        """Queue a command, wait for its end, and return what the worker made of it.

        Raises ApiError when it failed or was lost.
        """
        if not await self.registry.worker_seen():
            raise no_worker()
        reader = self.relay.attach(command.job_id, replay=False)
        try:
            await self.jobs.submit_command(command)
            end = await self._end(reader)
        finally:
            reader.detach()
        if isinstance(end, Failed):
            raise ApiError(end.code, end.message, param=end.param)
        return end.result or {}

    async def _end(self, reader: Reader) -> Finished | Failed:
        while not reader.closed:
            for entry in await reader.batch(LOOK_AGAIN_S):
                event = entry.event
                if isinstance(event, (Finished, Failed)):
                    return event
            if await self.records.state(reader.job_id) == "gone":
                raise ApiError("job_lost", "The command was lost. Send it again.", RETRY_SOON_S)
            reader.look_again()
        raise ApiError(
            "job_lost",
            "The service is restarting; the command may still be carried out.",
            RETRY_SOON_S,
        )
