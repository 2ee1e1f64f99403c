"""Runs model commands on a thread of their own, and writes each one's answer as the end of its job.

Every command gets an answer: a client waits for it. worker.jobs.model_commands does what they ask.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from wire.messages import Failed, Finished, ModelCommand
from wire.token_log import Append, TokenLog
from worker.errors import WorkerError
from worker.jobs.model_commands import ModelCommands
from worker.jobs.rq_worker.bookkeeping import Ending, Outcome
from worker.jobs.rq_worker.ports import JobEnds
from worker.redis_retry import retry_until_answered

log = logging.getLogger(__name__)
BACKOFF = ExponentialBackoff(base=0.5, cap=0.5)
"""Waits before an answer is written again, seconds."""


class _Closed(Exception):
    """The worker ends."""


class CommandRunner:
    """``publish`` publishes what a command has changed."""

    def __init__(
        self,
        redis: Redis,
        commands: ModelCommands,
        publish: Callable[[], None],
        worker: JobEnds,
    ) -> None:
        self._commands, self._log = commands, TokenLog(redis)
        self._publish, self._worker = publish, worker
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model-commands")

    def submit(self, command: ModelCommand, attempt: int, number: int) -> None:
        """Run a command when its turn comes; its end is the log's entry of this number."""
        self._thread.submit(self._run, command, attempt, number)

    def close(self) -> None:
        self._closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, command: ModelCommand, attempt: int, number: int) -> None:
        event: Finished | Failed
        try:
            event = Finished("stop", result=self._commands.run(command))
        except WorkerError as error:
            event = Failed(error.code, error.message, param=error.param)
        except Exception as error:
            log.exception("model command %s failed", command.action)
            event = Failed("internal_error", f"The command failed ({type(error).__name__}).")
        self._answer(Append(command.job_id, "", attempt, number, event))
        if isinstance(event, Failed):
            ending = Ending(Outcome.FAILED, event.message, attempt=attempt)
        else:
            ending = Ending(Outcome.FINISHED, attempt=attempt)
        self._worker.ended(command.job_id, ending)

    def _answer(self, append: Append) -> None:
        """Write the end for as long as Redis takes to answer."""

        def answer() -> None:
            # Before the answer: a client that then asks for the models finds what it did.
            self._publish()
            self._log.append([append])

        with contextlib.suppress(_Closed):
            retry_until_answered(answer, BACKOFF, self._warn)

    def _warn(self, error: RedisError) -> None:
        if self._closing:
            raise _Closed
        log.warning("a command's answer can't be written (%s)", type(error).__name__)
