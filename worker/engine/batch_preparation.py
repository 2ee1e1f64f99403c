"""Tokenises prompts of batches on another thread, those that wait for the same model together.

Everything but the tokenising runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from worker.backends.base import Backend
from worker.engine.batch_queue import BatchQueue
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext
from worker.engine.prompt_thread import Prepared, PromptThread
from worker.engine.suspects import SuspectSlot

Fail = Callable[[BatchSequence, Exception], None]


class BatchPreparation:
    """Prepares prompts that are in the queue; ``fail`` gets those that can't be."""

    def __init__(
        self,
        thread: PromptThread,
        queue: BatchQueue,
        suspect: SuspectSlot,
        context: EngineContext,
        fail: Fail,
    ) -> None:
        self._thread = thread
        self._queue = queue
        self._suspect = suspect
        self._context = context
        self._fail = fail

    def begin(self, sequence: BatchSequence, lane: Backend) -> None:
        """Tokenise a prompt, and all of its group that wait for it as well.

        They become ready together: prompts that join a batch together cost less than one by one. A
        suspect is prepared alone.
        """
        alike = [s for s in self._queue if s.group == sequence.group]
        group = [s for s in alike if not s.preparing and not s.is_ready_for(lane)]
        if sequence.suspect:
            self._suspect.let_in(sequence)
            group = [sequence]
        for one in group:
            one.preparing = True
        self._thread.prepare(lane, group).add_done_callback(partial(self._when_prepared, lane))

    def _when_prepared(
        self, lane: Backend, prepared: Future[list[Prepared[BatchSequence]]]
    ) -> None:
        if not prepared.cancelled():  # Else this engine is being closed.
            self._context.post(partial(self._prepared, lane, prepared.result()))

    def _prepared(self, lane: Backend, group: list[Prepared[BatchSequence]]) -> None:
        for sequence, prepared in group:
            sequence.preparing = False
            if sequence not in self._queue:
                self._suspect.ended(sequence)
                continue
            error = prepared.exception()
            if error is None and sequence.tokens_left > 0:
                sequence.ready_for(lane)
                sequence.warnings += prepared.result()
                continue
            self._queue.remove(sequence)
            self._fail(
                sequence, error if isinstance(error, Exception) else RuntimeError("cancelled")
            )
