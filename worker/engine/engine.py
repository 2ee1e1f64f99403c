"""The engine: one thread that owns the models and runs every chat and every prompt of a batch.

Knows no Redis, no HTTP and no RQ. Other threads put work into its inbox through ``submit``,
``cancel`` and ``call``; it answers with events through the sink, a step's worth at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from wire.messages import ErrorCode
from wire.model_registry import ModelRecord
from worker.backends.base import Backend
from worker.engine.batch_scheduler import BatchScheduler
from worker.engine.batch_sequence import BatchSequence
from worker.engine.chat_lane import ChatLane
from worker.engine.context import EngineContext, Sink, settle
from worker.engine.counters import Counters
from worker.engine.step_failure import failed
from worker.idle_models import IdleModels
from worker.models.loaded import LoadedModels
from worker.sequence import Sequence

Result = TypeVar("Result")

PREPARING_S = 0.01
"""Longest sleep while prompts are being prepared and there is nothing else to do."""
BEFORE_CLOSE_S = 3.0
"""What is done before the end, such as writing cached prompts to disk, may take so long: a
supervisor waits a few seconds longer than chats may take to end."""
LOADING_S = 0.5
"""Longest sleep while a model is being loaded: a load may take longer than an engine may hang."""


class Engine:
    """One loop: receive, admit, step, emit. Start it once; close it once."""

    def __init__(
        self,
        models: LoadedModels,
        sink: Sink,
        *,
        context: EngineContext | None = None,
        counters: Counters | None = None,
        prompts: BatchScheduler | None = None,
        on_suspect: Callable[[Sequence], None] = lambda _: None,
        before_close: Callable[[float], None] = lambda _: None,
        model_ttl_s: float = -1,
    ) -> None:
        """``prompts`` is for batches, and shares the context.

        ``on_suspect`` is called, on the engine's thread, before a suspect is let in;
        ``before_close`` while the thread still runs, with how long it may take in seconds.
        ``model_ttl_s``: see IdleModels.
        """
        self._models = models
        self._idle = IdleModels(models, model_ttl_s)
        self._context = context or EngineContext()
        self._inbox = self._context.inbox
        self._chats = ChatLane(models, sink, self._context, counters or Counters(), on_suspect)
        self._prompts = prompts or BatchScheduler(
            models, slots=0, share=0, on_end=lambda _: None, context=self._context
        )
        self._before_close = before_close
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._closing = False

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_s: float | None = None) -> None:
        """End the thread after the step in progress; running sequences get no more events."""
        self._before_close(BEFORE_CLOSE_S)
        self._inbox.put(self._close)
        self._thread.join(patience_s)
        self._chats.close()
        self._prompts.close()

    def submit(self, sequence: Sequence, expected: int = 0) -> None:
        """Take a chat in; ``expected`` more are about to follow."""
        self._inbox.put(partial(self._submit, sequence, expected))

    def submit_prompts(self, sequences: list[BatchSequence]) -> None:
        """Run prompts of a batch when chats leave room."""
        self._inbox.put(partial(self._prompts.submit, sequences))

    def drop_prompts(self, job_id: str) -> None:
        """Let go of a slice's prompts without an end."""
        self._inbox.put(partial(self._prompts.drop, job_id))

    def cancel(self, job_id: str) -> None:
        """Stop a chat: its text so far is kept and its stream ends.

        Unknown and ended jobs are no error.
        """
        self._inbox.put(partial(self._chats.end_early, job_id, lambda s: s.finish("cancelled")))

    def fail(self, job_id: str, code: ErrorCode, message: str) -> None:
        """End a chat from outside with a reason, such as its deadline."""
        self._inbox.put(
            partial(self._chats.end_early, job_id, partial(failed, code=code, message=message))
        )

    def release(self, job_id: str) -> None:
        """Let go of a chat without an end: another worker goes on with it."""
        self._inbox.put(partial(self._chats.end_early, job_id, lambda _: []))

    def call(self, work: Callable[[], Result]) -> Future[Result]:
        """Run something on the engine's thread, between two steps."""
        future: Future[Result] = Future()
        self._inbox.put(partial(settle, future, work))
        return future

    def load(self, record: ModelRecord) -> Future[Backend]:
        """Load a model beside the streams. For the engine's thread only, where the future ends."""
        model_id = record.base_id or record.id
        self._idle.loaded(model_id)
        loaded = self._models.load(record, self._context.post)
        loaded.add_done_callback(lambda _: self._idle.used(model_id))
        return loaded

    def unload_idle(self) -> None:
        """Have models unloaded that have been idle for as long as they may; any thread may ask."""
        self._inbox.put(partial(self._idle.unload, self.is_busy))

    def is_busy(self, model_key: Any) -> bool:
        """Whether a chat or prompt that needs the model is inside. For the engine's thread only."""
        return any(
            self._models.key(s.job) == model_key
            for s in (*self.snapshot(), *self._prompts.inside())
        )

    @property
    def busy(self) -> bool:
        """Whether any chat or prompt is inside; any thread may ask."""
        return bool(self.snapshot()) or not self._prompts.idle

    def snapshot(self) -> list[Sequence]:
        """The chats inside, in the order they came; slightly old is good enough."""
        return self._chats.snapshot()

    def end_if_hung(self, hang_s: float) -> None:
        """End this process if this engine hangs."""
        self._context.watchdog.end_if_hung(
            hang_s,
            has_work=bool(self.snapshot()) or not self._prompts.idle,
            preparing_s=max(self._chats.preparing_s, self._prompts.preparing_s),
        )

    # --- the loop: everything below runs on the engine's thread -----------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._receive()
            if self._models.starting:
                with self._context.watchdog.suspend():
                    self._models.start_some()
            if self._chats.admit(suspect_inside=self._prompts.suspect):
                self._prompts.make_way()
            self._chats.step()
            if not self._prompts.idle:
                self._prompts.run_turn(self._chats.load())
            self._context.watchdog.step()
        self._models.close()

    def _submit(self, sequence: Sequence, expected: int) -> None:
        self._idle.asked(sequence.job)
        self._chats.submit(sequence, expected)

    def _close(self) -> None:
        self._closing = True

    def _receive(self) -> None:
        """Do what the inbox asks for; wait for more only when there is nothing to step."""
        chats, prompts = self._chats, self._prompts
        # Chats that wait for a suspect prompt's preparation can't be let in before its end.
        nothing_runs = not chats.runs and (not chats.waits or prompts.suspect)
        rests = [] if nothing_runs else [chats.rest_s]
        if not prompts.resting:
            rests.append(prompts.rest_s)
        elif nothing_runs and not prompts.idle:
            rests.append(PREPARING_S)
        waits = all(rest_s > 0 for rest_s in rests) and not self._models.starting
        if self._models.loading:
            rests.append(LOADING_S)
        if (window_s := chats.window.remaining_s) is not None:
            rests.append(window_s)
        wait_s = min(rests, default=None)
        try:
            while True:
                work = self._inbox.get(waits, wait_s)
                if waits:  # The engine had nothing to do: it has not hung.
                    self._context.watchdog.step()
                waits = False
                work()
        except queue.Empty:
            return
