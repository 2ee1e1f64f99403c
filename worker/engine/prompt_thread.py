"""A thread that tokenises prompts for the engine: streams must not wait for a long one.

Knows backends by their ``prepare``, and no MLX.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from worker.backends.base import Backend
from worker.engine.admission_window import AdmissionWindow
from worker.engine.batch_queue import BatchQueue
from worker.engine.batch_sequence import BatchSequence
from worker.engine.context import EngineContext, attempt
from worker.engine.suspects import SuspectSlot
from worker.errors import WorkerError
from worker.models.loaded import LoadedModels
from worker.sequence import Enter, Sequence

LONG_PROMPT_CHARACTERS = 8_000
LONG_PROMPT_TOKENS = 2_000
"""A longer prompt, or one with images, tools or a schema, is prepared on another thread. What was
said before a crash, and a prompt of token ids, are counted in tokens."""
One = TypeVar("One", bound=Sequence)
Ready = Future[list[str]]
Prepared = tuple[One, Ready]
"""A prompt, and the warnings about it or its error."""


def takes_long(sequence: Sequence) -> bool:
    """Whether to prepare a prompt on another thread."""
    job = sequence.job
    if sequence.images or job.form.tools or job.form.is_guided:
        return True
    if len(sequence.emitted) + len(job.form.prompt_ids or ()) > LONG_PROMPT_TOKENS:
        return True
    return sum(len(message.text()) for message in job.messages) > LONG_PROMPT_CHARACTERS


class PromptThread(ThreadPoolExecutor):
    """One thread: prompts are prepared in the order in which they come."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)
        self._began: float | None = None

    def prepare(self, backend: Backend, prompts: Items[One]) -> Future[list[Prepared[One]]]:
        """Prepare these one after another; the future has all of them."""
        return self.submit(self._each, backend, prompts)

    @property
    def busy_s(self) -> float:
        """How long the present prompt has taken so far, seconds; 0 without one."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def _each(self, backend: Backend, prompts: Items[One]) -> list[Prepared[One]]:
        done: list[Prepared[One]] = []
        for prompt in prompts:
            self._began = time.monotonic()
            done.append((prompt, attempt(partial(backend.prepare, prompt))))
            self._began = None
        return done


class ChatPreparation:
    """Prepares chats: short ones at once, others on a thread of their own kind. Then decides, where
    that is asked for, whether they run here. ``window`` is for chats that come in together."""

    def __init__(self, context: EngineContext, window: AdmissionWindow) -> None:
        self._context = context
        self._window = window
        self._chats = PromptThread("tokenise")
        self._texts = PromptThread("tokenise-texts")

    def close(self) -> None:
        for thread in (self._chats, self._texts):
            thread.shutdown(wait=False, cancel_futures=True)

    @property
    def busy_s(self) -> float:
        """For how long the present prompt has been in preparation, seconds."""
        return max(self._chats.busy_s, self._texts.busy_s)

    def begin(self, sequence: Sequence, backend: Backend, enter: Callable[[Ready], None]) -> None:
        """Prepare a chat; ``enter`` is called with the warnings about it, or its error, unless it
        goes to another worker."""
        if not takes_long(sequence):
            ready = attempt(partial(backend.prepare, sequence))
            self._route(sequence, backend, partial(self._window.add, partial(enter, ready)), ready)
            return

        def done(future: Future[list[Prepared[Sequence]]]) -> None:
            if not future.cancelled():  # Else this engine is being closed.
                [(_, ready)] = future.result()
                post = partial(self._route, sequence, backend, partial(enter, ready), ready)
                self._context.post(post)

        thread = self._texts if sequence.pools else self._chats
        thread.prepare(backend, [sequence]).add_done_callback(done)

    def _route(self, sequence: Sequence, backend: Backend, enter: Enter, ready: Ready) -> None:
        route, sequence.route = sequence.route, None
        if route is None or ready.exception() is not None:
            enter()
            return
        key = attempt(partial(backend.cache_key, sequence))
        if key.exception() is not None:  # Its adapter has gone meanwhile.
            enter()
        else:
            route(key.result(), partial(self._context.post, enter))


Fail = Callable[[BatchSequence, Exception], None]


class BatchPreparation:
    """Prepares prompts that are in the queue; ``fail`` gets those that can't be."""

    def __init__(
        self,
        thread: PromptThread,
        models: LoadedModels,
        queue: BatchQueue,
        suspect: SuspectSlot,
        context: EngineContext,
        fail: Fail,
    ) -> None:
        self._thread = thread
        self._models = models
        self._queue = queue
        self._suspect = suspect
        self._context = context
        self._fail = fail

    def begin_ahead(self, sequences: Items[BatchSequence]) -> None:
        """Tokenise prompts that have come for loaded models, lest those of another owner pass them
        when a row is free. A suspect waits for its turn."""
        for sequence in sequences:
            if not (sequence.suspect or sequence.preparing) and self._models.is_loaded(
                sequence.job
            ):
                with suppress(WorkerError):  # In its turn it fails with it.
                    self.is_done(sequence)

    def is_done(self, sequence: BatchSequence) -> bool:
        """Whether a prompt is tokenised for its model, which is loaded; if not, begin that. Raises
        WorkerError if the model isn't what it was."""
        lane = self._models.batch_lane(self._models.get(sequence.job))
        if not sequence.is_ready_for(lane) and not sequence.preparing:
            self._begin(sequence, lane)
        return sequence.is_ready_for(lane)

    def _begin(self, sequence: BatchSequence, lane: Backend) -> None:
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
            if error is None:
                sequence.ready_for(lane)
                sequence.warnings += prepared.result()
                continue
            self._queue.remove(sequence)
            self._fail(
                sequence, error if isinstance(error, Exception) else RuntimeError("cancelled")
            )
