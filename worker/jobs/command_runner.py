"""Model commands on a thread of their own: each is run, and its answer written as the end of its
job.

What a command does is model_commands'. Nothing here may go unanswered: somebody waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from redis.exceptions import RedisError

from wire.messages import Failed, Finished, ModelCommand
from wire.token_log import Append, TokenLog
from worker.errors import WorkerError
from worker.jobs.model_commands import ModelCommands
from worker.jobs.rq_worker.bookkeeping import Outcome

log = logging.getLogger(__name__)
RETRY_S = 0.5


class CommandRunner:
    """``tell`` makes known what a command has changed; ``ended`` gets a job, its outcome and a
    reason."""

    def __init__(
        self,
        commands: ModelCommands,
        token_log: TokenLog,
        tell: Callable[[], None],
        ended: Callable[[str, Outcome, str], None],
    ) -> None:
        self._commands, self._log = commands, token_log
        self._tell, self._ended = tell, ended
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
            event = Failed(error.code, error.message)
        except Exception as error:
            log.exception("model command %s failed", command.action)
            event = Failed("internal_error", f"The command failed ({type(error).__name__}).")
        self._answer(Append(command.job_id, "", attempt, number, event))
        if isinstance(event, Failed):
            self._ended(command.job_id, Outcome.FAILED, event.message)
        else:
            self._ended(command.job_id, Outcome.FINISHED, "")

    def _answer(self, append: Append) -> None:
        """Write the end for as long as Redis takes to answer."""
        while not self._closing:
            try:
                # Before the answer: who asks for the models right after it finds what it did.
                self._tell()
                self._log.append([append])
                return
            except RedisError as error:
                log.warning("a command's answer can't be written (%s)", type(error).__name__)
                time.sleep(RETRY_S)
