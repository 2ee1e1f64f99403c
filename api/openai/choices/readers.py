"""The readers of all answers to one request, and what they say first.

A refusal or failure of one answer is the whole response's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from api.errors import ApiError
from api.jobs.reader import Reader
from api.openai.choices.answer import ChoicesAnswer
from api.serving.reading import Beginning, unless_gone
from wire.messages import Delta, Finished


@dataclass(slots=True)
class ChoiceReaders:
    """A reader of each answer's log.

    ``stop`` ends all jobs, ``leave`` does what is due when the client has gone.
    """

    readers: Sequence[Reader]
    stop: Callable[[], None]
    leave: Callable[[], None]
    stopped: bool = False

    @property
    def ended(self) -> bool:
        return all(reader.ended for reader in self.readers)

    def leave_all(self) -> None:
        """Have all that read here come to an end."""
        for reader in self.readers:
            reader.leave()

    def fail(self) -> None:
        """One answer has failed: end the others."""
        self.leave_all()
        if not self.ended and not self.stopped:
            self.stopped = True
            self.stop()

    def close(self) -> None:
        """Detach; unless all have ended, the client has gone."""
        for reader in self.readers:
            reader.detach()
        if not self.ended and not self.stopped:
            self.leave()


async def begin(
    group: ChoiceReaders, answer: ChoicesAnswer, request: Request, limit_s: float
) -> list[Beginning] | None:
    """What the jobs say first; None when the client has gone, and all has been closed.

    Waits until every prompt has been accepted, but not once one answer has begun. Raises ApiError
    if one fails before any says anything.
    """
    beginnings = [Beginning(reader, answer.first) for reader in group.readers]
    here = False
    try:
        here = await unless_gone(_read(group, beginnings, limit_s), request)
    except ApiError:
        group.fail()
        raise
    finally:
        if not here:
            group.close()
    return beginnings if here else None


async def _read(group: ChoiceReaders, beginnings: Sequence[Beginning], limit_s: float) -> None:
    def enough() -> bool:
        return all(one.known for one in beginnings) or any(
            _says_something(one) or one.refusal is not None for one in beginnings
        )

    async def read(beginning: Beginning) -> None:
        await beginning.wait(limit_s, enough)
        # Not cancelled: a reader would forget what it was about to fetch.
        for reader in group.readers:
            reader.wake()

    await asyncio.gather(*map(read, beginnings))
    refusal = next((one.refusal for one in beginnings if one.refusal is not None), None)
    if refusal is not None and not any(map(_says_something, beginnings)):
        raise refusal


def _says_something(beginning: Beginning) -> bool:
    return any(isinstance(event, (Delta, Finished)) for event in beginning.events)
