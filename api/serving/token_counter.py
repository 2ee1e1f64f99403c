"""Counts the tokens of a request's prompt, as its job would be billed for, without a job.

A process of its own makes the prompt with the worker's code (``worker.prompt_counter``), from the
files of the model on this machine. Knows no API's shapes, no RQ and no Redis.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from anyio import CapacityLimiter, to_thread

from api.auth.caller import Caller
from api.chat.request import ChatSpec
from api.errors import ApiError
from api.http.data_urls import DataUrls
from api.images.intake import ImageIntake
from api.periodic import repeat
from api.serving.reading import interrupted
from wire.counting import CountAnswer, CountQuestion
from wire.messages import ErrorCode, Message
from wire.model_registry import ModelRecord
from wire.processes.pool import ChildPool, Limits, Refused

COMMAND = (sys.executable, "-P", "-m", "worker.prompt_counter")
CHILDREN = 2
"""Prompts that are made at once; each process takes a processor."""
MOST_WAITING = 200
"""Requests that may wait; agents send fifty at once."""
WAIT_S = 120.0
"""How long a request waits in all."""
LIMITS = Limits(time_s=60.0, memory=2 << 30, answer=1 << 16, questions=10_000)
"""Of one process. The time is also for its start and for reading a tokeniser, which take some
seconds, and many on a machine that is busy."""
IDLE_S = 600.0
LOOK_S = 30.0
RETRY_S = 5
_KIND = "count"
_REFUSALS: dict[str, tuple[ErrorCode, str]] = {
    "time": ("job_timeout", "The prompt takes too long to count."),
    "memory": ("insufficient_memory", "The prompt takes too much memory to count."),
    "crash": ("engine_failed", "The prompt can't be counted: whatever reads it crashes."),
}


class TokenCounter:
    """Counts some prompts at once; others wait for their turn."""

    def __init__(
        self, images: ImageIntake, command: Sequence[str] = COMMAND, limits: Limits = LIMITS
    ) -> None:
        self.pool = ChildPool(
            command, limits, lambda _, data: CountAnswer.model_validate_json(data)
        )
        self._images = images
        # What a request takes, its pictures above all, is in memory only in its turn.
        self._turns = CapacityLimiter(CHILDREN)
        # A thread for each process: one whose request has stopped waiting is still in use.
        self._threads = CapacityLimiter(CHILDREN)
        self.waiting = 0
        """Requests that are counted or wait for their turn."""
        self._closed = False

    async def count(
        self, spec: ChatSpec, model: ModelRecord, urls: DataUrls, caller: Caller
    ) -> int:
        """How many tokens the prompt of this chat has: its ``prompt_tokens``, if it were sent.

        ``spec`` is as ``Chats.fitting`` makes it for the model.

        Raises ApiError for what can be refused of it, by this process or by a worker, and
        ``busy`` when too many others are counted.
        """
        if self.waiting >= MOST_WAITING:
            raise _busy()
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_S), self._turns:
                return await self._counted(spec, model, urls, caller)
        except TimeoutError:
            raise _busy() from None
        finally:
            self.waiting -= 1

    async def _counted(
        self, spec: ChatSpec, model: ModelRecord, urls: DataUrls, caller: Caller
    ) -> int:
        messages, pictures = await self._images.opened(spec.messages, urls)
        answer = await to_thread.run_sync(
            self._ask,
            *(spec, model, messages, pictures, caller),
            limiter=self._threads,
            abandon_on_cancel=True,
        )
        if answer.code is not None:
            raise ApiError(answer.code, answer.message, param=answer.param)
        return answer.tokens

    def _ask(
        self,
        spec: ChatSpec,
        model: ModelRecord,
        messages: tuple[Message, ...],
        pictures: Mapping[str, bytes],
        caller: Caller,
    ) -> CountAnswer:
        job = spec.job(_KIND, model, messages, caller.owner)
        try:
            return self.pool.ask(_KIND, CountQuestion(model, job, pictures).packed())
        except Refused as refused:
            if self._closed:
                raise interrupted() from None
            code, sentence = _REFUSALS.get(str(refused), _REFUSALS["crash"])
            raise ApiError(code, sentence) from None
        except OSError:
            raise _busy() from None

    async def run(self) -> None:
        """End processes that nobody has needed for a while, until cancelled."""
        await repeat(LOOK_S, self._look, "ending idle processes that count prompts")

    async def _look(self) -> None:
        await asyncio.to_thread(self.pool.close_idle, IDLE_S)

    def close(self) -> None:
        self._closed = True
        self.pool.close()


def _busy() -> ApiError:
    return ApiError("busy", "Too many prompts wait to be counted. Try again.", RETRY_S)
